"""The numbers of a model that have no bound, from below or from above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

_BELOW: Final = {"minimum", "exclusiveMinimum"}
_ABOVE: Final = {"maximum", "exclusiveMaximum"}


def unbounded(model: type[BaseModel]) -> list[str]:
    """Path of each, and what it lacks: of its JSON Schema, which has the parts of lists and mappings too."""
    return sorted(set(_found(model.model_json_schema(), "")))


def _found(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, list):
        for part in node:
            yield from _found(part, path)
        return
    if not isinstance(node, dict):
        return
    if node.get("type") in ("integer", "number"):
        if not _BELOW & node.keys():
            yield f"{path}: none below"
        if not _ABOVE & node.keys():
            yield f"{path}: none above"
    for key, part in node.items():
        if key in ("properties", "$defs"):
            for name, value in part.items():
                yield from _found(value, f"{path}.{name}".removeprefix("."))
        elif key not in ("default", "examples", "enum", "const"):
            yield from _found(part, path)
