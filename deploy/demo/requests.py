"""What people ask of the running demo, and how it is answered."""

from __future__ import annotations

from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final

from deploy.demo.actions import ACTIONS
from deploy.demo.commands import HELP_COMMAND, RefusedError, action_table, find
from deploy.demo.control import ActionResult
from deploy.demo.parts import Demo
from deploy.demo.terminal import event
from lab.driver import DriverError
from lab.process import DiedError
from lab.redis import RedisError

TROUBLE: Final = (RefusedError, RedisError, DriverError, DiedError, TimeoutError)
"""What an action may raise: it is told, and the demo goes on."""


class Requests:
    """Lines from this terminal and from others, done in turn by the thread that looks after the demo.

    No other may: a child that an action starts dies with the thread that started it.
    """

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._lines: SimpleQueue[tuple[str, Future[ActionResult] | None]] = SimpleQueue()

    def typed(self, line: str) -> None:
        """Something to do; an empty line is nothing."""
        if line.strip():
            self._lines.put((line.strip(), None))

    def asked(self, line: str) -> ActionResult:
        """Something to do, and what came of it."""
        answer: Future[ActionResult] = Future()
        self._lines.put((line.strip(), answer))
        return answer.result()

    def serve(self, *, seconds: float) -> bool:
        """Do the next one, told in this terminal too; False after so long without any."""
        try:
            line, future = self._lines.get(timeout=seconds)
        except Empty:
            return False
        answer = perform(self._demo, line)
        event("done" if answer.done else "not done", f"{line}: {answer.text}")
        if future is not None:
            future.set_result(answer)
        return True


def perform(demo: Demo, line: str) -> ActionResult:
    """Do what a line says."""
    if line == HELP_COMMAND:
        return ActionResult(
            done=True, text=f"what can be typed, and the alert that follows\n{action_table(ACTIONS)}"
        )
    try:
        return ActionResult(done=True, text=find(line, ACTIONS).run(demo))
    except TROUBLE as error:
        return ActionResult(done=False, text=str(error))
