"""Output of commands on a terminal, or where nobody looks."""

from __future__ import annotations

from typing import Final

from rich.console import Console

_WIDE: Final = 500  # columns where nobody looks: a pipe should not break a row


def make_console() -> Console:
    """Standard output: plain when it is not a terminal or NO_COLOR is set."""
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, highlight=False, width=_WIDE)
    return console
