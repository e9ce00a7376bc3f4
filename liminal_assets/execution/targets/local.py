"""``target: local``: this machine."""

from __future__ import annotations

import statistics
import time
from typing import ClassVar

from liminal_assets.execution.records import Records
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.steps.deploy import Deployed, Target, TargetStatus
from liminal_assets.steps.proof import Proof
from liminal_assets.steps.trial import server_on_trial
from liminal_assets.storage.model_version import ModelVersion

__all__ = ["LocalTarget"]

_LATENCY_CALLS = 20


class LocalTarget(Target):
    """``liminal serve`` or ``liminal start`` runs the server, which takes over what is promoted;
    a deployment proves that it will answer."""

    follows: ClassVar[bool] = True
    strategies: ClassVar[frozenset[str]] = frozenset({"all_at_once", "canary", "shadow"})

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        """Starts the real server on a free port, compares its answer with the registry's, and
        stops it."""
        started = time.perf_counter()
        release = prepare_release(project, deployment, version)
        proof = Proof.of(project, deployment, version)
        with server_on_trial(project, deployment) as server:
            prediction = proof.check(server.predict(proof.row))
            seconds = []
            for _ in range(_LATENCY_CALLS):
                before = time.perf_counter()
                server.predict(proof.row)
                seconds.append(time.perf_counter() - before)
        return Deployed(
            version,
            _endpoint(deployment),
            {
                "first_prediction": prediction,
                "asked": proof.row,
                "form": release.form,
                "certificate": release.certificate,
                **release.evidence,
                "latency_p50_ms": round(statistics.median(seconds) * 1000, 3),
                "seconds": round(time.perf_counter() - started, 3),
            },
        )

    def status(self, project: Project, deployment: Deployment) -> TargetStatus:
        """How the server is that ``liminal start`` keeps up."""
        record = Records(project.state).get(f"{project.name}/{deployment.name}")
        if record is None or not (record.alive or record.state in ("restarting", "failed")):
            return TargetStatus("stopped", endpoint=_endpoint(deployment))
        return TargetStatus(
            record.state,
            endpoint=f"{record.url}/predict",
            details={"pid": record.pid, "restarts": record.restarts},
        )

    def delete(self, project: Project, deployment: Deployment) -> bool:
        """Nothing: ``liminal stop`` stops the server, which leaves nothing behind."""
        return False


def _endpoint(deployment: Deployment) -> str | None:
    """Where ``liminal serve`` will answer; not known before for any free port."""
    said = deployment.serve
    if said is None or said.port == 0:
        return None
    host = f"[{said.host}]" if ":" in said.host else said.host
    return f"{'https' if said.tls else 'http'}://{host}:{said.port}/predict"
