"""Where causes happen: a cluster, queues with workers, an exporter, Prometheus with the shipped rules."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any, Final

import httpx
import yaml

from bench.programs import Program, scrapes
from bench.score.measure import Look
from deploy.rules.__main__ import RULE_FOLDER
from deploy.rules.alerts import oxherd
from deploy.rules.extra import oxherd_extra
from deploy.rules.thresholds import AlertThresholds
from lab.bullmq import BullMQ, Version
from lab.cluster import LocalCluster, start_cluster
from lab.prometheus import Prometheus, PrometheusQueryError, start_prometheus
from lab.redis import RedisServer
from lab.scaled import scale

BUSY: Final = "{mail}"
FAILING: Final = "{orders}"
LIMIT_BYTES: Final = 64 << 20
USUAL_HOST: Final = {"load_per_core": 0.1, "available": 0.5, "clock": 0.0}
_LOOK_SECONDS: Final = 1.0
_ISSUE: Final = re.compile(r'^oxherd_issue\{issue="(\w+)".*\} 1(?:\.0)?$', re.MULTILINE)
_SCORE: Final = re.compile(r"^oxherd_health_score (\S+)$", re.MULTILINE)
_CONFIG: Final = (
    "cluster-require-full-coverage no",
    f"maxmemory {LIMIT_BYTES}",
    "maxmemory-policy noeviction",
)


@dataclass
class World:
    """`workers`: the ids of each queue's; `folder` has the file of the load and memory to report."""

    cluster: LocalCluster
    bullmq: BullMQ
    exporter: Program
    prometheus: Prometheus
    folder: Path
    undo: ExitStack
    began: float = field(default_factory=time.monotonic)
    workers: dict[str, list[int]] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    sockets: list[socket] = field(default_factory=list)

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def look(self) -> Look:
        """One look at the exporter and at the alerts; they are kept."""
        text = ""
        with suppress(httpx.TransportError):
            response = httpx.get(f"http://{self.exporter.address}/metrics", timeout=12, trust_env=False)
            text = response.text if response.is_success else ""
        found = _SCORE.search(text)
        score = float(found[1]) if found else None
        look = Look(self.now, score, frozenset(_ISSUE.findall(text)), self._alerts())
        self.looks.append(look)
        return look

    def watch(self, seconds: float, until: Callable[[Look], bool] = lambda _: False) -> None:
        """Look each second, for so long at most."""
        end = self.now + seconds
        while self.now < end:
            if until(self.look()):
                return
            time.sleep(max(0.0, _LOOK_SECONDS - self.now % _LOOK_SECONDS))

    def start_worker(self, queue: str, *, options: Mapping[str, Any] | None = None, **behaviour: Any) -> None:
        """`behaviour` of its handler, `options` of BullMQ."""
        worker = self.bullmq.start_worker(
            queue, concurrency=5, behaviour={"ms": 20} | behaviour, **(options or {})
        )
        self.workers.setdefault(queue, []).append(worker)

    def stop_workers(self, queue: str) -> None:
        for worker in self.workers.pop(queue, []):
            self.bullmq.stop_worker(worker)

    def start_other(self, version: Version = 6) -> BullMQ:
        """A further process with queues and workers, which a cause may kill."""
        return self.undo.enter_context(BullMQ(version, cluster=self.cluster.addresses))

    def bystander(self) -> RedisServer:
        """A master that does not own the keys of a queue."""
        owners = {self.cluster.owner_of(f"bull:{queue}:meta").address for queue in (BUSY, FAILING)}
        return next(node for node in self.cluster.masters() if node.address not in owners)

    def pretend(self, **host: float) -> None:
        """`load_per_core`, `available` (ratio), `clock` (seconds): pretended; all else is real."""
        (self.folder / "host.json").write_text(json.dumps(USUAL_HOST | host))

    def _alerts(self) -> frozenset[str]:
        try:
            firing = self.prometheus.query('ALERTS{alertstate="firing"}')
        except PrometheusQueryError:
            return frozenset()
        return frozenset(labels["alertname"] for labels, _ in firing)


@contextmanager
def running_world(folder: Path, factor: float, settings: Mapping[str, Any]) -> Iterator[World]:
    """All of it; the rules' times are multiplied by `factor`."""
    with ExitStack() as undo:
        cluster = undo.enter_context(start_cluster(config=_CONFIG))
        bullmq = undo.enter_context(BullMQ(6, cluster=cluster.addresses))
        for queue in (BUSY, FAILING):
            bullmq.counts(queue)
        (folder / "host.json").write_text(json.dumps(USUAL_HOST))
        whole = {"redis": {"cluster": cluster.addresses}, "bullmq": {"queues": [BUSY, FAILING]}, **settings}
        exporter = Program("bench.score.exporter", whole, folder, "exporter")
        undo.callback(exporter.stop)
        rules = folder / "rules.yml"
        rules.write_text(yaml.safe_dump(_rules(factor)))
        config = f"rule_files: [{rules}]\n{scrapes(1, exporter.address)}"
        prometheus = undo.enter_context(start_prometheus(config))
        world = World(cluster, bullmq, exporter, prometheus, folder, undo)
        for queue in (BUSY, FAILING):
            world.start_worker(queue)
        yield world


def _rules(factor: float) -> dict[str, Any]:
    thresholds = AlertThresholds.read(RULE_FOLDER / "thresholds.yml")
    texts = (oxherd(thresholds), oxherd_extra(thresholds))
    groups = [group for text in texts for group in yaml.safe_load(text)["groups"]]
    scaled: dict[str, Any] = scale({"groups": groups}, factor)
    return scaled
