"""Windows whose rows the prediction log no longer holds: what was found then stays."""

from __future__ import annotations

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.history import PastWindow, past_windows
from liminal_assets.steps.observation import Window
from liminal_assets.steps.windows import WatchedRows
from liminal_assets.storage.predictions import PredictionLog

__all__ = ["judged_before_loss", "lost"]


def judged_before_loss(
    project: Project, monitor: Monitor, watched: WatchedRows
) -> PastWindow | None:
    """How the window of a partition was judged when the log held more of its rows than it does now;
    None where it holds them, or the window was never judged."""
    deployment = project.blocks.get(monitor.deployment)
    if not isinstance(deployment, Deployment) or watched.window.partition is None:
        return None
    past = next(iter(past_windows(project, monitor, watched.window.key)), None)
    there = watched.rows.rows + watched.others
    return past if past and lost(project, deployment, watched.window, past, there) else None


def lost(
    project: Project, deployment: Deployment, window: Window, past: PastWindow, there: int
) -> bool:
    """Whether rows of a window were deleted from the log, the oldest first, since it was judged;
    never of batch scores.

    Args:
        there: how many of them there are now.
    """
    if deployment.batch or there >= past.rows:
        return False
    begins = PredictionLog(project, deployment.name).begins()
    return begins is None or (window.since is not None and begins > window.since)
