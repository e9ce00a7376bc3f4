"""What liminal.yml says of a server's safety: what is wrong is told at its line, and what is right
reaches the workers."""

from __future__ import annotations

from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.errors import StepError
from liminal_assets.language.deep import deep_mistakes
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import Project
from liminal_assets.serving.config import Grpc, WorkerConfig
from liminal_assets.serving.guards.auth import Authenticator, Caller, digest
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.guards.protection import check_files, protected, protection_mistakes
from liminal_assets.serving.server import serve

KEY = "a-key-of-tests-that-nobody-knows"
SECRET = "s3cret-of-thirty-two-bytes-or-more!"

PROJECT = """\
name: shop
datasets:
  - dataset: rows
    fetch: {{file: rows.csv}}
features:
  - feature: rows_features
    from: rows
    entity: id
    timestamp: at
    sql: SELECT * FROM rows
models:
  - model: late
    features: rows_features
    target: late
    estimator: sklearn.linear_model.LogisticRegression
deployments:
  - deployment: late_api
    model: late
    serve:
{serve}
"""


def project(folder: Path, serve: str) -> Project:
    (folder / "liminal.yml").write_text(
        PROJECT.format(serve="\n".join(" " * 6 + line for line in serve.strip().splitlines()))
    )
    return la.load_project(folder)


def config(made: Project) -> WorkerConfig:
    return protected(WorkerConfig("late_api", "root"), made, made.spec.deployments[0])


WRONG = {
    "auth: {api_keys: [{name: a, key: abc}]}": (20, "key"),
    "auth: {api_keys: [{name: a, env: A}, {name: a, env: B}]}": (20, "two keys of 'a'"),
    "auth: {api_keys: [{name: a, env: A, sha256: b}]}": (20, "sha256"),
    "auth: {api_keys: [{name: a}]}": (20, "needs one of env, sha256"),
    "auth: {public: [metrics]}": (20, "nobody may ask"),
    "auth: {public: [predict]}": (20, "predict"),
    "auth: {jwt: {algorithms: [None], key: {env: A}}}": (20, "algorithms"),
    "auth: {jwt: {algorithms: [], key: {env: A}}}": (20, "algorithms"),
    "auth: {jwt: {algorithms: [HS256, RS256], key: {env: A}}}": (20, "different kinds of keys"),
    "auth: {jwt: {algorithms: [HS256], jwks: keys.json}}": (20, "can't hold the secret"),
    "auth: {jwt: {algorithms: [RS256]}}": (20, "needs one of key, jwks"),
    "auth: {jwt: {algorithms: [RS256], jwks: 'http://issuer/keys'}}": (20, "https"),
    "auth:\n  jwt:\n    algorithms: [HS256]\n    key: very-secret": (23, "not written here"),
    "limits: {under_way: 0}": (20, "under_way"),
    "limits: {rate: -1}": (20, "rate"),
    "limits: {burst: 10}": (20, "'burst' goes with 'rate', such as 'rate: 50'"),
    "endpoint_threads: 4": (20, "'endpoint_threads' goes with 'endpoints'"),
    "auth: {jwt: {algorithms: [HS256], key: {env: A}, refresh: 1m}}": (
        20,
        "'refresh' goes with 'jwks'",
    ),
    "sagemaker: {image: i, role: 'arn:aws:iam::123456789012:role/r', release_store: 's3://b/r', "
    "instances: 2, serverless: {}}": (20, "'instances' has no effect beside 'serverless'"),
    "drain: {wait: 5}": (20, "duration"),
    "access_log: {sample: 2}": (20, "sample"),
    "telemetry: {samples: 0.1}": (20, "did you mean 'sample'"),
    "trust: anything": (20, "trust"),
    "port: 8081\ngrpc_port: 8081": (20, "'port' and 'grpc_port' are both 8081"),
    "grpc_port: 65536": (20, "grpc_port"),
}


@pytest.mark.parametrize("serve", WRONG)
def test_what_is_wrong_is_told_at_its_line(tmp_path: Path, serve: str) -> None:
    line, said = WRONG[serve]
    with pytest.raises(InvalidProjectError) as caught:
        project(tmp_path, serve)
    diagnostic, *_ = caught.value.diagnostics
    assert diagnostic.location.line == line
    assert said in str(diagnostic)
    assert "very-secret" not in str(diagnostic)


FULL = """
max_rows: 7
auth:
  api_keys:
    - {name: billing, env: TEST_BILLING_KEY}
    - {name: partner, sha256: %s}
  api_key_file: keys.txt
  jwt: {algorithms: [HS256], key: {file: secret.txt}, audience: late}
  public: metrics
limits: {under_way: 5, timeout: 2s, rate: 0.5, burst: 3}
drain: {wait: 1s, timeout: 9s}
tls: {cert: cert.pem}
access_log: true
telemetry: {otlp: 'http://127.0.0.1:4318', sample: 0.5}
grpc_port: 0
batching: {max_rows: 9}
""" % digest(b"partner-key")  # noqa: UP031 braces are YAML's


def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    made = project(tmp_path, "tls: {cert: cert.pem}")
    (deployment,) = made.spec.deployments
    for reason in ("No such file", "cert.pem can't be used as a certificate and its key"):
        with pytest.raises(StepError, match=reason) as caught:
            serve(made, deployment, port=0)
        assert caught.value.location
        assert caught.value.location.line == 20
        (tmp_path / "cert.pem").write_text("no certificate")


@pytest.mark.parametrize(
    ("said", "column", "message"),
    [
        ("auth: {api_key_file: keys}", 28, "the API keys of {folder}/keys can't be read: No such"),
        ("auth: {api_key_file: .}", 28, "the API keys of {folder} can't be read: Is a directory"),
        ("access_log: {file: .}", 26, "can't be written to {folder}: Is a directory"),
        ("access_log: {file: '{folder}/lgo/a'}", 26, "lgo/a: No such file or directory"),
        ("host: no.such.host.invalid", 13, "cannot listen on no.such.host.invalid"),
    ],
)
def test_what_a_server_can_not_use_is_told_before_it_starts(
    tmp_path: Path, said: str, column: int, message: str
) -> None:
    made = project(tmp_path, said.replace("{folder}", str(tmp_path)))
    with pytest.raises(StepError) as caught:
        serve(made, made.spec.deployments[0], port=0)
    assert message.replace("{folder}", str(tmp_path)) in caught.value.message
    assert caught.value.location
    assert (caught.value.location.line, caught.value.location.column) == (20, column)
    assert not (tmp_path / "lgo").exists()


def test_the_folder_of_an_access_log_is_made_below_the_project_alone(tmp_path: Path) -> None:
    made = project(tmp_path, "access_log: {file: logs/late/access.jsonl}")
    check_files(made, made.spec.deployments[0], config(made))
    assert (tmp_path / "logs" / "late" / "access.jsonl").read_bytes() == b""
    assert not list(protection_mistakes(made))
    other = project(tmp_path, f"access_log: {{file: {tmp_path}/lgo/access.jsonl}}")
    (mistake,) = protection_mistakes(other)
    assert (mistake.code, mistake.severity) == ("missing-file", "warning")
    assert mistake.message == f"there is no folder {tmp_path}/lgo here"


def test_a_file_without_keys_is_told_for_they_may_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    made = project(tmp_path, "auth: {api_key_file: keys}")
    check_files(made, made.spec.deployments[0], config(made))
    assert f"there is no key in {tmp_path}/keys: nobody may ask yet" in caplog.text


def test_what_is_right_reaches_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, FULL.replace("public: metrics", "public: [metrics]"))
    with pytest.raises(StepError, match="TEST_BILLING_KEY isn't set") as caught:
        config(made)
    assert caught.value.location
    assert caught.value.location.line == 23
    monkeypatch.setenv("TEST_BILLING_KEY", KEY)
    (tmp_path / "secret.txt").write_text(SECRET + "\n")
    (tmp_path / "keys.txt").write_text("third third-key\n")
    said = config(made).to_json()
    assert KEY.encode() not in said
    worker = WorkerConfig.from_json(said)
    assert (worker.limits.max_rows, worker.limits.under_way, worker.limits.rate) == (7, 5, 0.5)
    assert worker.limits.batch_rows == 9
    assert (worker.limits.timeout_seconds, worker.drain_wait, worker.drain_seconds) == (2, 1, 9)
    assert worker.tls
    assert worker.tls.cert == str(tmp_path / "cert.pem")
    assert worker.grpc == Grpc("127.0.0.1", 0, worker.tls)
    assert worker.access_log
    assert worker.telemetry
    assert (worker.telemetry.service_name, worker.telemetry.sample) == ("late_api", 0.5)
    assert worker.auth
    keys = Authenticator(worker.auth)
    for key, name in {KEY: "billing", "partner-key": "partner", "third-key": "third"}.items():
        assert keys.check([(b"x-api-key", key.encode())]) == Caller(name, "key")
    import jwt

    token = jwt.encode({"sub": "robot", "aud": "late", "exp": 4e9}, SECRET, "HS256")
    assert keys.check([(b"authorization", b"Bearer " + token.encode())]).name == "robot"


def test_without_a_word_anyone_may_ask(tmp_path: Path) -> None:
    worker = config(project(tmp_path, "port: 0"))
    assert (worker.auth, worker.tls, worker.access_log, worker.telemetry) == (None,) * 4
    assert Guard.of(worker).authenticator is None
    assert config(project(tmp_path, "access_log: false")).access_log is None


def test_what_validate_says_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, FULL.replace("public: metrics", "public: [metrics]"))
    assert [
        (mistake.location.line, mistake.code, mistake.severity)
        for mistake in sorted(protection_mistakes(made))
    ] == [
        (23, "missing-secret", "warning"),
        (25, "missing-file", "warning"),
        (26, "missing-file", "warning"),
        (30, "missing-file", "warning"),
    ]
    monkeypatch.setenv("TEST_BILLING_KEY", "short")
    (tmp_path / "secret.txt").write_text("also-short")
    found = {mistake.code: mistake for mistake in deep_mistakes(made)}
    assert not found["weak-secret"].is_error
    assert found["auth"].is_error
    assert "needs 32" in found["auth"].message
    loose = "auth: {jwt: {algorithms: [RS256], jwks: 'https://issuer/keys'}}"
    (mistake,) = protection_mistakes(project(tmp_path, loose))
    assert (mistake.code, mistake.severity) == ("no-audience", "warning")
    local = "auth: {jwt: {algorithms: [RS256], jwks: keys.json, audience: late}}"
    (mistake,) = protection_mistakes(project(tmp_path, local))
    assert (mistake.code, mistake.message) == ("missing-file", "there is no file keys.json here")


def test_a_salt_that_is_not_here_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path, "log_predictions: {mask: {carrier: {hash: TEST_SALT}, stops: hash}}")
    (mistake,) = protection_mistakes(made)
    assert (mistake.code, mistake.is_error) == ("missing-secret", False)
    assert "TEST_SALT" in mistake.message
    monkeypatch.setenv("TEST_SALT", KEY)
    assert not list(protection_mistakes(made))
