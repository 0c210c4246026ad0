"""The control socket of a demo, and its errors."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from deploy.demo.control import SOCKET, ActionResult, ControlServer, NoDemoError, home_prefix, request_action

PORT = 7001


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A demo's directory; not below tmp_path, whose paths are too long for a socket."""
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        path = Path(place) / f"{home_prefix(PORT)}b"
        path.mkdir()
        yield path


def echo(line: str) -> ActionResult:
    return ActionResult(done=line != "no", text=f"got {line}")


def test_a_line_is_answered(home: Path) -> None:
    with ControlServer(home, echo):
        assert request_action("kill-node", redis_port=PORT) == ActionResult(done=True, text="got kill-node")
        assert request_action("no", redis_port=PORT) == ActionResult(done=False, text="got no")


@pytest.mark.usefixtures("home")
def test_the_error_without_a_demo_says_how_to_start_one() -> None:
    with pytest.raises(NoDemoError, match="no demo runs here with its Redis on 7001: make demo starts one"):
        request_action("kill-node", redis_port=PORT)


def test_a_demo_on_other_ports_is_ignored(home: Path) -> None:
    with ControlServer(home, echo), pytest.raises(NoDemoError):
        request_action("kill-node", redis_port=700)


def test_directories_of_killed_demos_are_skipped(home: Path) -> None:
    for name in "ac":  # in any order of the search, one of them is first
        stale = home.with_name(f"{home_prefix(PORT)}{name}")
        stale.mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(stale / SOCKET))
    with ControlServer(home, echo):
        assert request_action("kill-node", redis_port=PORT).done


def test_a_demo_that_does_not_answer_is_a_timeout(home: Path) -> None:
    stuck = Event()

    def wait(line: str) -> ActionResult:
        stuck.wait(2)
        return echo(line)

    with ControlServer(home, wait):
        with pytest.raises(TimeoutError, match=r"the demo did not answer in 0\.1 s"):
            request_action("kill-node", redis_port=PORT, seconds=0.1)
        stuck.set()


def test_a_demo_that_ends_meanwhile_is_reported(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / SOCKET))
        server.listen()
        server.settimeout(5)
        with pytest.raises(NoDemoError, match="ended before it answered"):
            request_and_close(server)


def request_and_close(server: socket.socket) -> None:
    def close_connection() -> None:
        server.accept()[0].close()

    closer = Thread(target=close_connection)
    closer.start()
    try:
        request_action("kill-node", redis_port=PORT)
    finally:
        closer.join()
