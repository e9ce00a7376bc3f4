"""Placeholders that are filled in when a task runs."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from liminal_assets.execution.plugins import run_task
from liminal_assets.execution.rendering import rendered
from liminal_assets_tests.workflows import RUN_ID, run_of, task_of

MOMENT = datetime(2021, 3, 1, 10, tzinfo=timezone.utc)
NEXT = datetime(2021, 3, 2, 10, tzinfo=timezone.utc)
VARIABLES = """
variables:
  shared: file
  numbers: {own: from a map, chained: '{{ds}}'}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ds}} {{ yesterday_ds }} {{tomorrow_ds}}", "2021-03-01 2021-02-28 2021-03-02"),
        ("{{ds_nodash}} {{yesterday_ds_nodash}}", "20210301 20210228"),
        ("{{ts}} {{execution_date}}", "2021-03-01T10:00:00+00:00 2021-03-01T10:00:00+00:00"),
        ("{{ts_nodash}} {{ts_nodash_with_tz}}", "20210301T100000 20210301T100000+0000"),
        ("{{next_ds}} {{next_execution_date}}", "2021-03-02 2021-03-02T10:00:00+00:00"),
        ("{{run_id}} {{dag.dag_id}} {{task.task_id}}", f"{RUN_ID} nightly t"),
        ("{{task_instance_key_str}}", "nightly__t__20210301"),
        ("{{var.value.LIMINAL_TEST}}", "of the environment"),
        ("{{prev_ds}} {{ .State }} {{macros.ds_add(ds, 1)}}",
         "{{prev_ds}} {{ .State }} {{macros.ds_add(ds, 1)}}"),
    ],
)  # fmt: skip
def test_names_of_airflow_are_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setenv("LIMINAL_TEST", "of the environment")
    spec, workflow = task_of(tmp_path, f"type: python\ncmd: '{text}'\nlist: [['{text}']]")
    final = rendered(spec, run_of(workflow, moment=MOMENT, until=NEXT))
    assert final.get("cmd") == expected
    assert final.get("list") == [[expected]]
    assert final.locate("cmd") == spec.locate("cmd")


def test_a_run_that_someone_started_is_for_its_own_moment(tmp_path: Path) -> None:
    spec, workflow = task_of(tmp_path, "type: python\ncmd: '{{ds}} {{next_ds}}'")
    assert rendered(spec, run_of(workflow, started=MOMENT)).get("cmd") == "2021-03-01 2021-03-01"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ("{own: a mapping, chained: '{{ts_nodash}}'}", "a mapping 20210301T100000"),
        ("numbers", "from a map 2021-03-01"),
    ],
    ids=["of the task", "by the name of a map"],
)
def test_a_task_has_variables_of_its_own(tmp_path: Path, variables: str, expected: str) -> None:
    keys = f"type: python\ncmd: '{{{{own}}}} {{{{chained}}}}'\nvariables: {variables}"
    spec, workflow = task_of(tmp_path, keys, VARIABLES)
    assert rendered(spec, run_of(workflow, moment=MOMENT)).get("cmd") == expected


def test_a_command_runs_with_them_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMINAL_ENGINE", "none")
    monkeypatch.setenv("LIMINAL_EXECUTOR", "local")
    lines: list[str] = []
    keys = "type: python\ncmd: 'echo {{yesterday_ds}} $DAY'\nenv_vars: {DAY: '{{ds}}'}"
    spec, workflow = task_of(tmp_path, keys)
    run_task(spec, run_of(workflow, lines=lines, moment=MOMENT))
    assert lines[-1] == "2021-02-28 2021-03-01"
