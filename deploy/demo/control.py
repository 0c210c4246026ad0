"""The control socket of the running demo: a Unix socket in its directory, one line each way."""

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
"""The time in which a client must send its line, and the demo accept the connection."""

RESULT_SECONDS: Final = 60.0
"""The time that a client waits for an action: starting six nodes takes some seconds."""


class NoDemoError(RuntimeError):
    """No demo is running."""


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action did, or why it was not performed."""

    done: bool
    text: str


def home_prefix(redis_port: int) -> str:
    """The prefix of the name of a demo's directory: demos are distinguished by their ports."""
    return f"oxherd-demo-{redis_port}-"


class ControlServer:
    """Answers each line with the result of `perform`, in a thread per client, until close()."""

    def __init__(self, home: Path, perform: Callable[[str], ActionResult]) -> None:
        class Handler(StreamRequestHandler):
            timeout = LINE_SECONDS

            def handle(self) -> None:
                try:
                    line = self.rfile.readline(LONGEST_LINE)
                    if line.endswith(b"\n"):
                        result = perform(line.decode(errors="replace").strip())
                        self.wfile.write(json.dumps(asdict(result)).encode() + b"\n")
                except OSError:
                    """The client closed the connection or sent no line."""

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
    """Send a line to the demo on these ports; raises NoDemoError, or TimeoutError after `seconds`."""
    with connect_to_demo(redis_port) as connection, connection.makefile("rb") as reader:
        connection.settimeout(seconds)
        try:
            connection.sendall(line.encode() + b"\n")
            reply = reader.readline()
        except TimeoutError:
            raise TimeoutError(f"the demo did not answer in {seconds:g} s") from None
        except ConnectionError:
            reply = b""
    if not reply:
        raise NoDemoError("the demo ended before it answered")
    return ActionResult(**json.loads(reply))


def connect_to_demo(redis_port: int) -> socket.socket:
    """A connection to the demo; raises NoDemoError. Directories of killed demos are skipped."""
    for home in Path(tempfile.gettempdir()).glob(f"{home_prefix(redis_port)}*"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(LINE_SECONDS)
        try:
            if home.stat().st_uid == os.getuid():
                connection.connect(str(home / SOCKET))
                return connection
        except OSError:
            """Left by a killed demo."""
        connection.close()
    raise NoDemoError(
        f"no demo runs here with its Redis on {redis_port}: make demo starts one; "
        "for one on other ports give its --redis-port"
    )
