"""A Kubernetes API for tests: jobs whose pods are processes of this machine.

It answers the few requests that running a job takes, with what a cluster would, and remembers them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

_INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass
class Pod:
    """One pod: a process, or one that waits for ever."""

    manifest: dict[str, Any]
    waiting: Mapping[str, str] | None
    process: subprocess.Popen[bytes] | None = None
    lines: list[str] = field(default_factory=list)
    """Of its log, each with its moment."""
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def container(self) -> dict[str, Any]:
        found = [c for c in self.manifest["spec"]["containers"] if c["name"] == "base"]
        return found[0]

    def start(self) -> None:
        """Runs the container's command with its environment."""
        container = self.container
        index = self.manifest["metadata"].get("annotations", {}).get(_INDEX)
        environment = {
            entry["name"]: entry.get("value", index) for entry in container.get("env", ())
        }
        self.process = subprocess.Popen(
            [*container["command"], *container.get("args", ())],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            moment = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            self.lines.append(f"{moment} {line.decode().rstrip()}\n")
        self.process.wait()
        self.done.set()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, 9)

    def as_dict(self) -> dict[str, Any]:
        return {**self.manifest, "status": self._status()}

    def _status(self) -> dict[str, Any]:
        state: dict[str, Any]
        if self.process is None:
            phase, state = "Pending", {"waiting": self.waiting}
            if self.waiting is None:
                message = "0/1 nodes are available"
                condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
                return {"phase": phase, "conditions": [{**condition, "message": message}]}
        elif not self.done.is_set():
            phase, state = "Running", {"running": {}}
        else:
            code = self.process.returncode
            phase = "Failed" if code else "Succeeded"
            reason = "OOMKilled" if code == 137 else "Error" if code else "Completed"
            state = {"terminated": {"exitCode": abs(code), "reason": reason}}
        status = {"name": "base", "state": state, "ready": phase == "Running"}
        more = {"image": "i", "imageID": "i", "restartCount": 0}
        return {"phase": phase, "containerStatuses": [{**status, **more}]}


@dataclass
class Cluster:
    """What the API was asked for, and what there is.

    Attributes:
        waiting: why the containers of new pods wait instead of running (``reason``, ``message``).
        unschedulable: new pods get no node.
        refuse: answers of this status, with its message, for the next requests of a method.
        breaks: how many more streams of logs break after one line.
    """

    requests: list[tuple[str, str]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    pods: dict[str, Pod] = field(default_factory=dict)
    waiting: Mapping[str, str] | None = None
    unschedulable: bool = False
    refuse: list[tuple[str, int, str]] = field(default_factory=list)
    breaks: int = 0
    url: str = ""

    def make(self, namespace: str, job: dict[str, Any]) -> dict[str, Any]:
        name, spec = job["metadata"]["name"], job["spec"]
        job["metadata"]["namespace"] = namespace
        self.jobs[name] = job
        for index in range(spec["completions"]):
            template = spec["template"]
            metadata = dict(template.get("metadata", {}))
            metadata["name"] = f"{name}-{index}"
            metadata["labels"] = {**metadata.get("labels", {}), "job-name": name}
            if spec.get("completionMode") == "Indexed":
                annotations = metadata.get("annotations", {})
                metadata["annotations"] = {**annotations, _INDEX: str(index)}
            pod = Pod({"metadata": metadata, "spec": template["spec"]}, self.waiting)
            self.pods[metadata["name"]] = pod
            if self.waiting is None and not self.unschedulable:
                pod.start()
        return job

    def kubeconfig(self, folder: Path) -> Path:
        """A file that leads to the API."""
        name = "test"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {"token": "t"}}],
            "contexts": [
                {"name": name, "context": {"cluster": name, "user": name, "namespace": "team"}}
            ],
        }
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return file


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster of its own, which ends with the block together with its processes."""
    found = Cluster()
    handler = type("Handler", (_Handler,), {"cluster": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        for pod in found.pods.values():
            pod.kill()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, query = self._asked("GET")
        if path is None:
            return
        if found := re.fullmatch(r"/api/v1/namespaces/[^/]+/pods", path):
            job = query.get("labelSelector", [""])[0].removeprefix("job-name=")
            pods = [
                pod.as_dict()
                for pod in self.cluster.pods.values()
                if pod.manifest["metadata"]["labels"]["job-name"] == job
            ]
            self._answer(200, {"items": pods})
        elif found := re.fullmatch(r"/api/v1/namespaces/[^/]+/pods/([^/]+)/log", path):
            self._log(found[1])
        elif re.fullmatch(r"/api/v1/namespaces/[^/]+/events", path):
            event = {"type": "Warning", "reason": "Failed", "message": "no such image"}
            metadata = {"name": "e", "namespace": "team"}
            event_of = {"metadata": metadata, "involvedObject": {}, **event}
            self._answer(200, {"items": [event_of]})
        else:
            self._answer(404, {"message": f"nothing at {path}"})

    def do_POST(self) -> None:
        path, _ = self._asked("POST")
        if path is None:
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = re.fullmatch(r"/apis/batch/v1/namespaces/([^/]+)/jobs", path)
        assert found, path
        self._answer(201, self.cluster.make(found[1], body))

    def do_DELETE(self) -> None:
        path, _ = self._asked("DELETE")
        if path is None:
            return
        name = path.rpartition("/")[2]
        if "/jobs/" in path:
            self.cluster.deleted.append(name)
            self.cluster.jobs.pop(name, None)
        elif pod := self.cluster.pods.pop(name, None):
            pod.kill()
        self._answer(200, {"status": "Success"})

    def _asked(self, method: str) -> tuple[str | None, dict[str, list[str]]]:
        url = urlsplit(self.path)
        self.cluster.requests.append((method, url.path))
        if self.cluster.refuse and self.cluster.refuse[0][0] == method:
            _, status, message = self.cluster.refuse.pop(0)
            if length := int(self.headers.get("Content-Length") or 0):
                self.rfile.read(length)
            self._answer(status, {"message": message})
            return None, {}
        return url.path, parse_qs(url.query)

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _log(self, name: str) -> None:
        pod = self.cluster.pods.get(name)
        if pod is None:
            self._answer(404, {"message": f"pods {name} not found"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while True:
            ended = pod.done.is_set()
            for line in pod.lines[sent:]:
                data = line.encode()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                sent += 1
                if self.cluster.breaks:
                    self.cluster.breaks -= 1
                    self.close_connection = True
                    return
            if ended or name not in self.cluster.pods:
                break
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Requests are remembered, not printed."""
