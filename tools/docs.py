"""Pages of documentation that are written from declarations, and compared with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.config.load import is_secret


def write_or_check(pages: Mapping[Path, str], arguments: list[str], program: str) -> int:
    """--write writes the pages, --check names those that are not what they should be; the exit code."""
    match arguments:
        case ["--write"]:
            for path, text in pages.items():
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            return 0
        case ["--check"]:
            stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
            for path in stale:
                sys.stderr.write(f"{path.name} is not what the declarations say: run make docs\n")
            return 1 if stale else 0
    sys.stderr.write(f"usage: python -m {program} --check | --write\n")
    return 2


def series_row(name: str, kind: str, labels: tuple[str, ...], text: str) -> str:
    """A row of the table of series."""
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {cell(text)} |"


def setting_rows(model: type[BaseModel], env: Mapping[str, str]) -> list[str]:
    """A row a setting; `env` are the variables and the settings that they give. Raises ValueError for one
    without a description."""
    names = {path: name for name, path in env.items()}
    return [_row(path, field, names.get(path, "")) for path, field in _leaves(model, "")]


def _leaves(model: type[BaseModel], under: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is None:
            yield under + name, field
        elif get_origin(field.annotation) is tuple:
            yield under + name, field
            yield from _leaves(inner, f"{under}{name}[].")
        else:
            yield from _leaves(inner, f"{under}{name}.")


def _model_of(kind: Any) -> type[BaseModel] | None:
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _row(path: str, field: FieldInfo, name: str) -> str:
    if not field.description:
        raise ValueError(f"{path} has no description")
    env = f"`{name}`" if name else ""
    return f"| `{path}` | {env} | {_type(field.annotation)} | {_default(field)} | {cell(field.description)} |"


def _type(kind: Any) -> str:
    if is_secret(kind):
        return "secret"
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return "list" if _model_of(kind) else f"list of {_type(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return "mapping"
    words = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    kinds = [one for one in get_args(kind) if one is not NoneType] or [kind]
    return " or ".join(words[one] for one in kinds)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, tuple):
        value = ", ".join(str(one) for one in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cell(text: str) -> str:
    """Fit for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
