"""The releases that a controller keeps on its disk, and the plan that they allow."""

from __future__ import annotations

import logging
import shutil

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.control.live import read_workers
from liminal_assets.serving.control.plan import Plan, read_plan
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.release import read_release

__all__ = ["plan_to_go_on_with", "readable", "tidy"]

_log = logging.getLogger("liminal_assets.serving")


def plan_to_go_on_with(folders: ServingFolders) -> Plan:
    """The plan to go on with: the one on disk, without releases that can't be read any more."""
    try:
        plan = read_plan(folders.plan)
    except StepError as error:
        _log.warning("%s: it begins anew", error)
        plan = Plan()
    if not readable(folders, plan.stable):
        plan = msgspec.structs.replace(plan, stable=None)
    if not readable(folders, plan.candidate):
        plan = msgspec.structs.replace(plan, candidate=None, share=0.0, shadow=0.0, rollout=None)
    return plan


def readable(folders: ServingFolders, key: str | None) -> bool:
    """Whether a release can be loaded; what is left of one that can't is removed."""
    if key is None:
        return False
    try:
        read_release(folders.releases / key)
    except StepError as error:
        _log.warning("%s", error)
        # in its place the same release can be made again
        shutil.rmtree(folders.releases / key, ignore_errors=True)
        return False
    return True


def tidy(folders: ServingFolders, plan: Plan) -> None:
    """Removes the releases that nobody can come back to, and the report of a rollout that is
    over."""
    if plan.rollout is None:
        folders.report.unlink(missing_ok=True)
    kept = {plan.stable, plan.candidate, plan.previous}
    for state in read_workers(folders.workers).values():
        kept |= {state.stable, state.candidate}
    if folders.releases.is_dir():
        for folder in folders.releases.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
