"""The server as an OpenAPI 3.1 document: every path that it has, with the model's real fields.

| module | knows |
|---|---|
| ``described`` | what a document is about: the server's paths, guards and model |
| ``schemas`` | JSON Schemas of rows, answers and refusals |
| ``operations`` | what each path takes and answers |
| ``document`` | the document around them |

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from liminal_assets.serving.openapi.described import Described
from liminal_assets.serving.openapi.document import openapi

__all__ = ["Described", "openapi"]
