"""User functions: found in the project's folder, given what they name in the form they annotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.steps.functions import call_function
from liminal_assets.storage.tables import Table

ROWS = {"sales": Table.from_rows([{"id": 1}, {"id": 2}], "sales")}
MORE = {**ROWS, "stores": Table.from_rows([{"id": 7}], "stores")}


def called(
    folder: Path, code: str, tables: dict[str, Table] = ROWS, context: Any = "the context"
) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "code_of_user.py").write_text(code)
    project = Project.of("shop", folder)
    return call_function(project, "code_of_user:make", tables, context=context)


FORMS = {
    "no annotation": ("", "sales", "pandas"),
    "the class": ("import pandas as pd", "sales: pd.DataFrame", "pandas"),
    "text": ("", "sales: 'pandas.DataFrame'", "pandas"),
    "postponed": (
        "from __future__ import annotations\nimport polars as pl",
        "sales: pl.DataFrame",
        "polars",
    ),
    "postponed, imported by name": (
        "from __future__ import annotations\nfrom pyarrow import Table",
        "sales: Table",
        "pyarrow",
    ),
    "lazy": ("import polars", "sales: polars.LazyFrame", "polars"),
    "relation": ("import duckdb", "sales: duckdb.DuckDBPyRelation", "duckdb"),
    "expression": ("import ibis", "sales: ibis.Table", "ibis"),
    "anything": ("from typing import Any", "sales: Any", "pandas"),
}


@pytest.mark.parametrize(("imports", "parameter", "library"), FORMS.values(), ids=FORMS)
def test_an_input_comes_in_the_form_of_its_annotation(
    tmp_path: Path, imports: str, parameter: str, library: str
) -> None:
    code = f"{imports}\ndef make({parameter}):\n    return type(sales).__module__"
    assert called(tmp_path, code).partition(".")[0].lstrip("_") == library


CALLS = {
    "by name": ("stores, sales", "len(sales), len(stores)", (2, 1)),
    "with the context": ("context, sales", "context, len(sales)", ("the context", 2)),
    "a default of its own": ("sales, stores, share=0.5", "share", 0.5),
    "any others": ("sales, **others", "len(others)", 0),
}


@pytest.mark.parametrize(("parameters", "result", "expected"), CALLS.values(), ids=CALLS)
def test_parameters_take_what_they_name(
    tmp_path: Path, parameters: str, result: str, expected: Any
) -> None:
    assert called(tmp_path, f"def make({parameters}):\n    return {result}", MORE) == expected


def test_the_only_parameter_takes_the_only_input_whatever_its_name(tmp_path: Path) -> None:
    assert called(tmp_path, "def make(rows, context):\n    return len(rows)") == 2


WRONG = {
    "unknown parameter": ("def make(sale, stores): ...", "parameter 'sale' that no input"),
    "unknown form": ("def make(sales: dict): ...", "asks for builtins.dict|asks for dict"),
    "no function": ("make = 3", "has no function 'make'"),
    "syntax": ("def make(:", r"importing code_of_user raised SyntaxError.*\n  at .*user.py:1"),
    "import": ("import nowhere_at_all\n\ndef make(): ...", "raised ModuleNotFoundError: No module"),
    "on import": ("1 / 0\ndef make(): ...", "importing code_of_user raised ZeroDivisionError"),
}


@pytest.mark.parametrize(("code", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_called_is_one_message(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(la.StepError, match=message):
        called(tmp_path, code, MORE)


def test_what_is_no_function_is_not_named_in_its_place(tmp_path: Path) -> None:
    code = "import json as make\n\ndef made(sales): ...\n"
    with pytest.raises(la.StepError, match="has no function 'make'") as raised:
        called(tmp_path, code)
    assert raised.value.hint == "did you mean 'made'?"


def test_an_exception_is_told_with_the_frames_of_the_users_files_only(tmp_path: Path) -> None:
    code = """
import json


def make(sales):
    return deeper(sales)


def deeper(sales):
    return json.loads("{")
"""
    with pytest.raises(la.StepError) as raised:
        called(tmp_path, code)
    lines = raised.value.message.split("\n")
    assert lines[0].startswith("code_of_user:make raised JSONDecodeError: Expecting property name")
    assert [line.strip() for line in lines[1:]] == [
        f"at {tmp_path}/code_of_user.py:6 in make: return deeper(sales)",
        f'at {tmp_path}/code_of_user.py:10 in deeper: return json.loads("{{")',
    ]


def test_a_function_may_import_its_neighbours_when_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_user.py").write_text("NUMBER = 42\n")
    code = "def make(sales):\n    import neighbour_of_user\n    return neighbour_of_user.NUMBER"
    assert called(tmp_path, code) == 42


def test_two_projects_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two", "one"):
        assert called(tmp_path / name, f"def make(sales):\n    return {name!r}") == name
