"""Test modules stand alone: what several of them need is in tests/support."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def imported(source: str) -> Iterator[str]:
    """The modules below `tests` that a source imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith((".", "tests.")))


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.test_a import b",
        "from tests.unit.conftest import b",
        "import tests.alerts.story",
        "from .test_a import b",
        "from tests import conftest",
        "def f():\n    from tests.api.conftest import b",
    ],
)
def test_an_import_of_a_test_module_is_seen(source: str) -> None:
    assert not all(name.startswith("tests.support.") for name in imported(source))
    assert list(imported(source))


_SHARED = ("tests.support.", "tests.fuzz.")  # the fuzzers are a program, whose tests are elsewhere


def test_test_modules_import_only_from_support() -> None:
    violations = {
        str(file.relative_to(TESTS)): wrong
        for file in TESTS.rglob("*.py")
        if (wrong := [name for name in imported(file.read_text()) if not name.startswith(_SHARED)])
    }
    assert violations == {}


def test_conftests_hold_only_fixtures() -> None:
    """Hooks of pytest too; a helper or a class is for tests/support."""
    violations = {
        f"{file.relative_to(TESTS)}: {node.name}"
        for file in TESTS.rglob("conftest.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef)
        or (
            isinstance(node, ast.FunctionDef)
            and not node.name.startswith("pytest_")
            and not any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
        )
    }
    assert violations == set()
