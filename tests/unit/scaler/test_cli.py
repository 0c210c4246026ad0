from __future__ import annotations

import pytest
from click.testing import CliRunner

from scaler.cli import ABSENT, main


@pytest.mark.parametrize(
    "arguments", [[], ["status"], ["manual", "mail", "--to", "5"], ["start", "--listen=:1"], ["--", "x"]]
)
def test_there_is_nothing_behind_it_and_it_says_so(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"scaling: {ABSENT}\n"


def test_help_and_version() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert " ".join(ABSENT.split()) in " ".join(result.output.split())
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output.split()[0]) == (0, "oxherd")
