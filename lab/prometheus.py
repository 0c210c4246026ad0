"""A Prometheus server on loopback, and promtool."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from lab.deadline import wait_until
from lab.ports import free_port
from lab.process import ChildProcess
from lab.programs import find_program
from lab.tls import Certificates

Result: TypeAlias = list[tuple[dict[str, str], float]]
"""The labels (with __name__) and the value of each series."""


class PrometheusQueryError(RuntimeError):
    """Prometheus rejected a query; the message is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The text of its --web.config.file, and the credentials of a client: the certificates for TLS, the user
    and the password for basic authentication."""

    config: str
    tls: Certificates | None = None
    user: tuple[str, str] | None = None

    def client(self) -> httpx.Client:
        verify: ssl.SSLContext | bool = False
        if self.tls is not None:
            verify = ssl.create_default_context(cafile=self.tls.ca)
            verify.load_cert_chain(self.tls.client_certificate, self.tls.client_key)
        return httpx.Client(verify=verify, auth=self.user, trust_env=False)


class Prometheus:
    """A server; close() or the end of a `with` removes its data."""

    def __init__(
        self, config: Path | str, *, port: int | None, host: str, web: Web | None, flags: Sequence[str] = ()
    ) -> None:
        program = find_program("prometheus")
        self.port = port or free_port()
        self.url = f"{'https' if web and web.tls else 'http'}://127.0.0.1:{self.port}"
        # Without trust_env, a proxy in the environment is not used for loopback.
        self._client = web.client() if web else httpx.Client(trust_env=False)
        self._directory = TemporaryDirectory(prefix="oxherd-prometheus-")
        home = Path(self._directory.name)
        if isinstance(config, str):
            text, config = config, home / "prometheus.yml"
            config.write_text(text)
        web_config = home / "web.yml"
        web_config.write_text(web.config if web else "")
        self._command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address={host}:{self.port}",
            f"--web.config.file={web_config}",
            "--log.level=warn",
            *flags,
        ]
        self._name, self._log = f"prometheus {host}:{self.port}", home / "prometheus.log"
        self.process = self._start()

    def restart(self) -> None:
        """Stop it if it runs, and start it again with its data; returns at once."""
        self.process.stop()
        self.process = self._start()

    def start_again(self) -> None:
        """After `process.stop()`, with the data that it has; wait until it is ready."""
        self.process = self._start()
        self.wait()

    def _start(self) -> ChildProcess:
        return ChildProcess(self._command, name=self._name, log=self._log)

    def wait(self) -> None:
        """Wait until it is ready; raises DiedError with the tail of its log."""
        self.process.wait_for(self._is_ready, seconds=20)

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of a response (`path` without /api/v1/); raises QueryError, or DiedError."""
        self.process.check()
        try:
            response = self._get(f"/api/v1/{path}", timeout=10, parameters=parameters).json()
        except httpx.TransportError as error:
            raise PrometheusQueryError(f"{path} {parameters}: {error}") from error
        if response["status"] != "success":
            raise PrometheusQueryError(f"{path} {parameters}: {response.get('error')}")
        return response["data"]

    def query(self, expression: str) -> Result:
        """The instant vector of an expression; raises QueryError."""
        result = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def wait_for(self, expression: str, *, seconds: float = 30.0) -> Result:
        """Wait until the expression has a result; raises TimeoutError."""
        return wait_until(lambda: self.query(expression), what=expression, seconds=seconds, every=0.2)

    def close(self) -> None:
        """Stop it and remove its data."""
        self._client.close()
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
            return self._get("/-/ready", timeout=1).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _get(self, path: str, *, timeout: float, parameters: dict[str, str] | None = None) -> httpx.Response:
        return self._client.get(self.url + path, params=parameters, timeout=timeout)


def start_prometheus(
    config: Path | str,
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    web: Web | None = None,
    flags: Sequence[str] = (),
) -> Prometheus:
    """Start it with a configuration file, or its text, and wait until it is ready."""
    server = Prometheus(config, port=port, host=host, web=web, flags=flags)
    try:
        server.wait()
    except BaseException:
        server.close()
        raise
    return server


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool; the result has `returncode`, `stdout` and `stderr`."""
    command = [find_program("promtool"), *arguments]
    return subprocess.run(command, input=stdin, check=False, capture_output=True, text=True, timeout=150)
