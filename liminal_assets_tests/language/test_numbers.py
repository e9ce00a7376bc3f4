"""A number is a number: ``true`` isn't 1, in any field of the language; text of a variable is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, create_model

from liminal_assets.language.base import Spec
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import load_project
from liminal_assets.language.project import ProjectSpec

PROJECT = """\
name: shop
env: {PORT: '8080'}
datasets: [{dataset: flights, fetch: {file: flights.csv}}]
features: [{feature: rows, from: flights, entity: flight_id, timestamp: at, sql: FROM flights}]
models:
  - model: late
    features: rows
    target: late
    estimator: sklearn.linear_model.LogisticRegression
deployments:
  - deployment: api
    model: late
    serve: SERVE
"""


def subclasses(of: type[Spec]) -> Iterator[type[Spec]]:
    for one in of.__subclasses__():
        yield one
        yield from subclasses(one)


def with_a_boolean(schema: dict[str, Any]) -> Iterator[Any]:
    """Values that have a boolean where the schema has a number, and no boolean."""
    forms = schema.get("anyOf", [schema])
    if any(form.get("type") == "boolean" for form in forms):
        return
    for form in forms:
        items = [form["items"]] if isinstance(form.get("items"), dict) else []
        for inner in form.get("prefixItems", items):
            yield from ([value] * form.get("minItems", 1) for value in with_a_boolean(inner))
        inside = form.get("additionalProperties")
        if isinstance(inside, dict):
            yield from ({"a": value} for value in with_a_boolean(inside))
        if form.get("type") in ("integer", "number"):
            yield True


def numbers() -> Iterator[Any]:
    assert ProjectSpec  # every module of the language is imported
    for spec in sorted(set(subclasses(Spec)), key=lambda one: one.__qualname__):
        for name, field in spec.model_fields.items():
            alone: Any = create_model(name, **{name: (field.annotation, field)})
            key = field.alias or name
            for value in with_a_boolean(alone.model_json_schema()["properties"][key]):
                yield pytest.param(alone, {key: value}, id=f"{spec.__name__}-{name}")


NUMBERS = list(numbers())


def test_there_are_numbers_in_the_language() -> None:
    assert len(NUMBERS) > 80


@pytest.mark.parametrize(("alone", "value"), NUMBERS)
def test_a_boolean_is_no_number(alone: type[BaseModel], value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        alone.model_validate(value)


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        ("{port: true}", "port: must be a number, not true"),
        ("{workers: true}", "workers: must be a number, not true"),
        ("{max_body_mb: true}", "max_body_mb: must be a number, not true"),
        ("{log_predictions: {sample: true}}", "sample: must be a number, not true"),
        ("{limits: {rate: false}}", "rate: must be a number, not false"),
        ("{limits: {rate: .inf}}", "rate: must be a finite number, not inf"),
        ("{max_body_mb: .inf}", "max_body_mb: must be a finite number, not inf"),
        ("{log_predictions: {max_mb: .nan}}", "max_mb: must be a finite number, not nan"),
    ],
)
def test_it_is_told_in_the_words_of_yaml(tmp_path: Path, serve: str, message: str) -> None:
    (tmp_path / "liminal.yml").write_text(PROJECT.replace("SERVE", serve))
    with pytest.raises(InvalidProjectError) as raised:
        load_project(tmp_path)
    (mistake,) = raised.value.diagnostics
    assert (mistake.location.line, mistake.message) == (13, message)


@pytest.mark.parametrize("port", ["8080", "'8080'", "'{{ PORT }}'", "'{{ env.PORT }}'"])
def test_the_text_of_a_variable_is_a_number(tmp_path: Path, port: str) -> None:
    (tmp_path / "liminal.yml").write_text(PROJECT.replace("SERVE", f"{{port: {port}}}"))
    serve = load_project(tmp_path).spec.deployments[0].serve
    assert serve is not None
    assert serve.port == 8080
