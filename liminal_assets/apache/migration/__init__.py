"""What must change in a project of Apache Liminal, and a modern version of it.

Nothing here writes: texts go in and come out.
"""

from __future__ import annotations

from liminal_assets.apache.migration.mending import Mended, Reason, mend
from liminal_assets.apache.migration.modern import modernised
from liminal_assets.apache.migration.moves import Move
from liminal_assets.apache.migration.sources import Sources, read_sources

__all__ = ["Mended", "Move", "Reason", "Sources", "mend", "modernised", "read_sources"]
