from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.tallies.label_budget import LabelBudget

MINUTE = 60_000


def tally(most: int = 500, of_queue: int = 3) -> ReasonTally:
    return ReasonTally(LabelBudget(most), of_queue)


def labels(counted: ReasonTally) -> dict[str, int]:
    known = counted.snapshot().known
    return {reason.text: reason.labelled for reason in known if reason.labelled is not None}


def words(number: int) -> bytes:
    """A reason of its own: digits would be masked."""
    return f"no {''.join(chr(97 + int(digit)) for digit in str(number))}".encode()


def test_reasons_are_counted_with_their_times_and_the_last_job() -> None:
    counted = tally()
    for job, ms in ((b"a", 1000), (b"b", 3000), (b"c", 2000)):
        counted.add(b"timeout after %d ms" % ms, job, ms)
    counted.add(b"other words", b"d", 5000)
    first, second = counted.snapshot().known
    assert first == ("timeout after # ms", 3, 1.0, 3.0, "c", 3)
    assert second == ("other words", 1, 5.0, 5.0, "d", 1)
    assert counted.snapshot().other == 0


def test_the_same_object_until_a_job_fails() -> None:
    counted = tally()
    counted.add(b"x", b"1", 1)
    assert counted.snapshot() is counted.snapshot()
    before = counted.snapshot()
    counted.add(b"x", b"2", 2)
    assert counted.snapshot() is not before


def test_labels_are_few_and_the_rest_is_other() -> None:
    counted = tally()
    for number in range(10):
        counted.add(words(number), b"1", number)
    assert len(labels(counted)) == 3
    assert counted.snapshot().other == 7
    assert len(counted.snapshot().known) == 10, "those without a label are shown all the same"


def test_all_queues_together_have_a_bound() -> None:
    budget = LabelBudget(4)
    one, two = ReasonTally(budget, 3), ReasonTally(budget, 3)
    for counted in (one, two):
        for number in range(3):
            counted.add(words(number), b"1", 1)
    assert (one.labels, two.labels) == (3, 1)
    del one
    two.add(words(1), b"1", 1)
    assert two.labels == 2, "a queue that is gone gives its labels back"


def test_a_thousand_reasons_take_the_place_of_fifty() -> None:
    counted = tally()
    for number in range(5000):
        counted.add(words(number), b"1", number)
    counted.add(words(0), b"1", 9000)
    assert len(counted.snapshot().known) == 50
    assert sum(labels(counted).values()) + counted.snapshot().other == 5001


def test_a_frequent_reason_gets_the_label_of_a_rare_one() -> None:
    counted = tally()
    for number in range(3):
        counted.add(words(number), b"1", 0)
    for second in range(600):
        counted.add(b"disk full", b"2", 1000 * second)
    assert "disk full" in labels(counted)
    assert labels(counted)["disk full"] < 600, "it begins with what comes from then on"
    assert len(labels(counted)) == 3


def test_reasons_that_are_as_frequent_do_not_take_turns() -> None:
    counted = tally()
    before: set[str] = set()
    changes = 0
    for second in range(2000):
        counted.add(words(second % 5), b"1", 1000 * second)
        if second > 10:
            changes += before != set(labels(counted))
        before = set(labels(counted))
    assert changes == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100 * MINUTE)), max_size=300), st.integers(0, 5))
def test_no_label_that_is_there_and_not_other_ever_falls(failures: list[tuple[int, int]], most: int) -> None:
    counted = tally(most or 1, 3)
    seen: list[tuple[dict[str, int], int]] = []
    for number, ms in failures:
        counted.add(words(number), b"1", ms)
        seen.append((labels(counted), counted.snapshot().other))
        assert len(seen[-1][0]) == counted.labels <= 3
    for (before, other_before), (after, other) in pairwise(seen):
        assert other >= other_before
        assert all(after[text] >= count for text, count in before.items() if text in after)
    assert sum(reason.jobs for reason in counted.snapshot().known) <= len(failures)


def test_it_goes_on_after_a_restart() -> None:
    counted, again = tally(), tally()
    for number in range(6):
        counted.add(words(number % 5), b"\xff1", 1000 * number)
    again.restore(json.loads(json.dumps(counted.dump())))
    assert again.snapshot() == counted.snapshot()
    again.add(words(0), b"2", 9000)
    assert labels(again)[words(0).decode()] == 3


def test_with_fewer_labels_than_before_a_restart_the_bounds_of_now_hold() -> None:
    counted, again = tally(of_queue=3), tally(of_queue=1)
    for number in range(3):
        counted.add(words(number), b"1", 1)
    dumped: dict[str, Any] = counted.dump()
    dumped["known"] *= 40
    again.restore(dumped)
    assert again.labels == len(labels(again)) == 1
