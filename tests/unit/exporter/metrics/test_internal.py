from __future__ import annotations

import pytest

from exporter.assessment import Assessment
from exporter.health import Health
from exporter.metrics.internal import FAMILIES
from exporter.snapshot.host import ProcessState
from exporter.snapshot.queues import BullMQState, CheckpointWrites, QueueId
from exporter.snapshot.redis import Info, NodeReading, RedisState, Topology
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok, Outcome

SILENT = Failed("timeout", "no answer in time", 2.0)
ANSWER = Ok(NodeReading(Info({})), 0.001)
PROCESS = ProcessState(1, None)
FAMILY = {family.name: family for family in FAMILIES}


def read(name: str, snapshot: Snapshot) -> dict[str, float]:
    assessment = Assessment(snapshot, Health(100.0, "healthy", ()))
    return {labels[0]: value for labels, value in FAMILY[name].read(assessment)}


def redis(*nodes: Outcome[NodeReading]) -> Ok[RedisState]:
    by_address = {f"10.0.0.{number}:6379": node for number, node in enumerate(nodes)}
    return Ok(RedisState(Topology("cluster", ()), by_address), 0.25)


@pytest.mark.parametrize(
    ("snapshot", "success"),
    [
        (Snapshot(0.0, redis=redis(ANSWER, ANSWER)), {"redis": 1}),
        (Snapshot(0.0, redis=redis(ANSWER, SILENT)), {"redis": 1}),
        (Snapshot(0.0, redis=redis(SILENT, SILENT)), {"redis": 0}),
        (Snapshot(0.0, redis=redis()), {"redis": 0}),
        (Snapshot(0.0, redis=SILENT), {"redis": 0}),
        (Snapshot(0.0, bullmq=Ok(BullMQState(()))), {"bullmq": 1}),
        (Snapshot(0.0, bullmq=Ok(BullMQState((), {QueueId("bull", "mail"): SILENT}))), {"bullmq": 0}),
        (Snapshot(0.0, host=SILENT, process=Ok(PROCESS)), {"host": 0, "process": 1}),
    ],
)
def test_success_is_that_something_was_read(snapshot: Snapshot, success: dict[str, float]) -> None:
    assert read("oxherd_collect_success", snapshot) == success


def test_every_source_that_is_on_has_its_duration_the_failed_ones_too() -> None:
    snapshot = Snapshot(0.0, redis=redis(ANSWER), bullmq=SILENT, process=Ok(PROCESS, 0.5))
    assert read("oxherd_collect_duration_seconds", snapshot) == {"redis": 0.25, "bullmq": 2.0, "process": 0.5}


def test_what_is_switched_off_is_not_there() -> None:
    assert all(read(name, Snapshot(0.0)) == {} for name in FAMILY)


def test_failed_writes_are_counted_where_the_counters_are_kept() -> None:
    errors = FAMILY["oxherd_state_write_errors_total"]
    for checkpoint, samples in ((None, []), (CheckpointWrites("/state", 3, "full"), [((), 3.0)])):
        snapshot = Snapshot(0.0, bullmq=Ok(BullMQState((), checkpoint=checkpoint)))
        assert list(errors.read(Assessment(snapshot, Health(100.0, "healthy", ())))) == samples


def test_the_deployment_is_a_label_once_it_is_known() -> None:
    state = RedisState(Topology("cluster", ()), {}, deployment="orders")
    assert read("oxherd_redis_deployment_info", Snapshot(0.0, redis=Ok(state))) == {"orders": 1}
    assert read("oxherd_redis_deployment_info", Snapshot(0.0, redis=redis(ANSWER))) == {}
    assert read("oxherd_redis_deployment_info", Snapshot(0.0, redis=SILENT)) == {}
