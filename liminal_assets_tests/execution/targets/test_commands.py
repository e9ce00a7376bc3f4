"""``status``, ``promote``, ``rollback`` and ``delete`` of a server that runs elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import liminal_assets as la
from liminal_assets_tests.champions import Shop
from liminal_assets_tests.commands import liminal
from liminal_assets_tests.stored_resources import Store

AtTarget = Callable[..., tuple[la.Project, Any]]


def test_a_server_elsewhere_moves_with_the_alias_or_neither_does(
    at_target: AtTarget, cluster: Store, answer_of: Callable[[int], Any], shop: Shop
) -> None:
    second = shop.register(promote=False)
    project, _ = at_target("kubernetes")
    at = ("--project", project.root)

    def versions() -> tuple[str, int]:
        """What answers, and what the alias says."""
        labels = cluster.resource("deployments")["spec"]["template"]["metadata"]["labels"]
        champion = shop.registry.champion("late")
        assert champion
        return labels["app.kubernetes.io/version"], champion.version

    answers = {version: answer_of(version) for version in (1, second.version)}
    cluster.answer = lambda body: (200, answers[int(versions()[0])])
    done = liminal("promote", "late_api", "--to", 1, *at)
    assert (done.code, versions()) == (0, ("1", 1)), done.err
    assert "it answers at http://shop--late-api.ml.svc/predict" in done.out

    done = liminal("promote", "late_api", "--to", 2, *at, "--force")
    assert (done.code, versions()) == (0, ("2", 2)), done.err
    done = liminal("rollback", "late_api", *at)
    assert (done.code, versions()) == (0, ("1", 1)), done.err

    cluster.refuse["services"] = ("PATCH", 403)
    done = liminal("promote", "late_api", "--to", 2, *at, "--force")
    assert (done.code, versions()) == (1, ("1", 1))
    assert "403 you may not" in done.err
    cluster.refuse.clear()

    served, _ = liminal("status", "--json", *at).json
    assert served["running_version"] == "1"
    assert served["health"] == "ready (ready 1/1, revision 5)"

    assert liminal("delete", *at).code == 2
    done = liminal("delete", "--yes", *at)
    assert "server late_api: deleted" in done.out
    assert cluster.kinds() <= {"pods"}
    assert liminal("status", "--json", *at).json[0]["health"] == "absent"
