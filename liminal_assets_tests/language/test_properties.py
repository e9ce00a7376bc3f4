"""What holds for every project, however it is written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.environments import BLOCK_KEYS
from liminal_assets.language.loading import examine_project, load_project
from liminal_assets.language.source import read_document
from liminal_assets.language.writing import plain_spec, to_yaml
from liminal_assets_tests.language.projects import documents, load, texts

quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One folder for all examples of a property: hypothesis calls a test many times."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _equal(one: Any, other: Any) -> bool:
    ours = one.model_dump(exclude={"environments"})
    return bool(ours == other.model_dump(exclude={"environments"}))


@quick
@given(document=documents())
def test_what_resolve_shows_is_the_same_project(folder: Path, document: dict[str, Any]) -> None:
    project = load(folder, document)
    again = load(folder, plain_spec(project.spec))
    assert _equal(again.spec, project.spec)
    assert plain_spec(again.spec) == plain_spec(project.spec)


@quick
@given(value=st.dictionaries(texts, st.recursive(texts, st.lists, max_leaves=5), max_size=4))
def test_text_that_is_written_is_read_back_as_it_was(folder: Path, value: dict[str, Any]) -> None:
    (folder / "any.yml").write_text(to_yaml({"x": value}), encoding="utf-8")
    assert read_document(folder / "any.yml")[0]["x"] == value


@quick
@given(document=documents(), seed=st.randoms(use_true_random=False))
def test_every_planted_mistake_is_found_at_its_line_and_column(
    folder: Path, document: dict[str, Any], seed: Any
) -> None:
    planted = []
    for section in BLOCK_KEYS:
        for index, block in enumerate(document.get(section, ())):
            if seed.random() < 0.5:
                key = f"unknown_{section}_{index}"
                items = list(block.items())
                items.insert(seed.randint(1, len(items)), (key, seed.choice([1, "x", [], {}])))
                document[section][index] = dict(items)
                planted.append(key)
    text = to_yaml(document)
    (folder / "liminal.yml").write_text(text, encoding="utf-8")
    lines = text.split("\n")
    expected = {
        (number, line.index(f"{key}:") + 1)
        for key in planted
        for number, line in enumerate(lines, 1)
        if f"{key}:" in line
    }
    _, mistakes = examine_project(folder / "liminal.yml", environ={})
    assert {d.code for d in mistakes} <= {"unknown-key"}
    assert {(d.location.line, d.location.column) for d in mistakes} == expected


@quick
@given(document=documents(), data=st.data())
def test_a_wrong_reference_is_found_beside_a_wrong_key_in_another_block(
    folder: Path, document: dict[str, Any], data: st.DataObject
) -> None:
    document["features"] = [
        *document.get("features", ()),
        {"feature": "lost", "from": "nowhere_at_all", "entity": "id"},
    ]
    document["datasets"][0]["unknown_key"] = data.draw(st.integers())
    text = to_yaml(document)
    (folder / "liminal.yml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidProjectError) as raised:
        load_project(folder, environ={})
    lines = text.split("\n")
    shown = {(d.code, lines[d.location.line - 1].strip()) for d in raised.value.diagnostics}
    assert {code for code, _ in shown} == {"unknown-key", "unknown-reference"}
    assert all("unknown_key" in line or "nowhere_at_all" in line for _, line in shown)


@quick
@given(document=documents(), owner=st.sampled_from(["team:a", "team:b"]))
def test_an_overlay_twice_is_the_overlay_once(
    folder: Path, document: dict[str, Any], owner: str
) -> None:
    first = document["datasets"][0]["dataset"]
    change = {"owner": owner, "datasets": [{"dataset": first, "description": "in production"}]}
    once = load(folder, {**document, "environments": {"prod": change}}, environment="prod")
    resolved = {**plain_spec(once.spec), "environments": {"prod": change}}
    twice = load(folder, resolved, environment="prod")
    assert _equal(twice.spec, once.spec)
    assert once.spec.owner == owner
    assert once.spec.datasets[0].description == "in production"


@quick
@given(document=documents(), value=texts)
def test_a_variable_stands_for_its_value(
    folder: Path, document: dict[str, Any], value: str
) -> None:
    written = load(folder, {**document, "description": value})
    variable = {**document, "variables": {"said": value}, "description": "{{ said }}"}
    assert load(folder, variable).spec.description == written.spec.description


@quick
@given(document=documents(), order=st.randoms(use_true_random=False))
def test_the_order_of_keys_and_comments_change_nothing(
    folder: Path, document: dict[str, Any], order: Any
) -> None:
    def shuffled(value: Any, free: bool = False) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        items = [(key, shuffled(item)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)

    before = load(folder, document)
    text = "# a comment\n" + to_yaml(shuffled(document)).replace("\n", "\n\n# another\n", 1)
    (folder / "liminal.yml").write_text(text, encoding="utf-8")
    assert _equal(load_project(folder, environ={}).spec, before.spec)


def _only_diagnostics(folder: Path, content: bytes) -> None:
    (folder / "liminal.yml").write_bytes(content)
    project, mistakes = examine_project(folder / "liminal.yml", environ={})
    assert project is not None or mistakes
    for diagnostic in mistakes:
        assert diagnostic.location.line >= 1
        assert diagnostic.location.column >= 1
        assert diagnostic.message


@settings(quick, max_examples=300)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode())))
def test_no_file_makes_anything_but_diagnostics(folder: Path, content: bytes) -> None:
    _only_diagnostics(folder, content)


@quick
@given(document=documents(), data=st.data())
def test_no_damaged_project_makes_anything_but_diagnostics(
    folder: Path, document: dict[str, Any], data: st.DataObject
) -> None:
    content = to_yaml(document).encode()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 12)))
        content = content[:start] + data.draw(st.binary(max_size=6)) + content[end:]
    _only_diagnostics(folder, content)


_odd = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        texts,
        st.sampled_from(["1e999999d", "{{ x }}", "{{ env.PATH }}", "9" * 5000, "../..", "\0"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@quick
@given(document=documents(), data=st.data())
def test_no_odd_value_anywhere_makes_anything_but_diagnostics(
    folder: Path, document: dict[str, Any], data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = document
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
                node[key] = data.draw(_odd)
                break
            node = inner
    _only_diagnostics(folder, to_yaml(document).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"{a: " * 100_000,
        b"- " * 50_000,
        b"a: &a [*a]\n",
        b"a: &x [1,1,1,1,1,1,1,1,1,1]\nb: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x,*x]\n"
        b"c: &z [*y,*y,*y,*y,*y,*y,*y,*y,*y,*y]\nd: &w [*z,*z,*z,*z,*z,*z,*z,*z,*z,*z]\n"
        b"e: &v [*w,*w,*w,*w,*w,*w,*w,*w,*w,*w]\nf: &u [*v,*v,*v,*v,*v,*v,*v,*v,*v,*v]\n"
        b"g: [*u,*u,*u,*u,*u,*u,*u,*u,*u,*u]\n",
        b"name: " + b"9" * 10_000,
        b"\xff\xfe",
        b"? [a]\n: b\n",
        b"!!python/object/apply:os.system ['true']\n",
        b"--- a\n--- b\n",
        b"name: x\nvariables: {a: '{{ b }}', b: '{{ a }}'}\ndescription: '{{ a }}'\n",
        b"name: x\ndatasets: {}\n",
        b"name: x\ndatasets: [1, null, x, [], {}]\n",
        b"name: x\nenvironments: {prod: {datasets: 3}}\n",
    ],
    ids=lambda content: content[:12].decode("latin1"),
)
def test_no_trap_makes_anything_but_diagnostics(tmp_path: Path, content: bytes) -> None:
    _only_diagnostics(tmp_path, content)
