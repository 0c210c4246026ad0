"""Output of commands on a terminal, or where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.errors import ConsoleError
from rich.segment import Segment

from service.json_text import json_text
from service.units import printable_lines
from service.web.status_client import StatusError

_WIDE: Final = 500  # columns where nobody looks: a pipe should not break a row


def make_console() -> Console:
    """Standard output: plain when it is not a terminal or NO_COLOR is set."""
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, highlight=False, width=_WIDE)
    console.push_render_hook(_PrintableOnly())
    return console


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    click.echo(json_text(value))


@contextmanager
def shown_or(problem: str) -> Iterator[None]:
    """For the display of what another process said: where a part is missing or of another kind than expected,
    a StatusError with this text."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        ConsoleError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ):
        raise StatusError(problem) from None


class _PrintableOnly(RenderHook):
    """Nothing that is printed steers the terminal, wherever it came from; colours are no text."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Printable(renderable) for renderable in renderables]


class _Printable:
    def __init__(self, renderable: ConsoleRenderable) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)
