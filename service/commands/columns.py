"""Tables of a command: columns, and the first of several tables that fits the terminal. Pure.

Rich's own tables look at each cell several times: of ten thousand rows that took a minute. Here a cell is
measured once for all variants of a table, and wrapped only where it does not fit; what comes out is the same.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from service.i18n import Translator

Cell: TypeAlias = str | Text

_GAP: Final = 2  # between two columns
_LINE: Final = "─"


class Column(NamedTuple):
    """`title` is a message id; numbers are right-aligned."""

    title: str
    number: bool = False


class Fitting:
    """The first of several tables that fits the width, or the last one. The lines below a table may wrap."""

    def __init__(self, *tables: CellTable | tuple[CellTable, RenderableType]) -> None:
        self._tables = [table if isinstance(table, tuple) else (table,) for table in tables]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for parts in self._tables[:-1]:
            if parts[0].width <= options.max_width:
                yield from parts
                return
        yield from self._tables[-1]


class _Cells:
    """The cells of a table by columns; each is measured at most once."""

    def __init__(self, titles: Mapping[str, str], rows: Sequence[Mapping[str, Cell]]) -> None:
        self._rows = rows
        self._titles = titles
        self._measured: dict[str, tuple[list[str], list[int]]] = {}

    def column(self, name: str) -> tuple[list[str], list[int]]:
        """The texts of a column, its title first, and their widths."""
        if name not in self._measured:
            cells = [self._titles[name], *(row[name] for row in self._rows)]
            plain = [cell if isinstance(cell, str) else cell.plain for cell in cells]
            self._measured[name] = plain, list(map(cell_len, plain))
        return self._measured[name]


class CellTable:
    """A table of texts, one line a row where it fits. Only the first and the last column may wrap: a number
    must never be cut."""

    def __init__(
        self,
        columns: Mapping[str, Column],
        rows: Sequence[Mapping[str, Cell]],
        translator: Translator,
        names: Sequence[str],
        cells: _Cells | None = None,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._translator = translator
        self._names = names
        titles = {name: translator.translate(column.title) for name, column in columns.items()}
        self._titles = titles
        self._cells = cells or _Cells(titles, rows)

    def without(self, names: Container[str]) -> CellTable:
        """The same without these columns."""
        left = [name for name in self._names if name not in names]
        return CellTable(self._columns, self._rows, self._translator, left, self._cells)

    @cached_property
    def _widths(self) -> list[int]:
        return [max(self._cells.column(name)[1]) for name in self._names]

    @property
    def width(self) -> int:
        """Of the widest row."""
        return sum(self._widths) + _GAP * (len(self._names) - 1) if self._names else 0

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, self.width).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._names:
            return
        widths, excess = list(self._widths), self.width - options.max_width
        if excess > 0:
            last = self._columns[self._names[-1]]
            if (len(self._names) > 1 and not last.number) or widths[0] - excess < 1:
                yield self._by_rich()
                return
            widths[0] -= excess
        yield from self._lines(console, widths)

    def _lines(self, console: Console, widths: Sequence[int]) -> Iterator[Segment]:
        whole = sum(widths) + _GAP * (len(widths) - 1)
        coloured = console.color_system is not None
        for place in range(len(self._rows) + 1):
            rest: list[Cell] = []
            line: list[Segment] = []
            for number, name in enumerate(self._names):
                plain, lengths = self._cells.column(name)
                content, length, width = plain[place], lengths[place], widths[number]
                cell = self._rows[place - 1][name] if place else Text(content, "bold")
                if length > width:
                    cell, *rest = _wrapped(cell, console, width)
                    content = str(cell)
                    length = cell_len(content)
                space = " " * (width - length)
                gap = " " * _GAP if number else ""
                right = self._columns[name].number
                if not coloured or isinstance(cell, str) or not (cell.spans or cell.style):
                    line.append(Segment(f"{gap}{space}{content}" if right else f"{gap}{content}{space}"))
                    continue
                line.append(Segment(gap + space if right else gap))
                line += _coloured(cell, console)
                line.append(Segment("" if right else space))
            yield from line if coloured else (Segment("".join([segment.text for segment in line])),)
            yield Segment.line()
            for each in rest:
                yield from _coloured(each, console)
                yield Segment(" " * (whole - cell_len(str(each))))
                yield Segment.line()
            if not place:
                yield Segment(_LINE * whole)
                yield Segment.line()

    def _by_rich(self) -> Table:
        """Where two columns have to give way to each other, or a terminal is narrower than the numbers."""
        names = self._names
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
        )
        for position, name in enumerate(names):
            column = self._columns[name]
            table.add_column(
                self._titles[name],
                justify="right" if column.number else "left",
                no_wrap=0 < position < len(names) - 1 or column.number,
                overflow="fold",
            )
        for row in self._rows:
            table.add_row(*(row[name] for name in names))
        return table


def _wrapped(cell: Cell, console: Console, width: int) -> Sequence[Cell]:
    """The lines of a cell that is wider than its column."""
    if " " not in str(cell) and (isinstance(cell, str) or not cell.spans):
        return chop_cells(str(cell), width)
    lines = (Text(cell) if isinstance(cell, str) else cell).wrap(console, width, overflow="fold")
    for line in lines:
        line.rstrip()
    return list(lines)


def _coloured(cell: Cell, console: Console) -> Iterable[Segment]:
    if isinstance(cell, str):
        return (Segment(cell),)
    if cell.spans:
        return [segment for segment in cell.render(console) if segment.text]
    return (Segment(cell.plain, console.get_style(cell.style)),)


def make_table(
    columns: Mapping[str, Column],
    rows: Sequence[Mapping[str, Cell]],
    translator: Translator,
    *,
    without: Container[str] = (),
) -> CellTable:
    """A table of the columns except those of `without`; an empty table if there are no rows."""
    names = [name for name in (columns if rows else ()) if name not in without]
    return CellTable(columns, rows, translator, names)
