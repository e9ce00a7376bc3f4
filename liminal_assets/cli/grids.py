"""``--grid``: a YAML file, or parameters with their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

if TYPE_CHECKING:
    from liminal_assets.steps.backtest import Grid

__all__ = ["parse_grid"]

_PARAMETER = re.compile(r"^([A-Za-z_]+)=(.*)$", re.DOTALL)


def parse_grid(options: Sequence[str], default: str) -> Grid | bool:
    """The grid that options ask for; False without any, True for the ready-made one.

    >>> parse_grid(["threshold=0.1,0.2", "when=breach,{fresh: 2}"], "default")
    [{'threshold': [0.1, 0.2], 'when': ['breach', {'fresh': 2}]}]

    Raises:
        click.BadParameter: one is no grid.
    """
    if not options:
        return False
    if list(options) == [default]:
        return True
    given: dict[str, Sequence[Any]] = {}
    files: list[Mapping[str, Sequence[Any]]] = []
    for option in options:
        if found := _PARAMETER.match(option):
            given[found[1]] = _values(option, f"[{found[2]}]")
        elif option != default:
            files += _read(option)
    return [*files, *([given] if given else [])]


def _values(option: str, text: str) -> list[Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        raise _wrong(option, "its values can't be read as YAML") from None
    return list(values)


def _read(option: str) -> list[Mapping[str, Sequence[Any]]]:
    file = Path(option)
    if not file.is_file():
        raise _wrong(option, "it is no file and no PARAMETER=A,B, such as threshold=0.1,0.2")
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise _wrong(option, f"it can't be read: {str(error).splitlines()[0]}") from None
    grids = said if isinstance(said, list) else [said]
    if not all(isinstance(grid, dict) and grid for grid in grids):
        raise _wrong(option, "it holds a mapping such as 'threshold: [0.1, 0.2]', or several")
    return [{str(k): v if isinstance(v, list) else [v] for k, v in grid.items()} for grid in grids]


def _wrong(option: str, message: str) -> click.BadParameter:
    return click.BadParameter(f"{option}: {message}", param_hint="--grid")
