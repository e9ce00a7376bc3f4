"""The op of every block that makes rows: write, audit, publish, partition by partition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from liminal_assets.errors import StepError
from liminal_assets.factories.common import (
    StepEvents,
    asset_key,
    asset_spec,
    partition_keys,
    step_asset,
)
from liminal_assets.factories.materializations import Materializations
from liminal_assets.factories.partitions import partitions_definition
from liminal_assets.factories.reports import check_result, check_spec, metadata_of
from liminal_assets.language.datasets import Column, Dataset
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.steps.audit import (
    COLUMNS_CHECK,
    ENTITY_CHECK,
    Audited,
    audit,
    quarantine_name,
)
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.lineage import ColumnLineage
from liminal_assets.steps.report import Outcome, Records
from liminal_assets.steps.rows import Made
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import StagedTable, Table, TableStore

if TYPE_CHECKING:
    import duckdb

__all__ = ["TableRecipe", "merged", "table_asset"]

_PREVIEW_ROWS = 5


@dataclass(frozen=True)
class TableRecipe:
    """What is special about one kind of table."""

    group: str
    open: Callable[[StepContext, duckdb.DuckDBPyConnection], AbstractContextManager[Made]]
    """The rows of one partition, readable while the block is open."""
    kinds: Sequence[str] = ()
    deps: Sequence[str | dg.AssetKey | dg.AssetDep] = ()
    functions: Sequence[str] = ()
    files: Sequence[str] = ()
    private: bool = False
    """Whether it reads file systems other than the machine's."""
    source_version: Callable[[str | None], str | None] = field(default=lambda partition: None)
    """A text that changes with the source of a partition; none where that can't be known."""
    published: Callable[[StepContext, Table], Mapping[str, Any]] = field(
        default=lambda context, rows: {}
    )
    """What else is done with published rows; it returns metadata."""


def table_asset(
    project: Project, block: Dataset | Feature, recipe: TableRecipe
) -> dg.AssetsDefinition:
    """The asset of a block of rows, with its quarantine if it has one, and its checks."""
    partitions = partitions_definition(project, block)
    specs = [_table_spec(project, block, recipe, partitions)]
    if _quarantines(block):
        specs.append(_quarantine_spec(project, block, partitions))

    def step(context: dg.AssetExecutionContext) -> StepEvents:
        yield from _make_partitions(project, block, recipe, context)

    return step_asset(
        project,
        block,
        step,
        specs=specs,
        checks=list(_checks(project, block)),
        can_subset=len(specs) > 1,
    )


def _quarantines(block: Dataset | Feature) -> bool:
    return isinstance(block, Dataset) and block.quarantine


def _table_spec(
    project: Project,
    block: Dataset | Feature,
    recipe: TableRecipe,
    partitions: dg.PartitionsDefinition[str] | None,
) -> dg.AssetSpec:
    freshness = block.freshness
    policy = dg.FreshnessPolicy.time_window(freshness.within) if freshness else None
    return asset_spec(
        project,
        block,
        block.name,
        group=recipe.group,
        deps=recipe.deps,
        kinds=recipe.kinds,
        functions=recipe.functions,
        files=recipe.files,
        partitions=partitions,
        freshness=policy,
        metadata={"dagster/relation_identifier": f"{project.name}.{block.name}"},
    )


def _quarantine_spec(
    project: Project,
    block: Dataset | Feature,
    partitions: dg.PartitionsDefinition[str] | None,
) -> dg.AssetSpec:
    return asset_spec(
        project,
        block,
        quarantine_name(block.name),
        group="clean",
        deps=[block.name],
        kinds=["duckdb", "parquet"],
        description=f"Rows that broke a rule of {block.name}, as they came, with the reasons.",
        partitions=partitions,
    )


def _checks(project: Project, block: Dataset | Feature) -> Iterator[dg.AssetCheckSpec]:
    if block.columns:
        described = "Every row fits the declared columns."
        yield check_spec(project, block.name, COLUMNS_CHECK, description=described)
    if isinstance(block, Feature):
        described = "No two rows have the same entity and moment."
        yield check_spec(project, block.name, ENTITY_CHECK, description=described)
    if block.checks:
        from liminal_assets.steps.checks import check_names

        for name, check in zip(check_names(block.checks), block.checks, strict=True):
            yield check_spec(
                project,
                block.name,
                name,
                severity=check.severity,
                metadata={"expectation": check.expectation, "arguments": str(check.arguments)},
            )


def _make_partitions(
    project: Project,
    block: Dataset | Feature,
    recipe: TableRecipe,
    context: dg.AssetExecutionContext,
) -> StepEvents:
    store = TableStore(project)
    keys = partition_keys(context)
    made = Materializations(context, several=len(keys) > 1)
    outcomes: dict[str | None, Sequence[Outcome]] = {}
    blocked: list[StepError] = []
    run = _Run(project, block, recipe, context, store)
    try:
        for partition in keys:
            with run.audited(partition) as (step, audited, metadata):
                outcomes[partition] = audited.outcomes
                if audited.blocking:
                    blocked.append(_blocked(project, block, partition, audited.blocking))
                    continue
                published = audited.publish(store)
                metadata |= recipe.published(step, published)
                yield from _told(project, block, made, audited, metadata)
        if blocked:
            raise _all_blocked(blocked)
    except Exception:
        yield from _check_results(project, block, context, outcomes)
        raise
    yield from made.results(list(_check_results(project, block, context, outcomes)))


@dataclass
class _Run:
    """One run of the op of a block of rows."""

    project: Project
    block: Dataset | Feature
    recipe: TableRecipe
    context: dg.AssetExecutionContext
    store: TableStore
    _lineage: ColumnLineage | None = None

    @contextmanager
    def audited(
        self, partition: str | None
    ) -> Iterator[tuple[StepContext, Audited, dict[str, Any]]]:
        """The staged and judged rows of one partition, and metadata about how they were made."""
        started = time.perf_counter()
        step = StepContext(
            self.project, self.block, partition, log=self.context.log, dagster=self.context
        )
        version = self.recipe.source_version(partition)
        # files elsewhere are read through file systems that a database knows by their protocol
        private = self.store.remote or self.recipe.private
        with session(private=private) as connection, self.recipe.open(step, connection) as made:
            done = audit(step, made.rows, self.store, connection)
            if self._lineage is None:
                # the same for every partition
                self._lineage = made.lineage()
        with done:
            metadata = {
                "seconds": round(time.perf_counter() - started, 3),
                "liminal/source_version": version,
                **_lineage_metadata(self.project, self._lineage),
            }
            yield step, done, metadata


def _blocked(
    project: Project, block: Dataset | Feature, partition: str | None, blocking: Sequence[Outcome]
) -> StepError:
    of = f" of partition {partition}" if partition is not None else ""
    listed = "; ".join(f"{o.name}: {o.description or 'failed'}" for o in blocking)
    return StepError(
        f"the rows{of} were not published, because {len(blocking)} "
        f"check{'s' if len(blocking) > 1 else ''} failed: {listed}",
        location=_location_of(project, block, blocking[0].name),
        hint="the rows published before stay as they are",
    )


def _all_blocked(errors: Sequence[StepError]) -> StepError:
    """The errors of several partitions as one; the other partitions were published."""
    first, *others = errors
    if others:
        more = "".join(f"\n  {error.message}" for error in others)
        return StepError(first.message + more, location=first.location, hint=first.hint)
    return first


def _location_of(project: Project, block: Dataset | Feature, check: str) -> Location:
    if check == COLUMNS_CHECK:
        return project.locate(block, "columns", key=True)
    if block.checks:
        from liminal_assets.steps.checks import check_names

        names = check_names(block.checks)
        if check in names:
            return project.locate(block, "checks", names.index(check))
    return project.locate(block, "entity", key=True)


def _told(
    project: Project,
    block: Dataset | Feature,
    made: Materializations,
    audited: Audited,
    metadata: Mapping[str, Any],
) -> Iterator[dg.AssetMaterialization]:
    for staged in (audited.kept, audited.quarantined):
        if staged is None:
            continue
        described = _described(project, staged, block.columns)
        if staged is audited.kept:
            if not staged.rows:
                described["warning"] = "there are no rows"
            described |= metadata
            if audited.quarantined is not None:
                described["quarantined"] = audited.quarantined.rows
        key = asset_key(project, staged.asset)
        yield from made.add(key, staged.partition, metadata_of(described), staged.data_version)


def _described(
    project: Project, staged: StagedTable, columns: Mapping[str, Column]
) -> dict[str, Any]:
    """Row count, schema, preview and place of published rows."""
    published = TableStore(project).read(
        staged.asset, None if staged.partition is None else [staged.partition]
    )
    relation = published.relation()
    head = relation.limit(_PREVIEW_ROWS)
    rows = [dict(zip(head.columns, row, strict=True)) for row in head.fetchall()]
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    counted = {"dagster/partition_row_count": staged.rows} if staged.partition is not None else {}
    return {
        "dagster/row_count": staged.rows,
        **counted,
        "dagster/column_schema": _schema(kinds, columns),
        "path": dg.MetadataValue.path(published.files[0]),
        "preview": Records(rows),
    }


def _schema(kinds: Mapping[str, str], columns: Mapping[str, Column]) -> Any:
    described = []
    for name, kind in kinds.items():
        declared = columns.get(name)
        constraints = dg.TableColumnConstraints()
        if declared:
            constraints = dg.TableColumnConstraints(
                nullable=declared.nullable, unique=declared.unique, other=_others(declared)
            )
        description = declared.description if declared else None
        described.append(dg.TableColumn(name, kind, description, constraints))
    return dg.MetadataValue.table_schema(dg.TableSchema(described))


def _others(declared: Column) -> list[str]:
    said = {
        "one of": ", ".join(map(str, declared.one_of)) if declared.one_of else None,
        "at least": declared.at_least,
        "at most": declared.at_most,
        "matches": declared.matches,
    }
    return [f"{word} {value}" for word, value in said.items() if value is not None]


def _lineage_metadata(project: Project, lineage: ColumnLineage) -> dict[str, Any]:
    if not lineage:
        return {}
    deps = {
        column: [
            dg.TableColumnDep(asset_key=asset_key(project, source), column_name=name)
            for source, name in made_of
        ]
        for column, made_of in lineage.items()
    }
    return {"dagster/column_lineage": dg.MetadataValue.column_lineage(dg.TableColumnLineage(deps))}


def _check_results(
    project: Project,
    block: Dataset | Feature,
    context: dg.AssetExecutionContext,
    outcomes: Mapping[str | None, Sequence[Outcome]],
) -> Iterator[dg.AssetCheckResult]:
    """One result per check; of several partitions the worst, with what each said."""
    selected = {key.name for key in context.selected_asset_check_keys}
    by_check: dict[str, dict[str | None, Outcome]] = {}
    for partition, found in outcomes.items():
        for outcome in found:
            by_check.setdefault(outcome.name, {})[partition] = outcome
    for name, each in by_check.items():
        if name in selected:
            partition, outcome = merged(each)
            yield check_result(project, block.name, outcome, partition)


def merged(each: Mapping[str | None, Outcome]) -> tuple[str | None, Outcome]:
    """The outcomes of a check on several partitions as one: failed if any is.

    Returns:
        The partition that its details are of, and the outcome.
    """
    failed = {key: outcome for key, outcome in each.items() if not outcome.passed}
    partition, outcome = next(iter(failed.items())) if failed else list(each.items())[-1]
    if len(each) == 1:
        return partition, outcome
    rows = [
        {"partition": key, "passed": o.passed, "found": o.description or ""}
        for key, o in each.items()
    ]
    summary = f"passed in {len(each)} partitions"
    if failed:
        named = ", ".join(map(str, failed))
        summary = f"failed in {len(failed)} of {len(each)} partitions ({named}): "
        summary += outcome.description or ""
    return partition, replace(
        outcome, description=summary, metadata={"partitions": Records(rows), **outcome.metadata}
    )
