"""How another terminal reaches the running demo: a Unix socket in the demo's directory, a line each way."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingMixIn, UnixStreamServer
from threading import Thread
from types import TracebackType
from typing import Final, Self

SOCKET: Final = "control"
LONGEST_LINE: Final = 1_000
LINE_SECONDS: Final = 5.0
"""How long a client may take for its line, and the demo to accept it."""

RESULT_SECONDS: Final = 60.0
"""How long a client waits for an action: bringing back six nodes takes some seconds."""


class NoDemoError(RuntimeError):
    """No demo runs that could be asked."""


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action did, or why it did nothing."""

    done: bool
    text: str


def home_prefix(redis_port: int) -> str:
    """How the name of a demo's directory begins: what tells two demos apart are their ports."""
    return f"oxherd-demo-{redis_port}-"


class ControlServer:
    """Answers each line with what `perform` makes of it, in a thread a client, until close()."""

    def __init__(self, home: Path, perform: Callable[[str], ActionResult]) -> None:
        class Handler(StreamRequestHandler):
            timeout = LINE_SECONDS

            def handle(self) -> None:
                try:
                    line = self.rfile.readline(LONGEST_LINE)
                    if line.endswith(b"\n"):
                        answer = perform(line.decode(errors="replace").strip())
                        self.wfile.write(json.dumps(asdict(answer)).encode() + b"\n")
                except OSError:
                    """The client is gone, or says nothing: its own business."""

        class Server(ThreadingMixIn, UnixStreamServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(str(home / SOCKET), Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="control")
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def request_action(line: str, *, redis_port: int, seconds: float = RESULT_SECONDS) -> ActionResult:
    """Ask the demo on these ports; raises NoDemoError, or TimeoutError when it says nothing in `seconds`."""
    with connect_to_demo(redis_port) as connection, connection.makefile("rb") as reader:
        connection.settimeout(seconds)
        try:
            connection.sendall(line.encode() + b"\n")
            answer = reader.readline()
        except TimeoutError:
            raise TimeoutError(f"the demo did not answer in {seconds:g} s") from None
        except ConnectionError:
            answer = b""
    if not answer:
        raise NoDemoError("the demo ended before it answered")
    return ActionResult(**json.loads(answer))


def connect_to_demo(redis_port: int) -> socket.socket:
    """A connection to the demo; raises NoDemoError. What a killed demo left behind is passed over."""
    for home in Path(tempfile.gettempdir()).glob(f"{home_prefix(redis_port)}*"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(LINE_SECONDS)
        try:
            if home.stat().st_uid == os.getuid():
                connection.connect(str(home / SOCKET))
                return connection
        except OSError:
            """Nobody listens there any more."""
        connection.close()
    raise NoDemoError(
        f"no demo runs here with its Redis on {redis_port}: make demo starts one; "
        "for one on other ports give its --redis-port"
    )
