"""Markdown: paragraphs, tables, and the rows of series and of settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import fill
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.config.load import is_secret

SERIES_COLUMNS: Final = ("series", "type", "labels", "meaning")
SETTING_COLUMNS: Final = ("setting", "environment", "type", "default", "meaning")


def paragraph(text: str) -> str:
    """The text in lines of at most 140 columns; a code span is not broken."""
    unbroken = re.sub(r"`[^`]*`", lambda span: span[0].replace(" ", "\0"), text)
    return fill(unbroken, width=140, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def table_lines(head: Sequence[str], rows: Iterable[str]) -> list[str]:
    """The lines of a table; the rows are lines already."""
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *rows, ""]


def series_row(name: str, kind: str, labels: tuple[str, ...], text: str) -> str:
    """A row of the table of series."""
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {cell(text)} |"


def setting_rows(model: type[BaseModel], env: Mapping[str, str]) -> list[str]:
    """One row per setting; `env` maps environment variables to settings. Raises ValueError for a setting
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
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _row(path: str, field: FieldInfo, name: str) -> str:
    if not field.description:
        raise ValueError(f"{path} has no description")
    env = f"`{name}`" if name else ""
    return f"| `{path}` | {env} | {_type(field.annotation)} | {_default(field)} | {cell(field.description)} |"


def _type(kind: Any) -> str:
    if is_secret(kind):
        return "secret"
    if get_origin(kind) is Annotated:  # a part of a list: with its bounds
        return _type(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return "list" if _model_of(kind) else f"list of {_type(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return "mapping"
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    kinds = [part for part in get_args(kind) if part is not NoneType] or [kind]
    return " or ".join(names[part] for part in kinds)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, tuple):
        value = ", ".join(str(item) for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cell(text: str) -> str:
    """The text escaped for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
