"""Each cause begins, holds, flaps and ends; what was told of it meanwhile, and whether that came in time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Final

from lab.deadline import wait_until
from lab.receiver import Notification, Receiver
from tests.support.alerts.causes import Cause
from tests.support.alerts.monitoring import Pace

MARGIN: Final = 0.25
"""Cooldowns that pass after a repeat before something changes."""
MOST_ROUNDS: Final = 3
PATIENCE: Final = 30.0
"""Seconds after which what should have been told by now never will be."""


@dataclass
class Story:
    """One cause's times, time.monotonic(), and in the end what was told and seen of its job."""

    cause: Cause
    cooldown: float
    began: float = 0.0
    flapped: float = 0.0
    ended: float = 0.0
    notifications: list[Notification] = field(default_factory=list)
    flaps: int = 0
    lowest: dict[str, float] = field(default_factory=dict)

    def of(self, alert: str) -> list[Notification]:
        return [notification for notification in self.notifications if notification.alert == alert]

    @property
    def firing(self) -> list[Notification]:
        return [notification for notification in self.of(self.cause.alert) if notification.firing]

    @property
    def resolved(self) -> list[Notification]:
        return [notification for notification in self.of(self.cause.alert) if not notification.firing]


def rounds(cause: Cause, at: Pace) -> int:
    """For how many cooldowns it holds, and for as many flaps: those that fit in while the longest has one."""
    cooldown, last = at.cooldowns[cause.alert], max(at.cooldowns[alert] for alert in cause.alerts)
    whole = (3 + MARGIN) * max(at.cooldowns.values())
    return max(1, min(MOST_ROUNDS, int(((whole - last) / cooldown - MARGIN) / 2)))


def play_all(stories: Collection[Story], receiver: Receiver, at: Pace) -> list[Notification]:
    """All at once, and a little longer, in which nothing may be told; all that was told.

    Raises TimeoutError for one of which nothing was told, or no end. A thread stays until all are through:
    when it ends, the kernel ends what it has started, and that is Redis.
    """
    together = Barrier(len(stories) + 1)

    def play(story: Story) -> None:
        try:
            _live(story, receiver, at)
        finally:
            together.wait()
            together.wait()

    with ThreadPoolExecutor(len(stories), thread_name_prefix="story") as threads:
        played = [threads.submit(play, story) for story in stories]
        try:
            together.wait()
            time.sleep(2 * at.tick + at.evaluation)  # measured: nothing may be told in it
            notifications = list(receiver.notifications)
            together.wait()
        except BaseException:  # interrupted: nobody else would let the threads go
            together.abort()
            raise
    for future in played:
        future.result()
    for story in stories:
        story.notifications = [
            notification for notification in notifications if notification.job == story.cause.job
        ]
    return notifications


def _live(story: Story, receiver: Receiver, at: Pace) -> None:
    cause, cooldown = story.cause, story.cooldown
    story.began = time.monotonic()
    cause.begin()
    longest = 600 * at.factor + PATIENCE
    wait_until(
        lambda: receiver.of(cause.alert, job=cause.job),
        what=f"{cause.alert} of {cause.job} is told",
        seconds=longest,
        every=0.1,
    )
    first = receiver.of(cause.alert, job=cause.job)[0].at
    if cause.remembered:
        story.flapped = story.ended = story.began + cause.remembered * at.factor
    else:
        flapping = first + (rounds(cause, at) + MARGIN) * cooldown
        _sleep_until(flapping)
        story.flapped = time.monotonic()
        _flap(cause, until=flapping + rounds(cause, at) * cooldown, pause=max(cause.flap, cooldown / 6))
        story.ended = time.monotonic()
        cause.end()
    last = max(at.cooldowns[alert] for alert in cause.alerts)
    wait_until(
        lambda: all(_is_over(receiver.of(alert, job=cause.job)) for alert in cause.alerts),
        what=f"the end of {sorted(cause.alerts)} of {cause.job} is told",
        seconds=max(0.0, story.ended - time.monotonic()) + last + PATIENCE,
        every=0.1,
    )


def _flap(cause: Cause, *, until: float, pause: float) -> None:
    """Better and worse by turns, once at least, and worse at the end. The pauses are what is simulated."""
    while True:
        (cause.ease or cause.end)()
        time.sleep(pause)
        (cause.worsen or cause.begin)()
        if time.monotonic() + 3 * pause > until:
            break
        time.sleep(pause)
    _sleep_until(until)


def _sleep_until(moment: float) -> None:
    """For moments of a story, which are what is simulated."""
    time.sleep(max(0.0, moment - time.monotonic()))


def _is_over(notifications: list[Notification]) -> bool:
    return bool(notifications) and not notifications[-1].firing


def gaps(notifications: list[Notification]) -> list[float]:
    """Seconds between one and the next."""
    return [later.at - earlier.at for earlier, later in itertools.pairwise(notifications)]


def untimely(notifications: list[Notification], cooldown: float, at: Pace) -> list[str]:
    """What is wrong with one alert's notifications: once a cooldown while it fires, its end once, no more.

    Repeats are decided every group_interval, and each is due half of one before: it comes no earlier than
    that, and one that came half a group_interval late would have been missed and told at the next.
    """
    firing = [notification for notification in notifications if notification.firing]
    early, late = cooldown - at.tick / 2, cooldown + at.tick / 2
    wrong = [
        f"told {gap:.1f} s after the one before, not {cooldown:g} s"
        for gap in gaps(firing)
        if not early <= gap <= late
    ]
    ends = len(notifications) - len(firing)
    if ends != 1:
        wrong.append(f"its end was told {ends} times")
    elif notifications[-1].firing:
        wrong.append("told again after its end")
    elif gaps(notifications)[-1] > late:
        wrong.append(f"not told in its last {gaps(notifications)[-1]:.1f} s")
    return wrong
