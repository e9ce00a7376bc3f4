"""Reports of steps as Dagster shows them."""

from __future__ import annotations

import math

import pytest

from liminal_assets.factories.reports import metadata_of
from liminal_assets.steps.report import Records


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(0.7265377704311363, 0.726538, id="fraction"),
        pytest.param(0.0009879621203322181, 0.000987962, id="small_fraction"),
        pytest.param(1384567891.25, 1384567891.25, id="large_number"),
        pytest.param(65469, 65469, id="whole_number"),
        pytest.param(math.nan, "nan", id="not_a_number"),
        pytest.param(None, None, id="missing"),
        pytest.param(True, True, id="flag"),
    ],
)
def test_tables_show_numbers_as_people_read_them(value: object, shown: object) -> None:
    table = metadata_of({"table": Records([{"column": value}])})["table"]
    (record,) = table.records
    assert record.data == {"column": shown}


def test_a_number_of_its_own_keeps_every_digit() -> None:
    assert metadata_of({"roc_auc": 0.7265377704311363}) == {"roc_auc": 0.7265377704311363}
