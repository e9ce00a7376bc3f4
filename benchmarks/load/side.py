"""One side of the comparison in its own process: prints seconds, counts and a digest as JSON."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap

from benchmarks.load.project import write_project


def main(side: str, blocks: int) -> None:
    """Loads one side once."""
    with tempfile.TemporaryDirectory() as folder:
        write_project(Path(folder), blocks)
        importing = time.perf_counter()
        build = _liminal(Path(folder)) if side == "liminal" else _plain(side, blocks)
        started = time.perf_counter()
        repository = build().get_repository_def()
        RepositorySnap.from_def(repository)
        seconds = time.perf_counter() - started
    told = _told(repository)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    checks = sum(len(asset["checks"]) for asset in told.values())
    found = {
        "seconds": seconds,
        "imported": started - importing + seconds,
        "assets": len(told),
        "checks": checks,
        "digest": digest,
    }
    print(json.dumps(found))


def _liminal(folder: Path) -> Callable[[], dg.Definitions]:
    from liminal_assets.factories.build import build_definitions

    return lambda: build_definitions(folder)


def _plain(side: str, blocks: int) -> Callable[[], dg.Definitions]:
    from benchmarks.load import plain

    return lambda: plain.definitions(blocks, lean=side == "lean")


def _told(repository: dg.RepositoryDefinition) -> dict[str, dict[str, object]]:
    """What both sides must agree on, by asset."""
    graph = repository.asset_graph
    return {
        key.to_user_string(): {
            "deps": sorted(dep.to_user_string() for dep in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": list(node.owners),
            "description": node.description,
            "partitioned": node.partitions_def is not None,
            "checks": sorted(check.name for check in node.check_keys),
        }
        for key in graph.get_all_asset_keys()
        for node in [graph.get(key)]
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
