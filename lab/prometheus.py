"""A Prometheus server on loopback, and promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from lab.deadline import wait_until
from lab.ports import free_port
from lab.process import Process
from lab.programs import find_program

Result: TypeAlias = list[tuple[dict[str, str], float]]
"""The labels (with __name__) and the value of each series."""


class QueryError(RuntimeError):
    """Prometheus refused a query; the message is its own."""


def _get(url: str, *, timeout: float, parameters: dict[str, str] | None = None) -> httpx.Response:
    """Straight to loopback: a proxy in the environment is not for it."""
    return httpx.get(url, params=parameters, timeout=timeout, trust_env=False)


class Prometheus:
    """A server whose data are removed by close() or at the end of a `with`."""

    def __init__(self, config: Path | str, *, port: int | None, host: str) -> None:
        program = find_program("prometheus")
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = TemporaryDirectory(prefix="oxherd-prometheus-")
        home = Path(self._directory.name)
        if isinstance(config, str):
            text, config = config, home / "prometheus.yml"
            config.write_text(text)
        self.process = Process(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={home / 'data'}",
                f"--web.listen-address={host}:{self.port}",
                "--log.level=warn",
            ],
            name=f"prometheus {host}:{self.port}",
            log=home / "prometheus.log",
        )

    def wait(self) -> None:
        """Wait until it is ready; raises DiedError with the tail of its log."""
        self.process.wait_for(self._is_ready, seconds=20)

    def get(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of its HTTP API (`path` without /api/v1/); raises QueryError, or DiedError."""
        self.process.check()
        try:
            answer = _get(f"{self.url}/api/v1/{path}", timeout=10, parameters=parameters).json()
        except httpx.TransportError as error:
            raise QueryError(f"{path} {parameters}: {error}") from error
        if answer["status"] != "success":
            raise QueryError(f"{path} {parameters}: {answer.get('error')}")
        return answer["data"]

    def query(self, expression: str) -> Result:
        """The instant vector of an expression; raises QueryError."""
        found = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def wait_for(self, expression: str, *, seconds: float = 30.0) -> Result:
        """Wait until the expression has a result."""
        return wait_until(lambda: self.query(expression), what=expression, seconds=seconds, every=0.2)

    def close(self) -> None:
        """End it and remove its data."""
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
            return _get(f"{self.url}/-/ready", timeout=1).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def start_prometheus(config: Path | str, *, port: int | None = None, host: str = "127.0.0.1") -> Prometheus:
    """Start it with a configuration file, or its text, and wait until it is ready."""
    server = Prometheus(config, port=port, host=host)
    try:
        server.wait()
    except BaseException:
        server.close()
        raise
    return server


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool; its verdict is `returncode`, its words are `stdout` and `stderr`."""
    command = [find_program("promtool"), *arguments]
    return subprocess.run(command, input=stdin, check=False, capture_output=True, text=True, timeout=60)
