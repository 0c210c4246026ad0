"""A Redis server (or a Sentinel, which is the same program) on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from lab.ports import free_port
from lab.process import ChildProcess
from lab.programs import find_program
from lab.tls import Certificates

HOST: Final = "127.0.0.1"

_DATA_NODE: Final = (
    'save ""',
    "appendonly no",
    "repl-diskless-sync-delay 0",  # the default lets a replica wait 5 s for others
)


class RedisError(RuntimeError):
    """redis-cli failed; the message has the command and the reply."""


class RedisServer:
    """One server process and its directory. close() or the end of a `with` removes the directory.

    stop() and kill() keep the directory, so that restart() starts the same node again, without its data.
    """

    host = HOST

    def __init__(
        self,
        *,
        port: int,
        config: Sequence[str],
        directory: Path | None,
        binary: str | None,
        password: str | None,
        tls: Certificates | None,
        sentinel: bool,
    ) -> None:
        self.port = port
        self.password = password
        self.tls = tls
        program = find_program(binary or _usual_binary(tls))
        self._owned = TemporaryDirectory(prefix=f"oxherd-redis-{port}-") if directory is None else None
        self.directory = Path(self._owned.name) if self._owned else directory or Path()
        self._command = [
            program,
            str(self.directory / "redis.conf"),
            *(["--sentinel"] if sentinel else []),
        ]
        lines = [
            f"bind {HOST}",
            f"dir {self.directory}",
            *([f"port {port}"] if tls is None else ["port 0", f"tls-port {port}", *tls.redis_config()]),
            *([] if sentinel else _DATA_NODE),
            *([] if password is None else [f"requirepass {password}"]),
            *([] if password is None or sentinel else [f"masterauth {password}"]),
            *config,
        ]
        (self.directory / "redis.conf").write_text("\n".join(lines) + "\n")
        self.process = self._start()

    @property
    def address(self) -> str:
        """host:port"""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """redis:// or rediss://, with the password."""
        scheme = "redis" if self.tls is None else "rediss"
        user = "" if self.password is None else f":{quote(self.password, safe='')}@"
        return f"{scheme}://{user}{self.address}"

    @property
    def answers(self) -> bool:
        """Whether it is neither stopped nor suspended."""
        return self.process.is_running() and not self.process.suspended

    def cli(self, *arguments: str | int, seconds: float = 10.0) -> str:
        """The output of redis-cli for one command; raises RedisError, also for no reply in `seconds`."""
        command = [find_program("redis-cli"), "-e", "-h", self.host, "-p", str(self.port)]
        if self.tls is not None:
            command += self.tls.cli_arguments()
        environ = {key: value for key, value in os.environ.items() if key != "REDISCLI_AUTH"}
        if self.password is not None:
            environ["REDISCLI_AUTH"] = self.password
        try:
            done = subprocess.run(
                [*command, *map(str, arguments)],
                env=environ,
                check=False,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise RedisError(f"{self.address}: {arguments[:3]} no reply in {seconds:g} s") from None
        if done.returncode != 0:
            raise RedisError(f"{self.address}: {arguments[:3]}: {(done.stdout + done.stderr).strip()}")
        return done.stdout.rstrip("\n")

    def facts(self, *command: str) -> dict[str, str]:
        """A reply of `name:value` lines (INFO, CLUSTER INFO) as a dict."""
        pairs = (line.split(":", 1) for line in self.cli(*command).splitlines() if ":" in line)
        return {name: value.rstrip("\r") for name, value in pairs}

    def wait(self) -> None:
        """Wait until it answers PING; raises DiedError with the tail of its log."""
        self.process.wait_for(self._pings)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it does not end."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def suspend(self) -> None:
        """SIGSTOP: connections stay open, and no command is answered."""
        self.process.suspend()

    def resume(self) -> None:
        self.process.resume()

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same port with the same configuration."""
        self.stop()
        self.process = self._start()
        self.wait()

    def close(self) -> None:
        """Kill it, since on SIGTERM a master waits for its replicas, and remove its directory."""
        self.kill()
        if self._owned:
            self._owned.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> ChildProcess:
        return ChildProcess(self._command, name=f"redis {self.address}", log=self.directory / "redis.log")

    def _pings(self) -> bool:
        try:
            return self.cli("ping", seconds=2) == "PONG"
        except RedisError:
            return False


def _usual_binary(tls: Certificates | None) -> str:
    """OXHERD_REDIS_SERVER, except for TLS, which Debian's build supports and many others do not."""
    return "redis-server" if tls else os.environ.get("OXHERD_REDIS_SERVER", "redis-server")


def server_version() -> tuple[int, int]:
    """The version of the servers that are started, as of `v=7.0.15`."""
    printed = subprocess.run(
        [find_program(_usual_binary(None)), "--version"],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout
    major, minor, *_ = printed.partition(" v=")[2].split()[0].split(".")
    return int(major), int(minor)


def launch_redis(
    *,
    port: int | None = None,
    config: Sequence[str] = (),
    directory: Path | None = None,
    binary: str | None = None,
    password: str | None = None,
    tls: Certificates | None = None,
    sentinel: bool = False,
) -> RedisServer:
    """Start a server without waiting for it; see start_redis."""
    return RedisServer(
        port=port or free_port(),
        config=config,
        directory=directory,
        binary=binary,
        password=password,
        tls=tls,
        sentinel=sentinel,
    )


def start_redis(
    *,
    port: int | None = None,
    config: Sequence[str] = (),
    directory: Path | None = None,
    binary: str | None = None,
    password: str | None = None,
    tls: Certificates | None = None,
) -> RedisServer:
    """Start a server and wait until it answers.

    `config` are additional lines of redis.conf. `binary` names another redis-server or valkey-server, as does
    OXHERD_REDIS_SERVER in the environment. With `tls` the port requires TLS and a client certificate.
    """
    server = launch_redis(
        port=port, config=config, directory=directory, binary=binary, password=password, tls=tls
    )
    try:
        server.wait()
    except BaseException:
        server.close()
        raise
    return server
