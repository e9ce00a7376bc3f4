"""What a retraining rests on, whoever asks: the partitions to learn from, the version in use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import partitions_of
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

    Partitions by listed values are in no order of time that training could stop at.
    """
    return retraining.window.partition if learning_partitions(project, monitor, model) else None


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
