"""Whole scalers beside an autoscaler that asks them, as KEDA's does: their numbers by gRPC."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
import yaml

from lab.deadline import wait_until
from lab.ports import free_port
from scaler.configuration import Reloader, read_scaler_settings
from scaler.keda.answers import METRIC
from scaler.run import Scaler
from tests.support.fake_prometheus import Waiting, fake_prometheus
from tests.support.keda_client import metrics_request, ref, stub
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.scalers import settings

pytestmark = pytest.mark.timeout(180)  # a few seconds alone, of steps of 1 s

Start: TypeAlias = Callable[..., tuple[Scaler, Any]]


@pytest.fixture
def waiting() -> Waiting:
    return Waiting(40)


@pytest.fixture
def start(kubeconfig: str, waiting: Waiting, tmp_path: Path) -> Iterator[Start]:
    """A whole scaler, and a client of its external scaler."""
    with fake_prometheus(waiting=waiting) as prometheus, ExitStack() as undo:

        def started(name: str, *, url: str = prometheus.url, **changed: Any) -> tuple[Scaler, Any]:
            listening = {"listen": "127.0.0.1:0", "keda": {"listen": "127.0.0.1:0"}}
            file = tmp_path / f"{name}.yml"
            file.write_text(yaml.safe_dump(settings(kubeconfig, url, **listening, **changed)))
            process = Scaler(Reloader(read_scaler_settings({}, config=str(file)), {}, config=str(file)))
            process.start()
            undo.callback(process.stop)
            channel = undo.enter_context(grpc.insecure_channel(str(process.keda_address)))
            return process, stub(channel)

        yield started


def number(keda: Any) -> int | str:
    """What KEDA gets: a number, or the code of an error."""
    try:
        response = keda.GetMetrics(metrics_request(METRIC, target="mail"), timeout=10, wait_for_ready=True)
    except grpc.RpcError as error:
        known: Any = error
        return str(known.code().name)
    (value,) = response.metricValues
    return int(value.metricValueFloat)


def until(keda: Any, expected: int | str) -> None:
    wait_until(lambda: number(keda) == expected, what=f"KEDA gets {expected}", seconds=60, every=0.2)


def series(process: Scaler, name: str) -> float | None:
    found = re.search(
        rf"^{re.escape(name)}(?:{{.*}})? (.+)$", process.exposition("text").decode(), re.MULTILINE
    )
    return float(found[1]) if found else None


def test_beside_the_autoscaler_that_keda_makes_the_policys_number_is_answered(
    admin: Admin, start: Start, waiting: Waiting, front: Front
) -> None:
    """Of a target that it may scale: the autoscaler makes it Contested, and nothing is written."""
    admin.workload("mail", 2)
    admin.autoscaler("keda-hpa-mail", "mail")
    process, keda = start("one")
    until(keda, 8)
    assert series(process, "oxherd_scaler_recommended_replicas") == 8
    assert series(process, "oxherd_scaler_desired_replicas") == 2
    assert keda.IsActive(ref(queue="mail"), timeout=10).result is True
    waiting.jobs = 0
    until(keda, 1)
    assert not front.writes()
    assert series(process, 'oxherd_scaler_keda_requests_total{code="OK",method="IsActive"}') == 1


def test_each_scaler_answers_whether_it_leads_or_not(admin: Admin, start: Start) -> None:
    """KEDA's connection leads to either of them, and stays there."""
    admin.workload("mail", 2)
    admin.autoscaler("keda-hpa-mail", "mail")
    one, first = start("one")
    wait_until(lambda: one.leading, what="it leads", seconds=60)
    until(first, 8)
    other, second = start("other")
    until(second, 8)
    assert (one.leading, other.leading) == (True, False)
    assert one.stop()
    assert number(second) == 8, "at once: it waits for no lease"


def test_a_dry_run_that_is_disabled_answers_too(admin: Admin, start: Start, front: Front) -> None:
    admin.workload("mail", 2)
    _, keda = start("one", dry_run=True, defaults={"enabled": False})
    until(keda, 8)
    assert not front.writes()


def test_from_zero_by_the_push_of_the_first_job(admin: Admin, start: Start, waiting: Waiting) -> None:
    admin.workload("mail", 1)
    admin.autoscaler("keda-hpa-mail", "mail")
    waiting.jobs = 0
    process, keda = start("one", defaults={"min_workers": 0, "scale_to_zero_after_seconds": 3})
    pushed = keda.StreamIsActive(ref(target="mail"), timeout=100, wait_for_ready=True)
    assert not next(response for response in pushed if not response.result).result, "after a while of nothing"
    waiting.jobs = 3
    assert next(pushed).result is True
    assert process.stop()
    assert list(pushed) == [], "the stream has an end, which is no error"


def test_without_metrics_it_is_an_error_and_never_a_zero(admin: Admin, start: Start) -> None:
    admin.workload("mail", 2)
    _, keda = start("one", url=f"http://127.0.0.1:{free_port()}")
    for _ in range(3):
        assert number(keda) == "UNAVAILABLE"
    with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
        keda.IsActive(ref(target="mail"), timeout=10)
    wait_until(lambda: "first step" not in why(keda), what="it says what is wrong", seconds=60)
    assert why(keda).startswith("mail: ")


def why(keda: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        keda.IsActive(ref(target="mail"), timeout=10)
    error: Any = caught.value
    return str(error.details())


def test_a_port_that_is_taken_ends_the_start(kubeconfig: str, tmp_path: Path) -> None:
    data = settings(kubeconfig, "http://127.0.0.1:1", listen="127.0.0.1:0")
    file = tmp_path / "scaler.yml"
    with fake_prometheus() as taken:
        address = taken.url.removeprefix("http://")
        file.write_text(yaml.safe_dump(data | {"keda": {"listen": address}}))
        command = [sys.executable, "-m", "scaler", "start", "--config", str(file)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)
    assert done.returncode == 2
    error = r"\(.*scaler\.yml, line \d+\): cannot listen there: address already in use"
    assert re.search(rf"keda\.listen='?{address}'? {error}", done.stderr)


def test_without_the_setting_grpc_is_not_loaded() -> None:
    """With its threads it takes 13 MB."""
    code = (
        "import sys; from scaler.run import Scaler; from scaler.keda.external import ExternalScaler; "
        "from scaler.config.settings import ScalerSettings; ExternalScaler(ScalerSettings()); "
        "print('grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"False\n"
