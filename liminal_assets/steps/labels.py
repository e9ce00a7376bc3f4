"""Labels: the truth about predictions, as text of which every type can be made again."""

from __future__ import annotations

from typing import Any

__all__ = ["label_text", "label_value"]


def label_text(label: Any) -> str:
    """A label as text that DuckDB casts back to the type of the prediction.

    >>> label_text(True), label_text(1), label_text(0.5), label_text("late")
    ('true', '1', '0.5', 'late')
    """
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float) and label.is_integer():
        # whole numbers beside missing ones are floats in pandas
        return str(int(label))
    return str(label)


def label_value(text: str, like: Any) -> Any:
    """What a label's text says, as a value of the prediction's type; the text itself where it
    can't be one.

    >>> label_value("true", False), label_value("1", 0), label_value("late", 0)
    (True, 1, 'late')
    """
    if isinstance(like, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(like, int | float):
        try:
            return type(like)(text)
        except ValueError:
            return text
    return text
