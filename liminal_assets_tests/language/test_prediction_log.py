"""``log_predictions``: what is wrong with it is told at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import examine_project, load_project

HEAD = """name: shop
datasets: [{dataset: raw, fetch: {file: a.csv}}]
models: [{model: late, features: raw, target: y, estimator: sklearn.svm.SVC}]
deployments:
  - deployment: api
    model: late
    serve: {log_predictions: %s}
"""
WATCH = """monitors:
  - monitor: watch
    deployment: api
    drift: {columns: {carrier: {threshold: 0.1}, stops: {ignore: true}}}
"""


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        ("{sample: 0}", "invalid-value", "sample"),
        ("{rotate: 2h}", "invalid-value", "'rotate' must be between 100ms and 1h"),
        ("{mask: {a: blur}}", "invalid-value", "blur"),
        ("{mask: {a: {hash: ''}}}", "invalid-value", "hash"),
        ("{mask: {a: {hash: my salt}}}", "invalid-value", "hash: must match"),
        ("{mask: {a: [hash]}}", "invalid-value", "a: must be 'drop', 'hash' or 'null'"),
        ("{mask: [a]}", "invalid-type", "mask: must be a mapping of keys, not a list"),
        ("yes", "invalid-value", "log_predictions: must be true, false or a mapping of keys"),
        ("{durabel: true}", "unknown-key", "durabel"),
        ("{to: {connection: nope, table: t}}", "unknown-reference", "no connection is called"),
        ("{to: {table: t}}", "missing-key", "the project has no connections"),
    ],
)
def test_what_is_wrong_is_told_at_its_line(
    tmp_path: Path, said: str, code: str, message: str
) -> None:
    (tmp_path / "liminal.yml").write_text(HEAD % said)
    with pytest.raises(InvalidProjectError) as raised:
        load_project(tmp_path)
    mistake = raised.value.diagnostics[0]
    assert mistake.code == code
    assert mistake.location.line == 7
    assert message in mistake.message


def test_a_mapping_is_told_what_is_wrong_with_a_mapping_alone(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(HEAD % "{mask: {a: {hsh: SALT}}}")
    with pytest.raises(InvalidProjectError) as raised:
        load_project(tmp_path)
    assert [(d.location.column, d.message, d.hint) for d in raised.value.diagnostics] == [
        (41, "'hash' is missing in a", None),
        (42, "unknown key 'hsh' in a", "did you mean 'hash'?"),
    ]


def test_a_monitor_that_names_a_masked_column_is_told(tmp_path: Path) -> None:
    masked = HEAD % "{mask: {carrier: hash, stops: drop}}"
    (tmp_path / "liminal.yml").write_text(masked + WATCH)
    with pytest.raises(InvalidProjectError) as raised:
        load_project(tmp_path)
    (mistake,) = raised.value.diagnostics
    assert (mistake.code, mistake.location.line) == ("masked-column", 11)
    assert "'carrier' can't be watched" in mistake.message


def test_yes_and_no_are_short_for_the_defaults_and_for_none(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(HEAD % "true")
    serve = load_project(tmp_path).spec.deployments[0].serve
    assert serve
    assert serve.log_predictions
    assert not serve.log_predictions.durable
    (tmp_path / "liminal.yml").write_text(HEAD % "false")
    serve = load_project(tmp_path).spec.deployments[0].serve
    assert serve
    assert serve.log_predictions is None


COUNTS = """monitors:
  - monitor: watch
    deployment: api
    performance: {metric: f1, at_least: 0.5, labels: {from: feedback}}
    kpis:
      - {kpi: asked, sql: SELECT count(*) FROM predictions, between: [1, 100]}
      - {kpi: really, sql: SELECT sum(1 / sample_rate) FROM predictions, between: [1, 100]}
"""


def test_a_kpi_that_counts_a_share_of_the_rows_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "liminal.yml"
    file.write_text(HEAD % "{sample: 0.1}" + COUNTS)
    project, mistakes = examine_project(file)
    assert project is not None
    (mistake,) = mistakes
    assert (mistake.code, mistake.severity) == ("counts-a-sample", "warning")
    assert mistake.location.line == 13
    file.write_text(HEAD % "{sample: 1}" + COUNTS)
    assert examine_project(file)[1] == []


def test_labels_from_feedback_need_a_log(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(HEAD % "false" + COUNTS)
    with pytest.raises(InvalidProjectError) as raised:
        load_project(tmp_path)
    (mistake,) = raised.value.diagnostics
    assert (mistake.code, mistake.location.line) == ("no-log", 11)
    assert "api keeps no prediction log" in mistake.message
