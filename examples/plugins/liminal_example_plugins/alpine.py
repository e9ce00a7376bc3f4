"""``type: alpine``: a small image with some packages of Alpine Linux."""

from __future__ import annotations

import re
from collections.abc import Iterable

from liminal_assets.plugins import Diagnostic, Image, ImageBuilder, Workflow

__all__ = ["AlpineImage"]

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+._-]*")


class AlpineImage(ImageBuilder):
    """Alpine Linux of a ``version`` with ``packages``, and the ``source``, if any, in ``/app``."""

    needs_source = False

    @classmethod
    def check(cls, spec: Image, workflow: Workflow) -> Iterable[Diagnostic]:
        """What ``liminal validate`` finds, at its line."""
        for index, name in enumerate(spec.get("packages", [])):
            if not _PACKAGE.fullmatch(str(name)):
                at = spec.locate("packages", index)
                yield Diagnostic(at, "invalid-value", f"no package is called {name!r}")

    def dockerfile(self) -> str:
        """Packages come before the source: they change less often, so their layer is kept."""
        packages = " ".join(sorted(map(str, self.spec.get("packages", []))))
        lines = [f"FROM alpine:{self.spec.get('version', '3.22')}"]
        if packages:
            lines.append(f"RUN apk add --no-cache {packages}")
        lines += ["RUN adduser -D -u 1000 app", "WORKDIR /app"]
        if self.source:
            lines.append("COPY --chown=app . /app/")
        return "\n".join([*lines, "USER app", ""])
