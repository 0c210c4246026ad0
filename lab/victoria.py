"""VictoriaMetrics on loopback, as a receiver of OTLP that others wrote.

It is not among the packages of `make setup`: scripts/other-prometheus.sh unpacks it.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

import httpx

from lab.deadline import wait_until
from lab.ports import free_port
from lab.process import ChildProcess
from lab.programs import find_program

VICTORIA: Final = "victoria-metrics"


class VictoriaMetrics:
    """A server that names series as Prometheus does; the end of a `with` removes its data."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.endpoint = f"{self.url}/opentelemetry/v1/metrics"
        self._directory = TemporaryDirectory(prefix="oxherd-victoria-")
        home = Path(self._directory.name)
        command = [
            find_program(VICTORIA),
            f"-httpListenAddr=127.0.0.1:{port}",
            f"-storageDataPath={home / 'data'}",
            "-opentelemetry.usePrometheusNaming",
            "-search.latencyOffset=0s",
        ]
        self._process = ChildProcess(command, name=VICTORIA, log=home / "victoria.log")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query, as of Prometheus' API."""
        response = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, trust_env=False)
        response.raise_for_status()
        result: list[dict[str, Any]] = response.json()["data"]["result"]
        return result

    def __enter__(self) -> Self:
        try:
            self._process.wait_for(self._is_ready, seconds=20)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.stop()
        self._directory.cleanup()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def wait_for(self, expression: str, *, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Wait until the expression has a result; raises TimeoutError."""
        return wait_until(lambda: self.query(expression), what=expression, seconds=seconds, every=0.2)
