"""``type: http``: asks a URL and checks the answer."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from urllib.parse import urlsplit

from liminal_assets.plugins import (
    Diagnostic,
    InProcessTask,
    StepError,
    TaskRun,
    TaskSpec,
    Workflow,
    did_you_mean,
)

__all__ = ["HttpTask"]

_EXPECTED = {"status": int, "contains": str, "within": (int, float)}
_PATIENCE = 60.0
"""Seconds that an answer may take where ``within`` says nothing."""


class HttpTask(InProcessTask):
    """Asks ``url`` with ``method``, ``headers`` and ``body``, and checks what it ``expect``s.

    ``expect`` may have ``status`` (200 without it), text that the answer ``contains``, and
    seconds ``within`` which it must come.
    """

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        """What ``liminal validate`` finds, at its line."""
        url = spec.get("url")
        if not url or urlsplit(str(url)).scheme not in ("http", "https"):
            hint = "url: https://example.com/health"
            yield Diagnostic(spec.locate("url"), "url", f"{url!r} is no URL of HTTP", hint)
        for key, value in spec.get("expect", {}).items():
            at = spec.locate("expect", key)
            if key not in _EXPECTED:
                message, hint = f"nothing expects {key!r}", did_you_mean(key, _EXPECTED)
                yield Diagnostic(at, "unknown-key", message, hint)
            elif not isinstance(value, _EXPECTED[key]):
                yield Diagnostic(at, "invalid-type", f"{key} can't be {value!r}")

    def run(self, run: TaskRun) -> None:
        """Asks once; Dagster tries again if the pipeline has ``retries``."""
        expected = self.spec.get("expect", {})
        within = expected.get("within", _PATIENCE)
        patience = within if run.remaining is None else min(within, run.remaining)
        begun = time.monotonic()
        status, text = self._ask(patience)
        seconds = time.monotonic() - begun
        run.log(f"{self.spec.get('url')} answered {status} after {seconds:.3f} s")
        run.results.update(status=status, seconds=round(seconds, 3), bytes=len(text.encode()))
        if status != expected.get("status", 200):
            raise self._unexpected(f"answered {status}: {text[:200]}", "status")
        if expected.get("contains", "") not in text:
            wanted = expected["contains"]
            raise self._unexpected(f"doesn't say {wanted!r}: {text[:200]}", "contains")
        if seconds > within:
            raise self._unexpected(f"took {seconds:.3f} s", "within")

    def _ask(self, patience: float) -> tuple[int, str]:
        body = self.spec.get("body")
        request = urllib.request.Request(  # noqa: S310  # check() allows HTTP only
            str(self.spec.get("url")),
            data=None if body is None else str(body).encode(),
            headers={str(key): str(value) for key, value in self.spec.get("headers", {}).items()},
            method=self.spec.get("method"),
        )
        try:
            with urllib.request.urlopen(request, timeout=patience) as answer:  # noqa: S310
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise StepError(
                f"{self.spec.get('url')} can't be reached: {reason}",
                location=self.spec.locate("url"),
                transient=True,
            ) from None

    def _unexpected(self, what: str, key: str) -> StepError:
        return StepError(f"{self.spec.get('url')} {what}", location=self.spec.locate("expect", key))
