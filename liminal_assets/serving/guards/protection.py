"""What a deployment says of its server's safety, as its workers are told: secrets looked up, files
found, and what can't work told with its line."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment, Serve
from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.language.loading import Project
from liminal_assets.language.prediction_log import HashMask
from liminal_assets.language.protection import Auth, Jwt, Secret
from liminal_assets.serving.config import (
    EndpointFunction,
    Endpoints,
    Grpc,
    Limits,
    Tls,
    WorkerConfig,
)
from liminal_assets.serving.guards.auth import ApiKeys, AuthConfig, JwtConfig, digest
from liminal_assets.serving.observing.access import AccessLogConfig
from liminal_assets.serving.observing.telemetry import TelemetryConfig

__all__ = ["check_files", "check_tls", "protected", "protection_mistakes"]

_log = logging.getLogger("liminal_assets.serving")

_SHORTEST_KEY = 16
"""Characters of an API key below which it may be guessed."""


def protected(config: WorkerConfig, project: Project, deployment: Deployment) -> WorkerConfig:
    """The configuration of a worker with all that the deployment says of its safety.

    Raises:
        StepError: a secret isn't there, or can't be what it should be.
    """
    spec = deployment.serve or Serve()
    limits = spec.limits
    tls = _tls(project, spec)
    return msgspec.structs.replace(
        config,
        limits=Limits(
            max_rows=spec.max_rows,
            max_body_mb=spec.max_body_mb,
            under_way=limits.under_way,
            bodies_mb=limits.bodies_mb,
            timeout_seconds=limits.timeout.total_seconds(),
            rate=limits.rate or 0.0,
            burst=limits.burst or Limits().burst,
            batch_rows=spec.batching.max_rows if spec.batching else 0,
        ),
        drain_wait=spec.drain.wait.total_seconds() if spec.drain.wait else 0.0,
        drain_seconds=spec.drain.timeout.total_seconds(),
        auth=_auth(project, deployment, spec.auth) if spec.auth else None,
        access_log=_access_log(project, spec),
        telemetry=_telemetry(deployment, spec),
        tls=tls,
        grpc=None if spec.grpc_port is None else Grpc(spec.host, spec.grpc_port, tls),
        endpoints=_endpoints(project, spec),
    )


def protection_mistakes(project: Project) -> Iterator[Diagnostic]:
    """What can be known to be wrong with the safety of servers. A secret that isn't here may be
    where the server will run: that is a warning."""
    for deployment in project.spec.deployments:
        spec = deployment.serve
        if spec is None:
            continue
        if spec.telemetry and find_spec("opentelemetry.sdk") is None:
            at = project.locate(deployment, "serve", "telemetry", key=True)
            hint = "pip install 'liminal-assets[telemetry]'"
            yield Diagnostic(at, "missing-package", "traces need OpenTelemetry's SDK", hint)
        if spec.tls:
            yield from _missing_files(project, deployment)
        if spec.auth:
            yield from _auth_mistakes(project, deployment, spec.auth)
        written = spec.access_log.file if spec.access_log else None
        if written and not _made(written) and not _path(project, written).parent.is_dir():
            where = project.locate(deployment, "serve", "access_log", "file")
            message = f"there is no folder {_path(project, written).parent} here"
            yield Diagnostic(where, "missing-file", message, severity="warning")
        for column, how in spec.log_predictions.mask.items() if spec.log_predictions else ():
            if isinstance(how, HashMask) and not os.environ.get(how.hash):
                at = project.locate(deployment, "serve", "log_predictions", "mask", column, "hash")
                yield _not_set(at, how.hash)


def _auth_mistakes(project: Project, deployment: Deployment, auth: Auth) -> Iterator[Diagnostic]:
    at = ("serve", "auth")
    for index, key in enumerate(auth.api_keys):
        said = os.environ.get(key.env or "", "")
        where = project.locate(deployment, *at, "api_keys", index, "env")
        if key.env and not said:
            yield _not_set(where, key.env)
        elif key.env and len(said) < _SHORTEST_KEY:
            message = f"the key of {key.name!r} is shorter than {_SHORTEST_KEY} characters"
            hint = "make one with 'openssl rand -hex 32'"
            yield Diagnostic(where, "weak-secret", message, hint, "warning")
    if auth.api_key_file and not _path(project, auth.api_key_file).is_file():
        where = project.locate(deployment, *at, "api_key_file")
        message = f"there is no file {auth.api_key_file} here"
        yield Diagnostic(where, "missing-file", message, severity="warning")
    if auth.jwt is None:
        return
    if not auth.jwt.audience:
        where = project.locate(deployment, *at, "jwt", key=True)
        message = "tokens that are meant for other servers are taken too"
        yield Diagnostic(where, "no-audience", message, "name this one: 'audience: …'", "warning")
    jwks, secret = auth.jwt.jwks, auth.jwt.key
    if jwks and "://" not in jwks and not _path(project, jwks).is_file():
        where = project.locate(deployment, *at, "jwt", "jwks")
        message = f"there is no file {jwks} here"
        yield Diagnostic(where, "missing-file", message, severity="warning")
    if secret is None:
        return
    where = project.locate(deployment, *at, "jwt", "key")
    if secret.env and not os.environ.get(secret.env):
        yield _not_set(where, secret.env)
    elif secret.file and not _path(project, secret.file).is_file():
        message = f"there is no file {secret.file} here"
        yield Diagnostic(where, "missing-file", message, severity="warning")
    else:
        try:
            _jwt(project, deployment, auth.jwt)
        except StepError as error:
            yield Diagnostic(where, "auth", error.message, error.hint)


def _not_set(where: Location, name: str) -> Diagnostic:
    message = f"the environment variable {name} isn't set here"
    hint = "the server needs it where it runs"
    return Diagnostic(where, "missing-secret", message, hint, "warning")


def _missing_files(project: Project, deployment: Deployment) -> Iterator[Diagnostic]:
    tls = deployment.serve.tls if deployment.serve else None
    for name in ("cert", "key"):
        file = getattr(tls, name, None)
        if file and not _path(project, file).is_file():
            where = project.locate(deployment, "serve", "tls", name)
            yield Diagnostic(
                where, "missing-file", f"there is no file {file} here", None, "warning"
            )


def _auth(project: Project, deployment: Deployment, auth: Auth) -> AuthConfig:
    keys = {}
    for index, key in enumerate(auth.api_keys):
        if key.sha256 is not None:
            keys[key.name] = key.sha256
            continue
        said = os.environ.get(key.env or "", "").strip()
        if not said:
            raise StepError(
                f"the environment variable {key.env} isn't set: it should hold the key of "
                f"{key.name!r}",
                location=project.locate(deployment, "serve", "auth", "api_keys", index, "env"),
            )
        keys[key.name] = digest(said.encode())
    return AuthConfig(
        keys=keys,
        key_file=str(_path(project, auth.api_key_file)) if auth.api_key_file else "",
        jwt=_jwt(project, deployment, auth.jwt) if auth.jwt else None,
        public=auth.public,
    )


def _jwt(project: Project, deployment: Deployment, spec: Jwt) -> JwtConfig:
    jwks = spec.jwks or ""
    config = JwtConfig(
        algorithms=spec.algorithms,
        key=_secret(project, deployment, spec.key) if spec.key else "",
        jwks=jwks if "://" in jwks or not jwks else str(_path(project, jwks)),
        audience=spec.audience,
        issuer=spec.issuer or "",
        scopes=spec.scopes,
        require=spec.require,
        leeway=spec.leeway.total_seconds(),
        refresh=spec.refresh.total_seconds(),
    )
    if spec.key:
        from liminal_assets.serving.guards.tokens import static_key

        try:
            static_key(config)
        except StepError as error:
            at = project.locate(deployment, "serve", "auth", "jwt", "key")
            raise StepError(error.message, location=at, hint=error.hint) from error
    return config


def _secret(project: Project, deployment: Deployment, secret: Secret) -> str:
    at = project.locate(deployment, "serve", "auth", "jwt", "key")
    if secret.env:
        said = os.environ.get(secret.env, "")
        if not said:
            raise StepError(f"the environment variable {secret.env} isn't set", location=at)
        return said
    try:
        return _path(project, secret.file or "").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StepError(f"the key of tokens can't be read: {error}", location=at) from error


def _access_log(project: Project, spec: Serve) -> AccessLogConfig | None:
    if spec.access_log is None:
        return None
    file = spec.access_log.file
    return AccessLogConfig(str(_path(project, file)) if file else "", spec.access_log.sample)


def _telemetry(deployment: Deployment, spec: Serve) -> TelemetryConfig | None:
    said = spec.telemetry
    if said is None:
        return None
    return TelemetryConfig(said.otlp or "", said.service_name or deployment.name, said.sample)


def _endpoints(project: Project, spec: Serve) -> Endpoints | None:
    if not spec.endpoints:
        return None
    functions = tuple(
        EndpointFunction(one.endpoint, one.module, one.function) for one in spec.endpoints
    )
    # elsewhere the image has them, where its server is started
    root = str(project.root) if spec.target == "local" else "."
    return Endpoints(root, functions, spec.endpoint_threads)


def _tls(project: Project, spec: Serve) -> Tls | None:
    if spec.tls is None:
        return None
    key = str(_path(project, spec.tls.key)) if spec.tls.key else ""
    return Tls(str(_path(project, spec.tls.cert)), key)


def check_files(project: Project, deployment: Deployment, config: WorkerConfig) -> None:
    """Whether the files of a server can be used, before each of its workers finds out. The folder
    of an access log is made below the project; one that is elsewhere has to be there.

    Raises:
        StepError: one can't be.
    """
    spec = deployment.serve or Serve()
    if config.tls is not None:
        check_tls(config.tls, project.locate(deployment, "serve", "tls", key=True))
    if config.auth is not None and config.auth.key_file:
        location = project.locate(deployment, "serve", "auth", "api_key_file")
        _check_keys(config.auth, location)
    if config.access_log is not None and spec.access_log and spec.access_log.file:
        location = project.locate(deployment, "serve", "access_log", "file")
        _check_access_log(Path(config.access_log.file), _made(spec.access_log.file), location)


def _check_keys(auth: AuthConfig, location: Location) -> None:
    try:
        keys = ApiKeys(auth.keys, auth.key_file)
    except StepError as error:
        raise error.at(location) from None
    if not keys.any and auth.jwt is None:
        # they may come: the file is read again when it changes
        _log.warning("%s: there is no key in %s: nobody may ask yet", location, auth.key_file)


def _check_access_log(file: Path, made: bool, location: Location) -> None:
    try:
        if made:
            file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab"):
            pass
    except OSError as error:
        hint = None
        if isinstance(error, FileNotFoundError):
            hint = f"make the folder {file.parent}, or write a path below the project"
        reason = error.strerror or str(error)
        raise StepError(
            f"the access log can't be written to {file}: {reason}", location=location, hint=hint
        ) from error


def _made(file: str) -> bool:
    """Whether the folder of an access log is made: a mistyped path elsewhere shouldn't be."""
    return not Path(file).expanduser().is_absolute()


def check_tls(tls: Tls, location: Location) -> None:
    """Whether a server could prove itself.

    Raises:
        StepError: the files can't be read, or are no certificate and its key.
    """
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key or None)
    except OSError as error:
        files = tls.cert + (f" and {tls.key}" if tls.key else "")
        reason = error.strerror or str(error)
        raise StepError(
            f"{files} can't be used as a certificate and its key: {reason}",
            location=location,
            hint="both are PEM; without 'key:' they are in one file",
        ) from error


def _path(project: Project, file: str) -> Path:
    return project.root / Path(file).expanduser()
