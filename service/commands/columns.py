"""Tables of a command: columns, and the first of several tables that fits the terminal. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

from service.i18n import Translator


class Column(NamedTuple):
    """`title` is a message id; numbers are right-aligned."""

    title: str
    number: bool = False


class Fitting:
    """The first of several tables that fits the width, or the last one. The lines below a table may wrap."""

    def __init__(self, *tables: Table | tuple[Table, RenderableType]) -> None:
        self._tables = [table if isinstance(table, tuple) else (table,) for table in tables]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbound = options.update(max_width=10_000)
        for parts in self._tables[:-1]:
            if Measurement.get(console, unbound, parts[0]).maximum <= options.max_width:
                yield from parts
                return
        yield from self._tables[-1]


def make_table(
    columns: Mapping[str, Column],
    rows: Sequence[Mapping[str, RenderableType]],
    translator: Translator,
    *,
    without: Container[str] = (),
) -> Table:
    """A table of the columns except those of `without`; an empty table if there are no rows."""
    names = [name for name in (columns if rows else ()) if name not in without]
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for position, name in enumerate(names):
        column = columns[name]
        table.add_column(
            translator.translate(column.title),
            justify="right" if column.number else "left",
            # Only the first and the last column may wrap: a number must never be cut.
            no_wrap=0 < position < len(names) - 1 or column.number,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table
