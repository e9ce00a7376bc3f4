"""Who asks: API keys and JSON Web Tokens, the same for every protocol.

Keys are kept and compared as SHA-256; a token's algorithm is never the token's choice.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.errors import RequestError

__all__ = ["ANONYMOUS", "ApiKeys", "AuthConfig", "Authenticator", "Caller", "JwtConfig", "digest"]

_log = logging.getLogger("liminal_assets.serving")


class JwtConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tokens are taken.

    Attributes:
        algorithms: the only ones; all of one kind of key.
        key: the secret (HS) or the public key as PEM; empty with ``jwks``.
        jwks: the URL or path of a JSON Web Key Set; empty with ``key``.
        audience: names of this server, one of which a token must be meant for; none: any.
        issuer: who must have made it; empty: anyone with the key.
        scopes: all of which it must grant.
        require: claims that it must have, besides ``exp``.
        leeway: seconds by which clocks may differ.
        refresh: seconds after which a key set is read again.
    """

    algorithms: tuple[str, ...]
    key: str = ""
    jwks: str = ""
    audience: tuple[str, ...] = ()
    issuer: str = ""
    scopes: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    leeway: float = 30.0
    refresh: float = 300.0


class AuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ask.

    Attributes:
        keys: the SHA-256 of API keys, by the name of whom it was given to.
        key_file: a file of more of them, read again when it changes.
        jwt: which tokens are taken.
        public: pages that need neither: ``metrics``, ``docs``.
    """

    keys: Mapping[str, str] = {}
    key_file: str = ""
    jwt: JwtConfig | None = None
    public: tuple[str, ...] = ()


class Caller(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        name: the name of an API key, or the subject of a token; never a secret.
        kind: ``key``, ``token`` or, where anyone may ask, ``anyone``.
    """

    name: str
    kind: str


ANONYMOUS = Caller("", "anyone")


def digest(key: bytes) -> str:
    """The form in which a key is kept: SHA-256 in hexadecimal digits. A slow hash would add nothing
    to keys that are random, and would cost every request."""
    return hashlib.sha256(key).hexdigest()


class Authenticator:
    """Tells who asks.

    Args:
        config: who may.

    Raises:
        StepError: the file of keys or the key of tokens can't be used.
    """

    def __init__(self, config: AuthConfig) -> None:
        self.config = config
        self._keys = ApiKeys(config.keys, config.key_file)
        self._tokens = None
        if config.jwt is not None:
            # it needs cryptography, which takes 15 MB
            from liminal_assets.serving.guards.tokens import Tokens

            self._tokens = Tokens(config.jwt)

    def start(self) -> None:
        """Begins to keep the keys of tokens up to date."""
        if self._tokens is not None:
            self._tokens.start()

    def stop(self) -> None:
        """Ends that."""
        if self._tokens is not None:
            self._tokens.stop()

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Who sends these headers.

        Args:
            headers: names in lower case, and values: of HTTP, or the metadata of gRPC.

        Raises:
            RequestError: 401 for who isn't known, 403 for who may not, 503 while the keys of tokens
                aren't known.
        """
        key = authorization = None
        for name, value in headers:
            if name == b"authorization":
                if authorization is not None:
                    raise _unknown("there is more than one Authorization header")
                authorization = value
            elif name == b"x-api-key":
                if key is not None:
                    raise _unknown("there is more than one X-API-Key header")
                key = value
        if key is not None:
            return self._key(key.strip())
        if authorization is None:
            raise _unknown("send 'Authorization: Bearer …' or 'X-API-Key: …'", error="")
        scheme, _, credentials = authorization.partition(b" ")
        credentials = credentials.strip()
        if scheme.lower() != b"bearer" or not credentials:
            raise _unknown("the Authorization header must be 'Bearer' and a key or token")
        if self._tokens is not None and credentials.count(b".") == 2:
            caller = self._keys.find(credentials)
            return caller or self._tokens.check(credentials)
        return self._key(credentials)

    def _key(self, key: bytes) -> Caller:
        caller = self._keys.find(key)
        if caller is None:
            raise _unknown("the key isn't known")
        return caller


def _unknown(message: str, error: str = "invalid_token") -> RequestError:
    """RFC 6750: a request without credentials is told the scheme alone."""
    said = 'Bearer realm="liminal"' + (f', error="{error}"' if error else "")
    return RequestError(401, "unauthenticated", message, headers={"www-authenticate": said})


class ApiKeys:
    """The keys that are known.

    Args:
        keys: their SHA-256 by name.
        file: more of them, one a line: a name, and a key or ``sha256:`` and its SHA-256. It is
            looked at once a second; while it can't be read the last ones stay.

    Raises:
        StepError: the file can't be read.
    """

    def __init__(self, keys: Mapping[str, str] = {}, file: str = "") -> None:
        self._given = {sha256: Caller(name, "key") for name, sha256 in keys.items()}
        self._callers = dict(self._given)
        self._file = Path(file) if file else None
        self._seen: tuple[int, ...] = ()
        self._next_look = 0.0
        if self._file is not None:
            self._read(self._file)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._callers)

    def find(self, key: bytes) -> Caller | None:
        """Whose key it is."""
        if self._file is not None and time.monotonic() >= self._next_look:
            self._look(self._file)
        # how long this takes depends on a digest that nobody can choose, not on the key
        return self._callers.get(digest(key))

    def _look(self, file: Path) -> None:
        self._next_look = time.monotonic() + 1.0
        try:
            if _state(file) != self._seen:
                self._read(file)
                _log.info("%d API keys from %s", len(self._callers), file)
        except (OSError, StepError) as error:
            _log.warning("the API keys stay as they were: %s", error)

    def _read(self, file: Path) -> None:
        self._next_look = time.monotonic() + 1.0
        try:
            self._seen = _state(file)
            found = dict(_parsed(file.read_text("utf-8"), file))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StepError(f"the API keys of {file} can't be read: {reason}") from error
        self._callers = {**found, **self._given}


_LARGEST_FILE = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SHA256 = re.compile(r"sha256:[0-9a-fA-F]{64}")


def _state(file: Path) -> tuple[int, ...]:
    found = os.stat(file)
    if found.st_size > _LARGEST_FILE:
        raise StepError(f"{file} is larger than 1 MiB: it is no file of API keys")
    return found.st_mtime_ns, found.st_size, found.st_ino


def _parsed(text: str, file: Path) -> Iterator[tuple[str, Caller]]:
    for number, line in enumerate(text.splitlines(), 1):
        name, *rest = line.split()[:3] or ["#"]
        if name.startswith("#"):
            continue
        # no line is quoted: it may be a key
        if len(rest) != 1 or not _NAME.fullmatch(name):
            raise StepError(
                f"{file}:{number}: a line must be a name and a key",
                hint="write 'partner sha256:…' or 'partner the-key'",
            )
        said = rest[0]
        sha256 = said[7:].lower() if _SHA256.fullmatch(said) else digest(said.encode())
        yield sha256, Caller(name, "key")
