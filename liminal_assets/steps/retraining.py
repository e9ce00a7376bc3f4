"""What a retraining rests on, whoever asks: the partitions to learn from, the version in use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import ended_key, partitions_of
from liminal_assets.language.retraining import Retrain
from liminal_assets.steps.decision import Promotion, Retraining

if TYPE_CHECKING:
    from liminal_assets.storage.journal import Decision

__all__ = [
    "learning_partitions",
    "looks_at_partitions",
    "partition_to_learn_from",
    "promotion_of",
]


def learning_partitions(project: Project, monitor: Monitor, model: str) -> Partitions | None:
    """How the rows that the model learns from are cut by time; else how the monitor's are."""
    block = project.blocks.get(model)
    features = project.blocks.get(block.features) if isinstance(block, Model) else None
    for found in (features, monitor):
        cut = partitions_of(project, found) if found is not None else None
        if cut is not None and cut.every:
            return cut
    return None


def looks_at_partitions(policy: Retrain) -> bool:
    """Whether a policy needs to know which partitions there are."""
    return bool(policy.trigger("fresh") or policy.trigger("every"))


def partition_to_learn_from(
    project: Project, monitor: Monitor, model: str, retraining: Retraining
) -> str | None:
    """The last partition that a retraining learns from; None: all that there are.

    It is one of those that the model's rows are cut into: where the monitor's windows are cut
    otherwise, the newest that was complete when the window ended. Partitions by listed values are
    in no order of time that training could stop at.
    """
    cut, window = learning_partitions(project, monitor, model), retraining.window
    if cut is None or window.partition is None:
        return None
    if window.until is None or cut == partitions_of(project, monitor):
        return window.partition
    return ended_key(cut, window.until)


def promotion_of(decisions: Iterable[Decision]) -> Promotion | None:
    """How the version in use came to be so; None if it wasn't promoted in another's place.

    Args:
        decisions: the model's journal.
    """
    found: Promotion | None = None
    current: int | None = None
    for decision in decisions:
        if decision.champion == current:
            continue
        current, found = decision.champion, None
        if decision.action == "promote" and decision.previous is not None:
            metrics = decision.evidence.get("metrics") or {}
            found = Promotion(str(decision.champion), str(decision.previous), dict(metrics))
    return found
