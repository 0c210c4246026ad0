"""ScaledQueues as people see them: kubectl itself, against the API server and a scaler."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from deploy.crd.__main__ import FILE
from deploy.crd.schema import definition
from scaler.configuration import Reloader, read_scaler_settings
from scaler.run import Scaler
from tests.support.fake_prometheus import fake_prometheus
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, real_kubeconfig
from tests.support.kubernetes.manifests import ROOT
from tests.support.kubernetes.rules import RULES, scaled_queue_rules
from tests.support.kubernetes.scalers import settings

pytestmark = pytest.mark.timeout(180)  # of a dozen processes, on a busy machine

Kubectl: TypeAlias = Callable[..., str]
GUIDE = (ROOT / "docs" / "scaledqueues.md").read_text()
MAIL = ROOT / "deploy" / "kubernetes" / "overlays" / "scaled-queues" / "shop" / "mail.yaml"


@pytest.fixture
def kubectl(admin: Admin, tmp_path: Path) -> Kubectl:
    """As an administrator of the test's namespace. Fails as kubectl does, unless `code` is another one."""
    file = tmp_path / "admin"
    admin.kubeconfig(file, "")
    data = yaml.safe_load(file.read_text())
    data["users"] = [{"name": "test", "user": {}}]
    file.write_text(yaml.safe_dump(data))

    def run(words: str, text: str | None = None, code: int = 0) -> str:
        program = Path(sys.executable).parent / "kubectl"
        command = [str(program), f"--kubeconfig={file}", f"--cache-dir={tmp_path}/cache", *words.split()]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True, input=text)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def scaling(admin: Admin, kubeconfig: str, tmp_path: Path) -> Iterator[Scaler]:
    """A scaler that watches the namespace, where no job waits."""
    admin.rules(ACCOUNT, [*RULES, *scaled_queue_rules()])
    with fake_prometheus() as prometheus:
        data: dict[str, Any] = settings(kubeconfig, prometheus.url, targets=[])
        data["kubernetes"] |= {"scaled_queues": {"namespaces": [admin.namespace]}, "timeout_seconds": 5}
        file = tmp_path / "scaler.yml"
        file.write_text(yaml.safe_dump(data))
        options: dict[str, Any] = {"config": str(file), "listen": "127.0.0.1:0"}
        process = Scaler(Reloader(read_scaler_settings({}, **options), {}, **options))
        process.start()
        yield process
        process.stop()


def test_the_definition_is_applied_twice(kubectl: Kubectl) -> None:
    for _ in range(2):
        assert "serverside-applied" in kubectl(f"apply --server-side --force-conflicts=false -f {FILE}")
    kubectl("wait --for=condition=Established crd/scaledqueues.oxherd.dev --timeout=10s")
    kubectl(f"apply -f {FILE}")
    assert kubectl(f"apply -f {FILE}").strip().endswith(" unchanged")


def test_get_describe_and_wait(admin: Admin, kubectl: Kubectl, scaling: Scaler) -> None:
    admin.define(definition())
    admin.workload("mail-worker", 1)
    for _ in range(2):
        kubectl(f"apply --server-side -f {MAIL}")
    kubectl("wait --for=condition=Ready scaledqueue/mail --timeout=60s")
    kubectl("wait --for=condition=MetricsStale=false sq/mail --timeout=60s")
    head, line, *_ = kubectl("get scaledqueues -A").splitlines()
    assert head.split() == [
        *(
            "NAMESPACE",
            "NAME",
            "TARGET",
            "QUEUES",
            "CURRENT",
            "READYWORKERS",
            "DESIRED",
            "RECOMMENDED",
            "READY",
        ),
        "AGE",
    ]
    columns = line.split()
    assert columns[:4] == [admin.namespace, "mail", "mail-worker", '["mail"]']
    assert columns[8] == "True"
    kubectl("annotate sq mail oxherd.dev/override=5")
    kubectl("wait --for=condition=Overridden sq/mail --timeout=60s")
    kubectl("wait --for=jsonpath={.status.current}=5 sq/mail --timeout=60s")
    described = kubectl("describe sq mail")
    assert re.search(r"Normal +ScaledUp .* from \d+ to 5: .*override of 5 by ScaledQueue", described)
    assert re.search(r"Decisions:\n +From:", described)
    assert re.search(r"Normal +ScaledUp", kubectl("describe deployment mail-worker"))
    kubectl("annotate sq mail oxherd.dev/override- oxherd.dev/paused=true")
    kubectl("wait --for=condition=Paused sq/mail --timeout=60s")
    kubectl("delete sq mail --timeout=30s")
    assert admin.replicas("mail-worker") == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("maxWorkers", "maxWorker", 'unknown field "spec.maxWorker"'),
        ("maxWorkers: 20", "maxWorkers: many", "spec.maxWorkers"),
        ("maxWorkers: 20", "maxWorkers: 0", "spec.maxWorkers"),
        ("queues: [mail]", "queues: []", "spec.queues"),
    ],
)
def test_a_slip_is_refused_at_once(admin: Admin, kubectl: Kubectl, old: str, new: str, message: str) -> None:
    admin.define(definition())
    assert message in kubectl("apply -f -", text=MAIL.read_text().replace(old, new), code=1)


def test_the_guide_has_the_columns(admin: Admin, kubectl: Kubectl) -> None:
    admin.define(definition())
    admin.workload("mail-worker", 1)
    kubectl(f"apply --server-side -f {MAIL}")
    head = kubectl("get scaledqueues -A").splitlines()[0]
    assert head.split() == GUIDE.partition("$ kubectl get scaledqueues -A\n")[2].splitlines()[0].split()


def test_the_example_of_the_guide_is_taken(admin: Admin, kubectl: Kubectl) -> None:
    admin.define(definition())
    for example in re.findall(r"```yaml\n(apiVersion: oxherd.+?)```", GUIDE, re.DOTALL):
        text = example.replace("namespace: shop", f"namespace: {admin.namespace}")
        assert "serverside-applied" in kubectl("apply --server-side -f -", text=text)


def test_a_real_server_runs_the_rules(admin: Admin, kubectl: Kubectl) -> None:
    """The one in memory does not: tests/crd runs them by another implementation."""
    admin.define(definition())
    text = MAIL.read_text().replace("minWorkers: 1", "minWorkers: 21")
    refused = bool(real_kubeconfig())
    answer = kubectl("apply --server-side -f -", text=text, code=1 if refused else 0)
    assert ("minWorkers is above maxWorkers" in answer) is refused
