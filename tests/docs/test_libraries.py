"""The table of docs/libraries.md is the one whose cells are tested."""

from __future__ import annotations

from tests.support.libraries import FIGURES, LIBRARIES, PAGE, how, table, written


def test_the_page_has_the_table() -> None:
    page = PAGE.read_text()
    assert written(page) == page
    assert table() in page


def test_the_table_has_a_cell_for_each_figure_of_each_library() -> None:
    rows = [line.strip("|").split("|") for line in table().splitlines()]
    assert len(rows) == len(FIGURES) + 2
    assert {len(row) for row in rows} == {len(LIBRARIES) + 1}
    assert how("bull 4", "removed") == "unknown"
