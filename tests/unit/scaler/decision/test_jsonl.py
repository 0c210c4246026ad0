from __future__ import annotations

import io
import json
from typing import Any

import pytest

from scaler.decision.jsonl import Conversation, answer, run
from scaler.decision.step import TargetMemory, acted, step
from scaler.model import Control, Observation, QueueSample
from scaler.settings import PolicySettings

CONFIG = {"min_workers": 1, "max_workers": 20, "worker_concurrency": 2, "interval_seconds": 5}


def observe(time: float, replicas: int, **more: Any) -> dict[str, Any]:
    told = {
        "type": "observe",
        "time": time,
        "replicas": replicas,
        "ready_replicas": replicas,
        "metrics_ok": True,
    }
    return (
        told
        | {"scrape_time": time, "waiting": 0, "active": 0, "completed_total": 0, "failed_total": 0}
        | more
    )


def talk(*told: dict[str, Any] | str) -> tuple[list[dict[str, Any]], int]:
    lines = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in told)
    replies = io.StringIO()
    code = run(io.StringIO(lines), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()], code


def test_the_same_decisions_as_in_process_line_for_line() -> None:
    settings = PolicySettings(min_workers=1, max_workers=20, worker_concurrency=2)
    told, expected, memory, workers, completed = [], [], None, 2, 0.0
    kept: TargetMemory | None = memory
    for index in range(200):
        at, waiting, active = 5.0 * index, (index * 37) % 90, min(2 * workers, 7)
        completed += active
        told.append(
            observe(
                at, workers, waiting=waiting, active=active, completed_total=completed, failed_total=index
            )
        )
        sample = QueueSample(at, waiting, active, completed=completed, failed=float(index))
        decision, kept = step(settings, 5.0, Observation(at, workers, workers, sample), Control(), kept)
        if decision.workers != workers:
            kept = acted(kept, at)
        expected.append({"replicas": decision.workers, "reason": f"{decision.reason}: {decision.sentence}"})
        workers = decision.workers
    replies, code = talk({"type": "init", "config": CONFIG}, *told, {"type": "end"}, "never read")
    assert (replies[1:], code) == (expected, 0)
    assert len({one["replicas"] for one in replies[1:]}) > 3


@pytest.mark.parametrize(
    "change",
    [{"metrics_ok": False}, {"waiting": None}, {"active": None}, {"scrape_time": -100.0}, {"scrape_time": 0}],
)
def test_missing_or_frozen_metrics_hold(change: dict[str, Any]) -> None:
    one = observe(500.0, 7) | change
    if change.get("scrape_time") == -100.0:
        one.pop("waiting")
        one.pop("scrape_time")
    [_, reply], code = talk({"type": "init", "config": CONFIG}, one)
    assert (reply["replicas"], code) == (7, 0)
    assert reply["reason"].startswith("metrics_missing: held at 7")


def test_what_the_observation_says_counts_over_the_config() -> None:
    one = observe(
        0.0, 2, waiting=0, min_replicas=4, max_replicas=5, concurrency=3, slo_wait_s=9, interval_s=1
    )
    [_, reply], _ = talk({"type": "init", "config": CONFIG}, one)
    assert reply["replicas"] == 4


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("7", "should be a JSON object"),
        ('{"type": "guess"}', '"guess" is none of'),
        ('{"type": "observe"}', "time: should be a number"),
        ('{"type": "observe", "time": 1}', "replicas: should be a number"),
        (json.dumps(observe(1, 2, waiting="many")), 'waiting: "many" is no number'),
        (json.dumps(observe(1, 2, waiting=True)), "waiting: true is no number"),
        (json.dumps(observe(1, 2, waiting=float("nan"))), "waiting: NaN is no number"),
        (json.dumps(observe(1, 2, active=-1)), "active: -1 is below 0"),
        (json.dumps(observe(1, 2, min_replicas="x")), "config.min_workers"),
        ('{"type": "init", "config": {"aims": 1}}', "config.aims"),
        ('{"type": "init", "config": 3}', "config: should be an object"),
    ],
)
def test_a_line_that_cannot_be_used_changes_nothing(line: str, why: str) -> None:
    before = answer(json.dumps(observe(0.0, 2, waiting=9)), Conversation())[1]
    reply, after = answer(line, before)
    assert reply is not None
    assert why in reply["error"]
    assert after is before


def test_after_a_bad_line_it_goes_on_and_the_exit_code_tells() -> None:
    replies, code = talk({"type": "init"}, "{", "", observe(0.0, 2), {"type": "end"})
    assert [list(one) for one in replies] == [["ready"], ["error"], ["replicas", "reason"]]
    assert code == 1
