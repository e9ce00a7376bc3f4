"""Who may ask: keys and tokens that are right, and many that aren't."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from liminal_assets.errors import StepError
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.guards.auth import AuthConfig, Authenticator, Caller, JwtConfig, digest

KEY = "the-key-of-billing-0123456789"
SECRET = "s3cret-of-thirty-two-bytes-or-more!"
RSA = rsa.generate_private_key(65537, 2048)
PAIRS = {
    "RS256": RSA,
    "PS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public_pem(algorithm: str) -> str:
    public = PAIRS[algorithm].public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def bearer(token: str | bytes) -> list[tuple[bytes, bytes]]:
    token = token.encode() if isinstance(token, str) else token
    return [(b"host", b"x"), (b"authorization", b"Bearer " + token)]


def claims(**others: Any) -> dict[str, Any]:
    said = {"sub": "robot", "aud": "late", "iss": "https://issuer", "exp": time.time() + 600}
    return {name: value for name, value in {**said, **others}.items() if value is not None}


def tokens(algorithm: str = "HS256", **others: Any) -> Authenticator:
    key = SECRET if algorithm == "HS256" else public_pem(algorithm)
    config = {"algorithms": (algorithm,), "key": key, "audience": ("late",)}
    return Authenticator(
        AuthConfig(jwt=JwtConfig(**{**config, "issuer": "https://issuer", **others}))
    )


def refused(authenticator: Authenticator, headers: list[tuple[bytes, bytes]]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        authenticator.check(headers)
    return caught.value


KEYS = Authenticator(AuthConfig(keys={"billing": digest(KEY.encode())}))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", f"Bearer {KEY}".encode())],
        [(b"authorization", f"bearer   {KEY} ".encode())],
        [(b"x-api-key", KEY.encode())],
        [(b"authorization", b"Basic abc"), (b"x-api-key", KEY.encode())],
    ],
)
def test_a_key_has_a_name(headers: list[tuple[bytes, bytes]]) -> None:
    assert KEYS.check(headers) == Caller("billing", "key")


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ([], 'Bearer realm="liminal"'),
        ([(b"authorization", KEY.encode())], 'Bearer realm="liminal", error="invalid_token"'),
        ([(b"authorization", b"Bearer ")], 'Bearer realm="liminal", error="invalid_token"'),
        ([(b"x-api-key", b"")], 'Bearer realm="liminal", error="invalid_token"'),
        ([(b"x-api-key", KEY.encode())] * 2, 'Bearer realm="liminal", error="invalid_token"'),
        (bearer(KEY) * 2, 'Bearer realm="liminal", error="invalid_token"'),
        (bearer(digest(KEY.encode())), 'Bearer realm="liminal", error="invalid_token"'),
    ],
)
def test_what_is_no_key(headers: list[tuple[bytes, bytes]], told: str) -> None:
    error = refused(KEYS, headers)
    assert error.status == 401
    assert error.headers == {"www-authenticate": told}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"x-api-key", b"cookie"]),
            st.one_of(
                st.binary(max_size=80),
                st.binary(max_size=60).map(lambda part: b"Bearer " + part),
                st.text(max_size=9).map(lambda part: b"Bearer " + (KEY + part + "x").encode()),
                st.integers(0, len(KEY) - 1).map(lambda n: b"Bearer " + KEY[:n].encode()),
            ),
        ),
        max_size=4,
    )
)
def test_nothing_but_the_key_is_taken(headers: list[tuple[bytes, bytes]]) -> None:
    assert refused(KEYS, headers).status == 401


def test_a_file_of_keys_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nbilling {KEY}\n\npartner sha256:{digest(b'other-key')}\n")
    keys = Authenticator(AuthConfig(key_file=str(file)))
    assert keys.check(bearer(KEY)).name == "billing"
    assert keys.check(bearer("other-key")).name == "partner"
    moments = iter(range(10**6, 10**7, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(moments)))
    file.write_text("partner other-key\n")
    assert refused(keys, bearer(KEY)).status == 401
    for broken in ("partner\n", "a b c\n", "\xff"):
        file.write_bytes(broken.encode("latin-1"))
        assert keys.check(bearer("other-key")).name == "partner"
    file.unlink()
    assert keys.check(bearer("other-key")).name == "partner"


def test_a_file_of_keys_that_is_wrong_is_told_without_its_text(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("billing hidden-text of-it\n")
    with pytest.raises(StepError, match="keys:1") as caught:
        Authenticator(AuthConfig(key_file=str(file)))
    assert "hidden-text" not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["HS256", *PAIRS])
def test_a_token_of_each_algorithm(algorithm: str) -> None:
    key = SECRET if algorithm == "HS256" else PAIRS[algorithm]
    token = jwt.encode(claims(), key, algorithm)  # type: ignore[arg-type]
    authenticator = tokens(algorithm)
    assert authenticator.check(bearer(token)) == Caller("robot", "token")
    assert authenticator.check(bearer(token)) == Caller("robot", "token")
    head, body, signature = token.split(".")
    for other in (f"{head}.{body}.", f"{head}.{body}.{signature[:-8]}", f".{body}.{signature}"):
        assert refused(authenticator, bearer(other)).status == 401


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"exp": -60}, "expired"),
        ({"exp": None}, "lacks the claim 'exp'"),
        ({"exp": 1e400}, "token"),
        ({"nbf": 60}, "isn't valid yet"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "lacks the claim 'aud'"),
        ({"iss": "https://elsewhere"}, "another issuer"),
        ({"iss": None}, "lacks the claim 'iss'"),
        ({"sub": 7}, "can't be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_claims_that_are_wrong(wrong: dict[str, Any], message: str) -> None:
    # times count from when the test runs
    now = {name: time.time() for name in ("exp", "nbf") if type(wrong.get(name)) is int}
    said = claims(
        **{
            name: value + now.get(name, 0) if name in now else value
            for name, value in wrong.items()
        }
    )
    error = refused(tokens(), bearer(jwt.encode(said, SECRET, "HS256")))
    assert error.status == 401
    assert message in error.message
    assert 'error="invalid_token"' in error.headers["www-authenticate"]


def test_leeway_is_given() -> None:
    late = jwt.encode(claims(exp=time.time() - 20), SECRET, "HS256")
    assert tokens().check(bearer(late)).name == "robot"
    assert refused(tokens(leeway=5.0), bearer(late)).status == 401


def encoded(said: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()


def test_no_algorithm_but_the_configured_one() -> None:
    body = encoded(claims())
    for name in ("none", "None", "NONE", "", None, 7, ["RS256"]):
        assert refused(tokens("RS256"), bearer(f"{encoded({'alg': name})}.{body}.")).status == 401
    # the public key taken for a secret
    import hashlib
    import hmac

    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{body}"
    signature = hmac.new(public_pem("RS256").encode(), signed.encode(), hashlib.sha256).digest()
    forged = f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert refused(tokens("RS256"), bearer(forged)).status == 401
    assert refused(tokens("HS256"), bearer(forged)).status == 401


@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(*[st.binary(max_size=60)] * 3).map(b".".join),
        st.tuples(
            st.dictionaries(st.text(max_size=5), st.text(max_size=5)).map(
                lambda said: encoded({"alg": "RS256", **said})
            ),
            st.recursive(st.integers() | st.text(max_size=9), st.lists).map(encoded),
            st.binary(max_size=300).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
        ).map(lambda parts: ".".join(parts).encode()),
    )
)
def test_no_forged_token_is_taken(token: bytes) -> None:
    assert refused(FIXED, bearer(token)).status == 401


FIXED = tokens("RS256")


def test_a_token_must_grant_what_is_asked() -> None:
    asked = tokens(scopes=("predict", "read"))
    for grant in ({"scope": "read predict x"}, {"scp": ["predict", "read"]}):
        assert asked.check(bearer(jwt.encode(claims(**grant), SECRET, "HS256"))).name == "robot"
    for less in ({}, {"scope": "predict"}, {"scope": {"predict": 1}}, {"scp": 7}):
        error = refused(asked, bearer(jwt.encode(claims(**less), SECRET, "HS256")))
        assert error.status == 403
        assert 'error="insufficient_scope"' in error.headers["www-authenticate"]


def jwk(algorithm: str, kid: str, **others: Any) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(PAIRS[algorithm].public_key(), as_dict=True)
    return {**made, "kid": kid, **others}


def test_a_key_set_is_read_again_and_holds_no_secrets(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    oct_key = {"kty": "oct", "kid": "z", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()}
    file.write_text(json.dumps({"keys": [oct_key, jwk("ES256", "a"), jwk("RS256", "b")]}))
    config = {"algorithms": ("ES256",), "key": "", "jwks": str(file), "refresh": 0.05}
    authenticator = tokens("RS256", **config)

    def signed(algorithm: str, kid: str | None) -> list[tuple[bytes, bytes]]:
        headers = {"kid": kid} if kid else None
        return bearer(jwt.encode(claims(), PAIRS[algorithm], algorithm, headers))  # type: ignore[arg-type]

    assert authenticator.check(signed("ES256", "a")).name == "robot"
    assert authenticator.check(signed("ES256", None)).name == "robot"
    assert refused(authenticator, signed("ES256", "c")).status == 401
    assert refused(authenticator, signed("RS256", "b")).status == 401
    secret = bearer(jwt.encode(claims(), SECRET, "HS256", {"kid": "z"}))
    assert refused(authenticator, secret).status == 401
    known = signed("ES256", "a")
    assert authenticator.check(known).name == "robot"
    authenticator.start()
    try:
        file.write_text("nonsense")
        time.sleep(0.2)
        assert authenticator.check(known).name == "robot"
        draft = tmp_path / "draft"
        draft.write_text(json.dumps({"keys": [jwk("ES256", "c")]}))
        os.replace(draft, file)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                authenticator.check(known)
            except RequestError:
                break
            time.sleep(0.02)
        # a key that was withdrawn: tokens that were checked before are forgotten
        assert refused(authenticator, known).status == 401
        assert authenticator.check(signed("ES256", "c")).name == "robot"
    finally:
        authenticator.stop()


def test_keys_that_are_none(tmp_path: Path) -> None:
    private = RSA.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    wrong = {
        "private key": {"algorithms": ("RS256",), "key": private},
        "none for ES256": {"algorithms": ("ES256",), "key": public_pem("RS256")},
        "none for HS256": {"algorithms": ("HS256",), "key": public_pem("RS256")},
        "has 5 bytes": {"algorithms": ("HS256",), "key": "short"},
        "no key set": {"algorithms": ("RS256",), "jwks": str(tmp_path / "missing")},
    }
    for message, config in wrong.items():
        with pytest.raises(StepError, match=message):
            Authenticator(AuthConfig(jwt=JwtConfig(**config)))  # type: ignore[arg-type]
