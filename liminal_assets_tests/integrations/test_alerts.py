"""Alert channels against real servers on this machine; what goes wrong names no address."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.integrations import alerts
from liminal_assets.integrations.alerts import (
    DeliveryError,
    Message,
    alertmanager_body,
    deliver,
    redacted,
)
from liminal_assets.language.alerts import Alert, Alertmanager
from liminal_assets_tests.receivers import Inbox, http_receiver, smtp_receiver

MESSAGE = Message(
    id="abc123",
    kind="breach",
    project="shop",
    block="watch",
    title="shop/watch: breach in 2024-07",
    evidence=["drift: price: 0.9, not at most 0.2 (psi)", "a <b> & c"],
    location="liminal.yml:12:5",
    link="http://127.0.0.1:3000/runs/1",
    at=datetime(2024, 8, 1, tzinfo=timezone.utc),
    details={"run_id": "1"},
)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def email(inbox: Inbox, **options: Any) -> Alert:
    said = {"to": ["a@x.org", "b@x.org"], "sender": "l@x.org", "host": "127.0.0.1"}
    return Alert.model_validate({"alert": "ops", "email": {**said, "port": inbox.port, **options}})


def test_a_webhook_gets_everything_as_json_with_a_key_to_drop_repeats() -> None:
    with http_receiver() as inbox:
        deliver(Alert(alert="ops", webhook=inbox.url), MESSAGE)
    (body,) = inbox.bodies
    assert body == MESSAGE.as_dict()
    assert set(body) >= {"block", "title", "evidence", "location", "link", "kind", "at", "id"}
    assert inbox.headers[0]["Idempotency-Key"] == "abc123"


def test_slack_gets_blocks_with_its_marks_escaped() -> None:
    with http_receiver() as inbox:
        deliver(Alert(alert="ops", slack=inbox.url), MESSAGE)
    (body,) = inbox.bodies
    header, section, context = body["blocks"]
    assert body["text"] == header["text"]["text"] == "shop/watch: breach in 2024-07"
    assert "• a &lt;b&gt; &amp; c" in section["text"]["text"]
    assert "`liminal.yml:12:5`  <http://127.0.0.1:3000/runs/1|open the run>" in str(context)


def test_alertmanager_gets_an_alert_that_ends_by_itself() -> None:
    with http_receiver() as inbox:
        manager = {"url": inbox.url, "labels": {"team": "delays"}, "lasts": "2h", "token": "T0K"}
        deliver(Alert.model_validate({"alert": "ops", "alertmanager": manager}), MESSAGE)
    ((told,),) = inbox.bodies
    assert told["labels"] == {
        "alertname": "LiminalBreach",
        "severity": "critical",
        "project": "shop",
        "block": "watch",
        "team": "delays",
    }
    assert told["annotations"]["summary"] == "shop/watch: breach in 2024-07"
    assert told["annotations"]["location"] == "liminal.yml:12:5"
    assert told["generatorURL"] == "http://127.0.0.1:3000/runs/1"
    assert (told["startsAt"], told["endsAt"]) == (
        "2024-08-01T00:00:00+00:00",
        "2024-08-01T02:00:00+00:00",
    )
    assert inbox.headers[0]["Authorization"] == "Bearer T0K"
    assert inbox.paths == ["/T000/SECRET/api/v2/alerts"]


def test_what_is_over_ends_the_alert_that_began_it() -> None:
    over = replace(MESSAGE, kind="recovery", details={"of": "breach"})
    manager = Alertmanager(url="http://127.0.0.1:9")
    (began,), (ended,) = (alertmanager_body(manager, each) for each in (MESSAGE, over))
    assert ended["labels"] == began["labels"]
    assert ended["endsAt"] == "2024-08-01T00:00:00+00:00"
    assert "startsAt" not in ended


def test_mail_goes_to_all_with_subject_findings_line_and_link() -> None:
    with smtp_receiver() as inbox:
        deliver(email(inbox, user="me", password="pw"), MESSAGE)
    mail = message_from_string(inbox.mails[0])
    assert mail["Subject"] == "shop/watch: breach in 2024-07"
    assert mail["To"] == "a@x.org, b@x.org"
    assert mail["Message-ID"] == "<abc123@liminal-assets>"
    for said in ("- drift: price", "YAML: liminal.yml:12:5", "Run:  http://127.0.0.1:3000/runs/1"):
        assert said in mail.get_payload()
    assert inbox.logins == ["\0me\0pw"]


@pytest.mark.parametrize("codes", [[500], [503, 429]], ids=["once", "twice"])
def test_a_receiver_in_trouble_is_tried_again(codes: list[int]) -> None:
    with http_receiver(codes) as inbox:
        deliver(Alert(alert="ops", webhook=inbox.url), MESSAGE)
    assert len(inbox.bodies) == len(codes) + 1


def test_a_mail_server_in_trouble_is_tried_again() -> None:
    with smtp_receiver(["451 later", "421 later"]) as inbox:
        deliver(email(inbox), MESSAGE)
    assert len(inbox.mails) == 1


@pytest.mark.parametrize(
    ("codes", "said", "tries"),
    [
        pytest.param([500] * 9, "the receiver answered 500", 3, id="always in trouble"),
        pytest.param([404] * 9, "the receiver answered 404", 1, id="refused"),
        pytest.param([302] * 9, "the receiver answered 302", 1, id="redirects aren't followed"),
    ],
)
def test_a_receiver_that_refuses_is_an_error(codes: list[int], said: str, tries: int) -> None:
    with (
        http_receiver(codes) as inbox,
        pytest.raises(DeliveryError, match=f"alert ops: {said}") as raised,
    ):
        deliver(Alert(alert="ops", webhook=inbox.url), MESSAGE)
    assert len(inbox.bodies) == tries
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["550 no"], "the mail server answered 550"),
        (["451 later"] * 3, "the mail server answered 451"),
    ],
    ids=["refused", "always in trouble"],
)
def test_a_mail_server_that_refuses_is_an_error(answers: list[str], said: str) -> None:
    with smtp_receiver(answers) as inbox, pytest.raises(DeliveryError, match=said):
        deliver(email(inbox), MESSAGE)


@pytest.mark.parametrize(
    "alert",
    [
        Alert(alert="ops", webhook="http://user:PASSWORD@127.0.0.1:9/SECRET"),
        Alert(alert="ops", slack="http://127.0.0.1:9/services/SECRET"),
        Alert.model_validate(
            {
                "alert": "ops",
                "email": {
                    "to": "a@x.org",
                    "sender": "b@x.org",
                    "host": "127.0.0.1",
                    "port": 9,
                    "user": "u",
                    "password": "PASSWORD",
                },
            }
        ),
    ],
    ids=["webhook", "slack", "email"],
)
def test_an_unreachable_receiver_is_one_sentence_without_its_address(alert: Alert) -> None:
    with pytest.raises(DeliveryError, match="can't be reached: the connection was refused") as e:
        deliver(alert, MESSAGE)
    for secret in ("SECRET", "PASSWORD", "127.0.0.1"):
        assert secret not in str(e.value)
        assert secret not in repr(alert) or secret == "127.0.0.1"
    assert e.value.__cause__ is None


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(alerts, "_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DeliveryError, match=r"no answer within 0.05 s"):
            deliver(Alert(alert="ops", webhook=url), MESSAGE)


def test_encryption_that_the_mail_server_lacks_is_an_error_not_plain_text() -> None:
    with smtp_receiver() as inbox, pytest.raises(DeliveryError, match="STARTTLS"):
        deliver(email(inbox, starttls=True), MESSAGE)
    assert inbox.mails == []


def _certificate(folder: Path) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_mail_is_encrypted_and_only_sent_to_a_server_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with smtp_receiver(tls=_certificate(tmp_path)) as inbox:
        alert = email(inbox, host="localhost", starttls=True)
        with pytest.raises(DeliveryError, match="its certificate isn't trusted"):
            deliver(alert, MESSAGE)
        assert inbox.mails == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        deliver(alert, MESSAGE)
    assert len(inbox.mails) == 1


def _install(folder: Path, code: str) -> None:
    info = folder / "pager-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pager\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{alerts.GROUP}]\npager = pager_plugin:send\n")
    (folder / "pager_plugin.py").write_text(code)


def test_a_plugin_is_an_installed_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(
        tmp_path, "got = []\ndef send(message, options):\n    got.append((message, options))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    deliver(Alert(alert="ops", plugin="pager", options={"level": 3}), MESSAGE)
    import pager_plugin

    assert pager_plugin.got == [(MESSAGE, {"level": 3})]
    with pytest.raises(DeliveryError, match=r"no alert channel 'pagr' is installed .*'pager'"):
        deliver(Alert(alert="ops", plugin="pagr"), MESSAGE)


def test_what_a_plugin_raises_is_shown_without_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(
        tmp_path, "def send(message, options):\n    raise OSError('bad ' + options['token'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "pager_plugin", raising=False)
    alert = Alert(alert="ops", plugin="pager", options={"token": "TOKEN-1"})
    with pytest.raises(DeliveryError, match=r"alert ops: OSError: bad \*\*\*"):
        deliver(alert, MESSAGE)


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("postgresql://me:pw@host/db is down", [], "postgresql://***@host/db is down"),
        ("POST http://x/hook failed", ["http://x/hook"], "POST *** failed"),
        ("nothing to hide", [None, ""], "nothing to hide"),
    ],
    ids=["credentials of a URL", "an address", "none"],
)
def test_secrets_are_taken_out_of_texts(text: str, secrets: list[str], shown: str) -> None:
    assert redacted(text, secrets) == shown


def test_messages_are_plain_values() -> None:
    import json

    said: Mapping[str, Any] = json.loads(json.dumps(MESSAGE.as_dict()))
    assert said["at"] == "2024-08-01T00:00:00+00:00"
