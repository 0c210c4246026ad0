"""The tables of commands: the same as rich's own, and each cell is looked at once."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from service.catalogs import ENGLISH
from service.commands import columns as columns_module
from service.commands.columns import Cell, Column, Fitting, make_table

COLUMNS = {
    "queue": Column("table.queue"),
    "state": Column("table.state"),
    "waiting": Column("table.waiting", number=True),
}


def printed(table: RenderableType, width: int, *, colour: bool = False) -> str:
    console = Console(
        markup=False,
        emoji=False,
        highlight=False,
        width=width,
        file=io.StringIO(),
        force_terminal=colour,
        color_system="standard" if colour else None,
    )
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def by_rich(rows: list[dict[str, Cell]]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for position, column in enumerate(COLUMNS.values()):
        table.add_column(
            ENGLISH.translate(column.title),
            justify="right" if column.number else "left",
            no_wrap=position > 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row.values())
    return table


texts = st.text(st.sampled_from("ab- é漢\u0301"), max_size=12).map(str.strip)


@given(
    st.lists(st.tuples(texts, st.sampled_from(["", "up", "down"]), st.integers(0, 10**6)), min_size=1),
    st.integers(30, 60),
)
def test_a_table_looks_as_rich_draws_it(rows: list[tuple[str, str, int]], width: int) -> None:
    cells: list[dict[str, Cell]] = [
        {"queue": queue, "state": Text(state, "red"), "waiting": Text(str(waiting), "dim")}
        for queue, state, waiting in rows
    ]
    assert printed(make_table(COLUMNS, cells, ENGLISH), width) == printed(by_rich(cells), width)


@pytest.mark.parametrize("width", [28, 30, 33, 40, 60])
@pytest.mark.parametrize("name", ["a" * 50, "word " * 10 + "end", "漢字" * 15, "a-b " + "c" * 40])
def test_a_long_name_is_wrapped_as_rich_wraps_it(width: int, name: str) -> None:
    cells: list[dict[str, Cell]] = [
        {"queue": Text(name), "state": "up", "waiting": "1"},
        {"queue": Text("mail"), "state": "up", "waiting": "1,000"},
    ]
    assert printed(make_table(COLUMNS, cells, ENGLISH), width) == printed(by_rich(cells), width)


@pytest.mark.parametrize("width", [4, 8])
def test_a_terminal_that_is_narrower_than_the_numbers_has_all_of_them(width: int) -> None:
    cells: list[dict[str, Cell]] = [{"queue": "mail", "state": "up", "waiting": "1"}]
    assert printed(make_table(COLUMNS, cells, ENGLISH), width) == printed(by_rich(cells), width)


def test_colours_are_those_of_the_cells() -> None:
    name = Text("mail")
    name.append(" (paused)", "yellow")
    cells: list[dict[str, Cell]] = [{"queue": name, "state": Text("down", "red"), "waiting": "1"}]
    lines = printed(make_table(COLUMNS, cells, ENGLISH), 60, colour=True).splitlines()
    assert "\x1b[1mqueue" in lines[0]
    assert "mail\x1b[33m (paused)\x1b[0m" in lines[2]
    assert "\x1b[31mdown\x1b[0m" in lines[2]


def test_without_rows_there_is_nothing() -> None:
    assert printed(make_table(COLUMNS, [], ENGLISH), 60).strip() == ""


@pytest.mark.fault
def test_each_cell_is_measured_once_however_many_variants_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0

    def counted(text: str) -> int:
        nonlocal measured
        measured += 1
        return len(text)

    monkeypatch.setattr(columns_module, "cell_len", counted)
    cells: list[dict[str, Cell]] = [
        {"queue": f"queue-{number}", "state": Text("up"), "waiting": str(number)} for number in range(1000)
    ]
    whole = make_table(COLUMNS, cells, ENGLISH)
    variants = [whole.without(names) for names in ((), ("state",), ("state", "waiting"))]
    assert len(printed(Fitting(*variants), 16).splitlines()) == 1002
    assert measured <= 3 * 1001


@pytest.mark.fault
def test_a_table_that_fits_is_written_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which looks at each cell several times: ten thousand rows took a minute."""
    monkeypatch.delattr(columns_module, "Table")
    cells: list[dict[str, Cell]] = [
        {"queue": f"queue-{number}", "state": "up", "waiting": str(number)} for number in range(100)
    ]
    assert len(printed(make_table(COLUMNS, cells, ENGLISH), 60).splitlines()) == 102
    assert len(printed(make_table(COLUMNS, cells, ENGLISH), 21).splitlines()) > 102, "names are folded"
