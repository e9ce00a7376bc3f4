"""Write, audit: rows are staged, cast and judged; only what passes is published.

Great Expectations' row-level checks and the columns contract split the rows of a block with
``quarantine: true``: what breaks an error goes to ``<name>__quarantine`` with the reasons, and
no row is lost. Without it, a broken rule blocks the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from liminal_assets.errors import StepError
from liminal_assets.integrations.expectations.names import snake_name
from liminal_assets.language.base import Names
from liminal_assets.language.datasets import Check, Dataset
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.features import Feature
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.contract import Contract, Rule, contract_of, widened
from liminal_assets.steps.features import check_keys
from liminal_assets.steps.report import Outcome, Records
from liminal_assets.steps.rows import made_at, reading
from liminal_assets.storage.forms import (
    engine_errors,
    identifier,
    to_relation,
)
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import StagedTable, Table, TableStore, version_of

if TYPE_CHECKING:
    import duckdb

__all__ = ["COLUMNS_CHECK", "ENTITY_CHECK", "Audited", "audit", "quarantine_name"]

COLUMNS_CHECK = "columns"
"""The asset check that stands for the columns contract."""
ENTITY_CHECK = "one_row_per_entity"
"""The asset check that no two rows of a feature have the same entity and moment."""

_SAMPLES = 5
_STAGED, _KEPT = "liminal_staged", "liminal_kept"
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
        self.discard()

    def discard(self) -> None:
        """Drops the rows unless they were published."""
        self.kept.discard()
        if self.quarantined is not None:
            self.quarantined.discard()


def audit(
    context: StepContext,
    rows: Any,
    store: TableStore,
    connection: duckdb.DuckDBPyConnection,
) -> Audited:
    """Stages the rows of a block and judges them; nothing is published yet.

    Args:
        rows: in any form that :meth:`TableStore.stage` takes; read once, streamed.
        connection: the session that ``rows`` belongs to, if they are a relation of one.

    Raises:
        StepError: the rows can't be computed or written, a declared column is missing, or an
            asset without partitions would be empty.
    """
    block = cast("TableBlock", context.block)
    raw = _staged(context, rows, store, connection)
    audited = None
    try:
        audited = _judged(context, block, raw, store)
    finally:
        if audited is None or audited.kept.files != raw.files:
            raw.discard()
    return audited


def _staged(
    context: StepContext, rows: Any, store: TableStore, connection: duckdb.DuckDBPyConnection
) -> StagedTable:
    import duckdb

    block = cast("TableBlock", context.block)
    with reading(rows, block.name, made_at(context.project, block)):
        if isinstance(rows, Table):
            relation = rows.relation(connection)
        elif isinstance(rows, duckdb.DuckDBPyRelation):
            relation = rows
        else:
            relation = to_relation(rows, connection)
        relation = widened(block.columns, relation)
        return store.stage(block.name, context.partition_key, relation, connection, measure=False)


def _judged(
    context: StepContext, block: TableBlock, raw: StagedTable, store: TableStore
) -> Audited:
    with session() as connection:
        relation = raw.relation(connection)
        relation.create_view(_STAGED)
        contract = contract_of(block.columns, relation)
        _check_missing(context, contract)
        if isinstance(block, Feature):
            check_keys(context.project, block, list(contract.columns))
        verdict = _verdict(context, block, contract, connection)
        version = version_of(relation, verdict.total, verdict.content)
        raw = replace(raw, row_count=verdict.total, data_version=version)
        _check_empty(context, block, verdict)
        outcomes = _columns_outcome(block, contract, verdict, connection)
        kept, quarantined = _split(block, contract, verdict, raw, store, connection)
        audited = Audited(kept, quarantined, tuple(outcomes), verdict.total)
        try:
            if isinstance(block, Feature):
                outcomes.append(_entity_outcome(block, kept, connection))
            if not any(outcome.blocks for outcome in outcomes):
                outcomes += _check_outcomes(context, block, contract, kept, connection, verdict)
        except BaseException:
            audited.discard()
            raise
        return replace(audited, outcomes=tuple(outcomes))


@dataclass(frozen=True)
class _Verdict:
    """How many rows there are and how many break each rule."""

    total: int
    content: int
    """The sum of the rows' content."""
    broken: int
    each: Mapping[Rule, int]
    quarantine: bool
    """Whether rows that break a rule are taken out, or block the whole table."""

    @property
    def kept(self) -> int:
        return self.total - self.broken if self.quarantine else self.total

    @property
    def split_by(self) -> list[Rule]:
        """The rules by which rows go to quarantine; none if no row breaks any."""
        return list(self.each) if self.quarantine and self.broken else []


def _verdict(
    context: StepContext,
    block: TableBlock,
    contract: Contract,
    connection: duckdb.DuckDBPyConnection,
) -> _Verdict:
    quarantine = isinstance(block, Dataset) and block.quarantine
    rules = [*contract.rules]
    if quarantine:
        rules += _check_rules(block.checks, contract, connection)
    with engine_errors("judge the columns", location=context.project.locate(block, "columns")):
        found = connection.sql(contract.counts(_STAGED, rules)).fetchall()[0]
    total, content, broken, *each = found
    return _Verdict(total, content, broken, dict(zip(rules, each, strict=True)), quarantine)


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


def _check_empty(context: StepContext, block: TableBlock, verdict: _Verdict) -> None:
    """An empty partition happens; an empty table is a mistake unless a check on the number of
    rows says what is right."""
    counted = any("row_count" in snake_name(check.expectation) for check in block.checks)
    if verdict.kept or context.partition_key is not None or counted:
        return
    total = verdict.total
    message = f"all {total} rows of {block.name} broke a rule" if total else "there are no rows"
    raise StepError(
        message,
        location=made_at(context.project, block),
        hint="if none is right, say so by a check: "
        "'expect_table_row_count_to_be_between: {min_value: 0}'",
    )


def _check_rules(
    checks: Sequence[Check], contract: Contract, connection: duckdb.DuckDBPyConnection
) -> list[Rule]:
    """The row-level checks of severity error as rules over the judged rows."""
    if not any(check.severity == "error" for check in checks):
        return []
    from liminal_assets.steps.checks import check_names, row_conditions

    query = contract.kept(_STAGED, [])
    schema = connection.sql(f"{query} LIMIT 0").to_arrow_table().schema
    conditions = row_conditions(checks, schema)
    return [
        Rule(name, conditions[name], name)
        for name, check in zip(check_names(checks), checks, strict=True)
        if name in conditions and check.severity == "error"
    ]


def _columns_outcome(
    block: TableBlock,
    contract: Contract,
    verdict: _Verdict,
    connection: duckdb.DuckDBPyConnection,
) -> list[Outcome]:
    if not block.columns:
        return []
    broken = {rule: count for rule, count in verdict.each.items() if count and not rule.check}
    if not broken:
        described = f"{verdict.total} rows fit {len(block.columns)} columns"
        return [Outcome(COLUMNS_CHECK, True, description=described)]
    listed = "; ".join(f"{rule.reason} ({count} rows)" for rule, count in broken.items())
    verb = "went to quarantine" if verdict.quarantine else "break the contract"
    rejected = connection.sql(contract.quarantined(_STAGED, list(broken)))
    return [
        Outcome(
            COLUMNS_CHECK,
            verdict.quarantine,
            description=f"of {verdict.total} rows some {verb}: {listed}",
            metadata={
                "broken": Records([{"rule": r.reason, "rows": n} for r, n in broken.items()]),
                "samples": _sample(rejected),
            },
        )
    ]


def _sample(rows: duckdb.DuckDBPyRelation) -> Records:
    some = rows.limit(_SAMPLES)
    return Records([dict(zip(some.columns, row, strict=True)) for row in some.fetchall()])


def _split(
    block: TableBlock,
    contract: Contract,
    verdict: _Verdict,
    raw: StagedTable,
    store: TableStore,
    connection: duckdb.DuckDBPyConnection,
) -> tuple[StagedTable, StagedTable | None]:
    """The rows that are kept and those that aren't; the staged file itself where nothing
    changes."""
    rules, quarantined = verdict.split_by, None
    if verdict.quarantine:
        rejected = connection.sql(contract.quarantined(_STAGED, rules))
        name = quarantine_name(block.name)
        quarantined = store.stage(name, raw.partition, rejected, connection)
    if not contract.casts and not rules:
        return raw, quarantined
    try:
        query = connection.sql(contract.kept(_STAGED, rules))
        kept = store.stage(block.name, raw.partition, query, connection)
    except BaseException:
        if quarantined:
            quarantined.discard()
        raise
    return kept, quarantined


def _entity_outcome(
    block: Feature, kept: StagedTable, connection: duckdb.DuckDBPyConnection
) -> Outcome:
    keys: Names = (*block.entity, *((block.timestamp,) if block.timestamp else ()))
    named = ", ".join(map(identifier, keys))
    kept.relation(connection).create_view(_KEPT)
    repeated = connection.sql(
        f"SELECT {named}, count(*) AS rows FROM {_KEPT} "
        f"GROUP BY {named} HAVING count(*) > 1 ORDER BY rows DESC, {named}"
    )
    (count,) = repeated.aggregate("count(*)").fetchall()[0]
    if not count:
        return Outcome(ENTITY_CHECK, True, description=f"one row per {', '.join(keys)}")
    return Outcome(
        ENTITY_CHECK,
        False,
        description=f"{count} values of {', '.join(keys)} have more than one row",
        metadata={"samples": _sample(repeated)},
    )


def _check_outcomes(
    context: StepContext,
    block: TableBlock,
    contract: Contract,
    kept: StagedTable,
    connection: duckdb.DuckDBPyConnection,
    verdict: _Verdict,
) -> list[Outcome]:
    """The outcomes of the checks in their order.

    A check that tolerates some rows (``mostly`` below 1) and whose rows went to quarantine is
    judged on the rows before that; any other on the rows that are kept.
    """
    if not block.checks:
        return []
    from liminal_assets.steps.checks import check_names, run_checks

    named = dict(zip(check_names(block.checks), block.checks, strict=True))
    removed = {rule.check: count for rule, count in verdict.each.items() if rule.check and count}
    tolerant = {
        name: check
        for name, check in named.items()
        if name in removed and float(check.arguments.get("mostly", 1)) < 1
    }
    fitting = Table(block.name, value=connection.sql(contract.kept(_STAGED, contract.rules)))
    rest = {name: check for name, check in named.items() if name not in tolerant}
    found: dict[str, Outcome] = {}
    for checks, rows in ((tolerant, fitting), (rest, kept)):
        done = run_checks(context.project, block, rows, list(checks.values())) if checks else []
        found |= {
            name: replace(outcome, name=name) for name, outcome in zip(checks, done, strict=True)
        }
    for name, count in removed.items():
        metadata = {**found[name].metadata, "quarantined": count}
        found[name] = replace(found[name], metadata=metadata)
    return [found[name] for name in named]
