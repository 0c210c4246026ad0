"""Each cause begins, lasts, flaps and ends; its notifications, and whether their times are right."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import fmean
from threading import Barrier
from typing import Final

from lab.deadline import wait_until
from lab.receiver import Notification, Receiver
from tests.support.alerts.causes import Cause
from tests.support.alerts.monitoring import LATENCY, ScaledTimes

MARGIN: Final = 0.25
"""Cooldowns between a repeat and the next change."""
MOST_ROUNDS: Final = 3
PATIENCE: Final = 30.0
"""Seconds to wait for a notification that is due."""


@dataclass
class Timeline:
    """The times of one cause (time.monotonic()), and the notifications and series of its job."""

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


def cooldowns_of_phase(cause: Cause, times: ScaledTimes) -> int:
    """The cooldowns that the cause lasts, and then flaps: as many as fit into one of the longest cooldown."""
    cooldown, last = times.cooldowns[cause.alert], max(times.cooldowns[alert] for alert in cause.alerts)
    whole = (3 + MARGIN) * max(times.cooldowns.values())
    return max(1, min(MOST_ROUNDS, int(((whole - last) / cooldown - MARGIN) / 2)))


def run_all(timelines: Collection[Timeline], receiver: Receiver, times: ScaledTimes) -> list[Notification]:
    """Run all at once, then wait a little for superfluous notifications; all notifications.

    Raises TimeoutError for a missing notification. No thread ends before all causes have: the kernel ends the
    processes that a thread has started, which are Redis servers, with the thread.
    """
    barrier = Barrier(len(timelines) + 1)

    def run_one(timeline: Timeline) -> None:
        try:
            _run(timeline, receiver, times)
        finally:
            barrier.wait()
            barrier.wait()

    with ThreadPoolExecutor(len(timelines), thread_name_prefix="story") as threads:
        futures = [threads.submit(run_one, timeline) for timeline in timelines]
        try:
            barrier.wait()
            time.sleep(2 * times.group_interval + times.evaluation)  # no notification may come in this time
            notifications = list(receiver.notifications)
            barrier.wait()
        except BaseException:  # interrupted: the threads would wait for ever
            barrier.abort()
            raise
    for future in futures:
        future.result()
    for timeline in timelines:
        timeline.notifications = [
            notification for notification in notifications if notification.job == timeline.cause.job
        ]
    return notifications


def _run(timeline: Timeline, receiver: Receiver, times: ScaledTimes) -> None:
    cause, cooldown = timeline.cause, timeline.cooldown
    timeline.began = time.monotonic()
    cause.begin()
    longest = 600 * times.factor + PATIENCE
    wait_until(
        lambda: receiver.of(cause.alert, job=cause.job),
        what=f"{cause.alert} of {cause.job} has a notification",
        seconds=longest,
        every=0.1,
    )
    first = receiver.of(cause.alert, job=cause.job)[0].at
    if cause.remembered:
        timeline.flapped = timeline.ended = timeline.began + cause.remembered * times.factor
    else:
        flapping = first + (cooldowns_of_phase(cause, times) + MARGIN) * cooldown
        _sleep_until(flapping)
        timeline.flapped = time.monotonic()
        until = flapping + cooldowns_of_phase(cause, times) * cooldown
        if cause.flaps:
            _flap(cause, until=until, pause=max(cause.flap, cooldown / 6))
        else:
            _sleep_until(until)
        timeline.ended = time.monotonic()
        cause.end()
    last = max(times.cooldowns[alert] for alert in cause.alerts)
    wait_until(
        lambda: all(_is_resolved(receiver.of(alert, job=cause.job)) for alert in cause.alerts),
        what=f"{sorted(cause.alerts)} of {cause.job} are resolved",
        seconds=max(0.0, timeline.ended - time.monotonic()) + last + PATIENCE,
        every=0.1,
    )


def _flap(cause: Cause, *, until: float, pause: float) -> None:
    """End and begin the cause in turn, at least once. The pauses are part of the simulation."""
    while True:
        (cause.ease or cause.end)()
        time.sleep(pause)
        (cause.worsen or cause.begin)()
        if time.monotonic() + 3 * pause > until:
            break
        time.sleep(pause)
    _sleep_until(until)


def _sleep_until(moment: float) -> None:
    """Sleep until a time of the simulation."""
    time.sleep(max(0.0, moment - time.monotonic()))


def _is_resolved(notifications: list[Notification]) -> bool:
    return bool(notifications) and not notifications[-1].firing


def intervals(notifications: list[Notification]) -> list[float]:
    """Seconds between one notification and the next."""
    return [later.at - earlier.at for earlier, later in itertools.pairwise(notifications)]


def timing_errors(notifications: list[Notification], cooldown: float, times: ScaledTimes) -> list[str]:
    """The errors in the times of one alert's notifications: one per cooldown while firing, one resolved.

    Repeats are decided every group_interval, and each is due half a group_interval earlier: it is not sent
    before that, and one that is half a group_interval late was missed and sent at the next. A busy machine
    may delay one of them, and thereby shorten the next interval, but not their mean.
    """
    firing = [notification for notification in notifications if notification.firing]
    gaps = intervals(firing)
    slack = times.group_interval / 2 + LATENCY
    errors = [
        f"{gap:.1f} s after the previous notification, not {cooldown:g} s"
        for gap in gaps
        if abs(gap - cooldown) > slack
    ]
    if gaps and fmean(gaps) > cooldown + times.group_interval / 2 + LATENCY / len(gaps):
        errors.append(f"{fmean(gaps):.1f} s between notifications in the mean, not {cooldown:g} s")
    ends = len(notifications) - len(firing)
    if ends != 1:
        errors.append(f"{ends} resolved notifications")
    elif notifications[-1].firing:
        errors.append("firing after the resolved notification")
    elif intervals(notifications)[-1] > cooldown + slack:
        errors.append(f"no notification in the last {intervals(notifications)[-1]:.1f} s")
    return errors
