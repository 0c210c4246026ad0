"""Changed settings of worker processes: some apply at once, others replace workers one after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from lab.deadline import wait_until
from scaler.busy import BusyLookup, WorkerJobs
from scaler.config.settings import ProcessSettings
from scaler.model import Applied, Workers
from scaler.targets.process import ProcessTarget
from service.clock import Deadline
from service.outcome import Ok

SOON = Deadline.after(3600)
FOR_EVER = ("sleep", "1000")
FINISHING = ("sh", "-c", "trap 'sleep 1; exit 0' TERM; while true; do sleep 0.1; done")
STUBBORN = ("sh", "-c", "trap '' TERM; while true; do sleep 0.1; done")


def settings(*command: str, **given: Any) -> ProcessSettings:
    return ProcessSettings.model_validate(
        {"command": command, "grace_seconds": 5, "ready_seconds": 0.1} | given
    )


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def jobs() -> dict[str, int]:
    """Active jobs by worker, as an exporter would report them."""
    return {}


@pytest.fixture
def busy(jobs: dict[str, int]) -> BusyLookup:
    return lambda deadline: WorkerJobs(jobs, complete=True)


@pytest.fixture
def mail(busy: BusyLookup) -> Iterator[ProcessTarget]:
    target = ProcessTarget("mail", settings(*FOR_EVER), busy=busy)
    yield target
    target.close()


def workers(target: ProcessTarget) -> Workers:
    outcome = target.read(SOON)
    assert isinstance(outcome, Ok)
    return outcome.value


def until_ready(target: ProcessTarget, count: int) -> None:
    wait_until(lambda: workers(target).ready == count, what=f"{count} workers are ready")


def history(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Starts, SIGTERMs and exits of workers, in their order."""
    words = {"worker started": "start", "worker terminating": "term", "worker exited": "exit"}
    records: list[Any] = [record for record in list(caplog.records) if record.getMessage() in words]
    return [f"{words[record.getMessage()]} {record.worker}" for record in records]


def pids(caplog: pytest.LogCaptureFixture) -> list[int]:
    records: list[Any] = list(caplog.records)
    return [record.pid for record in records if record.getMessage() == "worker started"]


def test_a_change_of_the_grace_applies_to_the_workers_that_run(
    mail: ProcessTarget, busy: BusyLookup, caplog: pytest.LogCaptureFixture
) -> None:
    mail.change(settings(*STUBBORN, grace_seconds=600), busy)
    mail.scale(0, 2, SOON)
    until_ready(mail, 2)
    mail.change(settings(*STUBBORN, grace_seconds=0.5), busy)
    assert workers(mail).grace_seconds == 0.5
    assert [psutil.pid_exists(pid) for pid in pids(caplog)] == [True, True]
    assert mail.scale(2, 0, SOON) == Applied(0)
    wait_until(lambda: history(caplog).count("exit mail-1") == 1, what="the first was killed")
    wait_until(lambda: history(caplog).count("exit mail-2") == 1, what="the second was killed")
    assert len(pids(caplog)) == 2


@pytest.mark.parametrize(
    "changed",
    [
        settings(*FOR_EVER, environment={"A": "b"}),
        settings("sleep", "2000"),
        settings(*FOR_EVER, directory="/"),
    ],
    ids=["environment", "command", "directory"],
)
def test_workers_are_replaced_one_after_the_other(
    mail: ProcessTarget, busy: BusyLookup, caplog: pytest.LogCaptureFixture, changed: ProcessSettings
) -> None:
    mail.scale(0, 3, SOON)
    until_ready(mail, 3)
    before = mail.start_times()
    mail.change(changed, busy)
    wait_until(lambda: sum("exit" in line for line in history(caplog)) == 3, what="the old ones have gone")
    verbs = [line.split()[0] for line in history(caplog)]
    assert verbs == ["start"] * 3 + ["start", "term", "exit"] * 3
    ended = {line for line in history(caplog) if line.startswith("exit")}
    assert ended == {"exit mail-1", "exit mail-2", "exit mail-3"}
    assert (workers(mail).requested, workers(mail).ready) == (3, 3)
    assert mail.start_times()[:3] == before
    assert len(mail.start_times()) == 6


def test_idle_workers_are_replaced_first(
    mail: ProcessTarget, busy: BusyLookup, jobs: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    mail.scale(0, 3, SOON)
    until_ready(mail, 3)
    jobs.update({"mail-3": 1, "mail-1": 1})
    mail.change(settings("sleep", "2000"), busy)
    wait_until(lambda: "term mail-2" in history(caplog), what="the first is replaced")
    assert not {"term mail-1", "term mail-3"} & set(history(caplog)[: history(caplog).index("term mail-2")])


@pytest.mark.parametrize(("before", "after"), [(0.2, 600), (600, 0.2)], ids=["longer", "shorter"])
def test_workers_that_are_replaced_have_the_longer_of_the_two_graces(
    mail: ProcessTarget, busy: BusyLookup, caplog: pytest.LogCaptureFixture, before: float, after: float
) -> None:
    mail.change(settings(*FINISHING, grace_seconds=before), busy)
    mail.scale(0, 1, SOON)
    until_ready(mail, 1)
    mail.change(settings(*FOR_EVER, grace_seconds=after), busy)
    wait_until(lambda: "exit mail-1" in history(caplog), what="it has finished its job")
    records: list[Any] = list(caplog.records)
    assert [record.status for record in records if record.getMessage() == "worker exited"] == ["exit 0"]


def test_settings_with_which_no_worker_can_start_end_no_worker(
    mail: ProcessTarget, busy: BusyLookup, caplog: pytest.LogCaptureFixture
) -> None:
    mail.scale(0, 2, SOON)
    until_ready(mail, 2)
    mail.change(settings("no-such-program"), busy)
    wait_until(lambda: "workers not replaced" in caplog.text, what="the reason is logged")
    mail.change(settings("sh", "-c", "exit 1"), busy)
    wait_until(lambda: caplog.text.count("worker exited unexpectedly") == 3, what="the new one crashes")
    assert (workers(mail).requested, workers(mail).ready) == (2, 2)
    assert not [line for line in history(caplog) if "term" in line]
    mail.change(settings(*FOR_EVER), busy)
    wait_until(lambda: len(mail.start_times()) == 4, what="both were replaced in the end")
