"""What 1,000 ScaledQueues cost a scaler, beside the same targets in its settings: requests, memory, CPU time.

`python -m bench.scaled_queues` takes ten minutes; the API server and Prometheus are those of the tests.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deploy.crd.schema import definition
from lab.deadline import wait_until
from tests.support.fake_prometheus import fake_prometheus
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, LEASE, STATE
from tests.support.kubernetes.fake_api import FakeApi
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, scaled_queue_rules
from tests.support.kubernetes.scaled_queues import ScaledQueueAdmin
from tests.support.kubernetes.scalers import ScalerProcess, scaler

COUNT: Final = 1000
QUIET_SECONDS: Final = 60.0
_KINDS: Final = {
    "list scaledqueues": r"^GET .*/scaledqueues\?(?!.*watch=true)",
    "watch scaledqueues": r"^GET .*/scaledqueues\?.*watch=true",
    "write a status": r"^PATCH .*/scaledqueues/[^/]+/status",
    "list workloads": r"^GET .*/deployments\?",
    "prove a right": r"^PATCH .*/scale\?.*dryRun",
    "set replicas": r"^PATCH .*/scale\?(?!.*dryRun)",
    "lease and state": r"/(leases|configmaps)/",
    "Events": r"/events",
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


def report(what: str, front: Front, process: ScalerProcess, cpu: float, seconds: float) -> float:
    """Print the requests since the last report; the CPU seconds so far."""
    total = figure(process, "process_cpu_seconds_total")
    memory = figure(process, "process_resident_memory_bytes") / 1e6
    counts = ", ".join(f"{count} {kind}" for kind, count in requests(front).most_common())
    print(f"  {what}: {seconds:.0f} s, {total - cpu:.1f} s CPU, {memory:.0f} MB: {counts}", flush=True)
    return total


@contextmanager
def cluster() -> Iterator[tuple[Front, Admin]]:
    """With as many workloads."""
    front = Front(FakeApi().answer)
    admin = Admin(front, "shop", "busybox")
    admin.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    admin.ask("POST", "/api/v1/namespaces/shop/configmaps", {"metadata": {"name": STATE}})
    admin.ask("POST", "/apis/coordination.k8s.io/v1/namespaces/shop/leases", {"metadata": {"name": LEASE}})
    for number in range(COUNT):
        admin.workload(name_of(number), 2)
    yield front, admin
    front.stop()


def name_of(number: int) -> str:
    """Of a workload and of its queue."""
    return f"q{number}" if number else "mail"


def measure(*, declared: bool) -> None:
    """One scaler, with the targets as ScaledQueues or in its settings."""
    with (
        cluster() as (front, admin),
        fake_prometheus(COUNT) as prometheus,
        tempfile.TemporaryDirectory() as folder,
    ):
        queues = ScaledQueueAdmin(admin)
        targets: list[dict[str, Any]] = []
        if declared:
            admin.define(definition())
            for number in range(COUNT):
                queues.apply(name_of(number))
        else:
            names = [name_of(number) for number in range(COUNT)]
            targets = [{"name": name, "queues": [name], "kubernetes": {"name": name}} for name in names]
        token = admin.account(ACCOUNT, [*RULES, *scaled_queue_rules()])
        kubernetes: dict[str, Any] = {"kubeconfig": admin.kubeconfig(Path(folder) / "kubeconfig", token)}
        if declared:
            kubernetes["scaled_queues"] = {"namespaces": ["shop"]}
        data = {"prometheus": {"urls": [prometheus.url]}, "kubernetes": kubernetes, "targets": targets}
        begun = time.monotonic()
        with scaler("one", Path(folder), data) as process:
            wait_until(
                lambda: len((process.status() or {}).get("targets", ())) == COUNT, what="targets", seconds=300
            )
            cpu = report("until all are targets", front, process, 0.0, time.monotonic() - begun)
            if declared:
                last = name_of(COUNT - 1)
                written = [f"q{number}" for number in range(1, COUNT, 97)] + [last]
                wait_until(lambda: all(map(queues.status, written)), what="statuses", seconds=400)
                cpu = report("until all have a status", front, process, cpu, time.monotonic() - begun)
            time.sleep(15)
            cpu = report("settling", front, process, cpu, 15)
            time.sleep(QUIET_SECONDS)
            cpu = report("quiet", front, process, cpu, QUIET_SECONDS)
            if declared:
                queues.apply("mail", maxWorkers=7)
                time.sleep(30)
                report("one has changed", front, process, cpu, 30)


def main() -> int:
    """Print both."""
    for declared in (False, True) if len(sys.argv) < 2 else (True,):
        print(f"{COUNT} targets, {'ScaledQueues' if declared else 'in the settings'}", flush=True)
        measure(declared=declared)
    return 0


if __name__ == "__main__":
    sys.exit(main())
