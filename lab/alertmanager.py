"""An Alertmanager on loopback, and amtool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import httpx

from lab.ports import free_port
from lab.process import ChildProcess
from lab.programs import find_program


class Alertmanager:
    """A server; close() or the end of a `with` removes its data."""

    def __init__(self, config: Path, *, port: int | None) -> None:
        program = find_program("prometheus-alertmanager")
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self._directory = TemporaryDirectory(prefix="oxherd-alertmanager-")
        home = Path(self._directory.name)
        self.process = ChildProcess(
            [
                program,
                f"--config.file={config}",
                f"--storage.path={home / 'data'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
                "--log.level=warn",
            ],
            name=f"alertmanager {self.address}",
            log=home / "alertmanager.log",
        )

    def wait(self) -> None:
        """Wait until it is ready; raises DiedError with the tail of its log."""
        self.process.wait_for(self._is_ready, seconds=20)

    def close(self) -> None:
        """Stop it and remove its data."""
        self.process.stop()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_ready(self) -> bool:
        try:
            response = httpx.get(f"{self.url}/-/ready", timeout=1, trust_env=False)
        except httpx.TransportError:
            return False
        return response.status_code == httpx.codes.OK


def start_alertmanager(config: Path, *, port: int | None = None) -> Alertmanager:
    """Start it with a configuration file, with its templates beside it, and wait until it is ready."""
    server = Alertmanager(config, port=port)
    try:
        server.wait()
    except BaseException:
        server.close()
        raise
    return server


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run amtool; the result has `returncode`, `stdout` and `stderr`."""
    command = [find_program("amtool"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
