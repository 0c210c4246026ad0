"""The rules of ARCHITECTURE.md that a tool can hold."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PACKAGES = ("exporter", "scaler", "service")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PURE = next(contract for contract in CONTRACTS if contract["name"].startswith("the pure core"))
EACH_MODULE_HAS_ITS_OWN = {"log", "main", "FAMILIES"}
WIRE_MODELS = {"exporter/api/models.py", "scaler/api/models.py"}  # named as their data in JSON


def test_the_list_of_pure_modules_is_complete() -> None:
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True)
    impure: set[str] = set()
    for name in PURE["forbidden_modules"]:
        if name in graph.modules:
            impure |= graph.find_downstream_modules(name)
    modules = {
        name for name in graph.modules if name.split(".")[0] in PACKAGES and not graph.find_children(name)
    }
    listed = tuple(PURE["source_modules"])
    unlisted = {
        name
        for name in modules - impure
        if not any(name == entry or name.startswith(f"{entry}.") for entry in listed)
    }
    assert unlisted == set()


def public_names(source: str) -> Iterator[str]:
    """The names that a module defines at its top level."""
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names = [node.name]
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
                names = []
            case ast.Assign():
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def test_a_public_name_is_defined_in_one_module() -> None:
    modules = defaultdict(set)
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            path = str(file.relative_to(ROOT))
            if path not in WIRE_MODELS and path != "scaler/targets/shim.py":
                for name in public_names(file.read_text()):
                    modules[name].add(path)
    commands = {"exporter/cli.py", "scaler/cli.py"}  # a function is named as its command
    twins = {
        name: sorted(paths)
        for name, paths in modules.items()
        if len(paths) > 1 and name not in EACH_MODULE_HAS_ITS_OWN and not paths <= commands
    }
    assert twins == {}


def test_no_folder_is_crowded() -> None:
    """A folder that cannot be read at a glance is two things."""
    counts = {
        str(folder.relative_to(ROOT)): sum(1 for file in folder.glob("*.py") if file.stem[:2] != "__")
        for package in PACKAGES
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]
    }
    assert {folder: count for folder, count in counts.items() if count > 16} == {}


def test_the_files_that_the_map_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:exporter|scaler|service|deploy|lab|tools|bench|tests)/[\w./-]*)`", text))
    assert len(named) > 60
    assert not [path for path in named if not (ROOT / path).exists()]


def test_threads_are_started_in_one_place() -> None:
    """There may be no room for one: what happens then is decided in `service/threads.py`."""
    starts = re.compile(r"\b(Thread|Timer|ThreadPoolExecutor|ThreadPool)\(")
    elsewhere = {
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for line in file.read_text().splitlines()
        if starts.search(line) and not line.startswith("class ") and file != ROOT / "service" / "threads.py"
    }
    assert elsewhere == set()
