"""One snapshot through page, commands, API, log and metrics: all show the same number of waiting jobs."""

from __future__ import annotations

import re

import pytest
from rich.console import Console, RenderableType

from exporter.api import actions
from exporter.assess import sentence
from exporter.assessment import Assessment
from exporter.commands import tables
from exporter.health import Health
from exporter.history import point_of
from exporter.metrics.render import Renderer
from exporter.page import status_page
from exporter.snapshot.queues import BullMQState, QueueState
from exporter.snapshot.whole import Snapshot
from exporter.views import About, View, status_view
from scaler.config.settings import PolicySettings
from scaler.decision.load_factor import target_load_factor
from scaler.model import QueueSample
from scaler.prometheus.promql import _OUR_QUERIES
from service.outcome import Ok
from tests.support.assessments import queue

PRIORITIZED = queue("mail", waiting=0, prioritized=1000, active=2, workers=2, capacity_per_worker=5.0)
MIXED = queue("news", waiting=30, prioritized=7, active=0, workers=0, capacity_per_worker=10.0)
WAITING = {"mail": 1000, "news": 37}
LOAD = {"mail": 1.0, "news": 1.0}


def assessment_of(*queues: QueueState) -> Assessment:
    snapshot = Snapshot(taken_at=1000.0, bullmq=Ok(BullMQState(queues), 0.01))
    return Assessment(snapshot, Health(100, "healthy", ()))


ASSESSMENT = assessment_of(PRIORITIZED, MIXED)
VIEW: View = status_view(ASSESSMENT, About("1", monitoring=True, uptime=1.0))
TOTAL = sum(WAITING.values())


def text(renderable: RenderableType, width: int) -> str:
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_page() -> None:
    page = status_page(VIEW, now=1000.0)
    for name, waiting in WAITING.items():
        row = next(row for row in page.split("<tr>") if f">{name}<" in row)
        assert re.findall(r'class="number">([\d,]*)<', row)[0] == f"{waiting:,}"
    assert f"{TOTAL:,} waiting" in page


@pytest.mark.parametrize("width", [80, 120, 240])
def test_the_commands(width: int) -> None:
    assert f"2 queues, {TOTAL:,} waiting" in text(tables.queues_table(VIEW), width)
    for name, waiting in WAITING.items():
        row = next(line for line in text(tables.queues_table(VIEW), width).splitlines() if name in line)
        assert row.split()[1] == f"{waiting:,}"
    assert f"{TOTAL:,} waiting" in text(tables.status_table(VIEW), 240)


def test_the_api() -> None:
    assert actions.queue_metrics(VIEW).totals.waiting == TOTAL
    overall = actions.overall(VIEW).queues
    assert overall is not None
    assert overall.waiting == TOTAL
    assert {queue.name: queue.load_factor for queue in actions.queue_metrics(VIEW).queues} == LOAD


def test_state_by_state_stays_as_bullmq_names_it() -> None:
    mail = next(queue for queue in actions.queue_metrics(VIEW).queues if queue.name == "mail")
    assert (mail.waiting, mail.prioritized) == (0, 1000)
    exposition = Renderer().text(ASSESSMENT).decode()
    assert 'bullmq_job_count{prefix="bull",queue="mail",state="waiting"} 0.0' in exposition
    assert 'bullmq_job_count{prefix="bull",queue="mail",state="prioritized"} 1000.0' in exposition


def test_the_log() -> None:
    assert f"2 queues with {TOTAL} waiting, 2 active" in sentence(ASSESSMENT)


def test_the_plots() -> None:
    assert point_of(ASSESSMENT).waiting == TOTAL


def test_the_series() -> None:
    exposition = Renderer().text(ASSESSMENT).decode()
    for name, load in LOAD.items():
        assert f'bullmq_queue_load_factor{{prefix="bull",queue="{name}"}} {load}\n' in exposition


def test_the_scaler_queries_the_same_number_and_the_same_load_factor() -> None:
    states = re.findall('state="([a-z]+)"', _OUR_QUERIES["waiting"])
    assert states == ["waiting", "prioritized"]
    sample = QueueSample(at=1000.0, waiting=WAITING["mail"], active=2)
    assert target_load_factor(PolicySettings(worker_concurrency=5), sample, 2) == LOAD["mail"]
