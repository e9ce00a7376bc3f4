"""Validate: the gate between a candidate and production; each rule is one outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from liminal_assets.language.loading import Project
from liminal_assets.language.models import Rule
from liminal_assets.steps.candidate import Candidate, answers_of
from liminal_assets.steps.evaluate import Evaluation, Slice, slices_of
from liminal_assets.steps.integrity import check_integrity
from liminal_assets.steps.metrics import Answers, Metric, better_by, measure
from liminal_assets.steps.report import Outcome, Records
from liminal_assets.steps.rules import rule_names
from liminal_assets.steps.train import metrics_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["reasons", "validate"]

_ROUNDING = 1e-12
"""Two metrics closer than this are equal."""


def validate(
    candidate: Candidate,
    evaluation: Evaluation,
    *,
    champion: Any = None,
    champion_name: str = "the champion",
    reload: Callable[[], Any] | None = None,
    sample: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    project: Project | None = None,
) -> list[Outcome]:
    """Holds a candidate against each rule of its ``validate``, in order.

    >>> outcomes = la.steps.validate(trained, la.steps.evaluate(trained))
    >>> all(outcome.passed for outcome in outcomes)

    Args:
        champion: the fitted pipeline in use, scored on the same held-out rows; None for the first
            candidate, which beats it.
        champion_name: how messages call it.
        reload: loads the candidate as production would; default: through cloudpickle.
        sample: rows and what the pipeline answered about them when it was trained; default: what
            it answers now about the first held-out rows.

    Raises:
        StepError: a metric or a sliced column isn't known.
    """
    project = project or Project.of("notebook", check=False)
    gate = _Gate(project, candidate, evaluation, champion, champion_name)
    outcomes = []
    for name, rule in rule_names(candidate.model):
        if rule.integrity is not None:
            outcomes.append(check_integrity(name, candidate, rule.integrity, reload, sample))
        elif rule.beats_champion_by is not None:
            outcomes.append(gate.beats(name, rule))
        else:
            outcomes.append(gate.bound(name, rule))
    return outcomes


def reasons(outcomes: Sequence[Outcome]) -> str:
    """Why a candidate failed, a line per rule; empty if it passed."""
    return "\n".join(f"{o.name}: {o.description}" for o in outcomes if o.blocks)


class _Gate:
    """A candidate, its report, and the champion's answers on the same rows."""

    def __init__(
        self,
        project: Project,
        candidate: Candidate,
        evaluation: Evaluation,
        champion: Any,
        champion_name: str,
    ) -> None:
        self.project, self.candidate, self.evaluation = project, candidate, evaluation
        self.champion, self.champion_name = champion, champion_name
        found = metrics_of(project, candidate.model, candidate.task, len(candidate.classes) or 1)
        self.metrics = {metric.name: metric for metric in found}
        self._champion_answers: Answers | None = None

    def bound(self, name: str, rule: Rule) -> Outcome:
        """``at_least`` or ``at_most``, of all rows or of every slice."""
        metric = self.metrics[rule.metric or ""]
        if rule.slice:
            return self._bound_of_slices(name, rule, metric)
        value = self.evaluation.metrics[metric.name]
        error = self.evaluation.errors.get(metric.name)
        sure = f" ± {1.96 * error:.2g}" if error is not None else ""
        passed = _meets(value, rule)
        return Outcome(
            name,
            passed,
            description=f"{metric.name} is {value:.4g}{sure}, {_asked(rule, passed)}",
            metadata={
                "metric": metric.name,
                "value": value,
                "bound": _bound(rule),
                "standard_error": error,
            },
        )

    def _bound_of_slices(self, name: str, rule: Rule, metric: Metric) -> Outcome:
        parts = [part for part in self.evaluation.slices if part.column == rule.slice]
        known = [part for part in parts if not math.isnan(part.metrics[metric.name])]
        failing = [part for part in known if not _meets(part.metrics[metric.name], rule)]
        if failing:
            shown = ", ".join(
                f"{part.value} ({part.metrics[metric.name]:.4g})" for part in failing[:5]
            )
            said = f"{metric.name} of {rule.slice} {shown}: {_asked(rule, passed=False)}"
        else:
            said = (
                f"{metric.name} of each of {len(known)} slices by {rule.slice} is "
                f"{_asked(rule, passed=True)}"
            )
        return Outcome(
            name,
            not failing,
            description=said,
            metadata={
                "metric": metric.name,
                "bound": _bound(rule),
                "slices": _slice_records(parts, metric),
                "undefined_slices": [p.value for p in parts if p not in known] or None,
            },
        )

    def beats(self, name: str, rule: Rule) -> Outcome:
        """``beats_champion_by``: on the very same rows."""
        metric = self.metrics[rule.metric or ""]
        value = self.evaluation.metrics[metric.name]
        if self.champion is None:
            return Outcome(
                name,
                passed=True,
                description=f"{metric.name} is {value:.4g}; there is no champion to beat yet",
                metadata={"metric": metric.name, "value": value},
            )
        try:
            theirs = self._answers_of_champion()
        except Exception as error:
            # rows that it can't answer here it couldn't answer in production either
            said = str(error).strip().split("\n")[0]
            return Outcome(
                name,
                passed=True,
                description=f"{metric.name} is {value:.4g}; {self.champion_name} can't answer "
                f"these rows any more ({said}), so there is nothing to beat",
                metadata={"metric": metric.name, "value": value, "champion_error": said},
            )
        if rule.slice:
            return self._beats_in_slices(name, rule, metric, theirs)
        other = measure([metric], theirs)[metric.name]
        gain = better_by(metric, value, other)
        passed = _better_enough(gain, rule)
        return Outcome(
            name,
            passed,
            description=f"{metric.name} is {value:.4g}, that of {self.champion_name} on the same "
            f"{len(theirs):,} rows {other:.4g}: {_gained(gain, rule, passed)}",
            metadata={
                "metric": metric.name,
                "value": value,
                "champion": other,
                "gain": gain,
                "asked": rule.beats_champion_by,
            },
        )

    def _beats_in_slices(self, name: str, rule: Rule, metric: Metric, theirs: Answers) -> Outcome:
        candidate = self.candidate
        other = {
            part.value: part.metrics[metric.name]
            for part in slices_of(
                self.project,
                candidate.model,
                rule.slice or "",
                candidate.held_out,
                theirs,
                [metric],
            )
        }
        rows = []
        for part in self.evaluation.slices:
            if part.column == rule.slice:
                mine = part.metrics[metric.name]
                gain = better_by(metric, mine, other[part.value])
                rows.append(
                    {
                        "value": part.value,
                        "rows": part.rows,
                        metric.name: mine,
                        "champion": other[part.value],
                        "gain": gain,
                        "passed": math.isnan(gain) or _better_enough(gain, rule),
                    }
                )
        failing = [row for row in rows if not row["passed"]]
        shown = ", ".join(f"{row['value']} ({row['gain']:+.4g})" for row in failing[:5])
        return Outcome(
            name,
            not failing,
            description=(
                f"{metric.name} gains less than {rule.beats_champion_by:g} over "
                f"{self.champion_name} in {rule.slice} {shown}"
                if failing
                else f"{metric.name} beats {self.champion_name} in each of {len(rows)} slices"
            ),
            metadata={"metric": metric.name, "slices": Records(rows)},
        )

    def _answers_of_champion(self) -> Answers:
        if self._champion_answers is None:
            candidate = self.candidate
            self._champion_answers = answers_of(
                self.champion, candidate.held_out, candidate.truth, candidate.task
            )
        return self._champion_answers


def _meets(value: float, rule: Rule) -> bool:
    if rule.at_least is not None:
        return value >= rule.at_least - _ROUNDING
    return value <= _bound(rule) + _ROUNDING


def _bound(rule: Rule) -> float:
    return rule.at_least if rule.at_least is not None else rule.at_most or 0.0


def _asked(rule: Rule, passed: bool) -> str:
    bound = _bound(rule)
    if rule.at_least is not None:
        return f"at least {bound:g}" if passed else f"below {bound:g}"
    return f"at most {bound:g}" if passed else f"above {bound:g}"


def _better_enough(gain: float, rule: Rule) -> bool:
    return gain >= (rule.beats_champion_by or 0.0) - _ROUNDING


def _gained(gain: float, rule: Rule, passed: bool) -> str:
    asked = rule.beats_champion_by or 0.0
    word = "better" if gain >= 0 else "worse"
    need = f"at least {asked:g} better was asked" if asked else "at least as good was asked"
    return f"{abs(gain):.4g} {word}" + ("" if passed else f", {need}")


def _slice_records(parts: Sequence[Slice], metric: Metric) -> Records:
    rows: list[Mapping[str, Any]] = [
        {"value": part.value, "rows": part.rows, metric.name: part.metrics[metric.name]}
        for part in parts
    ]
    return Records(rows)
