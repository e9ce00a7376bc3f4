"""``python -m liminal_assets.serving``: a server on trial, for the process that starts it.

Reads what to serve as one JSON object from standard input, writes ``{"url": ...}`` to standard
output once the port is its own, or ``{"error": ..., "hint": ...}``, and ends when its parent does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.serving.server import end_with, serve
from liminal_assets.steps.handover import project_from


def _say(**said: Any) -> None:
    print(json.dumps(said), flush=True)


def _main() -> int:
    said = json.load(sys.stdin)
    end_with(os.getppid())
    project = project_from(said["project"])
    deployment = Deployment.model_validate(said["deployment"])
    try:
        gently = serve(
            project,
            deployment,
            host=said["host"],
            port=said["port"],
            workers=said["workers"],
            log_predictions=said["log_predictions"],
            trial=True,
            on_listening=lambda url, grpc: _say(url=url),
        )
    except StepError as error:
        _say(error=error.message, hint=error.hint)
        return 1
    return 0 if gently else 1


if __name__ == "__main__":
    code = _main()
    sys.stderr.flush()
    # all is written and closed; taking every imported module apart would only take seconds
    os._exit(code)
