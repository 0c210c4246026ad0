"""The whole of it, alive on this machine: `make demo`. Ctrl-C stops and removes what it started."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final, NoReturn

import click
import httpx

from lab.cluster import RedisCluster, start_cluster
from lab.deadline import wait_until
from lab.ports import BUS_OFFSET, who_listens
from lab.process import DiedError, Process
from lab.programs import MissingProgramError
from lab.prometheus import Prometheus, QueryError, start_prometheus
from lab.redis import RedisError

HERE: Final = Path(__file__).parent
PROMETHEUS_CONFIG: Final = HERE.parent / "prometheus" / "prometheus.yml"
MONITOR: Final = Path(sys.executable).parent / "monitor"

MASTERS: Final = 3
NODES: Final = 2 * MASTERS
QUEUES: Final = 5
"""As many as queues.mjs has."""

EXPORTER_PORT: Final = 9877
"""Where the shipped prometheus.yml looks for the exporter."""

SETTINGS: Final = ("REDIS_", "BULLMQ_", "EXPORTER_", "MONITORING_", "ENABLE_")
"""How the names of the exporter's settings begin: the caller's are not the demo's."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PortsTakenError(RuntimeError):
    """Somebody else listens where the demo would; the message has a line for each port."""


FAILURES: Final = (PortsTakenError, MissingProgramError, DiedError, RedisError, QueryError, TimeoutError)
"""What the demo reports in its own words and not with a traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where everything listens."""

    redis: int
    exporter: int
    prometheus: int

    @property
    def nodes(self) -> list[int]:
        return [self.redis + number for number in range(NODES)]

    def check(self) -> None:
        """Raise PortsTakenError unless nobody listens on any of them."""
        needed = {
            "Prometheus": [self.prometheus],
            "the exporter": [self.exporter],
            "Redis": self.nodes,
            "Redis's cluster bus": [port + BUS_OFFSET for port in self.nodes],
        }
        taken = [
            f"  port {port}, for {what}: {owner}"
            for what, ports in needed.items()
            for port in ports
            if (owner := who_listens(port))
        ]
        if taken:
            remedy = "stop them, or see .venv/bin/python -m deploy.demo --help for other ports"
            raise PortsTakenError("\n".join(["ports are taken, so nothing was started:", *taken, remedy]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What runs."""

    ports: Ports
    cluster: RedisCluster
    queues: Process
    exporter: Process
    prometheus: Prometheus

    def check(self) -> None:
        """Raise DiedError when a part has ended that is not there to be broken, as the Redis nodes are."""
        for process in (self.queues, self.exporter, self.prometheus.process):
            process.check()

    def sees(self, expression: str) -> bool:
        """Whether Prometheus has a result for it."""
        self.check()
        return bool(self.prometheus.query(expression))

    def watch(self) -> NoReturn:
        """Look after it until a signal comes; raises DiedError when a part ends that it cannot do without."""
        down: set[str] = set()
        while True:
            self.check()
            now = {node.address for node in self.cluster.nodes if not node.process.is_running()}
            for address in sorted(now - down):
                say(f"redis {address} has ended; the demo goes on without it")
            down = now
            time.sleep(0.5)

    def describe(self) -> str:
        page = f"http://localhost:{self.ports.exporter}"
        where = "" if self.ports.exporter == EXPORTER_PORT else f" --url {page}"
        first, last = self.ports.nodes[0], self.ports.nodes[-1]
        victim = self.cluster.masters()[0]
        pid = victim.process.pid
        return f"""
  exporter     {page}/   the status page; /metrics, /healthz, /readyz
  Prometheus   {self.prometheus.url}/   scrapes it every 5 s
  Redis        127.0.0.1:{first} to {last}    {MASTERS} masters, a replica each, {QUEUES} BullMQ queues

Three things to try, in another terminal:
  .venv/bin/monitor queues --watch{where}
  curl -s {page}/metrics | grep -E '^(oxherd_health_score|redis_up.node|bullmq_job_count)'
  kill -STOP {pid}; sleep 20; kill -CONT {pid}   # {victim.address} hangs: score, failover
"""


def say(text: str) -> None:
    click.echo(f"demo: {text}")


def start(ports: Ports, home: Path, undo: ExitStack) -> Demo:
    """Start all parts and wait until Prometheus has seen everything; `undo` stops them in reverse order."""
    say(f"Redis Cluster on {ports.nodes[0]}-{ports.nodes[-1]}")
    cluster = undo.enter_context(start_cluster(masters=MASTERS, ports=ports.nodes))

    say("BullMQ producers and workers")
    command = ["node", str(HERE / "queues.mjs"), *cluster.addresses]
    queues = Process(command, name="queues.mjs", log=home / "queues.log")
    undo.callback(queues.stop)

    say(f"exporter on {ports.exporter}")
    command = [str(MONITOR), "start", "--listen", f"0.0.0.0:{ports.exporter}"]
    environ = exporter_environment(os.environ, cluster)
    exporter = Process(command, name="the exporter", log=home / "exporter.log", environ=environ)
    undo.callback(exporter.stop)
    exporter.wait_for(lambda: is_ready(f"http://127.0.0.1:{ports.exporter}/readyz"), seconds=30)

    say(f"Prometheus on {ports.prometheus}")
    config = prometheus_config(ports.exporter)
    prometheus = undo.enter_context(start_prometheus(config, port=ports.prometheus))

    demo = Demo(ports=ports, cluster=cluster, queues=queues, exporter=exporter, prometheus=prometheus)
    say("waiting for Prometheus to see the score, every node and every queue")
    everything = [
        "oxherd_health_score",
        f"sum(redis_up) == {NODES}",
        f"count(count by (queue) (bullmq_job_count)) == {QUEUES}",
    ]
    for expression in everything:
        wait_until(partial(demo.sees, expression), what=expression, seconds=60, every=0.5)
    return demo


def exporter_environment(outside: Mapping[str, str], cluster: RedisCluster) -> dict[str, str]:
    """The caller's environment, with this cluster for the exporter's settings."""
    environ = {name: value for name, value in outside.items() if not name.startswith(SETTINGS)}
    environ["REDIS_USE_CLUSTER"] = "true"
    for number, node in enumerate(cluster.nodes, start=1):
        environ[f"REDIS_CLUSTER_HOST_{number}"] = node.host
        environ[f"REDIS_CLUSTER_PORT_{number}"] = str(node.port)
    return environ


def prometheus_config(exporter_port: int) -> Path | str:
    """The shipped file, or its text where the exporter is elsewhere than it says."""
    if exporter_port == EXPORTER_PORT:
        return PROMETHEUS_CONFIG
    text = PROMETHEUS_CONFIG.read_text().replace(f"localhost:{EXPORTER_PORT}", f"localhost:{exporter_port}")
    return text.replace("- rules/", f"- {PROMETHEUS_CONFIG.parent}/rules/")


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def stop_on_signals() -> None:
    """Turn the first signal into KeyboardInterrupt, and ignore more: they would break off the cleaning up."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, stop)


def run(ports: Ports, home: Path) -> None:
    """Start, say where everything is, look after it; returns on a signal, raises when a part failed."""
    began = time.monotonic()
    with ExitStack() as undo:
        undo.callback(say, "everything is stopped")
        try:
            demo = start(ports, home, undo)
            took = time.monotonic() - began
            say(f"all is up after {took:.0f} s; Ctrl-C stops it and removes everything; logs are in {home}")
            click.echo(demo.describe())
            demo.watch()
        except KeyboardInterrupt:
            say("stopping")


@click.command(help=__doc__)
@click.option(
    "--redis-port", default=7001, show_default=True, help="the first of six; their bus is 10000 above"
)
@click.option("--exporter-port", default=EXPORTER_PORT, show_default=True)
@click.option("--prometheus-port", default=9090, show_default=True)
def main(redis_port: int, exporter_port: int, prometheus_port: int) -> None:
    ports = Ports(redis=redis_port, exporter=exporter_port, prometheus=prometheus_port)
    stop_on_signals()
    try:
        ports.check()
        with TemporaryDirectory(prefix="oxherd-demo-") as directory:
            # What the lab makes for its servers goes in here too, so that one removal is enough.
            tempfile.tempdir = directory
            run(ports, Path(directory))
    except FAILURES as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
