"""docs/scaling-plan.md shows what bench.plan writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.plan import COLUMNS
from bench.plan_loads import loads_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "scaling-plan.md").read_text()
LARGEST_PICTURE = 200_000
KEPT = 0.011


def rows() -> list[list[str]]:
    """The cells of the table of the weeks after."""
    table = PAGE.split(f"| {' | '.join(COLUMNS)} |\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


@pytest.mark.parametrize("load", loads_of(Path("traces")))
def test_each_load_has_a_row(load: str) -> None:
    assert load in {row[0] for row in rows()}


def test_what_the_page_says_of_a_promise_is_what_its_figures_say() -> None:
    for row in rows():
        cells = dict(zip(COLUMNS, row, strict=True))
        late = float(cells["late, after"].removesuffix(" %")) / 100
        assert cells["kept"] == ("yes" if late <= KEPT else "NO")


def test_the_picture_is_there() -> None:
    picture = (DOCS / "images" / "scaling-plan.svg").read_text()
    assert "<!-- working hours -->" in picture
    assert len(picture) < LARGEST_PICTURE
    assert "](images/scaling-plan.svg)" in PAGE


def test_the_lines_fit_140_columns() -> None:
    assert [line for line in PAGE.splitlines() if len(line) > 140] == []
    assert not re.search("@@", PAGE)
