"""Custom resources of the API server in memory: their schema, their status, and their columns.

What a real server does and this does not: CEL rules, conversion, and fields that two managers apply.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]

from tests.support.kubernetes.fake_objects import seconds_since
from tests.support.kubernetes.patches import Json, RefusedError
from tests.support.kubernetes.resources import Resource

_ANYTHING: Final = "x-kubernetes-preserve-unknown-fields"
_ALWAYS: Final = frozenset({"apiVersion", "kind", "metadata"})


class CustomResource:
    """One version of a CustomResourceDefinition."""

    def __init__(self, definition: Json) -> None:
        spec = definition["spec"]
        [version] = [version for version in spec["versions"] if version["storage"]]
        self.resource: Final = Resource(
            spec["group"],
            version["name"],
            spec["names"]["plural"],
            spec["names"]["kind"],
            spec["scope"] == "Namespaced",
            tuple(version.get("subresources", ())),
            tuple(spec["names"].get("shortNames", ())),
        )
        self._schema: Final[Json] = version["schema"]["openAPIV3Schema"]
        self._columns: Final[list[Json]] = version.get("additionalPrinterColumns", [])

    def admitted(self, data: Json, old: Json | None, sub: str, *, strict: bool) -> Json:
        """What is stored of a write: a status only through its subresource, nothing else through that one. A
        changed spec is a new generation. Raises RefusedError 400 and 422."""
        data = copy.deepcopy(data)
        unknown = list(_prune(data, self._schema, ""))
        if unknown and strict:
            why = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise RefusedError(400, "BadRequest", f"strict decoding error: {why}")
        if "status" in self.resource.subresources:
            if sub == "status" and old is not None:
                data = copy.deepcopy(old) | ({"status": data["status"]} if "status" in data else {})
            else:
                data.pop("status", None)
                data |= {"status": old["status"]} if old is not None and "status" in old else {}
        _fill_in(data, self._schema)
        self._validate(data)
        generation = old["metadata"].get("generation", 1) if old else 0
        changed = old is None or _substance(old) != _substance(data)
        data["metadata"]["generation"] = generation + 1 if changed else generation
        return data

    def _validate(self, data: Json) -> None:
        validator = jsonschema.Draft4Validator(self._schema)
        errors = sorted(validator.iter_errors(data), key=lambda error: list(map(str, error.absolute_path)))
        if not errors:
            return
        causes = [
            f"{'.'.join(map(str, error.absolute_path)) or '<root>'}: Invalid value: {error.message}"
            for error in errors
        ]
        name = data.get("metadata", {}).get("name")
        raise RefusedError(422, "Invalid", f'{self.resource.kind} "{name}" is invalid: {causes}')

    def table(self, items: list[Json], meta: Json) -> Json:
        """As kubectl asks for it."""
        name = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
        columns = [
            {"name": one["name"], "type": one["type"], "format": "", "description": "", "priority": 0}
            for one in self._columns
        ]
        rows = [
            {
                "cells": [item["metadata"]["name"], *(_cell(item, column) for column in self._columns)],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"],
                },
            }
            for item in items
        ]
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta,
            "columnDefinitions": [name, *columns],
            "rows": rows,
        }


def _substance(data: Json) -> Json:
    return {key: value for key, value in data.items() if key not in {"metadata", "status"}}


def _prune(data: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Remove what the schema does not have; its paths."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _prune(item, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(data, dict) or "properties" not in schema or schema.get(_ANYTHING):
        return
    for key in list(data):
        here = f"{path}.{key}" if path else key
        if key in schema["properties"]:
            yield from _prune(data[key], schema["properties"][key], here)
        elif path or key not in _ALWAYS:
            del data[key]
            yield here


def _fill_in(data: Any, schema: Mapping[str, Any]) -> None:
    """Set the defaults of absent fields."""
    for item in data if isinstance(data, list) else ():
        _fill_in(item, schema.get("items", {}))
    for key, part in schema.get("properties", {}).items() if isinstance(data, dict) else ():
        if key not in data and "default" in part:
            data[key] = copy.deepcopy(part["default"])
        if key in data:
            _fill_in(data[key], part)


def _cell(item: Json, column: Json) -> object:
    value = _at(item, column["jsonPath"])
    if column["type"] == "date" and isinstance(value, str):
        return f"{seconds_since(value):.0f}s"
    if isinstance(value, list):
        return str(value).replace("'", '"').replace(", ", ",")
    return value


def _at(data: Any, path: str) -> Any:
    """The value at a JSON path of names and one kind of filter; None if there is none."""
    for name, kind in re.findall(r"\.(\w+)(?:\[\?\(@\.type==\"(\w+)\"\)\])?", path):
        data = data.get(name) if isinstance(data, dict) else None
        if kind:
            data = next((entry for entry in data or () if entry.get("type") == kind), None)
    return data
