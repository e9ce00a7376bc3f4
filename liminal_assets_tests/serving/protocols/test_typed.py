"""The fast path of ``/predict`` reads what the slow one reads, or leaves it to that one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.protocols.records import decode
from liminal_assets.serving.protocols.typed import Readers
from liminal_assets.serving.validation import validated
from liminal_assets.steps.signature import Field, Signature

KINDS = ("boolean", "integer", "long", "float", "double", "string", "datetime", "binary", "any")
SIGNATURE = Signature(
    tuple(
        Field(f"{kind}{'' if required else '?'}", kind, required)  # type: ignore[arg-type]
        for kind in KINDS
        for required in (True, False)
    ),
    carried=(Field("records", "any", required=False),),
)
ROW: dict[str, Any] = {
    "boolean": True, "integer": 1, "long": 2, "float": 0.5, "double": 0.25, "string": "é",
    "datetime": "2026-01-31T12:00:00Z", "binary": "AAE=", "any": "x",
}  # fmt: skip
MAX_ROWS = 3
READERS = Readers()


def slowly(body: bytes) -> tuple[Any, int] | None:
    try:
        rows = decode(body, SIGNATURE, MAX_ROWS)
        return validated(rows, SIGNATURE), rows.count
    except RequestError:
        return None


def typed(said: Any) -> Any:
    """Values with their types: True is not 1, and 1 is not 1.0."""
    if isinstance(said, list):
        said = {name: [value] for name, value in zip(SIGNATURE.known, said, strict=True)}, 1
    columns, count = said
    return {name: [(type(v), v) for v in values] for name, values in columns.items()}, count


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, -(2**31), 2**63, 2**63 - 1, -(2**63), 2**64, 10**30, 10**400])
    | st.floats()
    | st.sampled_from([3.4028235677973366e38, 3.4028235677973362e38, 3.0, -0.0, 1e18, 9.3e18])
    | st.text(max_size=3)
    | st.datetimes().map(str)
    | st.sampled_from(["2026-01-31", "2026-01-31T12:00:00+02:00", "AAE=", "AAE", "12:00", "\ud800"])
)
rows = st.builds(
    lambda changes, left_out: {
        name: value for name, value in {**ROW, **changes}.items() if name not in left_out
    },
    st.dictionaries(st.sampled_from([*SIGNATURE.known, "other"]), scalars, max_size=2),
    st.sets(st.sampled_from(list(SIGNATURE.known)), max_size=1),
)
several = st.lists(rows, max_size=4)


def across(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = rows[0] if rows else {}
    return {name: [row[name] for row in rows if name in row] for name in names}


bodies = st.one_of(
    rows,
    several,
    several.map(lambda rows: {"records": rows}),
    several.map(lambda rows: {"columns": across(rows)}),
    rows.map(lambda row: {"columns": {**row, "double": [1.0]}}),
    rows.map(lambda row: {"records": [row], "index": [0]}),
    rows.map(lambda row: {"columns": list(row), "data": [list(row.values())]}),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(bodies, st.sampled_from([None, 1]), st.sampled_from(["", " \n", "x"]))
def test_both_paths_read_the_same(said: Any, indent: int | None, before: str) -> None:
    body = before.encode() + json.dumps(said, indent=indent).encode()
    fast, slow = READERS.read(body, SIGNATURE, MAX_ROWS), slowly(body)
    if fast is not None:
        assert slow is not None
        assert repr(typed(fast)) == repr(typed(slow))


def test_good_rows_take_the_fast_path() -> None:
    readers = READERS
    for said in (
        ROW,
        [ROW],
        {"records": [ROW, ROW]},
        {"columns": {name: [value] for name, value in ROW.items()}},
    ):
        assert readers.read(json.dumps(said).encode(), SIGNATURE, MAX_ROWS) is not None, said


def test_names_that_are_no_plain_json_take_the_slow_path() -> None:
    signature = Signature((Field('a"b', "double"),))
    assert Readers().read(b'{"a\\"b": 1}', signature, 1) is None
    assert validated(decode(b'{"a\\"b": 1}', signature, 1), signature) == {'a"b': [1.0]}
