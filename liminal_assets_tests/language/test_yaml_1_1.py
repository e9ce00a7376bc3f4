"""YAML 1.1 with positions: the values that PyYAML's safe_load gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from liminal_assets.language.source import read_document

_WORDS = """
    yes no on off true ~ null 1 -1 017 0x1f 0b11 1_000 1:30 1.5 1e3 1.0e+3 .inf 2020-01-02
    2020-01-02T03:04:05Z '017' "yes" plain +5 0o17 y n .5 ''
"""


def _read(text: str) -> object:
    document, mistakes = read_document(Path("x.yml"), text=text, yaml_1_1=True)
    assert mistakes == []
    return document


@pytest.mark.parametrize("word", _WORDS.split())
def test_a_word_means_what_pyyaml_makes_of_it(word: str) -> None:
    text = f"{{a: {word}, b: [{word}]}}"
    assert _read(text) == yaml.safe_load(text)


def test_keys_may_be_numbers_and_dates() -> None:
    text = "{5: a, yes: b, 2020-01-02: c, 0.5: d, word: e}"
    assert _read(text) == yaml.safe_load(text)


@pytest.mark.parametrize("yaml_1_1", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "{a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}",
        "{a: &a {x: 1}, b: &b {x: 2, z: 3}, c: {w: 0, <<: [*a, *b], z: 4}}",
    ],
)
def test_merge_keys_merge(text: str, yaml_1_1: bool) -> None:
    document, mistakes = read_document(Path("x.yml"), text=text, yaml_1_1=yaml_1_1)
    assert (document, mistakes) == (yaml.safe_load(text), [])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("a: 2020-13-01", "yaml", id="no such month"),
        pytest.param("a: !mine 1", "yaml-tag", id="tag"),
        pytest.param("{1: a, 01: b}", "duplicate-key", id="one number twice"),
    ],
)
def test_what_has_no_value_is_a_mistake_with_a_place(text: str, code: str) -> None:
    _, [mistake] = read_document(Path("x.yml"), text=text, yaml_1_1=True)
    assert mistake.code == code
    assert mistake.location.line == 1


def test_by_default_words_mean_what_yaml_1_2_makes_of_them() -> None:
    document, _ = read_document(Path("x.yml"), text="{on: yes, date: 2020-01-02, 1: 017}")
    assert document == {"on": "yes", "date": "2020-01-02", "1": 17}
