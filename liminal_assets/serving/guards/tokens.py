"""JSON Web Tokens, checked by PyJWT (RFC 7519, RFC 8725).

The algorithms are those of the configuration and all of one kind of key, so neither ``none`` nor a
public key taken for a secret is possible.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import jwt
import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.guards.auth import Caller, JwtConfig

__all__ = ["Tokens"]

_log = logging.getLogger("liminal_assets.serving")

_LONGEST = 16_384
"""Bytes of a token."""
_LARGEST = 1024 * 1024
"""Bytes of a key set."""
_REMEMBERED = 4096
"""Tokens that were checked and needn't be again for a minute."""
_REMEMBER_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 30.0
"""A token with a key that isn't known makes the key set be read again, at most this often."""


class Tokens:
    """Checks tokens.

    Args:
        config: which are taken.

    Raises:
        StepError: the key isn't one for these algorithms.
    """

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._scopes = frozenset(config.scopes)
        self._key: Any = None if config.jwks else static_key(config)
        self._set = KeySet(config) if config.jwks else None
        self._known: dict[bytes, tuple[float, Any, Caller]] = {}

    def start(self) -> None:
        """Begins to read the key set."""
        if self._set is not None:
            self._set.start()

    def stop(self) -> None:
        """Ends that."""
        if self._set is not None:
            self._set.stop()

    def check(self, token: bytes) -> Caller:
        """Whose token it is.

        Raises:
            RequestError: 401 for a token that isn't valid, 403 for one that doesn't grant enough,
                503 while there are no keys.
        """
        keys = self._set.keys if self._set is not None else None
        own = hashlib.sha256(token).digest()
        if found := self._known.get(own):
            until, of_keys, caller = found
            # another key set may lack the key that it was signed with
            if time.time() < until and of_keys is keys:
                return caller
        claims = self._claims(token, keys)
        self._granted(claims)
        caller = Caller(_subject(claims), "token")
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        until = min(time.time() + _REMEMBER_SECONDS, claims["exp"] + self._config.leeway)
        self._known[own] = until, keys, caller
        return caller

    def _claims(self, token: bytes, keys: Mapping[str, jwt.PyJWK] | None) -> dict[str, Any]:
        config = self._config
        if len(token) > _LONGEST:
            raise _invalid("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in config.algorithms:
                raise _invalid(f"tokens must be signed with {' or '.join(config.algorithms)}")
            key = self._key if keys is None else self._chosen(header, keys)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=list(config.audience) or None,
                issuer=config.issuer or None,
                leeway=config.leeway,
                options={
                    "require": ["exp", *config.require, *(["iss"] if config.issuer else [])],
                    "verify_aud": bool(config.audience),
                },
            )
        except jwt.PyJWTError as error:
            raise _invalid(_said(error)) from None
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            # what a strange token makes of the libraries below
            raise _invalid("the token can't be read") from None
        if not math.isfinite(claims["exp"]):
            raise _invalid("the token never expires")
        return claims

    def _chosen(self, header: Mapping[str, Any], keys: Mapping[str, jwt.PyJWK]) -> Any:
        if not keys:
            message = "the keys that tokens are signed with aren't known yet"
            raise RequestError(503, "keys_unknown", message)
        kid = header.get("kid")
        if kid is None and len(keys) == 1:
            found = next(iter(keys.values()))
        elif isinstance(kid, str) and kid in keys:
            found = keys[kid]
        else:
            if self._set is not None:
                self._set.ask_again()
            raise _invalid("the token is signed with a key that isn't known")
        return found.key

    def _granted(self, claims: Mapping[str, Any]) -> None:
        if not self._scopes:
            return
        said = claims.get("scope", claims.get("scp", ""))
        words = said.split() if isinstance(said, str) else said
        granted = {str(word) for word in words} if isinstance(words, list) else set()
        if missing := self._scopes - granted:
            needed = " ".join(sorted(self._scopes))
            told = f'Bearer realm="liminal", error="insufficient_scope", scope="{needed}"'
            message = f"the token doesn't grant {', '.join(sorted(missing))}"
            raise RequestError(403, "forbidden", message, headers={"www-authenticate": told})


def static_key(config: JwtConfig) -> Any:
    """The key of the configuration, as its algorithm needs it.

    Raises:
        StepError: it is none for these algorithms.
    """
    key = config.key.encode()
    if b"PRIVATE KEY" in key:
        raise StepError(
            "the key of tokens is a private key", hint="a server needs the public key alone"
        )
    prepared: Any = None
    for name in config.algorithms:
        algorithm = jwt.get_algorithm_by_name(name)
        try:
            prepared = algorithm.prepare_key(key)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise StepError(f"the key of tokens is none for {name}: {error}") from error
        if name.startswith("HS") and len(key) < int(name[2:]) // 8:
            raise StepError(
                f"the secret of tokens has {len(key)} bytes; {name} needs {int(name[2:]) // 8}",
                hint="make one with 'openssl rand -base64 64'",
            )
    return prepared


class KeySet:
    """The public keys of an issuer, read again from time to time by a thread.

    While they can't be read the last ones stay. A file is read at once, for it can be.
    """

    def __init__(self, config: JwtConfig) -> None:
        self.keys: Mapping[str, jwt.PyJWK] = {}
        """By their ids. Another set is another object."""
        self._config = config
        self._raw = b""
        self._read_at = -math.inf
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        if "://" not in config.jwks:
            try:
                self._read()
            except (OSError, ValueError) as error:
                raise StepError(f"{config.jwks} is no key set: {error}") from error

    def start(self) -> None:
        """Begins to read them."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="token-keys", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread; a read under way ends with the process."""
        self._stopped = True
        self._wake.set()

    def ask_again(self) -> None:
        """There may be new keys."""
        if time.monotonic() - self._read_at > _ASK_AGAIN_SECONDS:
            self._wake.set()

    def _run(self) -> None:
        wait = 1.0
        while not self._stopped:
            try:
                self._read()
                wait = self._config.refresh
            except (OSError, ValueError) as error:
                _log.warning("the keys of tokens stay as they were: %s", error)
                wait = min(wait * 2, self._config.refresh)
            self._wake.wait(wait)
            self._wake.clear()

    def _read(self) -> None:
        """Reads the keys.

        Raises:
            OSError: they can't be read.
            ValueError: they are none.
        """
        self._read_at = time.monotonic()
        raw = _content(self._config.jwks)
        if raw == self._raw:
            return
        keys = _usable(raw, self._config.algorithms)
        self.keys, self._raw = keys, raw
        _log.info("%d keys of tokens from %s", len(keys), self._config.jwks)


def _content(where: str) -> bytes:
    if "://" not in where:
        with Path(where).open("rb") as file:
            raw: bytes = file.read(_LARGEST + 1)
    else:
        request = Request(where, headers={"accept": "application/json"})  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310 the specification allows http(s)
            raw = answer.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise ValueError("it is larger than 1 MiB")
    return raw


_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


def _usable(raw: bytes, algorithms: tuple[str, ...]) -> dict[str, jwt.PyJWK]:
    """The public keys of a set that may sign with one of these algorithms. Secrets are left out:
    whoever can read the set could sign with them."""
    try:
        said = msgspec.json.decode(raw, type=dict[str, Any]).get("keys")
    except msgspec.DecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    kinds = {_KINDS[name[:2]] for name in algorithms}
    found = {}
    for key in said if isinstance(said, list) else []:
        if not isinstance(key, dict) or key.get("kty") not in kinds:
            continue
        if key.get("use", "sig") != "sig" or key.get("alg", algorithms[0]) not in algorithms:
            continue
        try:
            found[str(key.get("kid", ""))] = jwt.PyJWK(key)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    if not found:
        raise ValueError(f"it has no key for {' or '.join(algorithms)}")
    return found


def _subject(claims: Mapping[str, Any]) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", str(claims.get("sub", "")))[:100]


_SENTENCES: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token isn't valid yet",
    jwt.InvalidAudienceError: "the token is meant for another audience",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidSignatureError: "the token's signature is wrong",
}


def _said(error: jwt.PyJWTError) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token lacks the claim {error.claim!r}"
    return _SENTENCES.get(type(error), "the token can't be read")


def _invalid(message: str) -> RequestError:
    told = f'Bearer realm="liminal", error="invalid_token", error_description="{message}"'
    return RequestError(401, "unauthenticated", message, headers={"www-authenticate": told})
