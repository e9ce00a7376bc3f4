"""What keeps a model server safe and seen: who may ask, how much, what is written of it."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from liminal_assets.language.base import (
    Duration,
    Finite,
    Names,
    NotBool,
    Spec,
    changed,
    one_of_keys,
    switched,
)

__all__ = [
    "AccessLog",
    "AccessLogOption",
    "ApiKey",
    "Auth",
    "Drain",
    "Jwt",
    "Limits",
    "Secret",
    "Telemetry",
    "Tls",
]

_Env = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "ES512", "EdDSA",
]  # fmt: skip


class Secret(Spec):
    """Where a secret is. It is never written in ``liminal.yml`` itself."""

    env: _Env | None = None
    """The environment variable that holds it."""
    file: str | None = None
    """The file that holds it."""

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, data: Any) -> Any:
        if isinstance(data, str):
            raise ValueError(
                "a secret is not written here: name what holds it, as {env: NAME} or {file: path}"
            )
        return data

    @model_validator(mode="after")
    def _one(self) -> Secret:
        one_of_keys(self, "env", "file")
        return self


class ApiKey(Spec):
    """A key that a caller sends as ``Authorization: Bearer …`` or ``X-API-Key: …``."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    """Whom it was given to: in the access log."""
    env: _Env | None = None
    """The environment variable that holds it."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Its SHA-256 in hexadecimal digits, which is no secret for a random key."""

    @model_validator(mode="after")
    def _one(self) -> ApiKey:
        one_of_keys(self, "env", "sha256")
        return self


def _check_jwks(value: str) -> str:
    if "://" not in value:
        return value
    parts = urlsplit(value)
    if parts.scheme == "https" and parts.hostname:
        return value
    if parts.scheme == "http" and _is_loopback(parts.hostname):
        return value
    raise ValueError("keys of tokens come by https: or from a file; others could be anybody's")


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


class Jwt(Spec):
    """JSON Web Tokens that are taken, as ``Authorization: Bearer …``."""

    algorithms: tuple[Algorithm, ...]
    """The only ones, all for one kind of key; what a token says of itself doesn't matter."""
    key: Secret | None = None
    """The secret (``HS…``), or the public key as PEM."""
    jwks: Annotated[str, AfterValidator(_check_jwks)] | None = None
    """URL or file of a JSON Web Key Set. While it can't be read the last keys stay."""
    audience: Names = ()
    """Names of this server, one of which a token must be meant for (``aud``)."""
    issuer: str | None = None
    """Who must have made it (``iss``)."""
    scopes: Names = ()
    """All of which it must grant (``scope`` or ``scp``)."""
    require: Names = ()
    """Claims that it must have, besides ``exp``."""
    leeway: Duration = timedelta(seconds=30)
    """How far clocks may differ."""
    refresh: Duration = timedelta(minutes=5)
    """How often a key set is read again."""

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Jwt:
        source = one_of_keys(self, "key", "jwks")
        if not self.algorithms:
            raise ValueError("'algorithms' must name one")
        kinds = {{"PS": "RS"}.get(name[:2], name[:2]) for name in self.algorithms}
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(self.algorithms)} need different kinds of keys")
        if source == "jwks" and kinds == {"HS"}:
            raise ValueError(
                f"a key set is public: it can't hold the secret of {self.algorithms[0]}"
            )
        if source == "key" and changed(self, ("refresh",)):
            raise ValueError("'refresh' goes with 'jwks': a 'key' is read once, at the start")
        return self


class Auth(Spec):
    """Who may ask a server. Health checks need nothing."""

    api_keys: tuple[ApiKey, ...] = ()
    """Keys by name."""
    api_key_file: str | None = None
    """More of them, one a line: a name, and the key or ``sha256:`` and its SHA-256. It is read
    again when it changes."""
    jwt: Jwt | None = None
    """Tokens that are taken besides."""
    public: tuple[Literal["metrics", "docs"], ...] = ()
    """Pages that need neither key nor token: ``metrics``, ``docs``."""

    @model_validator(mode="after")
    def _someone(self) -> Auth:
        if not self.api_keys and self.api_key_file is None and self.jwt is None:
            raise ValueError("needs api_keys, api_key_file or jwt: as it is, nobody may ask")
        names = [key.name for key in self.api_keys]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"there are two keys of {twice!r}")
        return self


class Limits(Spec):
    """How much a server takes on at once."""

    under_way: Annotated[int, Field(ge=1, le=100_000), NotBool] = 256
    """Requests that a worker answers at once; more get 503 and ``Retry-After``."""
    bodies_mb: Annotated[float, Field(gt=0), Finite, NotBool] = 256.0
    """What the larger bodies of all requests under way may take in a worker; more get 503."""
    timeout: Duration = timedelta(seconds=30)
    """The longest that a body may take to come (else 408), and then its answer (else 504)."""
    rate: Annotated[float, Field(gt=0), Finite, NotBool] | None = None
    """Requests a second that each key, token's subject or, without either, address may send to a
    worker; more get 429 and ``Retry-After``."""
    burst: Annotated[int, Field(ge=1), NotBool] | None = None
    """With ``rate``: requests at once after a pause; default: 10."""

    @model_validator(mode="after")
    def _of_rate(self) -> Limits:
        if self.burst is not None and self.rate is None:
            raise ValueError("'burst' goes with 'rate', such as 'rate: 50': nothing limits it else")
        return self


class Drain(Spec):
    """The end of a server, from SIGTERM on."""

    wait: Duration | None = None
    """How long it goes on answering while ``/readyz`` says 503, so that load balancers notice."""
    timeout: Duration = timedelta(seconds=30)
    """The longest that requests under way may take then."""


class Tls(Spec):
    """HTTPS by the server itself."""

    cert: str
    """The file of the certificate and its chain, as PEM."""
    key: str | None = None
    """The file of its key; default: in the same file."""


class AccessLog(Spec):
    """One JSON object a line for each request."""

    file: str | None = None
    """Where: from the project on, or a path whose folder is there; default: standard output."""
    sample: Annotated[float, Field(ge=0, le=1), NotBool] = 1.0
    """The share of requests answered with 2xx that are written; others always are."""


AccessLogOption = Annotated[
    AccessLog | None,
    BeforeValidator(switched, json_schema_input_type=bool | AccessLog | None),
]
"""``true``, or how."""


class Telemetry(Spec):
    """Traces by OpenTelemetry; the extra ``telemetry`` must be installed."""

    otlp: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+")] | None = None
    """The collector's URL for OTLP over HTTP; default: what the ``OTEL_…`` variables say."""
    service_name: str | None = None
    """Default: the deployment's name."""
    sample: Annotated[float, Field(ge=0, le=1), NotBool] = 0.01
    """The share of requests that begin a trace; one with a ``traceparent`` follows its caller."""
