"""A Kubernetes API for tests that stores resources as server-side apply does, and plays the
controllers which bring them about.

What a controller would do takes no time here; a test says what goes wrong.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Manifest = dict[str, Any]

_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?P<proxy>/proxy/.*)?)?"
)


@dataclass
class Store:
    """What is on the cluster, and what was asked of it.

    Attributes:
        stored: the resources, by plural and name.
        applied: every manifest that was applied, in order.
        writes: (method, plural, name) of each request that changed something.
        refuse: requests that are refused: plural to (method, status).
        waiting: why pods of a version wait for ever, by their image.
        answer: what a service answers through the API: the body to a status and an answer.
    """

    stored: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    applied: list[Manifest] = field(default_factory=list)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    refuse: dict[str, tuple[str, int]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    answer: Callable[[Any], tuple[int, Any]] = lambda body: (503, {"message": "no endpoints"})
    url: str = ""

    def resource(self, plural: str) -> Manifest:
        """The only one of its kind."""
        [found] = [item for (kind, _), item in self.stored.items() if kind == plural]
        return found

    def kinds(self) -> set[str]:
        return {plural for plural, _ in self.stored}

    def kubeconfig(self, folder: Path) -> Path:
        """A file that leads to the API."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": "very-secret-token"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return file

    def apply(self, plural: str, name: str, manifest: Manifest) -> Manifest:
        """Stores a resource; its generation grows only with its specification."""
        before = self.stored.get((plural, name))
        self.applied.append(manifest)
        new = deepcopy(manifest)
        metadata = new["metadata"]
        old = before["metadata"] if before else {}
        same = before is not None and _plain(before) == _plain(new)
        metadata["generation"] = old.get("generation", 0) + (0 if same else 1)
        if before is not None and same:
            before["metadata"] = {**metadata, "annotations": metadata.get("annotations", {})}
            new = before
        else:
            self.writes.append(("APPLY", plural, name))
        self.stored[plural, name] = new
        if plural == "deployments":
            self._roll_out(new)
        elif plural == "inferenceservices":
            self._become_ready(new, before)
        return new

    def _roll_out(self, found: Manifest) -> None:
        """What the Deployment's controller and the kubelets do."""
        spec, metadata = found["spec"], found["metadata"]
        wanted = spec.setdefault("replicas", 1)
        template = spec["template"]
        reason = self.waiting.get(template["spec"]["containers"][0]["image"])
        name = f"{metadata['name']}-pod"
        state = {"waiting": {"reason": reason, "message": "it says why"}} if reason else {}
        self.stored["pods", name] = {
            "metadata": {"name": name, "labels": template["metadata"]["labels"]},
            "status": {"containerStatuses": [{"name": "server", "state": state}]},
        }
        done = 0 if reason else wanted
        metadata.setdefault("annotations", {})["deployment.kubernetes.io/revision"] = str(
            metadata["generation"]
        )
        found["status"] = {
            "observedGeneration": metadata["generation"],
            "replicas": wanted,
            "updatedReplicas": done,
            "readyReplicas": done,
            "availableReplicas": done,
            "conditions": [{"type": "Progressing", "status": "True"}],
        }

    def _become_ready(self, found: Manifest, before: Manifest | None) -> None:
        """What KServe's controller does."""
        name, namespace = found["metadata"]["name"], found["metadata"]["namespace"]
        generation = found["metadata"]["generation"]
        image = found["spec"]["predictor"]["containers"][0]["image"]
        reason = self.waiting.get(image)
        ready = {"type": "Ready", "status": "False" if reason else "True", "reason": reason}
        revision = f"{name}-predictor-{generation:05d}"
        last = (before or {}).get("status", {}).get("components", {}).get("predictor", {})
        share = found["spec"]["predictor"].get("canaryTrafficPercent")
        found["status"] = {
            "observedGeneration": generation,
            "conditions": [{**ready, "message": "it says why"}],
            "url": f"{self.url}/routes/{namespace}/{name}",
            "components": {
                "predictor": {
                    "latestCreatedRevision": revision,
                    "latestReadyRevision": last.get("latestReadyRevision") if reason else revision,
                    "traffic": [{"percent": 100 if share is None else share}],
                }
            },
        }

    def handle(
        self, method: str, path: str, query: Mapping[str, list[str]], body: Any
    ) -> tuple[int, Any]:
        """Status and answer."""
        if path.startswith("/routes/"):
            return self.answer(body)
        found = _PATH.fullmatch(path)
        assert found, path
        plural, name = found["plural"], found["name"]
        refused = self.refuse.get(plural)
        if refused and refused[0] == method:
            return refused[1], {"kind": "Status", "message": "you may not"}
        if found["proxy"]:
            return self.answer(body)
        if name is None:
            wanted = dict(item.split("=") for item in query["labelSelector"][0].split(","))
            items = [
                item
                for (kind, _), item in self.stored.items()
                if kind == plural and wanted.items() <= item["metadata"].get("labels", {}).items()
            ]
            return 200, {"items": items}
        if method == "PATCH":
            assert query["fieldManager"] == ["liminal"]
            assert query["force"] == ["true"]
            return 200, self.apply(plural, name, body)
        if (plural, name) not in self.stored:
            return 404, {"kind": "Status", "message": "not found"}
        if method == "DELETE":
            self.writes.append(("DELETE", plural, name))
            return 200, self.stored.pop((plural, name))
        return 200, self.stored[plural, name]


def _plain(manifest: Manifest) -> Any:
    """What of a resource counts as its specification."""
    spec = deepcopy(manifest.get("spec", manifest.get("data")))
    if manifest["kind"] == "Deployment":
        spec.setdefault("replicas", 1)
    return spec


@contextmanager
def stored_resources() -> Iterator[Store]:
    """An API of its own, which ends with the block."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            url = urlsplit(self.path)
            if self.command == "PATCH":
                assert self.headers["content-type"] == "application/apply-patch+yaml"
            status, said = store.handle(self.command, url.path, parse_qs(url.query), body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
