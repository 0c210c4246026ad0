"""A scaler whose settings change or that is restarted: its workers stay, or are there again."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from lab.deadline import wait_until
from scaler.configuration import Reloader, read_scaler_settings
from scaler.run import Scaler
from scaler.state.model import with_pause, with_policy
from scaler.step_result import TargetStep
from scaler.targets.process import ProcessTarget
from service.outcome import Ok
from tests.support.fake_prometheus import FakePrometheus

STUBBORN = ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    """Of two queues with 40 waiting jobs each."""
    with FakePrometheus(2, waiting=lambda _: 40) as server:
        yield server
        server.shutdown()


@pytest.fixture
def config(tmp_path: Path, prometheus: FakePrometheus) -> dict[str, Any]:
    """Two targets of 4 workers each."""
    processes = {"command": ["sleep", "1000"], "grace_seconds": 5, "ready_seconds": 0.1}
    target = {"policy": "threshold", "min_workers": 1, "max_workers": 4, "processes": processes}
    return {
        "listen": "127.0.0.1:0",
        "interval_seconds": 1,
        "state_file": str(tmp_path / "state.json"),
        "prometheus": {"urls": [prometheus.url], "timeout_seconds": 1},
        "targets": [{"name": "mail", "queues": ["mail"]} | target, {"name": "q1", "queues": ["q1"]} | target],
    }


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@contextmanager
def scaling(config: dict[str, Any], folder: Path) -> Iterator[Scaler]:
    path = folder / "scaler.yml"
    path.write_text(yaml.safe_dump(config))
    scaler = Scaler(Reloader(read_scaler_settings({}, config=str(path)), {}, config=str(path)))
    scaler.start()
    try:
        yield scaler
    finally:
        assert scaler.stop()


def step_of(scaler: Scaler, name: str) -> TargetStep | None:
    last = scaler.controller.last
    return next((step for step in last.steps if step.name == name), None) if last else None


def counts(scaler: Scaler, name: str = "mail") -> tuple[int, int | None] | None:
    """Requested and ready workers in the last step."""
    step = step_of(scaler, name)
    return (
        (step.workers.value.requested, step.workers.value.ready)
        if step and isinstance(step.workers, Ok)
        else None
    )


def until(scaler: Scaler, requested: int, name: str = "mail") -> None:
    wait_until(
        lambda: counts(scaler, name) == (requested, requested), what=f"{requested} workers", seconds=30
    )


def started(caplog: pytest.LogCaptureFixture, name: str) -> list[int]:
    """The pids of workers of the target that were started."""
    records: list[Any] = [
        record for record in list(caplog.records) if record.getMessage() == "worker started"
    ]
    return [record.pid for record in records if record.worker.startswith(f"{name}-")]


def rewrite(folder: Path, config: dict[str, Any]) -> None:
    (folder / "scaler.yml").write_text(yaml.safe_dump(config))


def test_a_changed_grace_in_the_file_starts_no_worker_again(
    config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
        start_times = scaler.controller.learned(scaler._managed(scaler.settings))["mail"].start_times
        config["targets"][0]["processes"] = config["targets"][0]["processes"] | {"grace_seconds": 7}
        rewrite(tmp_path, config)

        def grace() -> float | None:
            step = step_of(scaler, "mail")
            return step.workers.value.grace_seconds if step and isinstance(step.workers, Ok) else None

        wait_until(lambda: grace() == 7, what="the new grace is in force", seconds=30)
        assert counts(scaler) == (4, 4)
        learned = scaler.controller.learned(scaler._managed(scaler.settings))["mail"]
        assert learned.start_times == start_times
        pids = started(caplog, "mail")
        assert len(pids) == 4
        assert all(psutil.pid_exists(pid) for pid in pids)


def test_an_empty_file_ends_no_worker_and_an_unusable_policy_is_logged_once(
    config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
        scaler.update(
            lambda state: replace(state, operator=with_policy(state.operator, "mail", {"min_workers": 9}))
        )
        (tmp_path / "scaler.yml").write_text("")
        wait_until(lambda: "changed settings refused" in caplog.text, what="it is refused", seconds=30)
        steps = scaler.controller.counters.steps
        wait_until(lambda: scaler.controller.counters.steps > steps + 3, what="steps go on", seconds=30)
        assert counts(scaler) == (4, 4)
        assert all(psutil.pid_exists(pid) for pid in started(caplog, "mail"))
    events = [record.getMessage() for record in list(caplog.records)]
    assert events.count("changed policy not usable") == 1


def change(scaler: Scaler, **keys: object) -> None:
    scaler.update(lambda state: replace(state, operator=with_policy(state.operator, "mail", keys)))


def condition(scaler: Scaler, name: str) -> bool:
    step = step_of(scaler, "mail")
    return step is not None and name in step.conditions


@pytest.mark.fault
def test_a_changed_policy_that_the_settings_make_invalid_stays_as_it_was_valid_last(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config["targets"][0] |= {"cooldown_seconds": 0}
    with scaling(config, tmp_path) as scaler:
        change(scaler, min_workers=2, max_workers=3)
        until(scaler, 3)
        config["targets"][0] |= {"scale_down_threshold": 1.5, "scale_up_threshold": 1.6, "max_workers": 8}
        rewrite(tmp_path, config)
        wait_until(lambda: step_of(scaler, "mail").settings.scale_up_threshold == 1.6, what="it is taken")  # type: ignore[union-attr]
        change(scaler, min_workers=2, max_workers=3, scale_up_threshold=1.55)
        wait_until(lambda: step_of(scaler, "mail").settings.scale_up_threshold == 1.55, what="it is in force")  # type: ignore[union-attr]
        config["targets"][0] |= {"scale_down_threshold": 1.58}  # below its own 1.6, above the changed 1.55
        rewrite(tmp_path, config)
        wait_until(lambda: condition(scaler, "PolicyInvalid"), what="the condition is there", seconds=30)
        steps = scaler.controller.counters.steps
        wait_until(lambda: scaler.controller.counters.steps > steps + 3, what="steps go on", seconds=30)
        step = step_of(scaler, "mail")
        assert step is not None
        assert (step.settings.min_workers, step.settings.max_workers) == (2, 3)
        assert (step.settings.scale_up_threshold, step.settings.scale_down_threshold) == (1.55, 1.5)
        assert counts(scaler) == (3, 3)
        text = scaler.exposition("text").decode()
        assert 'oxherd_scaler_condition{condition="PolicyInvalid",queue="mail",target="mail"} 1.0' in text
        assert any("scale_down_threshold should be below" in warning for warning in step.warnings)
        change(scaler)
        wait_until(lambda: not condition(scaler, "PolicyInvalid"), what="it ends", seconds=30)
        until(scaler, 8)


@pytest.mark.fault
def test_a_changed_policy_that_is_invalid_at_a_start_leaves_the_workers_as_they_were(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config["targets"][0] |= {"cooldown_seconds": 0}
    with scaling(config, tmp_path) as scaler:
        change(scaler, max_workers=2)
        until(scaler, 2)
    config["targets"][0] |= {"min_workers": 3}  # above what was ordered
    with scaling(config, tmp_path) as scaler:
        wait_until(lambda: condition(scaler, "PolicyInvalid"), what="the condition is there", seconds=30)
        until(scaler, 4, "q1")  # the others are scaled
        assert counts(scaler) == (2, 2)
        change(scaler)
        until(scaler, 4)


@pytest.mark.fault
def test_settings_that_are_refused_are_a_series(config: dict[str, Any], tmp_path: Path) -> None:
    def successful(value: int) -> bool:
        line = f"oxherd_scaler_config_last_reload_successful {value}.0\n"
        return line in scaler.exposition("text").decode()

    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
        assert successful(1)
        (tmp_path / "scaler.yml").write_text("targets: [{name: mail")
        wait_until(lambda: successful(0), what="it is told", seconds=30)
        assert counts(scaler) == (4, 4)
        rewrite(tmp_path, config)
        wait_until(lambda: successful(1), what="it is in force again", seconds=30)


def test_a_removed_target_ends_with_its_own_grace_while_the_others_are_scaled(
    config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = config["targets"][1]
    stubborn["processes"] = stubborn["processes"] | {"command": STUBBORN, "grace_seconds": 600}
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
        until(scaler, 4, "q1")
        rewrite(tmp_path, config | {"targets": config["targets"][:1]})
        wait_until(lambda: step_of(scaler, "q1") is None, what="it is removed", seconds=30)
        steps = scaler.controller.counters.steps
        wait_until(lambda: scaler.controller.counters.steps > steps + 2, what="steps go on", seconds=30)
        pids = started(caplog, "q1")
        assert all(psutil.pid_exists(pid) for pid in pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def test_a_restart_without_metrics_keeps_the_number_of_workers(
    config: dict[str, Any], tmp_path: Path, prometheus: FakePrometheus
) -> None:
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
    prometheus.shutdown()
    prometheus.server_close()
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
        step = step_of(scaler, "mail")
        assert step is not None
        assert "MetricsStale" in step.conditions


def test_a_paused_target_has_its_workers_after_a_restart(config: dict[str, Any], tmp_path: Path) -> None:
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
    state = tmp_path / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"paused": ["mail"]}))
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)


def test_a_dry_run_restores_no_worker(config: dict[str, Any], tmp_path: Path) -> None:
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
    with scaling(config | {"dry_run": True}, tmp_path) as scaler:
        wait_until(lambda: scaler.controller.counters.steps > 1, what="two steps", seconds=30)
        assert counts(scaler) == (0, 0)


def test_start_times_are_there_after_a_restart(config: dict[str, Any], tmp_path: Path) -> None:
    with scaling(config, tmp_path) as scaler:
        until(scaler, 4)
        before = scaler.controller.learned(scaler._managed(scaler.settings))["mail"].start_times
        assert len(before) == 4
    with scaling(config, tmp_path) as scaler:
        wait_until(lambda: counts(scaler), what="a first step", seconds=30)
        first = scaler.controller.learned(scaler._managed(scaler.settings))["mail"].start_times[:4]
        assert first == pytest.approx(before, abs=0.01)


def test_a_command_that_comes_while_a_step_acts_takes_effect_in_one_of_its_own(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not an interval later: the step has decided by what operators had set before."""
    config["interval_seconds"] = 60
    scale = ProcessTarget.scale

    def command_amid(self: ProcessTarget, *arguments: Any) -> Any:
        result = scale(self, *arguments)
        scaler.update(lambda state: replace(state, operator=with_pause(state.operator, "mail", paused=True)))
        return result

    monkeypatch.setattr(ProcessTarget, "scale", command_amid)
    with scaling(config, tmp_path) as scaler:

        def paused() -> bool:
            step = step_of(scaler, "mail")
            return step is not None and step.control.paused

        wait_until(paused, what="a step that knows of the pause", seconds=20)
