"""What the server says of itself: an OpenAPI document with the model's real fields, and a page.

The page is made here, for the usual one (Swagger UI) loads its parts from the internet.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.openapi import Described, openapi
from liminal_assets.steps.signature import Field

__all__ = ["Documents"]


@dataclass(frozen=True)
class Documents:
    """The documents of a server at one moment."""

    openapi: bytes
    page: bytes

    @classmethod
    def of(cls, described: Described) -> Documents:
        """The documents of a server as it is now."""
        document = openapi(described)
        page = _page(document, described)
        return cls(msgspec.json.encode(document), page.encode())


def _page(document: Mapping[str, Any], described: Described) -> str:
    model = described.model
    info = document["info"]
    paths = "".join(
        f"<tr><td><code>{method.upper()} {html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}</td></tr>"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    known = model.signature.known.values() if model else ()
    fields = "".join(_field_row(said, model) for said in known if model)
    example = msgspec.json.encode({"records": [described.row]})
    return _TEMPLATE.format(
        title=html.escape(info["title"]),
        description=html.escape(info["description"]),
        version=html.escape(info["version"]),
        paths=paths,
        fields=fields,
        example=html.escape(msgspec.json.format(example, indent=2).decode()),
        key=_KEY if described.auth else "",
        statuses="".join(
            f"<tr><td>{status}</td><td>{html.escape(said['description'])}</td></tr>"
            for status, said in document["paths"]["/predict"]["post"]["responses"].items()
        ),
    )


def _field_row(said: Field, model: ServedModel) -> str:
    needed = "required" if said.required else "may be null or missing"
    use = "goes to the model" if said.name in model.signature.names else "only logged"
    name = html.escape(said.name)
    cells = (f"<code>{name}</code>", said.type, needed, use)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


_KEY = """<p><label>Key or token <input id="key" type="password" autocomplete="off"></label></p>
"""

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b2330; background: #fff }}
h1 small {{ font-weight: normal; color: #5a6675 }}
table {{ border-collapse: collapse; width: 100% }}
td {{ border-top: 1px solid #dde2e8; padding: .3rem .6rem .3rem 0; vertical-align: top }}
code, pre, textarea {{ font: 14px/1.4 ui-monospace, monospace }}
textarea {{ width: 100%; height: 16rem; box-sizing: border-box }}
pre {{ background: #f3f5f8; padding: .8rem; overflow: auto; min-height: 1rem }}
button {{ font: inherit; padding: .3rem 1rem }}
</style>
</head>
<body>
<h1>{title} <small>version {version}</small></h1>
<p>{description} The same as a document for programs: <a href="openapi.json">openapi.json</a>.</p>
<h2>Paths</h2>
<table>{paths}</table>
<h2>Fields of a row</h2>
<table>{fields}</table>
<h2>Answers of <code>/predict</code></h2>
<table>{statuses}</table>
<h2>Try it</h2>
<form id="form">
<textarea id="body" aria-label="Request body" spellcheck="false">{example}</textarea>
{key}<p><button>POST /predict</button> <span id="status" role="status"></span></p>
</form>
<pre id="answer"></pre>
<script>
document.getElementById("form").addEventListener("submit", async (event) => {{
  event.preventDefault();
  const headers = {{"content-type": "application/json"}};
  const key = document.getElementById("key");
  if (key && key.value) headers.authorization = "Bearer " + key.value;
  const response = await fetch("predict", {{
    method: "POST",
    headers,
    body: document.getElementById("body").value,
  }});
  document.getElementById("status").textContent = response.status + " " + response.statusText;
  document.getElementById("answer").textContent = JSON.stringify(await response.json(), null, 2);
}});
</script>
</body>
</html>
"""
