from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.locks import gone_since
from exporter.snapshot.queues import QueueId

MAIL, SMS = QueueId("bull", "mail"), QueueId("bull", "sms")


def test_a_lock_is_gone_since_the_first_look_that_did_not_find_it() -> None:
    first = gone_since({}, {MAIL: frozenset({b"1", b"2"})}, 10.0)
    assert first == {MAIL: {b"1": 10.0, b"2": 10.0}}
    assert gone_since(first, {MAIL: frozenset({b"2", b"3"})}, 20.0) == {MAIL: {b"2": 10.0, b"3": 20.0}}


def test_a_lock_that_came_back_is_gone_anew() -> None:
    first = gone_since({}, {MAIL: frozenset({b"1"})}, 10.0)
    back = gone_since(first, {MAIL: frozenset()}, 20.0)
    assert gone_since(back, {MAIL: frozenset({b"1"})}, 30.0) == {MAIL: {b"1": 30.0}}


def test_a_queue_that_could_not_be_looked_at_keeps_what_is_known() -> None:
    first = gone_since({}, {MAIL: frozenset({b"1"}), SMS: frozenset({b"9"})}, 10.0)
    assert gone_since(first, {MAIL: None}, 20.0) == {MAIL: {b"1": 10.0}}
    assert gone_since({}, {MAIL: None}, 20.0) == {MAIL: {}}


LOOKS = st.lists(st.none() | st.frozensets(st.sampled_from([b"1", b"2"])), min_size=1, max_size=8)


@given(LOOKS)
def test_no_lock_is_gone_for_longer_than_each_look_says(looks: list[frozenset[bytes] | None]) -> None:
    gone: dict[QueueId, object] = {}
    for at, jobs in enumerate(looks):
        gone = dict(gone_since(gone, {MAIL: jobs}, float(at)))  # type: ignore[arg-type]
    known = gone[MAIL]
    assert isinstance(known, dict)
    for job, since in known.items():
        assert all(jobs is None or job in jobs for jobs in looks[int(since) :])
