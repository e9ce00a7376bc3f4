"""Cron expressions are judged as Dagster judges them."""

from __future__ import annotations

import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from liminal_assets.language.cron import Cron

CRON = TypeAdapter(Cron)


def accepts(text: str) -> bool:
    try:
        CRON.validate_python(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    ["0 2 * * *", "*/15 9-17 * * mon-fri", "0 0 1,15 * *", "@daily", "59 23 31 12 7", "0 0 29 2 *"],
)
def test_schedules_that_people_write_are_taken(text: str) -> None:
    assert accepts(text)
    assert is_valid_cron_schedule(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("60 * * * *", "'60' is no minute: it goes from 0 to 59"),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * mai *", "'mai' is no month"),
        ("* * * * 8", "'8' is no day of the week"),
        ("* * *", "a cron expression has five fields"),
        ("5-1 * * * *", "ends before it starts"),
        ("*/0 * * * *", "the step of"),
        ("0 0 30 2 *", "no month of '2' has a day '30'"),
        ("every day", "a cron expression has five fields"),
    ],
)
def test_a_wrong_schedule_says_which_field_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CRON.validate_python(text)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.builds("{}/{}".format, st.one_of(st.just("*"), ranges), st.integers(1, high))
    one = st.one_of(st.just("*"), number.map(str), ranges, steps)
    return st.lists(one, min_size=1, max_size=2).map(",".join)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.tuples(_field(0, 59), _field(0, 23), _field(1, 28), _field(1, 12), _field(0, 6)).map(
        " ".join
    )
)
def test_what_is_valid_here_is_valid_in_dagster(text: str) -> None:
    assert accepts(text)
    assert is_valid_cron_schedule(text)
