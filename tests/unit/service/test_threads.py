from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from threading import enumerate as threads

import pytest

from service.threads import Supervised, WorkerGroup, backoff

LONG = 3600.0


def test_steps_until_stopped() -> None:
    steps: SimpleQueue[int] = SimpleQueue()
    left = iter([0.0, 0.0, LONG])

    def step() -> float:
        steps.put(1)
        return next(left)

    task = Supervised("stepper", step, max_age=LONG)
    task.start()
    for _ in range(3):
        steps.get(timeout=10)
    assert task.alive
    assert "stepper" in [thread.name for thread in threads()]
    assert task.stop()
    assert not task.alive
    with pytest.raises(Empty):
        steps.get_nowait()
    assert task.restarts == 0


def test_a_step_that_raises_is_logged_and_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    done = Event()
    pauses = []
    results = iter([ValueError("first"), SystemExit("second"), None])

    def step() -> float:
        result = next(results)
        if result is not None:
            raise result
        done.set()
        return LONG

    def pause(failures: int) -> float:
        pauses.append(failures)
        return 0.0

    task = Supervised("raiser", step, max_age=LONG, pause=pause)
    with caplog.at_level(logging.ERROR):
        task.start()
        assert done.wait(10)
    assert task.alive
    assert task.stop()
    assert (pauses, task.restarts) == ([1, 2], 2)
    assert [record.getMessage() for record in caplog.records] == ["background step failed"] * 2
    assert caplog.records[0].__dict__["task"] == "raiser"


def test_a_step_that_hangs_is_not_alive_once_it_is_too_old() -> None:
    hanging, release = Event(), Event()

    def step() -> float:
        hanging.set()
        release.wait()
        return LONG

    task = Supervised("hanger", step, max_age=-1.0)
    task.start()
    assert hanging.wait(10)
    assert task.age() >= 0
    assert not task.alive
    assert not task.stop(0.0)
    release.set()
    assert task.stop(1.0)


def test_neither_started_nor_started_twice() -> None:
    task = Supervised("once", lambda: LONG, max_age=LONG)
    assert not task.alive
    assert task.stop()
    task = Supervised("once", lambda: LONG, max_age=LONG)
    task.start()
    with pytest.raises(RuntimeError):
        task.start()
    assert task.stop()


@pytest.mark.parametrize("sleeps_on", [True, False])
def test_a_wake_within_a_step_counts_unless_it_sleeps_on(*, sleeps_on: bool) -> None:
    steps: SimpleQueue[int] = SimpleQueue()
    wakes = iter([True])

    def step() -> float:
        if next(wakes, False):
            task.wake()
            if sleeps_on:
                task.sleep_on()
        steps.put(1)
        return LONG

    task = Supervised("test", step, max_age=LONG)
    task.start()
    for _ in range(1 if sleeps_on else 2):
        steps.get(timeout=5)
    with pytest.raises(Empty):
        steps.get(timeout=0.1)
    assert task.stop()


def test_stopped_within_a_step_it_does_not_sleep_on() -> None:
    begun, ending = Event(), Event()

    def step() -> float:
        begun.set()
        ending.wait(5)
        task.sleep_on()
        return LONG

    task = Supervised("test", step, max_age=LONG)
    task.start()
    assert begun.wait(5)
    assert not task.stop(0)
    ending.set()
    assert task.stop(2.0)


def test_backoff() -> None:
    assert [backoff(failures) for failures in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]


def test_stop_from_many_threads_is_one_stop() -> None:
    task = Supervised("stopped", lambda: LONG, max_age=LONG)
    task.start()
    stoppers = [Thread(target=task.stop) for _ in range(3)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join(10)
    assert not task.alive


def test_a_crew_has_one_thread_for_each_name() -> None:
    steps: SimpleQueue[str] = SimpleQueue()

    def work(name: str) -> Callable[[], float]:
        def step() -> float:
            steps.put(name)
            return LONG

        return step

    group = WorkerGroup(max_age=LONG)
    group.sync({name: work(name) for name in ("a", "b")})
    assert {steps.get(timeout=10), steps.get(timeout=10)} == {"a", "b"}
    first = group.members
    group.sync({name: work(name) for name in ("b", "c")})
    assert steps.get(timeout=10) == "c"
    assert [member.name for member in group.members] == ["b", "c"]
    assert group.members[0] is first[1]
    assert first[0].stop()
    assert group.stop()
    group.sync({"d": work("d")})
    assert group.members == ()
    with pytest.raises(Empty):
        steps.get_nowait()


def test_one_of_a_crew_that_hangs_holds_up_no_other() -> None:
    hanging, done = Event(), Event()

    def hang() -> float:
        hanging.wait(5)
        return LONG

    def work() -> float:
        done.set()
        return LONG

    group = WorkerGroup(max_age=LONG)
    group.sync({"hangs": hang, "works": work})
    assert done.wait(10)
    assert not group.stop(0.05)
    hanging.set()
    assert group.stop()
