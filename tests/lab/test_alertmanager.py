"""The lab's Alertmanager: start, stop, and the error if it does not start."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from lab.alertmanager import amtool, start_alertmanager
from lab.ports import free_port
from lab.process import DiedError

CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "alertmanager.yml"
    path.write_text(CONFIG)
    return path


def test_it_is_ready_at_the_requested_port_until_it_is_closed(config: Path) -> None:
    port = free_port()
    with start_alertmanager(config, port=port) as server:
        assert server.address == f"127.0.0.1:{port}"
        status = httpx.get(f"{server.url}/api/v2/status", trust_env=False).json()
        assert "receiver: nobody" in status["config"]["original"]
    assert not server.process.is_running()
    assert not server.process.log.exists()


def test_a_rejected_configuration_is_reported(config: Path) -> None:
    config.write_text("route: {receiver: somebody}\nreceivers: [{name: nobody}]\n")
    with pytest.raises(DiedError, match="undefined receiver"):
        start_alertmanager(config)


def test_amtool_reports_its_result(config: Path) -> None:
    assert amtool("check-config", str(config)).returncode == 0
    config.write_text("route: {}\n")
    result = amtool("check-config", str(config))
    assert result.returncode != 0
    assert "FAILED" in result.stdout + result.stderr
