"""Expectations on a team's own Dagster assets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg

from liminal_assets.errors import StepError
from liminal_assets.factories.reports import outcome_result
from liminal_assets.language.datasets import Check
from liminal_assets.language.loading import Project
from liminal_assets.steps.checks import CheckLike, as_check, check_names, check_rows
from liminal_assets.storage.forms import NotRowsError, connect, to_relation
from liminal_assets.storage.tables import Table

__all__ = ["expectation_checks"]


def expectation_checks(
    asset: dg.AssetsDefinition | dg.AssetSpec | dg.AssetKey | str | Sequence[str],
    checks: Sequence[CheckLike],
    *,
    load: Callable[..., Any] | None = None,
    name: str | None = None,
    project: Project | None = None,
    partitions_def: dg.PartitionsDefinition[Any] | None = None,
) -> dg.AssetChecksDefinition:
    """Asset checks that run together, in one pass over an asset's rows.

    >>> expectation_checks(orders, [
    ...     "expect_table_row_count_to_be_between",
    ...     {"expect_column_values_to_not_be_null": {"column": "id", "severity": "warning"}},
    ... ])

    Those of severity ``error`` block what is downstream.

    Args:
        asset: a Dagster asset or its key, as a text with slashes where the key has parts.
        checks: names or mappings as in YAML, :class:`Check` or Great Expectations' own objects.
        load: returns the rows in any form: a data frame, an Arrow table, a DuckDB relation. It
            may take Dagster's ``context``. Default: the asset's IO manager loads them.
        name: the name of the op; default: made of the asset's.
        project: whose tables and connections an expectation may compare with.
        partitions_def: the checks' partitions, those of the asset: each is then checked alone.

    Raises:
        ValueError: something is no check, or there is none.
    """
    prepared = list(map(as_check, checks))
    if not prepared:
        raise ValueError("expectation_checks needs at least one check")
    key = asset.key if isinstance(asset, dg.AssetSpec) else _key(asset)
    said = [check[0] if isinstance(check, tuple) else check for check in prepared]
    named = dict(zip(check_names(said), prepared, strict=True))
    specs = [_spec(key, *pair, partitions_def) for pair in zip(named, said, strict=True)]

    def results(context: Any, rows: Any) -> Iterator[dg.AssetCheckResult]:
        chosen = {check.name for check in context.selected_asset_check_keys}
        asked = {name: check for name, check in named.items() if name in chosen}
        partition = context.partition_key if context.has_partition_key else None
        with _failures(key):
            table = _table(_called(load, context) if load else rows, key)
            outcomes = check_rows(table, list(asked.values()), project=project)
        for check_name, outcome in zip(asked, outcomes, strict=True):
            yield outcome_result(key, replace(outcome, name=check_name), partition)

    def compute(context):  # type: ignore[no-untyped-def]  # Dagster can't read quoted hints
        yield from results(context, None)

    def compute_loaded(context, rows):  # type: ignore[no-untyped-def]
        yield from results(context, rows)

    return dg.multi_asset_check(
        name=name or re.sub(r"\W", "_", "__".join([*key.path, "expectations"])),
        specs=specs,
        ins=None if load else {"rows": dg.AssetIn(key)},
        can_subset=True,
        compute_kind="great_expectations",
    )(compute if load else compute_loaded)


def _key(asset: dg.AssetsDefinition | dg.AssetKey | str | Sequence[str]) -> dg.AssetKey:
    if isinstance(asset, str):
        return dg.AssetKey.from_user_string(asset)
    return dg.AssetKey.from_coercible_or_definition(asset)


def _spec(
    key: dg.AssetKey, name: str, check: Check, partitions: dg.PartitionsDefinition[Any] | None
) -> dg.AssetCheckSpec:
    cut: dict[str, Any] = {} if partitions is None else {"partitions_def": partitions}
    return dg.AssetCheckSpec(
        name,
        asset=key,
        blocking=check.severity == "error",
        metadata={"expectation": check.expectation, "arguments": str(check.arguments)},
        **cut,
    )


def _called(load: Callable[..., Any], context: Any) -> Any:
    """The rows that a team's function returns; it may take ``context``."""
    try:
        wanted = "context" in inspect.signature(load).parameters
    except ValueError:  # a builtin without a signature
        wanted = False
    return load(context=context) if wanted else load()


def _table(value: Any, key: dg.AssetKey) -> Table:
    """The rows of an asset's value; a value by partition is all their rows."""
    import pyarrow as pa

    name = "/".join(key.path)
    if isinstance(value, Table):
        return value
    try:
        if isinstance(value, Mapping):
            session = connect()
            parts = [to_relation(part, session).to_arrow_table() for part in value.values()]
            if not parts:
                raise StepError(f"{name} has no partitions")
            return Table(name, value=pa.concat_tables(parts, promote_options="permissive"))
        return Table.from_rows(value, name)
    except NotRowsError as error:
        raise StepError(
            f"{name} can't be checked: {error}", hint="load= takes a function that returns rows"
        ) from error


@contextmanager
def _failures(key: dg.AssetKey) -> Iterator[None]:
    try:
        yield
    except StepError as error:
        hint = f"\n  hint: {error.hint}" if error.hint else ""
        raise dg.Failure(
            description=f"{'/'.join(key.path)}: {error.message}{hint}",
            allow_retries=error.transient,
        ) from None
