"""``after``: a dataset waits for blocks whose rows it doesn't read."""

from __future__ import annotations

import pytest

import liminal_assets as la


def _project(**after: object) -> la.Project:
    datasets = [
        {"dataset": name, "fetch": {"file": "rows.csv"}, "after": names}
        for name, names in after.items()
    ]
    return la.Project.of("shop", datasets=datasets)


def test_one_name_or_several_can_be_waited_for() -> None:
    project = _project(a=[], b="a", c=["a", "b"])
    assert [block.after for block in project.spec.datasets] == [(), ("a",), ("a", "b")]


@pytest.mark.parametrize(
    ("after", "message"),
    [
        pytest.param({"a": "b", "b": "a"}, "a → b → a", id="circle"),
        pytest.param({"a": "zz", "b": []}, "no block is called 'zz'", id="unknown"),
    ],
)
def test_waiting_in_a_circle_or_for_nothing_is_a_mistake(after: dict, message: str) -> None:
    with pytest.raises(la.InvalidProjectError, match=message):
        _project(**after)
