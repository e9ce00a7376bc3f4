"""The columns that say what a row is about and when: they are logged and never reach a model."""

from __future__ import annotations

from liminal_assets.language.base import Block
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.signature import Field, FieldType
from liminal_assets.storage.tables import TableStore

__all__ = ["carried_fields", "entity_columns", "identifying_columns", "moment_of_rows"]


def carried_fields(project: Project, model: str) -> tuple[Field, ...]:
    """The entity and timestamp columns of a model's feature: rows may carry them, so that
    predictions can be joined to what they were about.

    Their types are those of the stored rows; a column that isn't there takes any single value.
    """
    block = project.blocks.get(model)
    source = project.blocks.get(block.features) if isinstance(block, Model) else None
    names = identifying_columns(source)
    if not names or not isinstance(block, Model):
        return ()
    types: dict[str, str] = {}
    store = TableStore(project)
    if store.exists(block.features):
        relation = store.read(block.features).relation()
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    return tuple(Field(name, _field_type(types.get(name, "")), required=False) for name in names)


def identifying_columns(block: Block | None) -> tuple[str, ...]:
    """The columns that say what a row is about and when: entity, then timestamp."""
    if isinstance(block, Feature):
        moment = (block.timestamp,) if block.timestamp else ()
        return tuple(dict.fromkeys((*block.entity, *moment)))
    if isinstance(block, Dataset) and block.timestamp:
        return (block.timestamp,)
    return ()


def entity_columns(project: Project, model: str) -> tuple[str, ...]:
    """The columns that name what a row of a model's feature is about; none where the project
    doesn't say."""
    block = project.blocks.get(model)
    source = project.blocks.get(block.features) if isinstance(block, Model) else None
    return source.entity if isinstance(source, Feature) else ()


def moment_of_rows(project: Project, model: str) -> str | None:
    """The column that says when a row of a model's feature was; None where the project doesn't."""
    block = project.blocks.get(model)
    source = project.blocks.get(block.features) if isinstance(block, Model) else None
    return source.timestamp if isinstance(source, Feature | Dataset) else None


def _field_type(sql: str) -> FieldType:
    """The type of a carried column stored as a DuckDB type."""
    if sql in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"):
        return "long"
    if sql in ("FLOAT", "DOUBLE") or sql.startswith("DECIMAL"):
        return "double"
    if sql.startswith("TIMESTAMP") or sql == "DATE":
        return "datetime"
    if sql == "VARCHAR" or sql.startswith("ENUM"):
        return "string"
    return "boolean" if sql == "BOOLEAN" else "any"
