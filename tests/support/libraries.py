"""What is known of the queues of each library, and how well: the table of docs/libraries.md, and its tests.

`python -m tests.support.libraries` writes the table into the page again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

How: TypeAlias = Literal["exact", "at least", "at most", "unknown", "none"]
"""How a figure compares with the truth; none: the library has no such thing, and the figure is 0."""

LIBRARIES: Final = (
    *("bull 3", "bull 4"),
    *("bullmq 1", "bullmq 2", "bullmq 3", "bullmq 4", "bullmq 5", "bullmq 6", "python"),
)
_BULL: Final = ("bull 3", "bull 4")
_NO_PRIORITIZED: Final = (*_BULL, "bullmq 1", "bullmq 2", "bullmq 3")

FIGURES: Final = (
    *("waiting", "active", "delayed", "prioritized", "completed kept", "failed kept", "paused"),
    *("schedulers", "oldest waiting", "longest active", "workers"),
    *("added", "started", "completed", "failed", "retried", "stalled", "removed"),
    *("wait time", "run time", "run time of retried attempts"),
)

_EXCEPTIONS: Final[dict[str, dict[str, How]]] = {
    "prioritized": dict.fromkeys(_NO_PRIORITIZED, "none"),
    "added": {"bull 3": "at most"},
    "removed": dict.fromkeys(_BULL, "unknown"),
    "wait time": dict.fromkeys(_BULL, "at least"),
    "run time of retried attempts": dict.fromkeys(_BULL, "unknown"),
}


def how(library: str, figure: str) -> How:
    """The cell of the table."""
    return _EXCEPTIONS.get(figure, {}).get(library, "exact")


def table() -> str:
    """The table in Markdown."""
    names = [
        name.replace("bullmq", "BullMQ").replace("bull ", "Bull ").title()
        if name == "python"
        else name.replace("bullmq", "BullMQ").replace("bull ", "Bull ")
        for name in LIBRARIES
    ]
    lines = [f"| figure | {' | '.join(names)} |", "|---" * (len(LIBRARIES) + 1) + "|"]
    lines += [
        f"| {figure} | {' | '.join(_shown(how(library, figure)) for library in LIBRARIES)} |"
        for figure in FIGURES
    ]
    return "\n".join(lines)


def _shown(cell: How) -> str:
    return "-" if cell == "none" else cell


PAGE: Final = Path(__file__).parents[2] / "docs" / "libraries.md"
_BEGIN, _END = "<!-- table -->\n", "\n<!-- end of table -->"


def written(page: str) -> str:
    """The page with the table of this module."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
