from __future__ import annotations

import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.integrations.expectations.regexes import to_re2
from liminal_assets.integrations.expectations.sql import NotInSqlError

TEXTS = ["", "a", "b", "ab", "abc\n", "1", "١", "Ⅷ", "²", "é_é", " \x1c", "a.b", "a-b", "[x]", "\n"]
pieces = st.sampled_from(
    [
        *"ab.1",
        r"\d",
        r"\w",
        r"\s",
        r"\D",
        r"\W",
        "[a-c]",
        "[^ab]",
        r"[\d_-]",
        "^",
        "$",
        r"\Z",
        r"\.",
    ]
)
repeats = st.sampled_from(["", "*", "+", "?", "{1,2}", "*?", "{2}"])
PLACES = {"^", "$", r"\Z"}


@st.composite
def patterns(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        piece = draw(pieces)
        parts.append(piece + (draw(repeats) if piece not in PLACES else ""))
    joined = "".join(parts)
    return draw(st.sampled_from([joined, f"({joined})", f"(?:{joined}|b)", f"{joined}|a"]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(pattern=patterns(), more=st.lists(st.text("ab1.\n é", max_size=4), max_size=5))
def test_re2_finds_what_python_finds(pattern: str, more: list[str]) -> None:
    try:
        to_re2(pattern)
    except NotInSqlError:
        # a '$' that something follows, a '^' that something precedes
        assert re.search(r"\$.|[^(|]\^", pattern)
        return
    texts = TEXTS + more
    found = duckdb.execute(
        "SELECT regexp_matches(t, $pattern) FROM (SELECT unnest($texts) AS t)",
        {"pattern": to_re2(pattern), "texts": texts},
    ).fetchall()
    assert [row[0] for row in found] == [bool(re.search(pattern, text)) for text in texts]


@pytest.mark.parametrize(
    "pattern",
    [r"(?=a)b", r"(a)\1", r"\bword", "(?i)a", r"[^\W\d]", "a{2000}", "(", r"(?i:a)", r"$\s"],
    ids=str,
)
def test_what_re2_would_find_otherwise_is_left_to_python(pattern: str) -> None:
    with pytest.raises(NotInSqlError):
        to_re2(pattern)
