"""Prepare: the role of each column and the preparation inside the fitted pipeline."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Categorical, Model, Numeric, Prepare

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

__all__ = ["Roles", "check_inputs", "one_hot_limit", "pipeline_of", "roles_of", "with_values"]

one_hot_limit = 1000
"""Categories of one column that are one-hot encoded without being asked for by a number."""


@dataclass(frozen=True)
class Roles:
    """The input columns of a model by what happens to them."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    passthrough: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every input column."""
        return (*self.numeric, *self.categorical, *self.passthrough)


def roles_of(
    project: Project, model: Model, frame: pd.DataFrame, reserved: Collection[str]
) -> Roles:
    """The role of each column of the learning rows: as listed, else by its type.

    Numbers and booleans are numeric, texts and categories categorical.

    Args:
        reserved: the entity and timestamp columns, which no model learns from unless listed.

    Raises:
        StepError: a listed column isn't there, or a type has no role of its own.
    """
    said = model.columns
    for role in ("numeric", "categorical", "passthrough", "drop"):
        for column in getattr(said, role):
            if column not in frame.columns:
                raise StepError(
                    f"{model.features} has no column {column!r}",
                    location=_at(project, model, "columns", role),
                    hint=did_you_mean(column, map(str, frame.columns)),
                )
    listed = {*said.numeric, *said.categorical, *said.passthrough, *said.drop}
    found: dict[str, list[str]] = {"numeric": [], "categorical": []}
    for column in frame.columns:
        if column not in listed and column not in {model.target, *reserved}:
            found[_role(project, model, frame[column])].append(str(column))
    roles = Roles(
        (*said.numeric, *found["numeric"]),
        (*said.categorical, *found["categorical"]),
        said.passthrough,
    )
    if model.target in roles.columns:
        raise StepError(
            f"the target {model.target!r} can't be one of the columns",
            location=_at(project, model, "columns"),
        )
    if not roles.columns:
        raise StepError(
            f"{model.features} has no column to learn from",
            location=_at(project, model, "features"),
            hint="the target, entity and timestamp columns don't count",
        )
    return roles


def _role(project: Project, model: Model, column: pd.Series) -> str:
    from pandas.api import types

    kind = column.dtype
    if types.is_bool_dtype(kind) or (
        types.is_numeric_dtype(kind) and not types.is_complex_dtype(kind)
    ):
        return "numeric"
    if isinstance(kind, types.CategoricalDtype) or str(kind).startswith("string"):
        return "categorical"
    inferred = types.infer_dtype(column, skipna=True)
    if kind.kind == "O" and inferred in ("string", "boolean", "integer", "mixed-integer", "empty"):
        return "categorical"
    if kind.kind == "O" and inferred in ("decimal", "floating", "mixed-integer-float"):
        return "numeric"
    name = {"O": inferred}.get(kind.kind, str(kind))
    raise StepError(
        f"the column {column.name!r} ({name}) has no role of its own",
        location=_at(project, model, "features"),
        hint="list it under columns: drop, or make numbers or texts of it in the feature",
    )


def check_inputs(project: Project, model: Model, frame: pd.DataFrame, roles: Roles) -> None:
    """Says what no estimator can learn from.

    Raises:
        StepError: a column with no value at all, infinite values, or a numeric column of text.
    """
    import numpy as np
    from pandas.api import types

    for column in roles.columns:
        values = frame[column]
        at = _at(project, model, *_listed_as(model, column))
        if values.isna().all():
            raise StepError(
                f"the column {column!r} of {model.features} is all null",
                location=at,
                hint="list it under columns: drop, or mend the feature",
            )
        if types.is_float_dtype(values.dtype):
            count = int(np.isinf(values.to_numpy(dtype=float, na_value=np.nan)).sum())
            if count:
                raise StepError(
                    f"the column {column!r} of {model.features} has {count:,} infinite values",
                    location=at,
                    hint="a division by zero in the feature? make them null or finite there",
                )
        if column in roles.numeric:
            _check_numeric(project, model, values, at)


def _check_numeric(project: Project, model: Model, values: pd.Series, at: Location | None) -> None:
    from liminal_assets.steps.transformers import as_numbers

    numbers = as_numbers(values)
    import numpy as np

    wrong = np.isnan(numbers) & values.notna().to_numpy()
    if wrong.any():
        example = values[wrong].iloc[0]
        raise StepError(
            f"the numeric column {values.name!r} of {model.features} holds {example!r}",
            location=at,
            hint="list it under columns: categorical",
        )


def pipeline_of(prepare: Prepare, roles: Roles, estimator: Any, *, seed: int = 0) -> Pipeline:
    """The unfitted pipeline: the preparation, then the estimator.

    It takes a data frame by column names: their order, further columns and the types that JSON
    brings make no difference.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    from liminal_assets.steps.transformers import Selected, Untouched

    parts: list[tuple[str, Any, list[str]]] = []
    if roles.numeric:
        parts.append(("numeric", _numeric(prepare.numeric, seed), list(roles.numeric)))
        if prepare.numeric.indicator:
            parts.append(("missing", _indicator(), list(roles.numeric)))
    if roles.categorical:
        parts.append(
            ("categorical", _categorical(prepare.categorical, seed), list(roles.categorical))
        )
    if roles.passthrough:
        parts.append(("passthrough", Untouched(), list(roles.passthrough)))
    preparation = ColumnTransformer(parts, remainder="drop", sparse_threshold=0.0)
    if roles.categorical and prepare.categorical.encode == "none":
        # estimators find categories by pandas' type
        preparation.set_output(transform="pandas")
    return Pipeline([("columns", Selected()), ("prepare", preparation), ("model", estimator)])


def _numeric(said: Numeric, seed: int) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    from liminal_assets.steps.transformers import Clip, Numbers

    steps: list[tuple[str, Any]] = [("numbers", Numbers())]
    if said.clip:
        steps.append(("clip", Clip(*said.clip)))
    if isinstance(said.impute, float | int):
        filled = SimpleImputer(
            strategy="constant", fill_value=float(said.impute), keep_empty_features=True
        )
        steps.append(("impute", filled))
    elif said.impute != "none":
        steps.append(("impute", SimpleImputer(strategy=said.impute, keep_empty_features=True)))
    steps.extend(_transform(said, seed))
    return Pipeline(steps)


def _transform(said: Numeric, seed: int) -> Iterator[tuple[str, Any]]:
    from sklearn import preprocessing

    from liminal_assets.steps.transformers import signed_expm1, signed_log1p

    transforms: Mapping[str, Any] = {
        "yeo_johnson": lambda: preprocessing.PowerTransformer("yeo-johnson"),
        "quantile": lambda: preprocessing.QuantileTransformer(
            output_distribution="normal", random_state=seed
        ),
        "log1p": lambda: preprocessing.FunctionTransformer(
            signed_log1p, signed_expm1, feature_names_out="one-to-one"
        ),
    }
    scales: Mapping[str, Any] = {
        "standard": preprocessing.StandardScaler,
        "minmax": preprocessing.MinMaxScaler,
        "robust": preprocessing.RobustScaler,
        "maxabs": preprocessing.MaxAbsScaler,
    }
    if said.transform != "none":
        yield "transform", transforms[said.transform]()
    if said.scale != "none":
        yield "scale", scales[said.scale]()


def _indicator() -> Any:
    from sklearn.impute import MissingIndicator
    from sklearn.pipeline import Pipeline

    from liminal_assets.steps.transformers import Numbers

    found = MissingIndicator(features="missing-only", error_on_new=False, sparse=False)
    return Pipeline([("numbers", Numbers()), ("indicator", found)])


def _categorical(said: Categorical, seed: int) -> Any:
    from sklearn import preprocessing
    from sklearn.pipeline import Pipeline

    from liminal_assets.steps.transformers import Categories, Factors

    # an estimator that takes categories takes nulls too
    nulls = said.encode == "none" and said.impute == "none"
    categories = Categories(
        "null" if nulls else said.impute, said.min_frequency, said.max_categories
    )
    encoders: Mapping[str, Any] = {
        "ordinal": lambda: preprocessing.OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1
        ),
        "one_hot": lambda: preprocessing.OneHotEncoder(
            handle_unknown="ignore", sparse_output=False
        ),
        "target": lambda: _target_encoder(seed),
        "none": Factors,
    }
    return Pipeline([("categories", categories), ("encode", encoders[said.encode]())])


def _target_encoder(seed: int) -> Any:
    """Learned by cross-fitting, so that no row sees its own target; the same cuts every time."""
    import sklearn
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import TargetEncoder

    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9):
        return TargetEncoder(random_state=seed)
    return TargetEncoder(cv=KFold(5, shuffle=True, random_state=seed))


def check_one_hot(project: Project, model: Model, frame: pd.DataFrame, roles: Roles) -> None:
    """Refuses one-hot columns by the thousand that nobody asked for.

    Raises:
        StepError: a column has more than :data:`one_hot_limit` categories.
    """
    said = model.prepare.categorical
    if said.encode != "one_hot" or said.max_categories or said.min_frequency:
        return
    for column in roles.categorical:
        count = frame[column].nunique()
        if count > one_hot_limit:
            raise StepError(
                f"one-hot encoding of {column!r} would make {count:,} columns",
                location=_at(project, model, *_listed_as(model, column)),
                hint="list it under columns: drop, or set prepare: categorical: max_categories, "
                "or encode: target",
            )


def with_values(prepare: Prepare, values: Mapping[str, Any]) -> Prepare:
    """A preparation with some of its options changed.

    Args:
        values: by path, such as ``{"numeric__scale": "standard"}``.

    Raises:
        ValueError: pydantic's, for an option or value that there isn't.
    """
    said = prepare.model_dump()
    for path, value in values.items():
        part, _, option = path.partition("__")
        said.setdefault(part, {})[option] = value
    return Prepare.model_validate(said)


def _listed_as(model: Model, column: str) -> tuple[str, ...]:
    for role in ("numeric", "categorical", "passthrough"):
        if column in getattr(model.columns, role):
            return ("columns", role)
    return ("features",)


def _at(project: Project, model: Model, *path: str) -> Location | None:
    return project.locate(model, *path) if model.location else None
