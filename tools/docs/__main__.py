"""Writes the generated pages of docs/.

`python -m tools.docs` writes them; with `--check` it compares them and writes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.docs.exporter_pages import (
    exporter_conditions,
    exporter_metrics,
    exporter_schema,
    exporter_settings,
)
from tools.docs.scaler_pages import scaler_metrics, scaler_schema, scaler_settings

DOCS: Final = Path(__file__).parents[2] / "docs"

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "metrics.md": exporter_metrics,
    "conditions.md": exporter_conditions,
    "settings.md": exporter_settings,
    "settings.schema.json": exporter_schema,
    "scaler-metrics.md": scaler_metrics,
    "scaler-settings.md": scaler_settings,
    "scaler-settings.schema.json": scaler_schema,
}
"""Each generated file, relative to docs/, and the function that returns its text."""


def differing(folder: Path) -> list[str]:
    """The files that are missing or differ from the generated text."""
    paths = {name: folder / name for name in PAGES}
    return [name for name, path in paths.items() if not path.exists() or path.read_text() != PAGES[name]()]


def write_pages(folder: Path) -> None:
    """Write every page; the folder is created if it does not exist."""
    folder.mkdir(exist_ok=True)
    for name, text in PAGES.items():
        (folder / name).write_text(text())


def main(arguments: list[str]) -> int:
    """The exit code: 0 when written or equal, 1 when a page differs, 2 for wrong arguments."""
    match arguments:
        case []:
            write_pages(DOCS)
            return 0
        case ["--check"]:
            names = differing(DOCS)
            for name in names:
                sys.stderr.write(f"docs/{name} differs from the declarations: run make docs\n")
            return 1 if names else 0
    sys.stderr.write("usage: python -m tools.docs [--check]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
