"""Rollouts and workers as ``liminal status`` shows them to people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from liminal_assets.cli.output import print_table, say

__all__ = ["print_trials", "print_workers"]

Row = Mapping[str, Any]


def print_trials(rows: Sequence[Row], ago: Callable[[str | None], str]) -> None:
    """Each version that is tried, and what that has shown so far."""
    for row in rows:
        trial = row["candidate"]
        if trial is None:
            continue
        step = f"step {trial['step']} of {trial['steps']}" if trial["step"] else "loading"
        began = ago(trial["step_since"])
        verdict = f": {trial['verdict']}" if trial["verdict"] else ""
        say(
            f"{row['deployment']} tries version {trial['version']} ({trial['strategy']}, {step}, "
            f"began {began}){verdict}"
        )
        if evidence := trial["evidence"]:
            _print_evidence(row["running_version"], trial["version"], evidence)


def _print_evidence(stable: str, candidate: str, evidence: Row) -> None:
    sides = [(stable, evidence["stable"]), (candidate, evidence["candidate"])]
    if any(side["requests"] for _, side in sides):
        print_table(
            ["version", "requests", "error rate", "p50 ms", "p99 ms"],
            [
                [
                    version,
                    f"{side['requests']:,}",
                    f"{side['error_rate']:.3g}",
                    _number(side["p50_ms"]),
                    _number(side["p99_ms"]),
                ]
                for version, side in sides
            ],
        )
    compared, labelled = evidence.get("compared"), evidence.get("labelled")
    lines = list(_comparisons(compared, labelled))
    if lines:
        metric = labelled["metric"] if labelled else "metric"
        print_table(
            ["rows", "compared", "disagree", "labels", f"{metric} of {stable}", f"of {candidate}"],
            lines,
        )


def _comparisons(compared: Row | None, labelled: Row | None) -> Iterator[list[str]]:
    """Of all rows, then of each slice."""
    if compared or labelled:
        yield _comparison("all", compared, labelled)
    slices = [(said or {}).get("slices", {}) for said in (compared, labelled)]
    for name in dict.fromkeys([*slices[0], *slices[1]]):
        yield _comparison(name, slices[0].get(name), slices[1].get(name))


def _comparison(name: str, compared: Row | None, labelled: Row | None) -> list[str]:
    return [
        name,
        f"{compared['rows']:,}" if compared else "",
        f"{compared['disagreement']:.3g}" if compared else "",
        f"{labelled['labels']:,}" if labelled else "",
        _number(labelled["stable"]) if labelled else "",
        _number(labelled["candidate"]) if labelled else "",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def print_workers(rows: Sequence[Row], ago: Callable[[str | None], str]) -> None:
    """How each worker of the servers on this machine is."""
    workers = [(row, worker) for row in rows for worker in row["workers"]]
    if workers:
        print_table(
            ["worker of", "process", "state", "version", "tries", "since", "restarts", "problem"],
            [
                [
                    row["deployment"],
                    str(worker["pid"] or ""),
                    worker["state"],
                    worker["version"] or "",
                    worker["candidate"] or "",
                    ago(worker["since"]) if worker["since"] else "",
                    str(worker["restarts"]),
                    worker["problem"] or (f"ended {worker['ended']}" if worker["ended"] else ""),
                ]
                for row, worker in workers
            ],
        )
