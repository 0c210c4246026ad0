"""Workers that crash, ignore SIGTERM, print much and fork: real processes, and what is left of them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.deadline import wait_until
from scaler.busy import WorkerJobs
from scaler.config.settings import ProcessSettings
from scaler.model import Applied, NotApplied, Workers
from scaler.targets.base import Target
from scaler.targets.process import ProcessTarget
from service.clock import Deadline
from service.outcome import Failed, Ok, UnreadableError

ROOT = Path(__file__).parents[3]
SOON = Deadline.after(3600)
FOR_EVER = ("sleep", "1000")
STUBBORN = ("sh", "-c", "trap '' TERM; while true; do sleep 0.1; done")

TargetOf = Callable[..., ProcessTarget]


@pytest.fixture
def target(_only_ours: None) -> Iterator[TargetOf]:
    """`target("command", "argument", grace_seconds=1)`; closed, and its threads gone, at the end."""
    with ExitStack() as undo:

        def make(*command: str, busy: Any = None, name: str = "mail", **settings: Any) -> ProcessTarget:
            given: dict[str, Any] = {"command": command, "grace_seconds": 5, "ready_seconds": 0.1} | settings
            process_target = ProcessTarget(name, ProcessSettings(**given), busy=busy)
            undo.callback(process_target.close)
            return process_target

        before = set(threading.enumerate())
        yield make
        undo.close()
        assert set(threading.enumerate()) <= before
        assert children(recursive=True) == []


_others: set[int] = set()


@pytest.fixture(autouse=True)
def _only_ours() -> None:
    """Servers that other tests keep for the session are no workers."""
    _others.clear()
    _others.update(child.pid for child in psutil.Process().children(recursive=True))


def children(*, recursive: bool = False) -> list[psutil.Process]:
    """The processes that the test has started."""
    return [child for child in psutil.Process().children(recursive=recursive) if child.pid not in _others]


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def workers(target: Target) -> Workers:
    outcome = target.read(SOON)
    assert isinstance(outcome, Ok)
    assert outcome.value.grace_seconds is not None
    return outcome.value._replace(grace_seconds=None)


def until_ready(target: Target, count: int) -> None:
    wait_until(lambda: workers(target).ready == count, what=f"{count} workers are ready")


def events(caplog: pytest.LogCaptureFixture, event: str) -> list[Any]:
    return [record for record in list(caplog.records) if record.getMessage() == event]


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.worker, record.line) for record in events(caplog, "worker output")]


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != "zombie"
    except psutil.NoSuchProcess:  # it may end while it is looked at
        return False


def pids_in(directory: Path) -> list[int]:
    """Of the processes that wrote themselves down there, each a file with its pid for a name."""
    return [int(path.name) for path in directory.iterdir()]


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", script)


def test_out_and_in(target: TargetOf, caplog: pytest.LogCaptureFixture) -> None:
    mail = target(*FOR_EVER)
    assert workers(mail) == Workers(requested=0, ready=0)
    assert mail.scale(0, 3, SOON) == Applied(3)
    assert workers(mail).requested == 3
    until_ready(mail, 3)
    assert mail.scale(3, 1, SOON) == Applied(1)
    assert workers(mail) == Workers(requested=1, ready=1, start_seconds=workers(mail).start_seconds)
    wait_until(lambda: len(children()) == 1, what="two have gone")
    ended = events(caplog, "worker exited")
    assert [(record.status, record.levelno) for record in ended] == [("SIGTERM", logging.INFO)] * 2


def test_a_start_time_is_measured_from_the_request_to_readiness(target: TargetOf) -> None:
    mail = target(*FOR_EVER, ready_seconds=0.3)
    mail.scale(0, 1, SOON)
    assert workers(mail) == Workers(requested=1, ready=0, start_seconds=None)
    until_ready(mail, 1)
    assert (workers(mail).start_seconds or 0) >= 0.3


def test_another_number_than_the_requested_one_is_a_conflict(target: TargetOf) -> None:
    mail = target(*FOR_EVER)
    answer = mail.scale(2, 3, SOON)
    assert isinstance(answer, NotApplied)
    assert (answer.kind, answer.message) == ("conflict", "0 workers are requested, not 2")
    assert workers(mail).requested == 0
    assert children() == []


@pytest.mark.fault
def test_a_command_that_cannot_run_is_an_error_and_nothing_is_requested(
    target: TargetOf, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    cases = [
        (target("no-such-program"), "not_found"),
        (target("./missing", directory=str(tmp_path)), "not_found"),
        (target("./plain", directory=str(tmp_path)), "forbidden"),
        (target("true", directory="/no/such/directory"), "not_found"),
        (target("true", directory=str(plain)), "invalid"),
        (target("true", directory="a\0b"), "invalid"),
        (target("true", user="nobody-of-that-name"), "not_found"),
        (target("true", environment={"A=B": "c"}), "invalid"),
        (target("x" * 5000), "not_found"),
        (target("/" + "x" * 5000), "invalid"),
    ]
    for mail, kind in cases:
        answer = mail.scale(0, 1, SOON)
        assert isinstance(answer, NotApplied)
        assert answer.kind == kind, answer
        assert workers(mail).requested == 0


def test_an_error_at_exec_shows_as_a_worker_that_exits(
    target: TargetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    mail = target(str(script))
    assert mail.scale(0, 1, SOON) == Applied(1)
    wait_until(lambda: events(caplog, "worker exited unexpectedly"), what="it has ended")
    assert workers(mail) == Workers(requested=1, ready=0)
    assert lines(caplog) == [("mail-1", f"{script} cannot be run: No such file or directory")]
    assert events(caplog, "worker exited unexpectedly")[0].status == "exit 127"


def test_a_worker_has_its_directory_its_environment_and_its_name(
    target: TargetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_SCALER", "ours")
    script = 'echo "$PWD $OF_THE_SCALER $ADDED $OXHERD_WORKER"; exec sleep 1000'
    given = {"environment": {"ADDED": "theirs"}, "environment_from": ["OF_THE_SCALER"]}
    mail = target("sh", "-c", script, directory=str(tmp_path), **given)
    mail.scale(0, 1, SOON)
    wait_until(lambda: lines(caplog), what="it has said so")
    assert lines(caplog) == [("mail-1", f"{tmp_path} ours theirs mail-1")]


def test_a_worker_runs_as_another_user_where_we_are_root(
    target: TargetOf, caplog: pytest.LogCaptureFixture
) -> None:
    mail = target("sh", "-c", "echo $(id -un) $(id -gn) $HOME; exec sleep 1000", user="nobody", directory="/")
    answer = mail.scale(0, 1, SOON)
    if os.geteuid() != 0:
        assert isinstance(answer, NotApplied)
        assert answer.kind == "forbidden"
        return
    wait_until(lambda: lines(caplog), what="it has said who it is")
    assert lines(caplog)[0][1].split() == ["nobody", "nogroup", "/nonexistent"]
    mail.scale(1, 0, SOON)
    wait_until(lambda: children() == [], what="it has gone")
    assert events(caplog, "worker exited")[0].status == "SIGTERM"


@pytest.mark.fault
def test_its_standard_input_is_empty_and_a_closed_pipe_ends_its_commands(
    target: TargetOf, caplog: pytest.LogCaptureFixture
) -> None:
    mail = target("sh", "-c", "cat; yes | head -1; echo over; exec sleep 1000")
    mail.scale(0, 1, SOON)
    wait_until(lambda: ("mail-1", "over") in lines(caplog), what="it has read to the end")
    assert lines(caplog) == [("mail-1", "y"), ("mail-1", "over")]


@pytest.mark.fault
def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace_period(
    target: TargetOf, caplog: pytest.LogCaptureFixture
) -> None:
    mail = target(*STUBBORN, grace_seconds=0.5)
    mail.scale(0, 2, SOON)
    until_ready(mail, 2)
    mail.scale(2, 0, SOON)
    assert workers(mail) == Workers(requested=0, ready=0, start_seconds=workers(mail).start_seconds)
    wait_until(lambda: children(recursive=True) == [], what="all have gone")
    assert [record.status for record in events(caplog, "worker exited")] == ["SIGKILL"] * 2


def test_a_worker_that_has_just_started_is_terminated_too(target: TargetOf) -> None:
    mail = target(*FOR_EVER, grace_seconds=60)
    for _ in range(5):
        mail.scale(0, 4, SOON)
        wait_until(children, what="the first is there")
        mail.scale(4, 0, SOON)
        wait_until(lambda: children() == [], what="all have gone, and not by SIGKILL")


@pytest.mark.fault
def test_a_worker_that_exits_is_restarted_with_growing_pauses(
    target: TargetOf, caplog: pytest.LogCaptureFixture
) -> None:
    mail = target("sh", "-c", "exit 7")
    mail.scale(0, 1, SOON)
    wait_until(
        lambda: len(events(caplog, "worker exited unexpectedly")) == 3, what="it has ended three times"
    )
    ended = events(caplog, "worker exited unexpectedly")
    assert [(record.status, record.restart_seconds) for record in ended] == [
        ("exit 7", 1.0),
        ("exit 7", 2.0),
        ("exit 7", 4.0),
    ]
    gaps = [later.created - earlier.created for earlier, later in pairwise(ended)]
    assert gaps[0] >= 1
    assert gaps[1] >= 2
    assert workers(mail) == Workers(requested=1, ready=0)


def test_a_worker_that_exits_with_0_is_restarted_too(
    target: TargetOf, caplog: pytest.LogCaptureFixture
) -> None:
    mail = target("true")
    mail.scale(0, 1, SOON)
    wait_until(lambda: len(events(caplog, "worker started")) == 2, what="it was started again")
    assert events(caplog, "worker exited unexpectedly")[0].status == "exit 0"


def test_a_worker_that_is_killed_is_replaced(target: TargetOf, caplog: pytest.LogCaptureFixture) -> None:
    mail = target(*FOR_EVER)
    mail.scale(0, 2, SOON)
    until_ready(mail, 2)
    os.kill(events(caplog, "worker started")[0].pid, signal.SIGKILL)
    wait_until(lambda: workers(mail).ready == 1, what="one is missed")
    until_ready(mail, 2)
    assert events(caplog, "worker exited unexpectedly")[0].status == "SIGKILL"


def test_a_worker_that_waits_for_its_restart_is_removed_first(
    target: TargetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mail-1").touch()
    mail = target("sh", "-c", f"[ -e {tmp_path}/$OXHERD_WORKER ] && exit 1; exec sleep 1000")
    mail.scale(0, 2, SOON)
    wait_until(lambda: events(caplog, "worker exited unexpectedly"), what="the first has crashed")
    until_ready(mail, 1)
    mail.scale(2, 1, SOON)
    assert workers(mail).ready == 1
    assert events(caplog, "worker terminating") == []


def test_idle_workers_are_terminated_first(target: TargetOf, caplog: pytest.LogCaptureFixture) -> None:
    busy = WorkerJobs({"mail-1": 1, "mail-3": 2, "mail-4": 1, "mail-x": 1, "other-1": 1}, complete=True)
    mail = target(*FOR_EVER, busy=lambda deadline: busy)
    mail.scale(0, 4, SOON)
    until_ready(mail, 4)
    mail.scale(4, 3, SOON)
    wait_until(lambda: events(caplog, "worker exited"), what="one has gone")
    assert [record.worker for record in events(caplog, "worker exited")] == ["mail-2"]


def test_idle_workers_are_counted_where_every_job_has_a_name(target: TargetOf) -> None:
    answers = iter(
        [
            (WorkerJobs({"mail-1": 3}, complete=True), 2),
            (WorkerJobs({}, complete=True), 3),
            (WorkerJobs({"mail-1": 3}, complete=False), None),
            (WorkerJobs({"mail-1": 3, "other-1": 1}, complete=True), None),
        ]
    )
    busy: list[WorkerJobs] = []
    mail = target(*FOR_EVER, busy=lambda deadline: busy[-1])
    mail.scale(0, 3, SOON)
    until_ready(mail, 3)
    for answer, idle in answers:
        busy.append(answer)
        assert mail.idle(SOON) == (None if idle is None else Ok(idle))


@pytest.mark.parametrize("answers", [True, False], ids=["it answers", "it hangs"])
def test_a_scale_in_asks_once_for_the_busy_workers(target: TargetOf, *, answers: bool) -> None:
    asked: list[float] = []

    def busy(deadline: Deadline) -> WorkerJobs:
        asked.append(deadline.remaining())
        if not answers:
            raise UnreadableError("timeout", "no answer in time")
        return WorkerJobs({"mail-3": 1, "mail-2": 1}, complete=True)

    mail = target(*FOR_EVER, busy=busy)
    mail.scale(0, 3, SOON)
    wait_until(lambda: workers(mail).ready == 3, what="all are ready")
    mail.idle(Deadline.after(60))
    assert mail.scale(3, 2, SOON) == Applied(2)
    assert len(asked) == 1
    assert mail.scale(2, 1, SOON) == Applied(1)  # it was not asked before this one
    assert len(asked) == 2
    assert asked[1] <= 2, "not as long as the other targets would have to wait for"


def test_the_busy_workers_may_be_unknown(target: TargetOf, caplog: pytest.LogCaptureFixture) -> None:
    def broken(deadline: Deadline) -> WorkerJobs:
        raise UnreadableError("unreachable", "no idea")

    for busy, idle in ((broken, Failed("unreachable", "no idea")), (None, None)):
        mail = target(*FOR_EVER, busy=busy)
        mail.scale(0, 2, SOON)
        assert mail.idle(SOON) == idle
        assert mail.scale(2, 1, SOON) == Applied(1)
    assert events(caplog, "cannot read busy workers")


def test_every_line_of_much_output_is_logged(target: TargetOf, caplog: pytest.LogCaptureFixture) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; echo error $i >&2; i=$((i+1)); done; printf end"
    mail = target("sh", "-c", script)
    mail.scale(0, 1, SOON)
    wait_until(lambda: events(caplog, "worker exited unexpectedly"), what="it is through")
    wait_until(lambda: lines(caplog)[-1] == ("mail-1", "end"), what="all is logged")
    expected = [text for n in range(3000) for text in (f"line {n}", f"error {n}")]
    assert [line for _, line in lines(caplog)] == [*expected, "end"]


def test_a_line_without_an_end_is_cut(target: TargetOf, caplog: pytest.LogCaptureFixture) -> None:
    script = "import sys; sys.stdout.write('x' * 20_000 + '\\xff'); sys.stdout.flush(); sys.stdin.read()"
    mail = target(*python(script + "; import signal; signal.pause()"))
    mail.scale(0, 1, SOON)
    wait_until(lambda: len(lines(caplog)) == 2, what="what is long enough is logged")
    mail.scale(1, 0, SOON)
    wait_until(lambda: len(lines(caplog)) == 3, what="the rest is logged at its end")
    assert [len(line) for _, line in lines(caplog)] == [8000, 8000, 4001]


FAMILY = """
import os, signal, sys
directory, stubborn = sys.argv[1], sys.argv[2:] == ["stubborn"]
def note():
    open(f"{directory}/{os.getpid()}", "w").close()
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
note()
if os.fork() == 0:
    note()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        note()
    signal.pause()
signal.pause()
"""
"""A worker, its child, and a daemon of that child in a session of its own, whose parent has ended."""


@pytest.mark.fault
@pytest.mark.parametrize("stubborn", [(), ("stubborn",)], ids=["listens", "stubborn"])
def test_descendants_end_with_their_worker(
    target: TargetOf, tmp_path: Path, stubborn: tuple[str, ...]
) -> None:
    mail = target(*python(FAMILY), str(tmp_path), *stubborn, grace_seconds=1)
    mail.scale(0, 1, SOON)
    wait_until(lambda: len(pids_in(tmp_path)) == 3, what="the family is complete")
    family = pids_in(tmp_path)
    assert running(family) == family
    mail.scale(1, 0, SOON)
    wait_until(lambda: running(family) == [], what="nobody is left")


@pytest.mark.fault
def test_a_crash_loop_is_reported_with_the_last_exit(
    target: TargetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.targets.process.backoff", lambda failures: 0.05)
    mail = target("sh", "-c", "exit 3")
    mail.scale(0, 1, SOON)
    assert workers(mail).crash_loop is None
    wait_until(lambda: workers(mail).crash_loop is not None, what="it crashed five times")
    often = "1 of 1 workers exited 5 times in a row soon after they started"
    assert workers(mail).crash_loop == f"{often}, the last with exit 3"


@pytest.mark.fault
def test_descendants_of_a_crashed_worker_are_terminated_before_the_restart(
    target: TargetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mail = target(*python(FAMILY), str(tmp_path))
    mail.scale(0, 1, SOON)
    wait_until(lambda: len(pids_in(tmp_path)) == 3, what="the family is complete")
    family = pids_in(tmp_path)
    os.kill(events(caplog, "worker started")[0].pid, signal.SIGKILL)
    wait_until(lambda: len(pids_in(tmp_path)) == 6, what="there is another")
    assert running(family) == []


def test_a_command_in_hand_is_not_disturbed_while_the_worker_closes(
    target: TargetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = "trap 'wait; echo closed; exit 0' TERM; (sleep 1; echo job is done) & echo busy; wait"
    mail = target("bash", "-c", script)
    mail.scale(0, 1, SOON)
    wait_until(lambda: lines(caplog), what="it is busy")
    mail.scale(1, 0, SOON)
    wait_until(lambda: children() == [], what="it has gone")
    assert [line for _, line in lines(caplog)] == ["busy", "job is done", "closed"]


@pytest.mark.parametrize("stubborn", [(), ("stubborn",)], ids=["listens", "stubborn"])
def test_the_worker_of_a_shim_that_was_killed_is_terminated_by_the_scaler(
    target: TargetOf, tmp_path: Path, caplog: pytest.LogCaptureFixture, stubborn: tuple[str, ...]
) -> None:
    script = FAMILY.replace("os.setsid()", "pass")
    mail = target(*python(script), str(tmp_path), *stubborn, grace_seconds=1)
    mail.scale(0, 1, SOON)
    wait_until(lambda: len(pids_in(tmp_path)) == 3, what="the family is complete")
    family = pids_in(tmp_path)
    shim = psutil.Process(events(caplog, "worker started")[0].pid).parent()
    assert shim is not None
    shim.kill()
    wait_until(lambda: len(pids_in(tmp_path)) == 6, what="there is another")
    assert running(family) == []
    assert events(caplog, "worker exited unexpectedly")[0].status == "unknown: its shim was killed"


@pytest.mark.fault
def test_a_shim_that_hangs_is_killed_with_its_group(
    target: TargetOf, caplog: pytest.LogCaptureFixture
) -> None:
    mail = target(*FOR_EVER, grace_seconds=0.2)
    mail.scale(0, 1, SOON)
    until_ready(mail, 1)
    children()[0].suspend()
    mail.scale(1, 0, SOON)
    wait_until(lambda: children(recursive=True) == [], what="all have gone")


def test_close_ends_all_and_takes_no_more(target: TargetOf, tmp_path: Path) -> None:
    mail = target(*python(FAMILY), str(tmp_path), "stubborn", grace_seconds=0.5)
    mail.scale(0, 2, SOON)
    wait_until(lambda: len(pids_in(tmp_path)) == 6, what="both families are complete")
    mail.close()
    assert running(pids_in(tmp_path)) == []
    assert children() == []
    answer = mail.scale(0, 1, SOON)
    assert isinstance(answer, NotApplied)
    mail.close()


def test_a_target_that_never_ran_is_closed(target: TargetOf) -> None:
    target(*FOR_EVER).close()


# --- the scaler dies ---------------------------------------------------------------------------------------

SCALER = """
import signal, sys
from scaler.config.settings import ProcessSettings
from scaler.targets.process import ProcessTarget
from service.clock import Deadline
target = ProcessTarget("mail", ProcessSettings(command=tuple(sys.argv[2:]), grace_seconds=float(sys.argv[1])))
print(target.scale(0, 2, Deadline.after(5)), flush=True)
signal.pause()
"""


@pytest.fixture
def scaler() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`scaler(grace, "command", "argument")`: a scaler with two such workers, in a process of its own."""
    started = []

    def start(grace: float, *command: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", SCALER, str(grace), *command], cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.fault
@pytest.mark.parametrize("stubborn", [(), ("stubborn",)], ids=["listens", "stubborn"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=lambda sig: sig.name)
def test_nothing_outlives_a_scaler_that_was_killed(
    scaler: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    number: signal.Signals,
    stubborn: tuple[str, ...],
) -> None:
    process = scaler(1, *python(FAMILY), str(tmp_path), *stubborn)
    wait_until(lambda: len(pids_in(tmp_path)) == 6, what="both families are complete")
    family = pids_in(tmp_path)
    shims = [child.pid for child in psutil.Process(process.pid).children()]
    assert len(shims) == 2
    assert running(family) == family
    process.send_signal(number)
    process.wait()
    wait_until(lambda: running([*family, *shims]) == [], what="nobody is left")


def test_a_scaler_that_is_stopped_keeps_its_workers(
    scaler: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = scaler(0.2, *python(FAMILY), str(tmp_path))
    wait_until(lambda: len(pids_in(tmp_path)) == 6, what="both families are complete")
    family = pids_in(tmp_path)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        wait_until(lambda: running(family) != family, what="somebody has ended", seconds=1)
    process.kill()
    wait_until(lambda: running(family) == [], what="nobody is left")


def test_workers_exit_with_a_scaler_and_shims_that_are_killed_at_once(
    scaler: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Who listens to SIGTERM, that is: the kernel tells the worker itself."""
    process = scaler(1, "sh", "-c", f"touch {tmp_path}/$$; exec sleep 1000")
    wait_until(lambda: len(pids_in(tmp_path)) == 2, what="both are there")
    shims = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGSTOP)
    for shim in shims:
        shim.kill()
    process.kill()
    wait_until(lambda: running(pids_in(tmp_path)) == [], what="nobody is left")
