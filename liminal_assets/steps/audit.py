"""Write, audit: rows are staged, cast and judged; only what passes is published.

Great Expectations' row-level checks and the columns contract split the rows of a block with
``quarantine: true``: what breaks an error goes to ``<name>__quarantine`` with the reasons, and
no row is lost. Without it, a broken rule blocks the whole table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from liminal_assets.errors import StepError
from liminal_assets.language.base import Names
from liminal_assets.language.datasets import Check, Dataset
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.features import Feature
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.contract import Contract, Rule, contract_of, widened
from liminal_assets.steps.features import check_keys
from liminal_assets.steps.report import Outcome, Records
from liminal_assets.storage.forms import (
    NotRowsError,
    connect,
    engine_errors,
    identifier,
    to_relation,
)
from liminal_assets.storage.tables import StagedTable, Table, TableStore

if TYPE_CHECKING:
    import duckdb

__all__ = ["COLUMNS_CHECK", "ENTITY_CHECK", "Audited", "audit", "quarantine_name"]

COLUMNS_CHECK = "columns"
"""The asset check that stands for the columns contract."""
ENTITY_CHECK = "one_row_per_entity"
"""The asset check that no two rows of a feature have the same entity and moment."""

_SAMPLES = 5
TableBlock = Dataset | Feature


def quarantine_name(name: str) -> str:
    """The asset that holds the rows which broke a block's rules."""
    return f"{name}__quarantine"


@dataclass(frozen=True)
class Audited:
    """Staged rows and what the checks found. As a context manager it discards what isn't
    published."""

    kept: StagedTable
    quarantined: StagedTable | None
    outcomes: tuple[Outcome, ...]
    rows_in: int

    @property
    def blocking(self) -> tuple[Outcome, ...]:
        """The failed checks that keep the rows from being published."""
        return tuple(outcome for outcome in self.outcomes if outcome.blocks)

    def publish(self, store: TableStore) -> Table:
        """Makes the rows the ones that readers see, the quarantined ones first."""
        if self.quarantined is not None:
            store.publish(self.quarantined)
        return store.publish(self.kept)

    def __enter__(self) -> Audited:
        return self

    def __exit__(self, *_: object) -> None:
        self.kept.discard()
        if self.quarantined is not None:
            self.quarantined.discard()


def audit(
    context: StepContext,
    rows: Any,
    store: TableStore,
    session: duckdb.DuckDBPyConnection,
) -> Audited:
    """Stages the rows of a block and judges them; nothing is published yet.

    Args:
        rows: in any form that :meth:`TableStore.stage` takes; read once, streamed.
        session: the session that ``rows`` belongs to, if they are a relation of one.

    Raises:
        StepError: the rows can't be computed or written, a declared column is missing, or an
            asset without partitions would be empty.
    """
    block = cast("TableBlock", context.block)
    raw = _staged(context, rows, store, session)
    try:
        return _judged(context, block, raw, store)
    except BaseException:
        raw.discard()
        raise


def _staged(
    context: StepContext, rows: Any, store: TableStore, session: duckdb.DuckDBPyConnection
) -> StagedTable:
    import duckdb

    block = cast("TableBlock", context.block)
    at = _source_location(context)
    try:
        if not isinstance(rows, duckdb.DuckDBPyRelation):
            rows = rows.relation(session) if isinstance(rows, Table) else to_relation(rows, session)
        rows = widened(block.columns, rows)
        return store.stage(block.name, context.partition_key, rows, session)
    except NotRowsError as error:
        raise StepError(
            f"{block.name} got no rows but {error}",
            location=at,
            hint="return a data frame, an Arrow table or a list of mappings",
        ) from error
    except StepError as error:
        raise error.at(at) from error.__cause__


def _source_location(context: StepContext) -> Location:
    """The line that says how the rows are made."""
    project, block = context.project, context.block
    for phase in ("fetch", "clean"):
        if (spec := getattr(block, phase, None)) is not None:
            key = next(iter(spec.model_fields_set - {"from_", "connection", "options"}), phase)
            return project.locate(block, phase, key)
    for key in ("python", "sql"):
        if getattr(block, key, None):
            return project.locate(block, key)
    return project.locate(block)


def _judged(
    context: StepContext, block: TableBlock, raw: StagedTable, store: TableStore
) -> Audited:
    session = connect()
    relation = raw.relation(session)
    relation.create_view("liminal_staged")
    contract = contract_of(block.columns, relation)
    _check_missing(context, contract)
    if isinstance(block, Feature):
        check_keys(context.project, block, list(contract.columns))
    quarantine = isinstance(block, Dataset) and block.quarantine
    rules = [
        *contract.rules,
        *(_check_rules(block.checks, contract, session) if quarantine else ()),
    ]
    with engine_errors("judge the columns", location=context.project.locate(block, "columns")):
        counts = session.sql(contract.counts("liminal_staged", rules)).fetchall()[0]
    total, broken, each = counts[0], counts[1], dict(zip(rules, counts[2:], strict=True))
    _check_empty(context, block, total, kept=total - broken if quarantine else total)
    outcomes = list(_columns_outcome(block, contract, each, total, quarantine, session))
    split = rules if quarantine and broken else []
    kept, quarantined = _split(block, contract, split, raw, store, session, quarantine=quarantine)
    try:
        if isinstance(block, Feature):
            outcomes.append(_entity_outcome(block, kept))
        if not any(outcome.blocks for outcome in outcomes):
            outcomes += _check_outcomes(context, block, contract, kept, session, each)
    except BaseException:
        kept.discard()
        if quarantined:
            quarantined.discard()
        raise
    return Audited(kept, quarantined, tuple(outcomes), total)


def _check_missing(context: StepContext, contract: Contract) -> None:
    if not contract.missing:
        return
    project, block = context.project, context.block
    named = ", ".join(map(repr, contract.missing))
    raise StepError(
        f"the rows have no column {named}",
        location=project.locate(block, "columns", contract.missing[0], key=True),
        hint=did_you_mean(contract.missing[0], contract.columns)
        or f"the columns are {', '.join(contract.columns)}",
    )


def _check_empty(context: StepContext, block: TableBlock, total: int, *, kept: int) -> None:
    """An empty partition happens; an empty table is a mistake unless a check on the number of
    rows says what is right."""
    counted = any("row_count" in _snake(check.expectation) for check in block.checks)
    if kept or context.partition_key is not None or counted:
        return
    message = f"all {total} rows of {block.name} broke a rule" if total else "there are no rows"
    raise StepError(
        message,
        location=_source_location(context),
        hint="if none is right, say so by a check: "
        "'expect_table_row_count_to_be_between: {min_value: 0}'",
    )


def _snake(expectation: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in expectation).lstrip("_")


def _check_rules(
    checks: Sequence[Check], contract: Contract, session: duckdb.DuckDBPyConnection
) -> list[Rule]:
    """The row-level checks of severity error as rules over the judged rows."""
    if not any(check.severity == "error" for check in checks):
        return []
    from liminal_assets.steps.checks import check_names, row_conditions

    query = contract.kept("liminal_staged", [])
    schema = session.sql(f"{query} LIMIT 0").to_arrow_table().schema
    conditions = row_conditions(checks, schema)
    return [
        Rule(name, conditions[name], name)
        for name, check in zip(check_names(checks), checks, strict=True)
        if name in conditions and check.severity == "error"
    ]


def _columns_outcome(
    block: TableBlock,
    contract: Contract,
    each: dict[Rule, int],
    total: int,
    quarantine: bool,
    session: duckdb.DuckDBPyConnection,
) -> list[Outcome]:
    if not block.columns:
        return []
    broken = {rule: count for rule, count in each.items() if count and rule.check is None}
    if not broken:
        described = f"{total} rows fit {len(block.columns)} columns"
        return [Outcome(COLUMNS_CHECK, True, description=described)]
    sample = session.sql(contract.quarantined("liminal_staged", list(broken)))
    sample = sample.limit(_SAMPLES)
    found = [dict(zip(sample.columns, row, strict=True)) for row in sample.fetchall()]
    listed = "; ".join(f"{rule.reason} ({count} rows)" for rule, count in broken.items())
    verb = "went to quarantine" if quarantine else "break the contract"
    return [
        Outcome(
            COLUMNS_CHECK,
            quarantine,
            description=f"of {total} rows some {verb}: {listed}",
            metadata={
                "broken": Records([{"rule": r.reason, "rows": n} for r, n in broken.items()]),
                "samples": Records(found),
            },
        )
    ]


def _split(
    block: TableBlock,
    contract: Contract,
    rules: Sequence[Rule],
    raw: StagedTable,
    store: TableStore,
    session: duckdb.DuckDBPyConnection,
    *,
    quarantine: bool,
) -> tuple[StagedTable, StagedTable | None]:
    """The rows that are kept and those that aren't; the staged file itself where nothing
    changes."""
    source, partition = "liminal_staged", raw.partition
    quarantined = None
    if quarantine:
        rejected = session.sql(contract.quarantined(source, rules))
        quarantined = store.stage(quarantine_name(block.name), partition, rejected, session)
    if not contract.casts and not rules:
        return raw, quarantined
    try:
        kept = store.stage(
            block.name, partition, session.sql(contract.kept(source, rules)), session
        )
    except BaseException:
        if quarantined:
            quarantined.discard()
        raise
    raw.discard()
    return kept, quarantined


def _entity_outcome(block: Feature, kept: StagedTable) -> Outcome:
    keys: Names = (*block.entity, *((block.timestamp,) if block.timestamp else ()))
    named = ", ".join(map(identifier, keys))
    session = connect()
    kept.relation(session).create_view("liminal_kept")
    repeated = session.sql(
        f"SELECT {named}, count(*) AS rows FROM liminal_kept "
        f"GROUP BY {named} HAVING count(*) > 1 ORDER BY rows DESC, {named}"
    )
    (count,) = repeated.aggregate("count(*)").fetchall()[0]
    if not count:
        return Outcome(ENTITY_CHECK, True, description=f"one row per {', '.join(keys)}")
    sample = repeated.limit(_SAMPLES)
    found = [dict(zip(sample.columns, row, strict=True)) for row in sample.fetchall()]
    return Outcome(
        ENTITY_CHECK,
        False,
        description=f"{count} values of {', '.join(keys)} have more than one row",
        metadata={"samples": Records(found)},
    )


def _check_outcomes(
    context: StepContext,
    block: TableBlock,
    contract: Contract,
    kept: StagedTable,
    session: duckdb.DuckDBPyConnection,
    each: dict[Rule, int],
) -> list[Outcome]:
    """The outcomes of the checks in their order.

    A check that tolerates some rows (``mostly`` below 1) and whose rows went to quarantine is
    judged on the rows before that; any other on the rows that are kept.
    """
    if not block.checks:
        return []
    from liminal_assets.steps.checks import check_names, run_checks

    names = check_names(block.checks)
    split = {rule.check: count for rule, count in each.items() if rule.check}
    tolerant = [
        check
        for name, check in zip(names, block.checks, strict=True)
        if name in split and float(check.arguments.get("mostly", 1)) < 1
    ]
    found: dict[str, Outcome] = {}
    if tolerant and any(split.values()):
        fitting = session.sql(contract.kept("liminal_staged", list(contract.rules)))
        whole = Table(block.name, value=fitting)
        chosen = [n for n, c in zip(names, block.checks, strict=True) if c in tolerant]
        done = run_checks(context.project, block, whole, tolerant)
        found |= {n: replace(o, name=n) for n, o in zip(chosen, done, strict=True)}
    rest = [(n, c) for n, c in zip(names, block.checks, strict=True) if n not in found]
    done = run_checks(context.project, block, kept, [check for _, check in rest])
    found |= {n: replace(o, name=n) for (n, _), o in zip(rest, done, strict=True)}
    for name, count in split.items():
        if count and name in found:
            metadata = {**found[name].metadata, "quarantined": count}
            found[name] = replace(found[name], metadata=metadata)
    return [found[name] for name in names]
