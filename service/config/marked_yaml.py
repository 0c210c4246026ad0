"""YAML text to plain data and the line of each key. No error repeats the text: it may hold a password."""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]

YAML_ERRORS: Final = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What PyYAML raises for a text: for a value that its tag does not fit, such as `!!int ""` or the date
2026-02-31, whatever Python does. RecursionError besides, for deep nesting."""


class NotYamlError(Exception):
    """The text is not valid: where and why; `setting` is set for a duplicate key."""

    def __init__(self, where: str, why: str, setting: str = "") -> None:
        super().__init__(where, why)
        self.where = where
        self.why = why
        self.setting = setting


def parse(text: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """The data as JSON types (dates become text), and the line of each key. Raises NotYamlError."""
    lines: dict[Path, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return {}, lines
        _find_lines(root, (), lines)  # before a merge changes the nodes
        data = json.loads(json.dumps(loader.construct_document(root), default=str))
    except yaml.MarkedYAMLError as error:
        raise _explained(error) from None
    except (*YAML_ERRORS, RecursionError):
        raise NotYamlError("somewhere", "it contains a value that no setting can have") from None
    if not isinstance(data, dict):
        raise NotYamlError("line 1", "should be settings, like `redis:` and indented below it `url: ...`")
    return data, lines


def dotted(path: Path) -> str:
    """redis.cluster[0]"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def undotted(text: str) -> Path:
    """The inverse of `dotted`. No key contains a dot or a bracket."""
    return tuple(int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[]+", text))


def _explained(error: yaml.MarkedYAMLError) -> NotYamlError:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
    if "'\\t'" in str(error.problem):
        return NotYamlError(where, "not YAML: indent with spaces, not tabs")
    return NotYamlError(
        where, "not YAML: check the indentation, and quote values with signs like : # * & ! %"
    )


def _find_lines(node: yaml.Node, path: Path, lines: dict[Path, int]) -> None:
    """Also rejects duplicate keys, of which YAML silently takes the last."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            here = (*path, key.value)
            line = key.start_mark.line + 1
            if here in lines:
                raise NotYamlError(f"line {line}", f"is set in line {lines[here]} already", dotted(here))
            lines[here] = line
            _find_lines(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _find_lines(value, (*path, index), lines)
