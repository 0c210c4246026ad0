from __future__ import annotations

import pytest
from rich.table import Table
from rich.text import Text

from service.commands.console import make_console, print_json, shown_or
from service.commands.options import fail, note
from service.web.status_client import StatusError
from tests.support.any_json import STEERING

HOSTILE = "a" + "".join(sign for sign in STEERING if sign != "\n") + "b"


@pytest.mark.fault
@pytest.mark.parametrize("terminal", ["", "1"])
def test_nothing_that_a_command_prints_steers_the_terminal(
    terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE, "red"))
    console = make_console()
    console.print(table)
    console.print(HOSTILE)
    print_json([HOSTILE])
    note("monitor", HOSTILE)
    with pytest.raises(SystemExit):
        fail("monitor", HOSTILE)
    written = capsys.readouterr()
    coloured = "\x1b[31m" in written.out
    assert coloured == bool(terminal)
    plain = written.out.replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") + written.err
    assert [sign for sign in STEERING if sign in plain and sign != "\n"] == []
    assert "\\u202e" in plain


@pytest.mark.parametrize("expression", ["{}['a']", "[][0]", "None.x", "1 / 0", "float('x')", "1 + 'a'"])
def test_what_cannot_be_shown_is_one_line(expression: str) -> None:
    with pytest.raises(StatusError, match="of another version"), shown_or("of another version"):
        eval(expression)  # noqa: S307
