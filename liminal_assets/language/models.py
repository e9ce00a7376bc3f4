"""Models: Prepare, Train, Evaluate and Validate."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from liminal_assets.language.base import (
    Block,
    Duration,
    FunctionPath,
    Name,
    Names,
    NotBool,
    Number,
    Options,
    Scalar,
    Spec,
    Whole,
    one_of_keys,
)

__all__ = [
    "Categorical",
    "Evaluate",
    "Integrity",
    "Model",
    "ModelColumns",
    "Numeric",
    "Prepare",
    "Range",
    "Rule",
    "Split",
    "Tune",
]


class ModelColumns(Spec):
    """The role of each feature column. Columns with no role take one by their type."""

    numeric: Names = ()
    categorical: Names = ()
    passthrough: Names = ()
    """Go to the estimator untouched."""
    drop: Names = ()
    """Never reach the estimator. The target, entity and timestamp never do."""

    @model_validator(mode="after")
    def _one_role(self) -> ModelColumns:
        listed = [*self.numeric, *self.categorical, *self.passthrough, *self.drop]
        twice = sorted({column for column in listed if listed.count(column) > 1})
        if twice:
            raise ValueError(f"columns with more than one role: {', '.join(twice)}")
        return self


class Numeric(Spec):
    """Preparation of numeric columns, inside the fitted pipeline."""

    impute: Annotated[Literal["mean", "median", "most_frequent", "none"] | float, NotBool] = (
        "median"
    )
    """How nulls are filled; a number fills with itself."""
    indicator: bool = False
    """Add a column per imputed column that says where nulls were."""
    clip: tuple[Number, Number] | None = None
    """Quantiles, such as ``[0.01, 0.99]``, learned in training, that values are held within."""
    transform: Literal["yeo_johnson", "quantile", "log1p", "none"] = "none"
    scale: Literal["standard", "minmax", "robust", "maxabs", "none"] = "none"


class Categorical(Spec):
    """Preparation of categorical columns, inside the fitted pipeline."""

    impute: Literal["most_frequent", "none"] | str = "none"
    """How nulls are filled; any other word fills with itself; ``none`` keeps missing as a
    category."""
    encode: Literal["ordinal", "one_hot", "target", "none"] = "one_hot"
    min_frequency: (
        Annotated[Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)], NotBool] | None
    ) = None
    """Rarer categories become one."""
    max_categories: Annotated[int, Field(ge=2), NotBool] | None = None


class Prepare(Spec):
    """What happens to columns before the estimator; served exactly as trained."""

    numeric: Numeric = Numeric()
    categorical: Categorical = Categorical()


class Split(Spec):
    """How rows are held out for the evaluation."""

    by: Literal["time", "random", "group"] = "random"
    test: Annotated[float, Field(gt=0, lt=1), NotBool] = 0.2
    """The share of rows held out."""
    column: str | None = None
    """``by: time``: the timestamp column (default: the feature's); ``by: group``: the group."""
    stratify: bool | str = False
    """``by: random``: keep the shares of the target (true) or of a column."""
    gap: Duration | None = None
    """``by: time``: rows this long before the test rows are left out of training."""
    seed: Whole = 0

    @model_validator(mode="after")
    def _options_of_kind(self) -> Split:
        if self.by == "group" and not self.column:
            raise ValueError("'by: group' needs the 'column' of the group")
        if self.by != "random" and self.stratify:
            raise ValueError("'stratify' goes with 'by: random'")
        if self.by != "time" and self.gap:
            raise ValueError("'gap' goes with 'by: time'")
        return self


class Range(Spec):
    """The values that one parameter may take in tuning."""

    low: Annotated[float | int, NotBool] | None = None
    high: Annotated[float | int, NotBool] | None = None
    log: bool = False
    step: Annotated[float | int, NotBool] | None = None
    choices: tuple[Scalar, ...] | None = None

    @model_validator(mode="after")
    def _range_or_choices(self) -> Range:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log or self.step:
                raise ValueError("'choices' stand alone")
        elif self.low is None or self.high is None:
            raise ValueError("a range needs 'low' and 'high', or 'choices'")
        elif self.low >= self.high:
            raise ValueError("'low' must be below 'high'")
        elif self.log and (self.low <= 0 or self.step):
            raise ValueError("'log' needs a 'low' above 0 and no 'step'")
        return self


class Tune(Spec):
    """Search for parameters with Optuna; an interrupted search goes on where it stopped."""

    trials: Annotated[int, Field(ge=1), NotBool]
    metric: str
    direction: Literal["maximize", "minimize"] | None = None
    """Default: the metric's own."""
    space: Annotated[dict[str, Range], Field(min_length=1)]
    """Per parameter of the estimator; ``prepare__…`` reaches the preparation."""
    cross_validate: Annotated[int, Field(ge=2), NotBool] = 3
    """Folds per trial, cut as ``split`` says."""
    timeout: Duration | None = None
    prune: bool = True
    """Stop trials early that are worse than the median after the same folds."""
    seed: Whole = 0


class Evaluate(Spec):
    """The evaluation report on held-out rows."""

    metrics: Names = ()
    """scikit-learn metrics by name; default: the usual ones of the task."""
    slices: Names = ()
    """Columns whose values cut the rows; each slice gets the metrics."""
    min_slice_rows: Annotated[int, Field(ge=1), NotBool] = 50
    """Smaller slices are reported together."""
    cross_validate: Annotated[int, Field(ge=2), NotBool] | None = None
    explain: Literal["permutation"] | None = None
    """Permutation importance of each column."""
    threshold: Annotated[float, Field(gt=0, lt=1), NotBool] = 0.5
    """Binary classification: the probability that counts as positive."""


class Integrity(Spec):
    """The registered model is reloaded and must answer as it did in training."""

    latency: Duration | None = None
    """The longest that one row may take."""


class Rule(Spec):
    """One condition that a candidate must meet to become champion."""

    metric: str | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    beats_champion_by: Number | None = None
    """By how much the candidate must be better (in the metric's direction) than the current
    champion on the same rows; 0.0: at least as good. The first candidate passes."""
    slice: str | None = None
    """Every slice of this column must meet the condition."""
    integrity: Integrity | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("integrity") is True:
            return {**data, "integrity": {}}
        return data

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        if self.integrity is not None:
            if self.metric or self.slice:
                raise ValueError("'integrity' stands alone")
        elif self.metric is None:
            raise ValueError("a rule needs a 'metric' or 'integrity: true'")
        else:
            one_of_keys(self, "at_least", "at_most", "beats_champion_by")
        return self


class Model(Block):
    """A trained, evaluated and validated model, registered in MLflow."""

    model: Name
    features: Name
    """The feature (or dataset) whose rows it learns from."""
    target: str
    """The column to predict. Rows without a target are left out."""
    after: Names = ()
    """Blocks and tasks (``pipeline/task``) that must be there first though it reads none of their
    rows."""
    task: Literal["classification", "regression"] | None = None
    """Default: what the estimator is."""
    columns: ModelColumns = ModelColumns()
    estimator: str | None = None
    """Any importable scikit-learn compatible class: ``sklearn.linear_model.Ridge``."""
    python: FunctionPath | None = None
    """A function that takes ``params`` as keywords and returns the unfitted estimator."""
    params: Options = {}
    prepare: Prepare = Prepare()
    split: Split = Split()
    tune: Tune | None = None
    evaluate: Evaluate = Evaluate()
    validate_: Annotated[tuple[Rule, ...], Field(alias="validate")] = ()
    window: Duration | None = None
    """Learn from the newest rows only, by the feature's timestamp; default: all."""
    min_rows: Annotated[int, Field(ge=2), NotBool] = 50
    """Fewer rows to learn from fail the step."""
    refit: bool = False
    """After the evaluation, fit once more on all rows, the held-out ones included."""

    @model_validator(mode="after")
    def _one_estimator(self) -> Model:
        one_of_keys(self, "estimator", "python")
        if self.target in (*self.columns.numeric, *self.columns.categorical):
            raise ValueError(f"the target {self.target!r} can't be one of the columns")
        return self

    @property
    def name(self) -> str:
        return self.model

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.features,)
