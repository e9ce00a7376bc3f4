"""A command that sees folders mounted: becomes it once they are (Linux).

Imports nothing but the standard library, for it runs without the packages of its interpreter.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from liminal_assets.execution.namespaces import Bind, NamespaceError, enter

__all__ = ["main", "mounted"]

_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from liminal_assets.execution.mounted import main; main(sys.argv[2:])"
)


def mounted(command: Sequence[str], binds: Sequence[Bind]) -> list[str]:
    """A command after which nothing is left of the mounts, for it alone sees them."""
    if not binds:
        return list(command)
    packages = str(Path(__file__).parents[2])
    said = json.dumps([asdict(bind) for bind in binds])
    return [sys.executable, "-I", "-S", "-c", _CODE, packages, said, *command]


def main(arguments: Sequence[str]) -> None:
    """Mounts what the first argument says, and becomes the program of the others."""
    said, *command = arguments
    binds = [
        Bind(**{**item, "copies": tuple(map(tuple, item["copies"]))}) for item in json.loads(said)
    ]
    folder = os.getcwd()
    try:
        enter(binds)
        # where it is may be covered by now
        os.chdir(folder)
        os.execv(command[0], command)  # noqa: S606
    except (NamespaceError, OSError) as error:
        sys.exit(f"liminal: {error}")
