from __future__ import annotations

from click.testing import CliRunner

from scaler.cli import main


def test_help_and_version() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for command in ("start", "status", "manual", "auto", "pause", "decide"):
        assert f"\n  {command} " in result.output
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output.split()[0]) == (0, "oxherd")
