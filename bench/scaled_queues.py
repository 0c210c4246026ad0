"""What 100 and 1,000 ScaledQueues cost a scaler while nothing happens, beside the same targets in its
settings: requests by kind, memory, CPU time; then how long it takes when all change at once. 100 beside KEDA.

`python -m bench.scaled_queues` takes a quarter of an hour, `python -m bench.scaled_queues 100` a third of it;
the API server and Prometheus are those of the tests.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.crd.schema import definition
from lab.deadline import wait_until
from tests.support.fake_prometheus import FakePrometheus, Waiting, fake_prometheus
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, LEASE, STATE
from tests.support.kubernetes.fake_api import FakeApi
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, scaled_queue_rules
from tests.support.kubernetes.scaled_queues import ScaledQueueAdmin
from tests.support.kubernetes.scalers import ScalerProcess, scaler

QUIET_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 15.0
_MANY_JOBS: Final = 1000  # so many wait in each queue that each target is scaled to its maximum

_KEDA_TARGETS: Final = 100
_MULTIPLE: Final = "KEDA's, as a multiple of them"
_KEDA_REQUESTS: Final = 1771
_KEDA_QUERIES: Final = 600
_KEDA_CPU: Final = "3.2 + 1.8"
_KEDA_MEMORY: Final = "142 + 109"
"""KEDA 2.20.2 and, after the plus, what the controller manager needed for its HPAs, idle for 60 s. Measured
on another machine, with a real API server: counts of requests can be compared, times and memory cannot."""

_KINDS: Final = {
    "list scaledqueues": r"^GET .*/scaledqueues\?(?!.*watch=true)",
    "watch scaledqueues": r"^GET .*/scaledqueues\?.*watch=true",
    "write a status": r"^PATCH .*/scaledqueues/[^/]+/status",
    "list workloads": r"^GET .*/deployments\?",
    "prove a right": r"^PATCH .*/scale\?.*dryRun",
    "set replicas": r"^PATCH .*/scale\?(?!.*dryRun)",
    "lease and state": r"/(leases|configmaps)/",
    "Events": r"/events",
    "list pods": r"/pods\?",
    "list other autoscalers": r"/(horizontalpodautoscalers|scaledobjects)\?",
}


def requests(front: Front) -> Counter[str]:
    """How many of each kind were sent since the last look."""
    with front.lock:
        lines = [f"{request.method} {request.path}" for request in front.recorded]
        front.recorded.clear()
    kinds = (
        next((kind for kind, is_one in _KINDS.items() if re.search(is_one, line)), line) for line in lines
    )
    return Counter(kinds)


def figure(process: ScalerProcess, name: str) -> float:
    """A series of the scaler without labels."""
    lines = wait_until(lambda: _metrics(process), what="metrics", seconds=120).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def _metrics(process: ScalerProcess) -> str:
    """Empty while the machine is too busy for an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=30) as response:
            text: str = response.read().decode()
            return text
    except OSError:
        return ""


@dataclass(frozen=True)
class Phase:
    """What was used in `seconds`: requests by kind, queries of Prometheus, CPU seconds; MB at its end."""

    seconds: float
    requests: Counter[str]
    queries: int
    cpu: float
    memory: float

    @property
    def total(self) -> int:
        """Requests to the API server."""
        return sum(self.requests.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.requests.most_common())
        figures = f"{self.seconds:.0f} s, {self.cpu:.1f} s CPU, {self.memory:.0f} MB, {self.queries} queries"
        return f"{figures}, {self.total} requests: {kinds}"


class Meter:
    """Phase after phase of one scaler."""

    def __init__(self, front: Front, prometheus: FakePrometheus, process: ScalerProcess) -> None:
        self._front, self._prometheus, self._process = front, prometheus, process
        self._begun, self._cpu, self._queries = time.monotonic(), 0.0, prometheus.queries

    def phase(self, what: str) -> Phase:
        """Since the last one; printed."""
        cpu = figure(self._process, "process_cpu_seconds_total")
        now, queries = time.monotonic(), self._prometheus.queries
        phase = Phase(
            now - self._begun,
            requests(self._front),
            queries - self._queries,
            cpu - self._cpu,
            figure(self._process, "process_resident_memory_bytes") / 1e6,
        )
        self._begun, self._cpu, self._queries = now, cpu, queries
        print(f"  {what}: {phase}", flush=True)
        return phase


@contextmanager
def cluster(count: int) -> Iterator[tuple[Front, Admin]]:
    """With as many workloads."""
    front = Front(FakeApi().answer)
    admin = Admin(front, "shop", "busybox")
    admin.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    admin.ask("POST", "/api/v1/namespaces/shop/configmaps", {"metadata": {"name": STATE}})
    admin.ask("POST", "/apis/coordination.k8s.io/v1/namespaces/shop/leases", {"metadata": {"name": LEASE}})
    for number in range(count):
        admin.workload(name_of(number), 2)
    yield front, admin
    front.stop()


def name_of(number: int) -> str:
    """Of a workload and of its queue."""
    return f"q{number}" if number else "mail"


class Result(NamedTuple):
    """`quiet`: a minute in which nothing happens; `changed`: until all workloads have another number."""

    quiet: Phase
    changed: Phase


def measure(count: int, *, declared: bool) -> Result:
    """One scaler, with the targets as ScaledQueues or in its settings."""
    waiting = Waiting()
    with (
        cluster(count) as (front, admin),
        fake_prometheus(count, waiting) as prometheus,
        tempfile.TemporaryDirectory() as folder,
    ):
        queues = ScaledQueueAdmin(admin)
        targets: list[dict[str, Any]] = []
        if declared:
            admin.define(definition())
            for number in range(count):
                queues.apply(name_of(number))
        else:
            names = [name_of(number) for number in range(count)]
            targets = [{"name": name, "queues": [name], "kubernetes": {"name": name}} for name in names]
        token = admin.account(ACCOUNT, [*RULES, *scaled_queue_rules()])
        kubernetes: dict[str, Any] = {"kubeconfig": admin.kubeconfig(Path(folder) / "kubeconfig", token)}
        if declared:
            kubernetes["scaled_queues"] = {"namespaces": ["shop"]}
        data = {"prometheus": {"urls": [prometheus.url]}, "kubernetes": kubernetes, "targets": targets}
        with scaler("one", Path(folder), data) as process:
            meter = Meter(front, prometheus, process)
            wait_until(
                lambda: len((process.status() or {}).get("targets", ())) == count, what="targets", seconds=300
            )
            meter.phase("until all are targets")
            if declared:
                last = name_of(count - 1)
                written = [f"q{number}" for number in range(1, count, 97)] + [last]
                wait_until(lambda: all(map(queues.status, written)), what="statuses", seconds=400)
                meter.phase("until all have a status")
            _settle(meter)
            time.sleep(QUIET_SECONDS)
            quiet = meter.phase("quiet")
            waiting.jobs = _MANY_JOBS
            wait_until(lambda: len(_scaled(front)) == count, what="writes", seconds=600, every=0.1)
            changed = meter.phase("until all have changed")
        return Result(quiet, changed)


def _settle(meter: Meter) -> None:
    """Until the rights of all targets are proved, which takes a thousand of them minutes."""
    while True:
        time.sleep(_SETTLE_SECONDS)
        if not meter.phase("settling").requests["prove a right"]:
            return


def _scaled(front: Front) -> set[str]:
    """The workloads whose number was set since the last phase."""
    with front.lock:
        lines = [f"{request.method} {request.path}" for request in front.recorded]
    return {line.partition("?")[0] for line in lines if re.search(_KINDS["set replicas"], line)}


# --- the table -------------------------------------------------------------------------------------------


def table(results: Mapping[int, tuple[Result, Result]]) -> str:
    """In Markdown: for each number of targets those in the settings, and as ScaledQueues; for 100 KEDA."""
    head = ["while nothing happens, 60 s"]
    for count in results:
        head += [f"KEDA 2.20.2, {count}"] if count == _KEDA_TARGETS else []
        head += [f"{count:,} in the settings", f"{count:,} ScaledQueues"]
    rows = [
        _row("API requests", results, f"{_KEDA_REQUESTS:,}", lambda one: f"{one.quiet.total:,}"),
        _row(_MULTIPLE, results, "", _multiple_of),
        *(
            _row(f"- {kind}", results, "", partial(_requests_of, kind=kind))
            for kind in _KINDS
            if any(one.quiet.requests[kind] for both in results.values() for one in both)
        ),
        _row("Prometheus queries", results, f"{_KEDA_QUERIES:,}", lambda one: f"{one.quiet.queries:,}"),
        _row("CPU seconds", results, _KEDA_CPU, lambda one: f"{one.quiet.cpu:.1f}"),
        _row("MB of memory", results, _KEDA_MEMORY, lambda one: f"{one.quiet.memory:.0f}"),
        _row("all change at once: seconds", results, "", lambda one: f"{one.changed.seconds:.0f}"),
        _row("- API requests", results, "", lambda one: f"{one.changed.total:,}"),
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(
    name: str, results: Mapping[int, tuple[Result, Result]], keda: str, shown: Callable[[Result], str]
) -> list[str]:
    cells = [name]
    for count, both in results.items():
        cells += [keda] if count == _KEDA_TARGETS else []
        cells += [shown(one) if count == _KEDA_TARGETS or name != _MULTIPLE else "" for one in both]
    return cells


def _multiple_of(one: Result) -> str:
    return f"{_KEDA_REQUESTS / one.quiet.total:.0f}"


def _requests_of(one: Result, *, kind: str) -> str:
    return str(one.quiet.requests[kind])


def main(counts: Sequence[int]) -> int:
    """Print all, and the table."""
    results = {}
    for count in counts:
        both = []
        for declared in (False, True):
            print(f"{count} targets, {'ScaledQueues' if declared else 'in the settings'}", flush=True)
            both.append(measure(count, declared=declared))
        results[count] = both[0], both[1]
    load = ", ".join(f"{of:.1f}" for of in os.getloadavg())
    print(f"\nload averages at the end, of all programs of this machine: {load}\n\n{table(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main([int(count) for count in sys.argv[1:]] or [100, 1000]))
