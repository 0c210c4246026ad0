from __future__ import annotations

from typing import cast

import pytest

from lab.deadline import wait_until
from scaler.targets.base import Target
from scaler.targets.closing import ClosingTargets
from tests.support.no_threads import no_threads


class Closed:
    def __init__(self) -> None:
        self.times = 0

    def close(self) -> None:
        self.times += 1


@pytest.mark.fault
def test_a_removed_target_is_closed_although_there_was_no_room_for_a_thread() -> None:
    targets = [Closed() for _ in range(3)]
    closing = ClosingTargets()
    with no_threads():
        for target in targets:
            closing.add(cast("Target", target))
    assert [target.times for target in targets] == [0, 0, 0]
    closing.begin()
    wait_until(lambda: [target.times for target in targets] == [1, 1, 1], what="all are closed")
    closing.finish()
    assert [target.times for target in targets] == [1, 1, 1]


def test_at_the_end_they_are_closed_without_a_thread() -> None:
    target, closing = Closed(), ClosingTargets()
    with no_threads():
        closing.add(cast("Target", target))
        closing.finish()
    assert target.times == 1
