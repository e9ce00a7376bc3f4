"""Services of a project as programs: their endpoints, ports and environment."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from textwrap import dedent

import pytest

from liminal_assets.apache.services import servers_of
from liminal_assets.apache.workflow import Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.services import Ports, service_mistakes, service_program
from liminal_assets_tests.workflows import found, workflow_of

IMAGE = """\
name: shop
images:
  - image: org/app
    type: python_server
    source: app
    endpoints:
      - {endpoint: /predict, module: serving, function: predict}
      - {endpoint: /version, module: serving, function: version}
"""
NAMELESS = """\
services:
  - service:
    name: my_server
    type: python_server
    image: org/app
    source: .
    endpoints:
      - {endpoint: /predict, module: other, function: predict}
      - {endpoint: /healthcheck, module: serving, function: healthcheck}
"""


def shop(folder: Path, services: str) -> Workflow:
    (folder / "app").mkdir(exist_ok=True)
    return workflow_of(folder, IMAGE + dedent(services))


def test_a_service_has_its_images_endpoints_and_its_own_which_win(tmp_path: Path) -> None:
    [server] = servers_of(shop(tmp_path, NAMELESS))
    assert server.name == "my_server"
    assert server.source == tmp_path
    assert {endpoint.path: endpoint.module for endpoint in server.endpoints} == {
        "/predict": "other",
        "/version": "serving",
        "/healthcheck": "serving",
    }


def test_the_program_of_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_PASSWORD", "secret")
    workflow = shop(
        tmp_path,
        "services: [{service: api, image: org/app, threads: 2, env_vars: {MODE: fast, N: 3}}]",
    )
    [server] = servers_of(workflow)
    program = service_program(server, Ports(workflow.state))
    assert program.folder == tmp_path / "app"
    assert program.log == workflow.state / "logs" / "shop" / "services" / "api.log"
    assert (program.environment["MODE"], program.environment["N"]) == ("fast", "3")
    assert "OUR_PASSWORD" not in program.environment
    assert not program.inherits
    config = json.loads((workflow.state / "services" / "shop" / "api.json").read_text())
    assert [item["endpoint"] for item in config["endpoints"]] == ["/predict", "/version"]
    assert config["server"] == {"threads": 2}


def test_a_free_port_is_the_same_the_next_time(tmp_path: Path) -> None:
    workflow = shop(tmp_path, "services: [{service: a, image: org/app}, {service: b}]")
    first = [Ports(workflow.state).of(server) for server in servers_of(workflow)]
    ports = Ports(workflow.state)
    assert [ports.of(server) for server in servers_of(workflow)] == first
    assert len(set(first)) == 2


def test_a_port_that_is_asked_for_and_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        workflow = shop(tmp_path, f"services: [{{service: api, image: org/app, port: {port}}}]")
        [server] = servers_of(workflow)
        with pytest.raises(StepError, match=f"port {port} of the service api is taken"):
            Ports(workflow.state).of(server)


def test_two_services_can_not_have_one_port(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workflow = shop(
        tmp_path, f"services: [{{service: a, port: {port}}}, {{service: b, port: {port}}}]"
    )
    first, second = servers_of(workflow)
    ports = Ports(workflow.state)
    assert ports.of(first) == port
    with pytest.raises(StepError, match="by shop/a"):
        ports.of(second)


def test_an_image_of_others_needs_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    workflow = shop(tmp_path, "services: [{service: db, image: 'postgres:16', port: 5999}]")
    [server] = servers_of(workflow)
    with pytest.raises(StepError, match=r"the image postgres:16, which needs a container engine"):
        service_program(server, Ports(workflow.state))


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        pytest.param("image: org/app, port: 80a", ["invalid-value"], id="port"),
        pytest.param("image: org/app, replicas: -1", ["invalid-value"], id="replicas"),
        pytest.param("image: org/app, threads: 0", ["invalid-value"], id="threads"),
        pytest.param("image: org/app, env_vars: [a]", ["invalid-type"], id="env_vars"),
        pytest.param("image: org/app, mounts: [{volume: nope, path: /x}]", ["unknown-volume"], id="mounts"),  # noqa: E501
        pytest.param("endpoints: [{endpoint: /x}]", ["missing-key"] * 2 + ["missing-key"], id="endpoints"),  # noqa: E501
        pytest.param("image: org/app", [], id="right"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_service_is_told(
    tmp_path: Path, service: str, expected: list[str]
) -> None:
    workflow = shop(tmp_path, f"services: [{{service: api, {service}}}]")
    told = found(service_mistakes(workflow))
    assert [code for _, code in told] == expected
    assert {line for line, _ in told} <= {9}
