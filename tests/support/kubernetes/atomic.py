"""Fields in atomic parts of an object that the API server fills in where a manifest leaves them out.

Server-side apply compares an atomic list or map as a whole, as it was applied: with a field that the server
has filled in it differs from the manifest, which is a conflict for the second tool that applies it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate

_DEFAULTED: Final = re.compile(
    r"defaults? to|default (value )?is|if (not specified|empty|unset)", re.IGNORECASE
)
_LISTS_BY_ITEM: Final = frozenset({"map", "set"})


@cache
def _definitions(version: str) -> dict[str, Any]:
    root = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    text = (root / f"v{version}.0-local" / "_definitions.json").read_text()
    definitions: dict[str, Any] = json.loads(text)["$defs"]
    return definitions


def left_to_defaulting(manifest: dict[str, Any], version: str) -> list[str]:
    """Paths, such as `spec.egress.ports.protocol`, of what the schema says has a default and is left out."""
    group, _, api = manifest["apiVersion"].rpartition("/")
    wanted = {"group": group, "kind": manifest["kind"], "version": api}
    for schema in _definitions(version).values():
        if wanted in schema.get("x-kubernetes-group-version-kind", ()):
            return sorted(set(_missing(manifest, schema, "", version, atomic=False)))
    raise ValueError(f"no schema of {wanted}")


def _missing(data: Any, schema: dict[str, Any], path: str, version: str, *, atomic: bool) -> Iterator[str]:
    schema = _resolved(schema, version)
    if isinstance(data, list):
        whole = atomic or schema.get("x-kubernetes-list-type", "atomic") not in _LISTS_BY_ITEM
        for item in data:
            yield from _missing(item, schema.get("items", {}), path, version, atomic=whole)
        return
    if not isinstance(data, dict):
        return
    whole = atomic or schema.get("x-kubernetes-map-type") == "atomic"
    for name, part in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        if name in data:
            yield from _missing(data[name], part, here, version, atomic=whole)
        elif whole and ("default" in part or _DEFAULTED.search(part.get("description", ""))):
            yield here


def _resolved(schema: dict[str, Any], version: str) -> dict[str, Any]:
    """With what it refers to. Its own markers count."""
    while "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = _definitions(version)[name] | {key: value for key, value in schema.items() if key != "$ref"}
    return schema
