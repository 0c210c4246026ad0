"""docs/coverage.md, from the table of figures. `python -m tests.support.coverage_page` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.coverage import ACTIONS, COMMANDS, FIGURES, QUERIES, VARIABLES

COVERAGE_PAGE: Final = Path(__file__).parents[2] / "docs" / "coverage.md"


def coverage_page() -> str:
    """The text of docs/coverage.md."""
    lines = [
        "# What is shown where",
        "",
        "Every figure that a monitoring of Redis, queues and host is asked for, and where each interface",
        "shows it. A test reads each cell from a running exporter and a running scaler: none is empty.",
        "",
        "M: monitoring, S: scaling. The API's fields are those of `GET /api/monitoring?action=`",
        "([HTTP](api.md)), `[]` is each item of a list; the page's are a table and its column or row, or a",
        "part and a word in it ([page](page.md)); the commands' a column or a word of the output",
        "([commands](commands.md)).",
        "",
        "| | figure | series | API | page | command |",
        "|---|---|---|---|---|---|",
    ]
    for row in FIGURES:
        cells = (row.series, row.api, row.page, row.command)
        written = (", ".join(f"`{_cell(entry)}`" for entry in cell) or row.why for cell in cells)
        lines.append(f"| {row.id} | {row.figure} | {' | '.join(written)} |")
    commands = ", ".join(f"`{program} {name}`" for program, names in COMMANDS.items() for name in names)
    named = {"Commands": commands, "Queries": QUERIES, "Commands of the API": ACTIONS, "Variables": VARIABLES}
    lines += ["", "Also asked for, and there:", ""]
    for title, names in named.items():
        text = names if isinstance(names, str) else ", ".join(f"`{name}`" for name in names)
        lines.append(f"- {title}: {text}")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    COVERAGE_PAGE.write_text(coverage_page())
