"""Random projects that are right, as plain values, and ways to write them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from liminal_assets.language.loading import Project, load_project
from liminal_assets.language.writing import to_yaml

__all__ = ["documents", "load", "texts"]

# what people write: any script, quotes, colons, words that YAML takes for something else
texts = st.one_of(
    st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="{}\ufeff\ufffe\uffff"),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["yes", "no", "on", "null", "~", "0o17", "1e5", "2013-01-01", "1_000", "- x"]),
    st.sampled_from(["a: b", "# c", "'", '"', "&a", "*a", "!t", "%", "@", "`", " x ", "=", "<<"]),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
_free = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
_durations = st.builds("{}{}".format, st.integers(1, 90), st.sampled_from(["s", "m", "h", "d"]))


def _optional(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


_shared = _optional(
    description=texts,
    owner=st.sampled_from(["team:data", "ada@example.org"]),
    tags=st.just({"domain": "sales"}),
    retries=_optional(max=st.integers(0, 5), delay=_durations),
    automation=st.sampled_from(["eager", "on_missing"]),
)
_checks = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "expect_table_row_count_to_be_between",
                {"expect_column_values_to_not_be_null": {"column": "id", "severity": "warning"}},
            ]
        ),
        st.builds(
            lambda arguments: {"expect_column_values_to_be_in_set": arguments},
            st.dictionaries(
                texts.filter(lambda text: text not in ("severity", "name")), _free, max_size=2
            ),
        ),
    ),
    max_size=2,
)
_columns = st.dictionaries(
    texts,
    st.sampled_from(["string", "float?", {"type": "category", "one_of": ["a", 1, None]}]),
    max_size=3,
)
_fetches = st.one_of(
    st.builds(lambda name: {"file": f"data/{name}.csv"}, st.sampled_from("abc")),
    st.just({"python": "shop.source:load"}),
    st.builds(lambda options: {"file": ["a.csv"], "options": options}, st.just({"delim": ";"})),
    st.just({"sql": "SELECT *\nFROM t WHERE d >= '{{ partition_start }}'", "connection": "main"}),
)
_partitions = st.sampled_from(
    [
        {"every": "month", "start": "2013-01-01"},
        {"every": "day", "start": "2020-02-29", "timezone": "America/New_York"},
        {"values": ["a", "b"]},
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A project in which every reference leads somewhere."""
    fetched = [f"raw{number}" for number in range(draw(st.integers(1, 3)))]
    datasets = [
        {
            "dataset": name,
            "fetch": draw(_fetches),
            **draw(_shared),
            **draw(_optional(checks=_checks, columns=_columns, partitions=_partitions)),
        }
        for name in fetched
    ]
    cleaned = [f"clean{number}" for number in range(draw(st.integers(0, 2)))]
    datasets += [
        {
            "dataset": name,
            "clean": {
                "from": draw(st.sampled_from(fetched)),
                "steps": [{"drop_duplicates": None}, {"rename": {"a": "b"}}],
            },
            **draw(_shared),
            **draw(_optional(quarantine=st.booleans(), freshness=st.just({"within": "26h"}))),
        }
        for name in cleaned
    ]
    tables = [*fetched, *cleaned]
    features = [
        {"feature": f"feature{number}", "from": draw(st.sampled_from(tables)), "entity": "id"}
        for number in range(draw(st.integers(0, 2)))
    ]
    models = [
        {
            "model": f"model{number}",
            "features": draw(st.sampled_from(features))["feature"],
            "target": "y",
            "estimator": "sklearn.linear_model.Ridge",
            **draw(_shared),
            **draw(_optional(params=st.dictionaries(texts, _free, max_size=2), window=_durations)),
            "validate": [{"metric": "r2", "at_least": draw(st.floats(-1, 1))}, {"integrity": True}],
        }
        for number in range(draw(st.integers(0, 2)))
        if features
    ]
    deployments = [
        {
            "deployment": f"deployment{number}",
            "model": draw(st.sampled_from(models))["model"],
            "serve": {"port": draw(st.integers(0, 65535))},
        }
        for number in range(draw(st.integers(0, 2)))
        if models
    ]
    monitors = (
        [
            {
                "monitor": "watch",
                "deployment": deployments[0]["deployment"],
                "drift": {"threshold": draw(st.floats(0.01, 1))},
                **draw(_optional(partitions=_partitions.filter(lambda cut: "every" in cut))),
            }
        ]
        if deployments
        else []
    )
    everything = {
        "datasets": datasets,
        "features": features,
        "models": models,
        "deployments": deployments,
        "monitors": monitors,
    }
    document = {
        "name": "shop",
        **draw(_optional(description=texts)),
        "connections": [{"connection": "main", "url": "duckdb://main.duckdb"}],
        **{section: blocks for section, blocks in everything.items() if blocks},
    }
    # tests change documents, and a constant of a strategy is one object for all of them
    return copy.deepcopy(document)


def load(folder: Path, document: dict[str, Any], **options: Any) -> Project:
    """Writes a document and loads it as a project."""
    (folder / "liminal.yml").write_text(to_yaml(document), encoding="utf-8")
    return load_project(folder, environ={}, **options)
