"""A file's mistakes, all at once, each at its line with what would be right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.loading import examine_project, find_project_file, load_project

TEN = """\
name: shop
owner: nobody
connections:
  - connection: warehouse
    url: duckdb://warehouse.duckdb
datasets:
  - dataset: sales_raw
    fetch: {sql: "SELECT 1", conection: warehouse}
  - dataset: sales
    clean: {from: sales_rw, sql: "SELECT * FROM sales_rw"}
  - dataset: stores
    fetch: {file: '{{ folder }}/stores.csv'}
  - dataset: days
    fetch: {table: days}
    partitions: {every: month, start: '2013-13-01'}
features:
  - feature: sale_features
    from: sales
    entity: id
    online: maybe
models:
  - model: returned
    features: sale_features
    target: returned
    estimator: sklearn.linear_model.LogisticRegression
    validate: [{metric: roc_auc, at_least: 0.6, at_most: 0.9}]
deployments:
  - {deployment: api, model: returned, serve: {port: 70000}}
  - {deployment: api, model: returned, batch: {from: sale_features}}
schedules:
  - {schedule: nightly, cron: '0 25 * * *', refresh: api}
"""


def mistakes(folder: Path, text: str, **environ: str) -> list[Diagnostic]:
    (folder / "liminal.yml").write_text(text)
    return sorted(examine_project(folder / "liminal.yml", environ=environ)[1])


def test_ten_planted_mistakes_of_ten_kinds_are_ten_diagnostics_at_their_lines(
    tmp_path: Path,
) -> None:
    found = mistakes(tmp_path, TEN)
    assert [(d.location.line, d.location.column, d.code) for d in found] == [
        (2, 8, "invalid-value"),
        (8, 30, "unknown-key"),
        (10, 19, "unknown-reference"),
        (12, 19, "unresolved-variable"),
        (15, 17, "invalid-value"),
        (20, 13, "invalid-value"),
        (26, 16, "invalid-value"),
        (28, 54, "invalid-value"),
        (29, 18, "duplicate-name"),
        (31, 31, "invalid-value"),
    ]


def test_each_mistake_of_validate_is_one_line_with_file_line_column_code_and_message(
    tmp_path: Path,
) -> None:
    (tmp_path / "liminal.yml").write_text(TEN)
    with pytest.raises(la.InvalidProjectError) as raised:
        load_project(tmp_path, environ={})
    lines = str(raised.value).split("\n")
    assert len(lines) == 10
    file = tmp_path / "liminal.yml"
    assert lines[1] == (
        f"{file}:8:30: unknown-key: unknown key 'conection' in fetch (did you mean 'connection'?)"
    )


HEAD = "name: shop\n"
RAW = HEAD + "datasets:\n  - dataset: raw\n    fetch: {file: a.csv}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x: [", (1, 5, "yaml", None)),
        ("- a\n", (1, 1, "not-a-mapping", "name:")),
        ("", (1, 1, "not-a-mapping", "name:")),
        ("name: a\nname: b\n", (2, 1, "duplicate-key", "line 1")),
        ("name: !x a\n", (1, 7, "yaml-tag", "plain YAML")),
        ("datasets: []\n", (1, 1, "missing-key", None)),
        ("name: a b\n", (1, 7, "invalid-value", None)),
        ("name: a__b\n", (1, 7, "invalid-value", None)),
        (HEAD + "modles: []\n", (2, 1, "unknown-key", "'models'")),
        (HEAD + "datasets: {a: 1}\n", (2, 11, "invalid-type", None)),
        (HEAD + "datasets:\n  - 3\n", (3, 5, "invalid-type", None)),
        (HEAD + "datasets:\n  - dataset: a\n", (3, 5, "invalid-value", None)),
        (HEAD + "datasets:\n  - fetch: {file: a}\n", (3, 5, "missing-key", None)),
        (RAW + "    columns: {id: integr}\n", (5, 19, "invalid-value", "'integer'")),
        (RAW + "    freshness: {within: 26}\n", (5, 25, "invalid-value", None)),
        (RAW + "    owner: me\n", (5, 12, "invalid-value", None)),
        (RAW + "    tags: {'a b': c}\n", (5, 11, "invalid-value", None)),
        (RAW + "    checks: [{a: {}, b: {}}]\n", (5, 14, "invalid-value", None)),
        (RAW + "  - {dataset: raw, fetch: {file: b.csv}}\n", (5, 15, "duplicate-name", "line 3")),
        (
            RAW + "  - {dataset: b, clean: {from: rw, sql: 'SELECT 1'}}\n",
            (5, 32, "unknown-reference", "'raw'"),
        ),
        (RAW + "  - {dataset: b, fetch: {table: t}}\n", (5, 25, "missing-key", "connections")),
        (
            RAW + "schedules:\n  - {schedule: s, cron: '* * *', refresh: raw}\n",
            (6, 25, "invalid-value", None),
        ),
        (
            RAW + "schedules:\n  - {schedule: s, cron: '0 0 31 2 *', refresh: raw}\n",
            (6, 25, "invalid-value", None),
        ),
        (
            RAW + "schedules:\n  - {schedule: s, cron: '@daily', timezone: X/Y, refresh: raw}\n",
            (6, 45, "invalid-value", "America/New_York"),
        ),
        (RAW + "    partitions: {every: month}\n", (5, 17, "invalid-value", None)),
        (
            RAW + "    partitions: {every: day, start: '2013-02-01', end: '2013-01-01'}\n",
            (5, 17, "invalid-value", None),
        ),
        (
            HEAD + "datasets:\n"
            "  - {dataset: a, clean: {from: b, sql: SELECT 1}}\n"
            "  - {dataset: b, clean: {from: a, sql: SELECT 1}}\n",
            (3, 5, "cycle", None),
        ),
        (HEAD + "description: '{{ nme }}'\n", (2, 14, "unresolved-variable", None)),
        (HEAD + "description: '{{ SECRET }}'\n", (2, 14, "unresolved-variable", "env: [SECRET]")),
        (
            HEAD + "variables: {a: '{{ a }}'}\ndescription: '{{ a }}'\n",
            (2, 16, "variable-cycle", None),
        ),
    ],
    ids=lambda value: value[2] if isinstance(value, tuple) else None,
)
def test_a_mistake_has_its_place_its_code_and_a_hint(
    tmp_path: Path, text: str, expected: tuple[int, int, str, str | None]
) -> None:
    line, column, code, hint = expected
    first = mistakes(tmp_path, text, SECRET="x")[0]
    assert (first.location.line, first.location.column, first.code) == (line, column, code)
    if hint:
        assert hint in f"{first.hint} {first.message}"


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        ("{port: abc}", "port: must be a whole number, not 'abc'"),
        ("{port: 1.5}", "port: must be a whole number, not 1.5"),
        ("{port: null}", "port: must be a whole number, not null"),
        ("{max_body_mb: 16MB}", "max_body_mb: must be a number, not '16MB'"),
        ("{features: {required: maybe}}", "required: must be true or false, not 'maybe'"),
        ("{host: 1}", "host: must be text, not 1"),
        ("{host: ''}", "host: must have at least 1 character, not ''"),
        ("{tls: true}", "tls: must be a mapping of keys, not true"),
        ("{batching: on}", "batching: must be true, false or a mapping of keys, not 'on'"),
        ("{access_log: a.jsonl}", "access_log: must be true, false or a mapping of keys"),
        ("{endpoints: {endpoint: /x}}", "endpoints: must be a list, not a mapping"),
        ("{telemetry: {otlp: collector}}", "otlp: must match pattern '^https?:"),
        ("8080", "serve: must be a mapping of keys, not 8080"),
    ],
)
def test_a_value_of_another_type_is_told_in_words_of_yaml(
    tmp_path: Path, serve: str, message: str
) -> None:
    text = RAW + f"deployments:\n  - {{deployment: d, model: m, serve: {serve}}}\n"
    found = [one for one in mistakes(tmp_path, text) if one.code != "unknown-reference"]
    assert found[0].location.line == 6
    assert found[0].message.startswith(message)


def test_a_reference_to_a_block_that_is_wrong_is_no_mistake(tmp_path: Path) -> None:
    text = RAW.replace("fetch:", "fecht:") + "features:\n  - {feature: f, from: raw, entity: i}\n"
    assert [d.code for d in mistakes(tmp_path, text)] == ["unknown-key"]


def test_what_a_wrong_key_leaves_out_is_not_reported_as_missing(tmp_path: Path) -> None:
    text = (
        HEAD + "connections:\n  - {connection: a, url: 'duckdb://a'}\n"
        "  - {connection: b, url: 'duckdb://b'}\n"
        "datasets:\n  - {dataset: d, fetch: {sql: SELECT 1, conection: a}}\n"
    )
    assert [d.code for d in mistakes(tmp_path, text)] == ["unknown-key"]


def test_a_placeholder_without_a_value_is_reported_once(tmp_path: Path) -> None:
    text = (
        RAW + "models:\n  - {model: m, features: raw, target: y, min_rows: '{{ rows }}',\n"
        "     estimator: sklearn.linear_model.Ridge}\n"
    )
    assert [d.code for d in mistakes(tmp_path, text)] == ["unresolved-variable"]


def test_an_environment_replaces_values_by_name(tmp_path: Path) -> None:
    text = (
        RAW + "environments:\n  prod:\n    owner: team:prod\n    datasets:\n"
        "      - {dataset: raw, fetch: {file: s3://bucket/a.csv}}\n"
    )
    (tmp_path / "liminal.yml").write_text(text)
    development = load_project(tmp_path, environ={})
    production = load_project(tmp_path, environ={"LIMINAL_ENV": "prod"})
    assert development.block("raw").fetch.file == ("a.csv",)  # type: ignore[union-attr]
    assert production.block("raw").fetch.file == ("s3://bucket/a.csv",)  # type: ignore[union-attr]
    assert production.spec.owner == "team:prod"


def test_an_unknown_environment_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(RAW + "environments: {prod: {}}\n")
    with pytest.raises(la.InvalidProjectError, match=r"no environment is called 'prd'.*'prod'"):
        load_project(tmp_path, environment="prd")


def test_a_file_and_a_folder_lead_to_the_same_project(tmp_path: Path) -> None:
    (tmp_path / "liminal.yaml").write_text(RAW)
    assert find_project_file(tmp_path) == find_project_file(tmp_path / "liminal.yaml")


def test_the_state_is_beside_the_nearest_workspace(tmp_path: Path) -> None:
    project = tmp_path / "examples" / "shop"
    project.mkdir(parents=True)
    (project / "liminal.yml").write_text(RAW)
    assert load_project(project).state == project / ".liminal"
    (tmp_path / "workspace.yaml").touch()
    assert load_project(project).state == tmp_path / ".liminal"


def test_mistakes_of_schema_are_found_without_importing_anything_heavy(tmp_path: Path) -> None:
    (tmp_path / "liminal.yml").write_text(TEN)
    code = (
        "import sys\nfrom liminal_assets.cli.main import _run\n"
        f"code = _run(['validate', '--project', {str(tmp_path)!r}])\n"
        "heavy = {'pandas', 'sklearn', 'mlflow', 'great_expectations', 'dagster', 'ibis'}\n"
        "print(code, sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    broken = TEN.replace("sklearn.linear_model.LogisticRegression", "[]")
    (tmp_path / "liminal.yml").write_text(broken)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().split("\n")[-1] == "2 []"
