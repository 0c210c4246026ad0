"""The parts of the demo, in the order in which they start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from deploy.demo.configs import (
    alertmanager_config,
    exporter_config,
    prometheus_config,
    prometheus_flags,
    rules_config,
    scaler_config,
    write,
)
from deploy.demo.notices import Firing, Notice
from deploy.demo.ports import MASTERS, NODES, Ports
from lab.alertmanager import start_alertmanager
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.driver import Driver, connection_of
from lab.ports import BUS_OFFSET
from lab.process import ChildProcess
from lab.prometheus import Prometheus, start_prometheus
from lab.receiver import Notification, Receiver

QUEUE_COUNT: Final = 5
"""The number of queues in queues.mjs."""

REDIS_CONFIG: Final = (
    "maxmemory 64mb",  # the demo's jobs need a tenth, and any machine can hold a full node
    "appendonly yes",  # a killed node restarts with its jobs; BullMQ's workers fail without them
)

MONITOR_PROGRAM: Final = Path(sys.executable).parent / "monitor"

SCALING_PROGRAM: Final = Path(sys.executable).parent / "scaling"

SETTINGS: Final = (
    *(
        "REDIS_",
        "BULLMQ_",
        "EXPORTER_",
        "MONITORING_",
        "ENABLE_",
        "SCALER_",
        "SCALING_",
        "PROMETHEUS_",
        "LOG_",
    ),
)
"""Prefixes of the settings' variables: the caller's settings do not apply to the demo."""


@dataclass(slots=True, kw_only=True)
class Demo:
    """The running parts: each part sets its field when it starts, for the parts that start after it."""

    ports: Ports
    home: Path
    divisor: float
    """The divisor of the times of rules and routes."""

    show: Callable[[Notice], None]
    cluster: LocalCluster = field(init=False)
    queues: Driver = field(init=False)
    receiver: Receiver = field(init=False)
    prometheus: Prometheus = field(init=False)
    vital: list[ChildProcess] = field(default_factory=list)
    """Processes without which the demo ends: all except the Redis nodes, which actions may kill."""

    def check(self) -> None:
        """Raise DiedError if a vital process has ended."""
        for process in self.vital:
            process.check()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`start` adds to `undo` what stops it. `where` and `what` are shown to people."""

    name: str
    start: Callable[[Demo, ExitStack], None]
    ports: Callable[[Ports], Sequence[int]] = lambda _: ()
    where: Callable[[Ports], str] = lambda _: ""
    what: str = ""


def start_redis_nodes(demo: Demo, undo: ExitStack) -> None:
    demo.cluster = undo.enter_context(
        start_cluster(masters=MASTERS, ports=demo.ports.nodes, config=REDIS_CONFIG)
    )


def start_queues(demo: Demo, undo: ExitStack) -> None:
    script = Path(__file__).parent / "queues.mjs"
    settings = {"connection": connection_of(None, demo.cluster.addresses)}
    demo.queues = undo.enter_context(Driver(["node", str(script)], name="queues.mjs", settings=settings))
    demo.vital.append(demo.queues.process)


def start_exporter(demo: Demo, undo: ExitStack) -> None:
    settings = exporter_config(
        cluster=demo.cluster.addresses,
        divisor=demo.divisor,
        peers={
            "scaler_url": f"http://localhost:{demo.ports.scaler}",
            "prometheus_url": f"http://localhost:{demo.ports.prometheus}",
        },
        probes={
            "prometheus": f"http://localhost:{demo.ports.prometheus}/-/healthy",
            "alertmanager": f"http://localhost:{demo.ports.alertmanager}/-/healthy",
        },
    )
    path = write(settings, demo.home / "exporter.yml")
    command = [
        str(MONITOR_PROGRAM),
        "start",
        "--listen",
        f"0.0.0.0:{demo.ports.exporter}",
        "--config",
        str(path),
    ]
    exporter = ChildProcess(command, name="the exporter", log=demo.home / "exporter.log", environ=environ())
    undo.callback(exporter.stop)
    exporter.wait_for(lambda: is_ready(f"http://127.0.0.1:{demo.ports.exporter}/readyz"), seconds=30)
    demo.vital.append(exporter)


def start_scaler(demo: Demo, undo: ExitStack) -> None:
    settings = scaler_config(nodes=demo.cluster.addresses, prometheus_port=demo.ports.prometheus)
    path = write(settings, demo.home / "scaler.yml")
    command = [
        str(SCALING_PROGRAM),
        "start",
        "--listen",
        f"0.0.0.0:{demo.ports.scaler}",
        "--config",
        str(path),
    ]
    scaler = ChildProcess(command, name="the scaler", log=demo.home / "scaler.log", environ=environ())
    undo.callback(partial(scaler.stop, seconds=15))
    scaler.wait_for(lambda: is_ready(f"http://127.0.0.1:{demo.ports.scaler}/readyz"), seconds=30)
    demo.vital.append(scaler)


def environ() -> dict[str, str]:
    """The caller's environment, without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


def start_receiver(demo: Demo, undo: ExitStack) -> None:
    firing = Firing()

    def show(notification: Notification) -> None:
        for notice in firing.notices(notification.body):
            demo.show(notice)

    demo.receiver = undo.enter_context(Receiver(forward=show))


def start_alerts(demo: Demo, undo: ExitStack) -> None:
    config = alertmanager_config(webhook=demo.receiver.url, divisor=demo.divisor)
    path = write(config, demo.home / "alertmanager.yml")
    alertmanager = undo.enter_context(start_alertmanager(path, port=demo.ports.alertmanager))
    demo.vital.append(alertmanager.process)


def start_metrics(demo: Demo, undo: ExitStack) -> None:
    config = prometheus_config(
        exporter_port=demo.ports.exporter,
        scaler_port=demo.ports.scaler,
        alertmanager_port=demo.ports.alertmanager,
        rules=write(rules_config(demo.divisor), demo.home / "rules.yml"),
        divisor=demo.divisor,
    )
    path = write(config, demo.home / "prometheus.yml")
    demo.prometheus = undo.enter_context(
        start_prometheus(path, port=demo.ports.prometheus, flags=prometheus_flags(demo.divisor))
    )
    demo.vital.append(demo.prometheus.process)


PARTS: Final = (
    Part(
        name="Redis",
        start=start_redis_nodes,
        ports=lambda ports: [*ports.nodes, *(port + BUS_OFFSET for port in ports.nodes)],
        where=lambda ports: f"127.0.0.1:{ports.nodes[0]} to {ports.nodes[-1]}",
        what=f"{MASTERS} masters, a replica each",
    ),
    Part(name="BullMQ", start=start_queues, what=f"{QUEUE_COUNT} queues, their producers and workers"),
    Part(
        name="exporter",
        start=start_exporter,
        ports=lambda ports: [ports.exporter],
        where=lambda ports: f"http://localhost:{ports.exporter}/",
        what="the status page; /metrics, /healthz, /readyz",
    ),
    Part(name="receiver", start=start_receiver, what="prints here what Alertmanager sends"),
    Part(
        name="Alertmanager",
        start=start_alerts,
        ports=lambda ports: [ports.alertmanager],
        where=lambda ports: f"http://localhost:{ports.alertmanager}/",
        what="the project's own routes",
    ),
    Part(
        name="Prometheus",
        start=start_metrics,
        ports=lambda ports: [ports.prometheus],
        where=lambda ports: f"http://localhost:{ports.prometheus}/",
        what="the project's own eight rules",
    ),
    Part(
        name="scaler",
        start=start_scaler,
        ports=lambda ports: [ports.scaler],
        where=lambda ports: f"http://localhost:{ports.scaler}/status.json",
        what="the workers of {newsletter}: one to six, as its batches need",
    ),
)


def wait_for_series(demo: Demo) -> None:
    """Wait until Prometheus has the series of the score, the scaler, every node and every queue."""
    expressions = [
        "oxherd_health_score",
        "oxherd_scaler_ready_replicas > 0",
        f"sum(redis_up) == {NODES}",
        f"count(count by (queue) (bullmq_job_count)) == {QUEUE_COUNT}",
    ]
    for expression in expressions:
        wait_until(partial(_has_result, demo, expression), what=expression, seconds=60, every=0.5)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _has_result(demo: Demo, expression: str) -> bool:
    demo.check()
    return bool(demo.prometheus.query(expression))
