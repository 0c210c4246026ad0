from __future__ import annotations

import io
import json
from typing import Any

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.jsonl import Session, reply_to, reply_to_lines
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Observation, QueueSample

CONFIG = {"min_workers": 1, "max_workers": 20, "worker_concurrency": 2, "interval_seconds": 5}


def observe(time: float, replicas: int, **more: Any) -> dict[str, Any]:
    message = {
        "type": "observe",
        "time": time,
        "replicas": replicas,
        "ready_replicas": replicas,
        "metrics_ok": True,
    }
    return (
        message
        | {"scrape_time": time, "waiting": 0, "active": 0, "completed_total": 0, "failed_total": 0}
        | more
    )


def run_lines(*messages: dict[str, Any] | str) -> tuple[list[dict[str, Any]], int]:
    lines = "".join(
        (message if isinstance(message, str) else json.dumps(message)) + "\n" for message in messages
    )
    replies = io.StringIO()
    code = reply_to_lines(io.StringIO(lines), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()], code


def test_the_same_decisions_as_in_process_line_for_line() -> None:
    settings = PolicySettings(min_workers=1, max_workers=20, worker_concurrency=2)
    messages, expected, workers, completed = [], [], 2, 0.0
    memory: TargetMemory | None = None
    for index in range(200):
        at, waiting, active = 5.0 * index, (index * 37) % 90, min(2 * workers, 7)
        completed += active
        messages.append(
            observe(
                at, workers, waiting=waiting, active=active, completed_total=completed, failed_total=index
            )
        )
        sample = QueueSample(at, waiting, active, completed=completed, failed=float(index))
        decision, memory = step(settings, 5.0, Observation(at, workers, workers, sample), Control(), memory)
        if decision.workers != workers:
            memory = record_scaling(memory, at)
        expected.append({"replicas": decision.workers, "reason": f"{decision.reason}: {decision.sentence}"})
        workers = decision.workers
    replies, code = run_lines({"type": "init", "config": CONFIG}, *messages, {"type": "end"}, "never read")
    assert (replies[1:], code) == (expected, 0)
    assert len({reply["replicas"] for reply in replies[1:]}) > 2


@pytest.mark.parametrize(
    "change",
    [{"metrics_ok": False}, {"waiting": None}, {"active": None}, {"scrape_time": -100.0}, {"scrape_time": 0}],
)
def test_missing_or_frozen_metrics_hold(change: dict[str, Any]) -> None:
    message = observe(500.0, 7) | change
    if change.get("scrape_time") == -100.0:
        message.pop("waiting")
        message.pop("scrape_time")
    [_, reply], code = run_lines({"type": "init", "config": CONFIG}, message)
    assert (reply["replicas"], code) == (7, 0)
    assert reply["reason"].startswith("metrics_missing: held at 7")


def test_the_observation_overrides_the_config() -> None:
    message = observe(
        0.0, 2, waiting=0, min_replicas=4, max_replicas=5, concurrency=3, slo_wait_s=9, interval_s=1
    )
    [_, reply], _ = run_lines({"type": "init", "config": CONFIG}, message)
    assert reply["replicas"] == 4


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("7", "should be a JSON object"),
        ('{"type": "guess"}', '"guess" is not init, observe or end'),
        ('{"type": "observe"}', "time: should be a number"),
        ('{"type": "observe", "time": 1}', "replicas: should be a number"),
        (json.dumps(observe(1, 2, waiting="many")), 'waiting: "many" is not a number'),
        (json.dumps(observe(1, 2, waiting=True)), "waiting: true is not a number"),
        (json.dumps(observe(1, 2, waiting=float("nan"))), "waiting: NaN is not a number"),
        (json.dumps(observe(1, 2, waiting=10**400)), "waiting: a number over 1e+15"),
        (json.dumps(observe(1, 2, completed_total=1e300)), "completed_total: a number over 1e+15"),
        (json.dumps(observe(1, 2, active=-1)), "active: -1 is below 0"),
        (json.dumps(observe(1, 2, min_replicas="x")), "config.min_workers"),
        ('{"type": "init", "config": {"aims": 1}}', "config.aims"),
        ('{"type": "init", "config": {"aim": 1}}', "config.aim: has no meaning any more"),
        ('{"type": "init", "config": {"hold_seconds": 1}}', "config.hold_seconds: has no meaning any more"),
        ('{"type": "init", "config": 3}', "config: should be an object"),
    ],
)
def test_a_line_that_cannot_be_used_changes_nothing(line: str, why: str) -> None:
    before = reply_to(json.dumps(observe(0.0, 2, waiting=9)), Session())[1]
    reply, after = reply_to(line, before)
    assert reply is not None
    assert why in reply["error"]
    assert after is before


def test_after_a_bad_line_it_goes_on_and_the_exit_code_is_1() -> None:
    replies, code = run_lines({"type": "init"}, "{", "", observe(0.0, 2), {"type": "end"})
    assert [list(reply) for reply in replies] == [["ready"], ["error"], ["replicas", "reason"]]
    assert code == 1


def test_start_times_idle_workers_due_jobs_and_duration_counters_count() -> None:
    """Each of them changes the decision."""

    def last(**more: Any) -> dict[str, Any]:
        messages = [
            observe(float(at), 8)
            | {"waiting": 40, "active": 16, "completed_total": at // 2}
            | {name: value(at) if callable(value) else value for name, value in more.items()}
            for at in range(0, 300, 5)
        ]
        replies, _ = run_lines({"type": "init", "config": CONFIG}, *messages)
        return replies[-1]

    plain = last()
    assert "ignored" not in plain
    changed = [
        last(start_s=400.0),
        last(due=500.0),
        last(busy_seconds_total=lambda at: 0.05 * at),
        last(duration_count=lambda at: 40 * at, duration_sum_s=lambda at: 4.0 * at),
        last(held=40.0),
        last(waiting=0, active=4, idle_replicas=1),
    ]
    assert all(
        reply["replicas"] != plain["replicas"] or reply["reason"] != plain["reason"] for reply in changed
    )
    assert changed[-1]["replicas"] == 7


def test_fields_that_are_ignored_are_named() -> None:
    [_, reply], code = run_lines(
        {"type": "init", "config": CONFIG}, observe(0.0, 2, waitng=3, pods=["a"], added_total=4)
    )
    assert (reply["ignored"], code) == (["pods", "waitng"], 0)
