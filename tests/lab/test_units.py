"""deploy/systemd: units that systemd accepts, and judges to be locked down."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from exporter.cli import main as monitor
from lab.programs import find_program
from scaler.cli import main as scaling

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))


@pytest.fixture
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit with a program that is installed here, as systemd looks for it."""
    shipped: Path = request.param
    path, text = tmp_path / shipped.name, shipped.read_text()
    path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_program("systemd-analyze"), *arguments], check=False, capture_output=True, text=True, timeout=20
    )


@pytest.mark.parametrize("unit", UNITS, indirect=True, ids=lambda path: path.stem)
def test_systemd_accepts_it_without_a_word(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS, indirect=True, ids=lambda path: path.stem)
def test_a_slip_would_be_noticed(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("NoNewPrivileges", "NoNewPriviledges"))
    assert "NoNewPriviledges" in analyze("verify", "--man=no", str(unit)).stderr


@pytest.mark.parametrize("unit", UNITS, indirect=True, ids=lambda path: path.stem)
def test_it_exposes_little(unit: Path) -> None:
    done = analyze("security", "--offline=yes", "--no-pager", "--threshold=20", str(unit))  # of 100
    assert done.returncode == 0, done.stdout


def test_they_are_what_the_page_says() -> None:
    settings = {}
    for path in UNITS:
        parser = RawConfigParser(strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(path.read_text())
        settings[path.stem] = dict(parser["Service"])
    assert list(settings) == ["oxherd-exporter", "oxherd-scaler"]
    for name, service in settings.items():
        assert service["NoNewPrivileges"] == service["PrivateTmp"] == service["ProtectHome"] == "yes"
        assert service["ProtectSystem"] == "strict"
        assert service["CapabilityBoundingSet"] == ""
        assert service["User"] == name, "workers read no file of the exporter"
        assert int(service["LimitNOFILE"]) >= 16384
        program, command, option, _ = service["ExecStart"].split()
        group = {"monitor": monitor, "scaling": scaling}[Path(program).name]
        options = {name for parameter in group.commands[command].params for name in parameter.opts}
        assert option in options
    assert settings["oxherd-scaler"]["KillMode"] == "mixed", "workers get SIGTERM from the scaler alone"
    assert "MemoryMax" in settings["oxherd-exporter"]
