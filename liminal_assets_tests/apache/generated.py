"""Random projects of Apache Liminal: files that inherit, defaults, variables, named things."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import strategies as st

from liminal_assets.apache.find import is_apache

FILES = ["alpha", "beta", "gamma", "upper", "top", "base"]
ENVIRON = {"LIMINAL_TEST_REGION": "north", "b": "b of the environment"}
VARIABLES = ["a", "b", "c", "d", "dashed-name", "dotted.name", "under_score", "9"]
"""Variables that are text or single values: what a placeholder may name."""
COLLECTIONS = ["a_list", "a_map", "nested"]
"""Variables that no placeholder names: the original ends in a TypeError there, and what happens
here has tests of its own."""

_named = st.sampled_from([*VARIABLES, *ENVIRON, "nowhere", "ds", "two words"])
_placeholder = st.builds(
    lambda before, name, after: "{{" + before + name + after + "}}",
    st.sampled_from(["", " ", "  "]),
    _named,
    st.sampled_from(["", " ", "   "]),
)
_text = st.lists(
    st.one_of(_placeholder, st.sampled_from(["x", "-y", "{", "}}", " ", "ü"])), max_size=3
).map("".join)
_number = st.one_of(
    st.integers(-3, 12),
    st.booleans(),
    st.sampled_from([0.5, 1e30, datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, 4)]),
)
_single = st.one_of(_text, _number, st.none())


def _mapping(keys: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(keys), values, max_size=3)


_value = st.recursive(
    _single,
    lambda inner: st.one_of(st.lists(inner, max_size=2), _mapping(["env1", "env2", "k"], inner)),
    max_leaves=4,
)
_TYPES = ["python", "spark", "job_start", "job_end", "sql", "pipeline", "unknown"]
_EXTRA = ["cmd", "image", "env_vars", "executor", "mounts", "description", "param", "env"]
_extras = _mapping(_EXTRA, _value)


def _some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


@st.composite
def _or_blank(draw: st.DrawFn, strategy: st.SearchStrategy[Any]) -> Any:
    """Seldom nothing, since the original dropped whole files for it."""
    return None if draw(st.integers(0, 40)) == 7 else draw(strategy)


@st.composite
def _tasks(draw: st.DrawFn, prefix: str) -> list[dict[str, Any]]:
    kinds = draw(st.lists(st.sampled_from(["python"] * 3 + [*_TYPES, None]), max_size=2))
    typed = ({"type": kind} if kind else {} for kind in kinds)
    return [
        {"task": f"{prefix}{number}", **kind, **draw(_extras)} for number, kind in enumerate(typed)
    ]


def _named_list(key: str, names: list[str], extras: list[str]) -> st.SearchStrategy[Any]:
    """A list of mappings with a name each; none twice, which we refuse."""
    item = st.tuples(st.sampled_from(names), _mapping(extras, _value))
    return st.lists(item, max_size=3, unique_by=lambda pair: pair[0]).map(
        lambda items: [{key: name, **values} for name, values in items]
    )


@st.composite
def _pipelines(draw: st.DrawFn) -> list[dict[str, Any]]:
    result = []
    for number in range(draw(st.sampled_from([1, 1, 2, 0]))):
        pipeline = {"pipeline": f"p{number}", **draw(_mapping(["owner", "schedule", "x"], _value))}
        pipeline |= draw(_some(tasks=_or_blank(_tasks("t"))))
        result.append(pipeline)
    return result


_reference = st.builds(
    lambda name, after: "{{" + name + "}}" + after, st.sampled_from(VARIABLES[:5]), st.just("+")
)
_variables = st.builds(
    lambda chained, singles, collections: {**chained, **singles, **collections},
    st.permutations(VARIABLES[:5]).flatmap(
        lambda names: st.fixed_dictionaries({}, optional=dict.fromkeys(names, _reference))
    ),
    st.dictionaries(st.sampled_from(VARIABLES), _single, max_size=3),
    _mapping(COLLECTIONS, st.one_of(st.lists(_value, max_size=2), _mapping(["k", "l"], _value))),
)
_sections = {
    "owner": _single,
    "volumes": _value,
    "monitoring": _value,
    "made_up": _value,
    "variables": _or_blank(_variables),
    "executors": _or_blank(
        _named_list("executor", ["default_k8s", "airflow_executor", "k8s", "emr"], ["type", "x"])
    ),
    "images": _or_blank(_named_list("image", ["one", "two"], ["source", "type", "k"])),
    "pipelines": _or_blank(_pipelines()),
    "services": _or_blank(_named_list("service", ["s1", "s2"], ["image", "k"])),
    "service_defaults": _or_blank(_mapping(["image", "k", "description"], _value)),
    "task_defaults": _or_blank(
        st.dictionaries(
            st.sampled_from(["python", "python", *_TYPES]),
            _or_blank(_mapping(["cmd", "env_vars", "image"], _value)),
            min_size=1,
            max_size=2,
        )
    ),
    "pipeline_defaults": _or_blank(
        _some(
            before_tasks=_or_blank(_tasks("before")),
            after_tasks=_or_blank(_tasks("after")),
            tasks=_or_blank(_tasks("default")),
            owner=_value,
            x=_value,
        )
    ),
}


@st.composite
def _file(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A file; most inherit from the next one, as far as ``top``."""
    document: dict[str, Any] = {"name": name}
    usual, kinds = {"upper": ("top", ["super"] * 4 + ["x"]), "top": (None, ["super"])}.get(
        name, ("upper", [None, "sub"] * 3 + ["super"])
    )
    if kind := draw(st.sampled_from(kinds)):
        document["type"] = kind
    if parent := draw(st.sampled_from([usual] * 12 + [None, *FILES, "missing"])):
        document["super"] = parent
    return document | draw(_some(**_sections))


@st.composite
def projects(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The files of a project, each with a name of its own."""
    own = draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=2, unique=True))
    chosen = dict.fromkeys([*own, *draw(st.sampled_from([["upper", "top"]] * 4 + [[]]))])
    files = [draw(_file(name)) for name in chosen]
    if not any(is_apache(file) for file in files):
        files[0]["services"] = []
    return files
