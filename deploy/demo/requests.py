"""Requests to the running demo, from its terminal and from others."""

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

ACTION_ERRORS: Final = (RefusedError, RedisError, DriverError, DiedError, TimeoutError)
"""What an action may raise: it is reported, and the demo continues."""


class Requests:
    """Lines from this terminal and from others, performed one after the other by the demo's main thread.

    No other thread may do it: a child process ends with the thread that started it.
    """

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._lines: SimpleQueue[tuple[str, Future[ActionResult] | None]] = SimpleQueue()

    def enqueue(self, line: str) -> None:
        """Add a line; an empty line is ignored."""
        if line.strip():
            self._lines.put((line.strip(), None))

    def submit(self, line: str) -> ActionResult:
        """Add a line and wait for its result."""
        future: Future[ActionResult] = Future()
        self._lines.put((line.strip(), future))
        return future.result()

    def serve(self, *, seconds: float) -> bool:
        """Perform the next line and print its result; False if there is none within `seconds`."""
        try:
            line, future = self._lines.get(timeout=seconds)
        except Empty:
            return False
        result = perform(self._demo, line)
        event("done" if result.done else "not done", f"{line}: {result.text}")
        if future is not None:
            future.set_result(result)
        return True


def perform(demo: Demo, line: str) -> ActionResult:
    """Perform the action that a line names."""
    if line == HELP_COMMAND:
        return ActionResult(done=True, text=f"actions, and the alert that follows\n{action_table(ACTIONS)}")
    try:
        return ActionResult(done=True, text=find(line, ACTIONS).run(demo))
    except ACTION_ERRORS as error:
        return ActionResult(done=False, text=str(error))
