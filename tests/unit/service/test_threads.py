from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from threading import enumerate as threads

import pytest

from lab.deadline import wait_until
from service.threads import (
    NoThreadError,
    Supervised,
    TaskPool,
    WorkerGroup,
    backoff,
    bound_thread_starts,
    start_again,
    start_thread,
)
from tests.support.no_threads import no_threads

LONG = 3600.0


def started_again(condition: Callable[[], bool]) -> bool:
    start_again()
    return condition()


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


def test_no_room_for_a_thread_is_an_error_of_the_system() -> None:
    with no_threads(), pytest.raises(NoThreadError, match="no room for another thread"):
        start_thread(lambda: None, "none")


def test_a_task_without_room_is_started_when_there_is(caplog: pytest.LogCaptureFixture) -> None:
    done = Event()

    def step() -> float:
        done.set()
        return LONG

    task = Supervised("late", step, max_age=LONG)
    with no_threads():
        task.start()
        start_again()
    assert not task.alive
    assert "background thread not started" in caplog.messages
    wait_until(lambda: started_again(done.is_set), what="the thread is started")
    assert task.alive
    assert task.stop()


def test_another_task_starts_those_without_room() -> None:
    done = Event()

    def step() -> float:
        done.set()
        return LONG

    late, other = Supervised("late", step, max_age=LONG), Supervised("other", lambda: 0.01, max_age=LONG)
    with no_threads(lambda name: name == "late"):
        late.start()
        other.start()
    assert done.wait(10)
    wait_until(lambda: late.alive, what="its thread is known to who started it")
    assert other.stop()
    assert late.stop()


def test_a_task_that_was_stopped_without_a_thread_is_not_started() -> None:
    task = Supervised("never", lambda: LONG, max_age=LONG)
    with no_threads():
        task.start()
    assert task.stop()
    assert task.launch()
    assert not task.has_thread


def test_a_thread_that_ended_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = iter([True])
    done = Event()

    def step() -> float:
        if next(failing, False):
            raise ValueError
        done.set()
        return LONG

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    ended = Event()
    monkeypatch.setattr("threading.excepthook", lambda _: ended.set())
    monkeypatch.setattr("service.threads.log.exception", no_memory)
    task = Supervised("ends", step, max_age=LONG)
    task.start()
    assert ended.wait(10)
    wait_until(lambda: started_again(done.is_set), what="the thread is started again")
    assert task.alive
    assert task.stop()


def test_a_crew_has_those_without_room_once_there_is() -> None:
    steps: SimpleQueue[str] = SimpleQueue()

    def work(name: str) -> Callable[[], float]:
        def step() -> float:
            steps.put(name)
            return LONG

        return step

    group = WorkerGroup(max_age=LONG)
    with no_threads(lambda name: name == "b"):
        group.sync({name: work(name) for name in ("a", "b")})
    assert [member.name for member in group.members] == ["a", "b"]
    assert not all(member.alive for member in group.members)
    wait_until(lambda: started_again(lambda: group.members[1].alive), what="the other one runs too")
    assert sorted([steps.get(timeout=10), steps.get(timeout=10)]) == ["a", "b"]
    assert group.stop()


@pytest.mark.parametrize("room", [True, False])
def test_each_task_of_a_pool_is_done_once_with_or_without_room(*, room: bool) -> None:
    done: SimpleQueue[int] = SimpleQueue()

    def work(number: int) -> int:
        done.put(number)
        return number * 2

    with no_threads(lambda _: not room), TaskPool(3, "pool") as pool:
        tasks = [pool.submit(work, number) for number in range(10)]
        assert [task.result() for task in tasks] == list(range(0, 20, 2))
        assert [task.result() for task in tasks] == list(range(0, 20, 2))
    assert sorted(done.get() for _ in range(done.qsize())) == list(range(10))


def test_the_error_of_a_task_is_raised_where_its_result_is_asked_for() -> None:
    def fail() -> None:
        raise ValueError("no")

    with TaskPool(1, "pool") as pool:
        task = pool.submit(fail)
        with pytest.raises(ValueError, match="no"):
            task.result()


@pytest.mark.fault
def test_a_thread_that_finds_no_memory_to_begin_is_not_awaited_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Thread, "start", Thread.start)  # as before at the end
    monkeypatch.setattr(Thread, "_bootstrap_inner", lambda _: None)  # it ends before it says that it runs
    monkeypatch.setattr("service.threads._LONGEST_START", 0.1)
    bound_thread_starts()
    with pytest.raises(NoThreadError):
        start_thread(lambda: None, "no memory")


def test_threads_whose_start_is_bounded_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Thread, "start", Thread.start)
    bound_thread_starts()
    done = Event()
    start_thread(done.set, "runs").join(10)
    assert done.is_set()
