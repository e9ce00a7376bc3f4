"""Labels: the truth about predictions, as text of which every type can be made again."""

from __future__ import annotations

from typing import Any

__all__ = ["label_text"]


def label_text(label: Any) -> str:
    """A label as text that DuckDB casts back to the type of the prediction.

    >>> label_text(True), label_text(1), label_text(0.5), label_text("late")
    ('true', '1', '0.5', 'late')
    """
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)
