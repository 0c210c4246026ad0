"""An OpenAPI description as one HTML page without scripts or external resources. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h2 { border-top: 1px solid #8886; padding-top: 1rem; margin-top: 2rem; font-size: 1.15rem; }
code, pre { font: .9em/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8883;
  vertical-align: top; }
summary { cursor: pointer; } .dim { opacity: .7; }
"""


def reference_page(spec: Mapping[str, Any]) -> str:
    """Every path, parameter, body and response of the description; all text is escaped."""
    info = spec["info"]
    title = f"{info['title']} {info['version']}"
    parts = [f"<h1>{escape(title)}</h1>", _prose(info.get("description", ""))]
    parts.append('<p><a href="/openapi.json">/openapi.json</a> has the same for programs.</p>')
    for path, methods in sorted(spec["paths"].items(), key=lambda item: not item[0].startswith("/api")):
        for method, operation in methods.items():
            parts += _operation(method.upper(), path, operation)
    parts.append("<h2>Schemas</h2>")
    for name, schema in sorted(spec.get("components", {}).get("schemas", {}).items()):
        parts.append(_schema(name, schema))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2>"
    yield _prose(operation.get("description") or operation.get("summary", ""))
    rows = [
        (
            f"{parameter['name']} ({parameter['in']})",
            _kind(parameter.get("schema", {})),
            parameter.get("description", "") or ("required" if parameter.get("required") else ""),
        )
        for parameter in operation.get("parameters", ())
    ]
    if rows:
        yield _table(("Parameter", "Type", ""), rows)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        yield f"<p>Body: {_kind(body)}</p>"
    responses = [
        (status, _response(response), response.get("description", ""))
        for status, response in operation.get("responses", {}).items()
    ]
    yield _table(("Status", "Response", ""), responses)


def _response(response: Mapping[str, Any]) -> str:
    """Its schema as HTML; without one, its media types."""
    content: Mapping[str, Any] = response.get("content", {})
    schema = next((media["schema"] for media in content.values() if media.get("schema")), None)
    return _kind(schema) if schema else escape(" or ".join(content))


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            key + ("" if key in required else " (optional)"),
            _kind(value),
            value.get("description", "") + _bounds(value),
        )
        for key, value in schema.get("properties", {}).items()
    ]
    text = _prose(schema.get("description", ""))
    return (
        f'<details id="{_anchor(name)}"><summary><code>{escape(name)}</code></summary>{text}'
        f"{_table(('Key', 'Type', ''), rows)}</details>"
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in a word or two; HTML."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#{_anchor(name)}">{escape(name)}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(_kind(option) for option in schema[several])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"map to {_kind(schema['additionalProperties'])}"
    return escape(str(schema.get("type", "any")))


_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _bounds(schema: Mapping[str, Any]) -> str:
    schemas = [schema, *schema.get("anyOf", ())]
    bounds = [f"{sign} {part[key]}" for part in schemas for key, sign in _BOUNDS.items() if key in part]
    return f" ({', '.join(bounds)})" if bounds else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    """The middle column is HTML already."""
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td><code>{escape(first)}</code></td><td>{kind}</td><td>{_codes(text)}</td></tr>"
        for first, kind, text in rows
    )
    return f"<table><tr>{''.join(f'<th>{title}</th>' for title in head)}</tr>{cells}</table>"


def _prose(text: str) -> str:
    """Paragraphs, one per line; lines that begin with a dash form a list. Backticks mark code."""
    html = []
    for line in text.splitlines():
        item = _codes(line.removeprefix("- "))
        html.append(f"<li>{item}</li>" if line.startswith("- ") else f"<p>{item}</p>" if item else "")
    return re.sub(r"((?:<li>.*?</li>)+)", r"<ul>\1</ul>", "".join(html))


def _codes(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)
