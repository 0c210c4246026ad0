"""Many that ask for the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from starlette.requests import ClientDisconnect, Request

from service.clock import Deadline
from service.turns.arrival import Arrival
from service.turns.in_turn import LateError, RequestTurns
from service.turns.shared_answers import AnswerError, SharedAnswers


def request(arrival: Arrival | None = None) -> Request:
    scope = {"type": "http", "headers": []}
    (arrival or Arrival()).put_into(scope)
    return Request(scope)


class Making:
    """Makes an answer once it may."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.made = 0

    def __call__(self, _: Deadline | None = None) -> bytes:
        self.made += 1
        self.release.wait(10)
        return b"answer %d" % self.made


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # it is a thread that changes it
            await asyncio.sleep(0.001)


@pytest.mark.fault
def test_of_many_that_ask_at_once_one_is_worked_for_and_all_get_the_same_bytes() -> None:
    async def ask() -> None:
        answers, make, deadline = SharedAnswers(), Making(), Deadline.after(20)
        asking = [asyncio.create_task(answers.get(request(), "a", deadline, make)) for _ in range(200)]
        await soon(lambda: make.made > 0)
        make.release.set()
        got = await asyncio.gather(*asking)
        assert len({id(answer) for answer in got}) == 1
        assert make.made == 1
        assert await answers.get(request(), "a", Deadline.after(20), make) == b"answer 2"

    asyncio.run(ask())


@pytest.mark.fault
def test_a_hasty_answer_is_not_shared_with_a_patient_request() -> None:
    async def ask() -> None:
        answers, make = SharedAnswers(), Making()
        asking = [
            asyncio.create_task(answers.get(request(), "a", Deadline.after(seconds), make))
            for seconds in (5, 20, 5.1, 30, 45)
        ]
        await soon(lambda: make.made == 3)
        make.release.set()
        await asyncio.gather(*asking)
        assert make.made == 3  # for 5, 20 and 45 s; 30 s has that of 20 s

    asyncio.run(ask())


@pytest.mark.fault
def test_many_of_which_each_is_a_moment_hastier_than_the_one_before_share_few_answers() -> None:
    async def ask() -> None:
        answers, make = SharedAnswers(), Making()
        times = [40 - number / 10 for number in range(200)]
        asking = [
            asyncio.create_task(answers.get(request(), "a", Deadline.after(seconds), make))
            for seconds in times
        ]
        await soon(lambda: make.made > 0)
        make.release.set()
        await asyncio.gather(*asking)
        assert make.made <= 4  # for 40 s, and from 32, 22.6 and 16 s on

    asyncio.run(ask())


@pytest.mark.fault
def test_who_has_waited_for_longer_than_its_own_time_out_is_refused() -> None:
    async def ask() -> None:
        answers, make = SharedAnswers(), Making()
        with pytest.raises(LateError):
            await answers.get(request(), "a", Deadline.after(0), make)
        with pytest.raises(LateError):
            await answers.get(request(), "b", Deadline.after(-10), make)
        make.release.set()

    asyncio.run(ask())


@pytest.mark.fault
def test_nobody_waits_for_a_client_that_is_gone() -> None:
    async def ask() -> None:
        answers, make = SharedAnswers(), Making()
        loop = asyncio.get_running_loop()
        arrivals: list[Arrival] = []
        asking = []
        for _ in range(50):
            task: asyncio.Task[bytes] | None = None
            arrival = Arrival(lambda: task.cancel() if task else None)  # noqa: B023
            task = loop.create_task(answers.get(request(arrival), "a", Deadline.after(20), make))
            arrivals.append(arrival)
            asking.append((task, arrival))
        await soon(lambda: make.made == 1)
        for task, _ in asking:
            task.cancel()
        done, _ = await asyncio.wait([task for task, _ in asking], timeout=5)
        assert len(done) == 50
        make.release.set()
        arrivals[0].leave()
        with pytest.raises(ClientDisconnect):
            await answers.get(request(arrivals[0]), "a", Deadline.after(20), make)

    asyncio.run(ask())


def test_a_bug_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        answers = SharedAnswers()
        release = threading.Event()

        def make(_: Deadline) -> bytes:
            release.wait(10)
            raise ValueError("a bug")

        deadline = Deadline.after(20)
        asking = [asyncio.create_task(answers.get(request(), "a", deadline, make)) for _ in range(20)]
        await asyncio.sleep(0)
        release.set()
        got = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(result) for result in got} == {AnswerError}

    asyncio.run(ask())
    assert [record.getMessage() for record in caplog.records] == ["answer failed"]


@pytest.mark.fault
def test_turns_are_taken_by_those_who_are_still_there() -> None:
    async def ask() -> None:
        turns, make = RequestTurns(2), Making()
        working = [asyncio.create_task(turns.run(request(), make)) for _ in range(2)]
        await soon(lambda: make.made == 2)
        with pytest.raises(LateError):
            await turns.run(request(), make, Deadline.after(0))
        leaving = []
        for _ in range(20):
            arrival = Arrival()
            task = asyncio.create_task(turns.run(request(arrival), make))
            arrival._cancel = task.cancel
            leaving.append((arrival, task))
        await asyncio.sleep(0)
        for arrival, _ in leaving:
            arrival.leave()
        await asyncio.wait([task for _, task in leaving], timeout=5)
        assert all(task.cancelled() for _, task in leaving)
        make.release.set()
        await asyncio.gather(*working)
        assert make.made == 2
        assert await turns.run(request(), make) == b"answer 3"

    asyncio.run(ask())


def test_work_that_has_begun_is_not_cut_off() -> None:
    async def ask() -> None:
        turns, make = RequestTurns(1), Making()
        arrival = Arrival()
        task = asyncio.create_task(turns.run(request(arrival), make))
        arrival._cancel = task.cancel
        await soon(lambda: make.made == 1)
        arrival.leave()
        make.release.set()
        assert await task == b"answer 1"

    asyncio.run(ask())
