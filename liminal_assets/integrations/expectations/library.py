"""Great Expectations itself, imported late and quietly: expectations, their arguments, words."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.integrations.expectations.names import expectation_names, snake_name
from liminal_assets.language.datasets import Check
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.storage.spark import mark_missing_spark_connect

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

__all__ = [
    "CheckMistakesError",
    "Mistake",
    "build_expectation",
    "name_mistake",
    "quiet",
]


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a check: the argument it is about, if one, and what would be right."""

    code: str
    message: str
    hint: str | None = None
    argument: str | None = None
    written: bool = True
    """Whether the argument is there, so that it can be pointed at."""


class CheckMistakesError(ValueError):
    """A check is none that Great Expectations knows, or has wrong arguments."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(mistake.message for mistake in mistakes))
        self.mistakes = tuple(mistakes)


@contextmanager
def quiet() -> Iterator[None]:
    """Great Expectations without its deprecation warnings and log lines.

    What goes wrong is in what it returns; its log says it again with a traceback.
    """
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def name_mistake(check: Check) -> Mistake | None:
    """What is wrong with the name of a check's expectation; needs no import."""
    name = snake_name(check.expectation)
    if name in expectation_names():
        return None
    if name == "expect_multicolumn_values_to_be_unique":
        hint: str | None = "use expect_compound_columns_to_be_unique"
    else:
        hint = did_you_mean(name, expectation_names())
    message = f"Great Expectations has no expectation {check.expectation!r}"
    return Mistake("unknown-expectation", message, hint)


def build_expectation(check: Check) -> Expectation:
    """The expectation that a check asks for.

    Raises:
        CheckMistakesError: with everything that is wrong.
    """
    if mistake := name_mistake(check):
        raise CheckMistakesError([mistake])
    mark_missing_spark_connect()
    with quiet():
        import great_expectations.expectations.core  # noqa: F401  # fills the registry
        from great_expectations.compatibility.pydantic import ValidationError
        from great_expectations.expectations.registry import get_expectation_impl

        kind = get_expectation_impl(snake_name(check.expectation))
        mistakes = list(_argument_mistakes(check, kind))
        wrong = {mistake.argument for mistake in mistakes}
        try:
            if not mistakes:
                return kind(**check.arguments)  # type: ignore[no-any-return]
            if not wrong & _QUERIES:
                kind(**{k: v for k, v in check.arguments.items() if k in _fields(kind)})
        except ValidationError as error:
            hints = " ".join(mistake.hint or "" for mistake in mistakes)
            mistakes += [
                mistake
                for mistake in _mistakes_of(error, check, kind)
                # one that is missing because it is misspelt, or already told about; and what is
                # wrong with the whole only if nothing in it is
                if (mistake.argument in _fields(kind) or not mistakes)
                and mistake.argument not in wrong
                and f"{mistake.argument!r}?" not in hints
            ]
        except Exception as error:  # its validators raise whatever their parsers do
            mistakes.append(_condition_mistake(check, error))
        if not mistakes:
            mistakes.append(Mistake("invalid-argument", f"{check.expectation} has wrong arguments"))
    raise CheckMistakesError(mistakes)


def _fields(kind: type[Expectation]) -> set[str]:
    fields = kind.__fields__
    return {*fields, *(field.alias for field in fields.values())} - _OURS


_OURS = {"severity", "batch_id", "id", "rendered_content", "catch_exceptions"}
"""What Great Expectations' own running and storing uses."""
_QUERIES = {"unexpected_rows_query", "base_query"}
_ABOUT = {"meta", "notes", "description", "result_format", "windows"}


def _argument_mistakes(check: Check, kind: type[Expectation]) -> Iterator[Mistake]:
    fields = _fields(kind)
    for argument, value in check.arguments.items():
        if argument not in fields:
            hint = did_you_mean(argument, fields - _ABOUT)
            message = f"{check.expectation} has no argument {argument!r}"
            yield Mistake("unknown-argument", message, hint, argument)
        elif isinstance(value, Mapping) and "$PARAMETER" in value:
            message = f"{argument}: there are no suite parameters here"
            hint = "put the value there, or a variable: {{ name }}"
            yield Mistake("invalid-argument", message, hint, argument)
    condition = check.arguments.get("row_condition")
    if isinstance(condition, str):
        yield from _row_condition_mistakes(condition, check.arguments.get("condition_parser"))
    if "kl_divergence" in kind.expectation_type and not check.arguments.get("partition_object"):
        message = f"{check.expectation} needs the argument 'partition_object'"
        yield Mistake("missing-argument", message, "the distribution to compare with")
    for argument in _QUERIES & check.arguments.keys():
        if "{batch}" not in str(check.arguments[argument]):
            message = f"{argument}: the query doesn't read the rows that are checked"
            hint = "call them {batch}: SELECT * FROM {batch} WHERE …"
            yield Mistake("invalid-argument", message, hint, argument)


def _row_condition_mistakes(condition: str, parser: Any) -> Iterator[Mistake]:
    import ast

    import duckdb

    message = None
    if parser == "pandas":
        try:
            ast.parse(re.sub(r"`[^`]*`", "quoted", condition.strip()), mode="eval")
        except SyntaxError as error:
            message = f"row_condition is no pandas query: {error.msg}"
    elif parser in (None, "spark"):
        try:
            statements = duckdb.extract_statements(f"SELECT 1 WHERE ({condition}\n)")
            if len(statements) != 1:
                message = "row_condition holds more than one condition"
        except duckdb.Error as error:
            message = f"row_condition is no SQL condition: {str(error).splitlines()[0]}"
    if message:
        yield Mistake("invalid-argument", message, _CONDITIONS, "row_condition")


_CONDITIONS = (
    "a condition is SQL (air_time > 10 AND origin = 'JFK'); with 'condition_parser: pandas' a "
    "pandas query; with 'condition_parser: great_expectations' as in col(\"air_time\") > 10"
)


def _condition_mistake(check: Check, error: Exception) -> Mistake:
    if isinstance(check.arguments.get("row_condition"), str):
        message = f"row_condition can't be read: {error}"
        return Mistake("invalid-argument", message, _CONDITIONS, "row_condition")
    return Mistake("invalid-argument", f"{check.expectation}: {error}")


def _mistakes_of(error: Any, check: Check, kind: type[Expectation]) -> Iterator[Mistake]:
    """Pydantic's errors, one for each argument."""
    by_argument: dict[str, list[Any]] = {}
    for item in error.errors():
        by_argument.setdefault(str(item["loc"][0]), []).append(item)
    for argument, items in by_argument.items():
        if items[0]["type"] == "value_error.missing":
            message = f"{check.expectation} needs the argument {argument!r}"
            yield Mistake("missing-argument", message, None, argument, written=False)
        elif argument == "__root__":
            if len(by_argument) == 1:
                text = "; ".join(dict.fromkeys(item["msg"] for item in items))
                yield Mistake("invalid-argument", f"{check.expectation}: {text}")
        else:
            value = check.arguments.get(argument)
            message = f"{argument} of {check.expectation} {_wanted(items)}, not {value!r}"
            hint = _CONDITIONS if argument == "row_condition" else None
            yield Mistake("invalid-argument", message, hint, argument)


_KINDS = {
    "type_error.float": "a number",
    "type_error.integer": "a whole number",
    "type_error.bool": "true or false",
    "type_error.list": "a list",
    "type_error.str": "text",
    "type_error.dict": "a mapping",
}


def _wanted(items: Sequence[Any]) -> str:
    """What several of pydantic's errors say that a value should have been."""
    kinds = [_KINDS[item["type"]] for item in items if item["type"] in _KINDS]
    kinds += ["a date" for item in items if "expected date," in item["msg"]]
    kinds += ["a moment" for item in items if "expected datetime" in item["msg"]]
    told = [i["msg"] for i in items if i["type"] not in _KINDS and "expected date" not in i["msg"]]
    if told:
        # a mapping is what Great Expectations' own parameters would be
        return (
            "; ".join(dict.fromkeys(told))
            .replace("ensure this value is", "must be")
            .replace("unexpected value; permitted:", "must be one of")
        )
    kinds = [kind for kind in dict.fromkeys(kinds) if kind != "a mapping"] or ["a mapping"]
    return "must be " + ", ".join(kinds[:-1]) + (" or " if kinds[1:] else "") + kinds[-1]
