"""The settings that are waited for: intervals, time-outs, and how often something may be done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel

_WAITED_FOR: Final = re.compile(r"(interval|timeout|grace|ready)_(seconds|minutes)$|_per_second$")
_NEEDED: Final[dict[str, dict[str, object]]] = {
    "probes": {"name": "web", "url": "http://localhost/"},
    "targets": {"name": "t", "queues": ["q"]},
    "processes": {"command": ["sleep", "60"]},
}
"""What an entry of a list or an optional part has to have besides."""


def waits_of(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each such setting."""
    for name, field in model.model_fields.items():
        parts = [field.annotation, *get_args(field.annotation)]
        inner = next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
        if inner is not None:
            yield from waits_of(inner, (*path, name))
        elif _WAITED_FOR.search(name):
            yield (*path, name)


def text_with(path: tuple[str, ...], value: float) -> dict[str, Any]:
    """Settings with this value at a path."""
    name, *rest = path
    if not rest:
        return {name: value}
    inner = {**_NEEDED.get(name, {}), **text_with(tuple(rest), value)}
    return {name: [inner] if name in ("probes", "targets") else inner}
