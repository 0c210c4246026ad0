"""docs/reliability.md and the tests that are marked as faults name each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def marked() -> set[str]:
    """file::name of each test that has the mark `fault`, by itself or by its module."""
    names: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "pytest.mark.fault" not in text:
            continue
        tree = ast.parse(text)
        file = str(path.relative_to(ROOT))
        whole = any(
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "pytestmark"
            and "pytest.mark.fault" in ast.unparse(node.value)
            for node in tree.body
        )
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                own = any("pytest.mark.fault" in ast.unparse(mark) for mark in node.decorator_list)
                if whole or own:
                    names.add(f"{file}::{node.name}")
    return names


def named() -> set[str]:
    """file::name of each test in the page: `path::name`, and `::name` of the same file as the one before."""
    names: set[str] = set()
    file = ""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?::(\w+)`", PAGE):
        file = path or file
        names.add(f"{file}::{name}")
    return names


def test_each_test_of_the_page_is_marked_as_a_fault() -> None:
    assert named() - marked() == set()


def test_each_fault_has_its_row_in_the_page() -> None:
    assert marked() - named() == set()


def test_each_row_has_a_bound_and_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "what happens" not in line]
    incomplete = [row for row in rows if len(row.split(" | ")) != 4 or "::" not in row]
    assert incomplete == []
