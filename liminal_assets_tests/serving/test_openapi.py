"""What the server says of itself is true: fuzzed by its own document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as of_openapi

from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import Limits
from liminal_assets.serving.control.live import LiveModel, State
from liminal_assets.serving.control.team import Place, Team, write_team
from liminal_assets.serving.functions import Functions
from liminal_assets.serving.guards.auth import AuthConfig, Authenticator, JwtConfig, digest
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.records import Recording
from liminal_assets.serving.log.spool import Spool, SpoolSettings
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.serving.openapi import Described, openapi
from liminal_assets.serving.openapi.operations import OPERATIONS
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets_tests.serving.conftest import running

KEY = "a-key-of-tests-that-nobody-knows"
PATHS = [*OPERATIONS, "/explain"]


def explain(body: bytes) -> Any:
    """Says what it got."""
    return {"bytes": len(body)}


def whole(live: LiveModel, folder: Path, guard: Guard | None = None) -> ServingApp:
    """A server with every path that there is."""
    watch = Watch()
    return ServingApp(
        live,
        guard=guard,
        watch=watch,
        log=Spool(folder, SpoolSettings(entity=("flight_id",), recording=Recording())),
        functions=Functions({"/explain": explain}, watch.metrics),
    )


@pytest.fixture(scope="module")
def server(app: ServingApp, tmp_path_factory: pytest.TempPathFactory) -> ServingApp:
    limits = Limits(max_rows=50, max_body_mb=0.1)
    return whole(app.live, tmp_path_factory.mktemp("spool"), Guard(limits))


@pytest.fixture(scope="module")
def api(server: ServingApp) -> Iterator[Any]:
    with running(server) as client:
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


def asked(api: Any, path: str, mode: GenerationMode, check: Any, examples: int = 15) -> None:
    """Asks each operation of a path with what its schema allows, or doesn't."""
    for method in api[path]:
        operation = api[path][method]
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters):
            continue

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            check(case)

        ask()


@pytest.mark.parametrize("path", PATHS)
def test_what_the_document_allows_is_answered_as_it_says(api: Any, path: str) -> None:
    def check(case: Any) -> None:
        # a schema can't say that columns are equally long, or that a tensor has its shape
        case.call_and_validate(excluded_checks=[of_openapi.positive_data_acceptance])

    asked(api, path, GenerationMode.POSITIVE, check)


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/explain"])
def test_what_the_document_does_not_allow_is_refused(api: Any, path: str) -> None:
    asked(api, path, GenerationMode.NEGATIVE, lambda case: case.call_and_validate())


def test_without_a_model_it_is_true_too(tmp_path: Path) -> None:
    app = whole(LiveModel(), tmp_path)
    validate(openapi(Described.of(app)))
    with running(app) as client:
        api = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        for path in PATHS:
            asked(api, path, GenerationMode.POSITIVE, unready, examples=2)


def unready(case: Any) -> None:
    """Without a model 5xx is what a server should say."""
    excluded = [of_openapi.positive_data_acceptance, not_a_server_error]
    response = case.call_and_validate(excluded_checks=excluded)
    assert response.status_code in (200, 400, 404, 503)


@pytest.mark.parametrize("jwt", [False, True])
def test_who_may_ask_is_told_and_true(app: ServingApp, tmp_path: Path, jwt: bool) -> None:
    tokens = JwtConfig(("HS256",), KEY * 2, scopes=("predict",)) if jwt else None
    config = AuthConfig({"one": digest(KEY.encode())}, jwt=tokens, public=("docs",))
    guard = Guard(Limits(rate=1e6), Authenticator(config))
    with running(whole(app.live, tmp_path, guard)) as client:
        document = client.get("/openapi.json").json()
        validate(document)
        api = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        for path, operations in document["paths"].items():
            for method, said in operations.items():
                public = path in guard.public
                assert said["security"] == ([] if public else [{"bearer": []}, {"api_key": []}])
                assert ("401" in said["responses"]) is not public
                assert ("403" in said["responses"]) is (jwt and not public)
                known = path.replace("{name}", "model").replace("{version}", "7")
                refused = client.request(method, known)
                assert (refused.status_code == 401) is not public
                api[path][method].validate_response(refused)
        assert "bearerFormat" in document["components"]["securitySchemes"]["bearer"] or not jwt
        headers = {"authorization": f"Bearer {KEY}"}
        assert client.get("/info", headers=headers).status_code == 200


def test_the_document_is_valid_and_has_every_path(server: ServingApp) -> None:
    document = json.loads(json.dumps(openapi(Described.of(server))))
    validate(document)
    assert set(document["paths"]) == {route.path for route in server.router.routes} == set(PATHS)


def test_it_names_the_real_fields_and_its_examples_are_answered(server: ServingApp) -> None:
    with running(server) as client:
        document = client.get("/openapi.json").json()
        schemas = document["components"]["schemas"]
        assert schemas["Row"]["required"] == ["distance", "stops", "carrier", "weekend"]
        assert schemas["Row"]["properties"]["wind"]["type"] == ["number", "null"]
        assert schemas["Prediction"]["required"] == ["prediction", "probability", "prediction_id"]
        assert set(schemas["Label"]["properties"]) == {
            *("prediction_id", "flight_id", "at", "label", "labelled_at")
        }
        tried = 0
        for path, operations in document["paths"].items():
            body = operations.get("post", {}).get("requestBody", {}).get("content", {})
            for kind, said in body.items():
                examples = [one["value"] for one in said.get("examples", {}).values()]
                examples += [said["example"]] if "example" in said else []
                for example in examples:
                    content = example if isinstance(example, str) else json.dumps(example)
                    known = path.replace("{name}", "shop.late").replace("{version}", "7")
                    answer = client.post(known, content=content, headers={"content-type": kind})
                    assert answer.status_code == 200, (path, example, answer.text)
                    tried += 1
        assert tried == 3 + 5 + 2 + 1


def test_it_tells_of_the_workers(app: ServingApp, tmp_path: Path) -> None:
    folders = ServingFolders(tmp_path)
    folders.workers.mkdir(parents=True)
    write_team(folders, Team(1, 0.0, (Place(None, 0.0), Place(2, 0.0, 3, "by signal 9"))))
    with running(ServingApp(app.live, folders=folders)) as client:
        api = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        response = client.get("/readyz")
        assert [one["state"] for one in response.json()["workers"]["each"]] == [
            "restarting",
            "loading",
        ]
        api["/readyz"]["GET"].validate_response(response)


def test_it_changes_with_the_versions_that_answer(app: ServingApp, tmp_path: Path) -> None:
    stable = app.live.state.model
    assert stable
    live = LiveModel(State(stable))
    with running(whole(live, tmp_path)) as client:

        def versions() -> Any:
            paths = client.get("/openapi.json").json()["paths"]
            infer = paths["/v2/models/{name}/versions/{version}/infer"]["post"]
            return infer["parameters"][1]["schema"]["enum"]

        assert versions() == ["7"]
        live.state = State(stable, candidate=replace(stable, version="8"))
        assert versions() == ["7", "8"]
        live.state = State(live.state.candidate)
        assert versions() == ["8"]


def test_other_methods_are_refused(server: ServingApp) -> None:
    with running(server) as client:
        for route in server.router.routes:
            known = route.path.replace("{name}", "model").replace("{version}", "7")
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - set(route.methods):
                answer = client.request(method, known)
                assert answer.status_code == 405
                assert answer.headers["allow"] == ", ".join([*route.methods, "OPTIONS"])
