"""A server of this machine that is kept up, at whatever port is free."""

from __future__ import annotations

import os
import signal
import ssl
import threading

import httpx
import pytest

from liminal_assets.cli.bringing_up import service_programs
from liminal_assets.execution.records import Records
from liminal_assets.execution.supervisor import Supervisor
from liminal_assets.steps.deploy import TargetStatus, target_of
from liminal_assets_tests.certificates import certificate
from liminal_assets_tests.champions import Shop
from liminal_assets_tests.serving.shelf import until


@pytest.mark.slow
def test_a_server_at_any_free_port_is_kept_up_and_found(served: Shop) -> None:
    trusted, _ = certificate(served.project.root)
    shop = served.rewritten("{port: 0, ", "{port: 0, tls: {cert: tls.crt, key: tls.key}, ")
    project = shop.project
    block = project.spec.deployments[0]
    target = target_of(project, block)
    assert target.status(project, block) == TargetStatus("stopped")

    (program,) = service_programs([project], None)
    assert program.url.startswith("https://127.0.0.1:")
    supervisor = Supervisor([program], Records(project.state))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        until(lambda: target.status(project, block).state == "ready")
        first = target.status(project, block)
        assert first.endpoint == f"{program.url}/predict"
        context = ssl.create_default_context(cafile=str(trusted))
        with httpx.Client(base_url=program.url, verify=context) as client:
            until(lambda: client.get("/readyz").status_code == 200)
            assert client.get("/info").json()["model_version"] == "1"

        os.kill(first.details["pid"], signal.SIGKILL)
        until(lambda: target.status(project, block).details.get("restarts") == 1)
        until(lambda: target.status(project, block).state == "ready")
        # who knew where it was finds it again
        assert target.status(project, block).endpoint == first.endpoint
    finally:
        supervisor.stop()
        thread.join(60)
    assert target.status(project, block) == TargetStatus("stopped")
    assert [again.url for again in service_programs([project], None)] == [program.url]
