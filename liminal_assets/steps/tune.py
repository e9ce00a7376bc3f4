"""Tune: a search for parameters with Optuna that survives interruptions.

The study is named by a hash of the code, the rows and the search space: an interrupted search
goes on where it stopped, and a changed one starts anew. Each trial draws from a sampler of its
own seed, so that a search with an interruption finds what one without it finds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model, Range, Tune
from liminal_assets.steps.metrics import Metric
from liminal_assets.steps.report import Records
from liminal_assets.storage.locks import file_lock
from liminal_assets.storage.modules import modules_below

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["Search", "TrialResult", "search", "split_params", "study_name"]

FoldScores = Callable[[Mapping[str, Any]], Iterator[float]]
"""From parameters to the metric on fold after fold."""

_ERROR = "error"
_HOPELESS = 5
"""Trials after which a search gives up if each of them failed."""


@dataclass(frozen=True)
class TrialResult:
    """One trial of a search.

    Attributes:
        state: ``complete``, ``pruned`` (stopped early) or ``failed``.
        value: the mean of the metric over the folds; of a pruned trial, over those it saw.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        metric: what was searched for.
        direction: which way is better.
        params: the best parameters.
        value: the best mean of the metric over the folds.
        trials: every trial, in order.
        resumed: how many of them an earlier, interrupted search had done.
    """

    metric: str
    direction: str
    params: Mapping[str, Any]
    value: float
    trials: Sequence[TrialResult]
    resumed: int
    study: str

    def best(self, count: int = 10) -> Records:
        """The best trials, for people."""
        complete = [t for t in self.trials if t.state == "complete" and t.value is not None]
        sign = -1 if self.direction == "maximize" else 1
        ranked = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
        return Records(
            [
                {
                    "trial": trial.number,
                    self.metric: trial.value,
                    **trial.params,
                    "seconds": round(trial.seconds, 2),
                }
                for trial in ranked[:count]
            ]
        )


def search(
    project: Project, model: Model, metric: Metric, scores: FoldScores, *, data_version: str
) -> Search:
    """Searches for the parameters with the best mean over the folds.

    Args:
        scores: evaluates parameters fold by fold, so that bad ones are stopped early.
        data_version: a hash of the rows.

    Raises:
        StepError: no trial succeeded.
    """
    import optuna

    said = _tune_of(model)
    direction = said.direction or metric.direction
    name = study_name(project, model, data_version)
    # two that train the model on these rows at once would write each other's trials
    lock = _folder(project) / f"{name}.lock"
    with _quiet(), file_lock(lock), _storage(project) as storage:
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction=direction,
            pruner=_pruner(said),
            load_if_exists=True,
        )
        resumed = _end_interrupted(study)
        _run_trials(study, said, scores)
        trials = _results(study)
        if not any(trial.state == "complete" for trial in trials):
            raise _all_failed(project, model, study)
        best = study.best_trial
        return Search(
            metric=metric.name,
            direction=direction,
            params=dict(best.params),
            value=float(best.value or 0.0),
            trials=trials,
            resumed=resumed,
            study=name,
        )


def split_params(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of the estimator, and those of the preparation without their ``prepare__``."""
    prefix = "prepare__"
    own = {name: value for name, value in params.items() if not name.startswith(prefix)}
    prepare = {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix)
    }
    return own, prepare


def study_name(project: Project, model: Model, data_version: str) -> str:
    """``<project>.<model>.<hash>``: equal for an equal search over equal rows.

    More trials or another timeout go on with the same study.
    """
    said = model.model_dump(
        mode="json",
        by_alias=True,
        include={
            "target",
            "task",
            "columns",
            "estimator",
            "python",
            "params",
            "prepare",
            "split",
            "window",
            "tune",
            "evaluate",
        },
    )
    for option in ("trials", "timeout"):
        (said["tune"] or {}).pop(option, None)
    said["evaluate"] = {"threshold": model.evaluate.threshold}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    digest.update(data_version.encode())
    module = (model.python or "").partition(":")[0] or (model.estimator or "").rpartition(".")[0]
    for path in sorted(modules_below(project.root, module)):
        digest.update(path.read_bytes())
    return f"{project.name}.{model.model}.{digest.hexdigest()[:16]}"


def _run_trials(study: Study, said: Tune, scores: FoldScores) -> None:
    from optuna.samplers import TPESampler

    spent = sum(trial.duration.total_seconds() for trial in _done(study) if trial.duration)
    for number in range(len(_done(study)), said.trials):
        if said.timeout and number and spent >= said.timeout.total_seconds():
            break
        started = time.monotonic()
        # a seed of its own per trial: nothing depends on what an interrupted process drew before
        study.sampler = TPESampler(seed=said.seed * 100_003 + number, n_startup_trials=8)
        _run_trial(study, study.ask(), said, scores)
        spent += time.monotonic() - started
        if number + 1 == _HOPELESS and all(_ERROR in trial.user_attrs for trial in _done(study)):
            break


def _done(study: Study) -> list[FrozenTrial]:
    """The trials that ended by themselves: completed, pruned, or failed with an error."""
    from optuna.trial import TrialState

    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t for t in study.trials if t.state in ended or _ERROR in t.user_attrs]


def _run_trial(study: Study, trial: Trial, said: Tune, scores: FoldScores) -> None:
    from optuna.trial import TrialState

    params = {name: _suggest(trial, name, space) for name, space in said.space.items()}
    values: list[float] = []
    try:
        for fold, value in enumerate(scores(params)):
            if not math.isfinite(value):
                raise ValueError("the metric is undefined on a fold")
            values.append(value)
            trial.report(sum(values) / len(values), fold)
            if said.prune and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return
    except Exception as error:
        # some combinations of parameters don't go together: the search goes on without them
        message = getattr(error, "message", f"{type(error).__name__}: {error}")
        trial.set_user_attr(_ERROR, message)
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, sum(values) / len(values))


def _suggest(trial: Trial, name: str, space: Range) -> Any:
    if space.choices is not None:
        return trial.suggest_categorical(name, space.choices)
    low, high = space.low, space.high
    if isinstance(low, int) and isinstance(high, int):
        step = int(space.step) if space.step else 1
        return trial.suggest_int(name, low, high, step=step, log=space.log)
    return trial.suggest_float(
        name, float(low or 0.0), float(high or 0.0), step=space.step, log=space.log
    )


def _end_interrupted(study: Study) -> int:
    """Gives up the trials that a killed process left running; how many are done."""
    from optuna.trial import TrialState

    for trial in study.trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
    return len(_done(study))


def _results(study: Study) -> list[TrialResult]:
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    return [
        TrialResult(
            number=trial.number,
            state=states.get(trial.state, "failed"),
            value=trial.value
            if trial.value is not None
            else trial.intermediate_values.get(max(trial.intermediate_values, default=0)),
            params=dict(trial.params),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        )
        for trial in study.trials
    ]


def _pruner(said: Tune) -> Any:
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=4) if said.prune else None


def _all_failed(project: Project, model: Model, study: Study) -> StepError:
    errors = [error for trial in study.trials if (error := trial.user_attrs.get(_ERROR))]
    reason = errors[-1].split("\n")[0] if errors else "none was completed in time"
    return StepError(
        f"no trial of the search for {model.model} succeeded: {reason}",
        location=_at(project, model, "tune", "space"),
        hint="is the space right for this estimator?",
    )


@contextmanager
def _storage(project: Project) -> Iterator[BaseStorage]:
    """Optuna's database: ``storage.tuning``, by default SQLite in the state folder."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    chosen = project.spec.storage.tuning
    path = _folder(project) / "studies.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(path.with_suffix(".lock")):
            # Optuna's own making of tables isn't safe with several processes
            storage = RDBStorage(chosen or f"sqlite:///{path}")
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except SQLAlchemyError as error:
        raise StepError(
            f"cannot use the database of searches: {str(error).splitlines()[0]}",
            hint="'storage: tuning:' names another one",
        ) from error


def _folder(project: Project) -> Path:
    return project.state / "optuna"


@contextmanager
def _quiet() -> Iterator[None]:
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _tune_of(model: Model) -> Tune:
    if model.tune is None:
        raise ValueError(f"{model.model} has no 'tune'")
    return model.tune


def _at(project: Project, model: Model, *path: str) -> Location | None:
    return project.locate(model, *path) if model.location else None
