"""A monitor's history as a table for people: a row per window, the newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["window_table"]

_DRIFT = ("drift", "prediction_drift")


def window_table(past: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The windows of a history.

    Args:
        past: measures, as :func:`~liminal_assets.steps.history.history` gives them.

    Returns:
        Rows of plain values with the same keys: the window, the model version, rows, the verdict,
        how many columns drifted and the largest distance, each performance and KPI by its name, and
        for late labels how many rows had one and how often the window was judged.
    """
    windows: dict[str, list[Mapping[str, Any]]] = {}
    for measure in past:
        windows.setdefault(str(measure["window"]), []).append(measure)
    names = dict.fromkeys(
        str(measure["subject"])
        for measures in windows.values()
        for measure in measures
        if _is_number(measure)
    )
    return [_row(measures, names) for measures in reversed(windows.values())]


def _row(measures: list[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    first = measures[0]
    broken = dict.fromkeys(str(each["check"]) for each in measures if each["breach"])
    verdict = f"breach: {', '.join(broken)}" if broken else "within bounds"
    distances = [each for each in measures if each["check"] in _DRIFT]
    numbers = {str(each["subject"]): each["value"] for each in measures if _is_number(each)}
    return {
        "window": first["window"],
        "version": first["model_version"],
        "rows": first["rows"],
        "verdict": verdict if broken or first["judged"] else "not judged",
        "drifted columns": sum(bool(each["breach"]) for each in distances) if distances else None,
        "largest distance": max((each["value"] for each in distances), default=None),
        **{name: numbers.get(name) for name in names},
        "labelled": first.get("labelled"),
        "judged": first.get("revision"),
    }


def _is_number(measure: Mapping[str, Any]) -> bool:
    """Whether a measure is a performance or a KPI of the whole window."""
    check = str(measure["check"])
    return check == "performance" or check.startswith("kpi_")
