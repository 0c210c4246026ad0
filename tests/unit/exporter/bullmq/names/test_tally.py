from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.names.tally import COUNTED, MOST_KNOWN, NameTally
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Jobs
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.snapshot.job_names import JobName, JobNames

HOUR = 3_600_000


def counting(most: int = 3, of_all: int = 500, *, native: bool = False, max_jobs: int = 1000) -> NameTally:
    return NameTally(LabelBudget(of_all), most, DEFAULT_BUCKETS, native=native, max_jobs=max_jobs)


def by_name(names: JobNames | None) -> dict[str, JobName]:
    assert names is not None
    return {each.name: each for each in names.all}


def counts(names: JobNames | None) -> dict[str, tuple[int, int, int, int]]:
    return {
        name: (each.added, each.completed, each.failed, each.retried) for name, each in by_name(names).items()
    }


def event(ms: int, event: str, job: str = "1", **fields: str) -> list[object]:
    pairs = [pair for name, value in fields.items() for pair in (name.encode(), value.encode())]
    return [b"%d-0" % ms, [b"event", event.encode(), b"jobId", job.encode(), *pairs]]


def word(number: int) -> str:
    """A name of its own: numbers would be folded."""
    return "job" + "".join(chr(97 + int(digit)) for digit in str(number))


def test_a_job_is_counted_by_its_name_through_all_its_attempts() -> None:
    jobs = Jobs(names=counting())
    jobs.feed(
        [
            event(1000, "added", name="send-17"),
            event(1000, "waiting"),
            event(1200, "active", prev="waiting"),
            event(1500, "delayed", delay="1"),
            event(2000, "waiting", prev="delayed"),
            event(2100, "active", prev="waiting"),
            event(2700, "completed", prev="active"),
        ]
    )
    send = by_name(jobs.counters().names)["send-#"]
    assert (send.added, send.completed, send.failed, send.retried) == (1, 1, 0, 1)
    assert (sum(send.wait.counts), send.wait.total) == (2, 0.3)
    assert (sum(send.processing.counts), send.processing.total) == (2, 0.9)


def test_a_failed_job_that_is_retried_by_hand_keeps_its_name() -> None:
    jobs = Jobs(names=counting())
    jobs.feed(
        [
            event(1000, "added", name="send"),
            event(1200, "active"),
            event(1300, "failed", failedReason="x"),
            event(9000, "waiting", prev="failed"),
            event(9100, "active"),
            event(9200, "completed"),
        ]
    )
    assert counts(jobs.counters().names) == {"send": (1, 1, 1, 0)}


def test_jobs_that_were_added_before_are_unknown() -> None:
    jobs = Jobs(names=counting())
    jobs.feed([event(1000, "active"), event(1500, "completed")])
    assert counts(jobs.counters().names) == {}, "it would be the whole queue once more"
    jobs.feed([event(2000, "added", "2", name="send")])
    assert counts(jobs.counters().names) == {"unknown": (0, 1, 0, 0), "send": (1, 0, 0, 0)}


def test_names_are_few_and_the_rest_is_other() -> None:
    tally = counting(3)
    for number in range(10):
        tally.added(b"%d" % number, word(number).encode())
        tally.ended(b"%d" % number, "completed", 5)
    assert counts(tally.snapshot()) == {word(n): (1, 1, 0, 0) for n in range(3)} | {"other": (7, 7, 0, 0)}


def test_a_name_with_many_jobs_takes_the_place_of_a_small_one() -> None:
    tally = counting(2)
    for number, times in ((0, 9), (1, 1), (2, 40)):
        for job in range(times):
            tally.added(b"%d-%d" % (number, job), word(number).encode())
    known = counts(tally.snapshot())
    assert known.keys() == {word(0), word(2), "other"}
    assert sum(added for added, *_ in known.values()) == 49, "the count of the small one ends with it"


def test_a_name_with_few_long_jobs_takes_the_place_of_one_with_short_ones() -> None:
    tally = counting(5)
    for number in range(5):
        for job in range(20 + number):
            tally.added(b"%d-%d" % (number, job), word(number).encode())
            tally.ended(b"%d-%d" % (number, job), "completed", 10)
    tally.added(b"long", b"nightly")
    assert "nightly" not in counts(tally.snapshot())
    tally.ended(b"long", "completed", HOUR)
    assert counts(tally.snapshot())["nightly"] == (0, 1, 0, 0)


def test_a_name_that_went_away_ends() -> None:
    tally = counting()
    tally.added(b"1", b"yearly")
    for hour in range(1, 27):
        tally.added(b"2", b"hourly")
        tally.started(b"2", 5, hour * HOUR)
    assert counts(tally.snapshot()).keys() == {"hourly"}
    tally.added(b"3", b"yearly")
    tally.ended(b"1", "completed", 5)
    assert counts(tally.snapshot())["yearly"] == (1, 1, 0, 0), "it begins from 0"


def test_a_clock_that_went_back_does_not_end_the_fading() -> None:
    """Of a stream with an id of the far future, that is deleted: its next entries have the time of now."""
    tally = counting()
    tally.added(b"1", b"yearly")
    tally.added(b"2", b"hourly")
    for ms in (HOUR, 1 << 60, (1 << 60) + HOUR):
        tally.started(b"2", 5, ms)
    for hour in range(2, 28):
        tally.added(b"2", b"hourly")
        tally.started(b"2", 5, hour * HOUR)
    assert counts(tally.snapshot()).keys() == {"hourly"}


def test_an_id_that_is_used_again_has_the_name_of_the_last_job() -> None:
    tally = counting()
    tally.added(b"1", b"old")
    tally.ended(b"1", "failed", 5)
    tally.added(b"1", b"new")
    tally.back(b"1")
    tally.ended(b"1", "completed", 5)
    assert counts(tally.snapshot()) == {"old": (1, 0, 1, 0), "new": (1, 1, 0, 0)}


def restarted(tally: NameTally, budget: LabelBudget) -> NameTally:
    dumped = json.loads(json.dumps(tally.dump()))
    begun = NameTally(budget, tally.most_labels, DEFAULT_BUCKETS)
    return begun.restored(dumped, durations=True)


def test_after_a_restart_names_are_as_large_as_before() -> None:
    """Not as small as the first job after it: the series of a name that did not come yet would end."""
    tally = counting(2)
    for number, times in ((0, 40), (1, 30), (2, 10)):
        for job in range(times):
            tally.added(b"%d-%d" % (number, job), word(number).encode())
    again = restarted(tally, LabelBudget(500))
    for job in range(40):
        again.added(b"3-%d" % job, word(2).encode())
    assert counts(again.snapshot()).keys() == {word(0), word(1), "other"}
    for job in range(400):
        again.added(b"4-%d" % job, word(2).encode())
    assert counts(again.snapshot()).keys() == {word(0), word(2), "other"}


def test_where_there_are_fewer_places_after_a_restart_the_largest_names_keep_theirs() -> None:
    tally = counting(3)
    for number, times in ((0, 1), (1, 40), (2, 30)):
        for job in range(times):
            tally.added(b"%d-%d" % (number, job), word(number).encode())
    again = restarted(tally, LabelBudget(2))
    assert counts(again.snapshot()) == {word(1): (40, 0, 0, 0), word(2): (30, 0, 0, 0)}


def test_a_name_that_went_away_ends_also_where_each_hour_has_a_restart() -> None:
    tally = counting()
    tally.added(b"1", b"yearly")
    for half_hour in range(2, 54):
        tally.added(b"2", b"hourly")
        tally.started(b"2", 5, half_hour * HOUR // 2)
        tally = restarted(tally, LabelBudget(500))
    assert counts(tally.snapshot()).keys() == {"hourly"}


def test_all_queues_together_have_a_bound() -> None:
    budget = LabelBudget(3)
    one, two = (NameTally(budget, 2, DEFAULT_BUCKETS) for _ in range(2))
    for tally in (one, two):
        for number in range(3):
            tally.added(b"1", word(number).encode())
    assert (one.labels, two.labels) == (2, 1)


def test_five_thousand_names_are_bounded() -> None:
    tally = counting(5, max_jobs=100)
    for number in range(5000):
        tally.added(b"%d" % number, word(number).encode())
    assert tally.remembered <= 100
    assert len(tally.dump()["names"]) <= MOST_KNOWN
    assert sum(added for added, *_ in counts(tally.snapshot()).values()) == 5000


def test_the_same_objects_while_nothing_is_counted() -> None:
    tally = counting(native=True)
    tally.added(b"1", b"send")
    tally.added(b"2", b"other words")
    before = tally.snapshot()
    tally.started(b"1", 5, 1000)
    after = tally.snapshot()
    assert after.named[1] is not before.named[1]
    assert after.named[0] is before.named[0]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ("added", "waiting", "active", "completed", "failed", "delayed", "removed", "stalled")
        ),
        st.integers(0, 5).map(str),
        st.sampled_from(("send", "send-1", "sync", "pay", "", "other", "x" * 200)),
        st.sampled_from(("active", "waiting", "failed", "delayed")),
        st.integers(0, 2 * HOUR),
    ),
    max_size=60,
)


def fed(jobs: Jobs, events: list[tuple[str, str, str, str, int]], *, later: int | None = None) -> Jobs:
    ms = 1000
    for kind, job, name, prev, pause in events:
        ms += pause if later is None else later
        jobs.feed([event(ms, kind, job, **({"name": name} if kind == "added" else {"prev": prev}))])
    jobs.settle()
    return jobs


@given(events=EVENTS, most=st.integers(1, 4), of_all=st.integers(1, 4), native=st.booleans())
def test_the_counts_by_name_are_those_of_the_queue(
    events: list[tuple[str, str, str, str, int]], most: int, of_all: int, *, native: bool
) -> None:
    tally = NameTally(LabelBudget(of_all), most, DEFAULT_BUCKETS, native=native)
    counters = fed(Jobs(names=tally, native=native), events).counters()
    assert counters.names is not None
    names = counters.names.all
    assert len(counters.names.named) <= min(most, of_all)
    for outcome in COUNTED:
        assert sum(getattr(each, outcome) for each in names) <= getattr(counters, outcome)
    for each in names:
        if each.native is not None:
            assert sum(each.processing.counts) == sum(n for _, n in each.native.processing.buckets) + (
                each.native.processing.zero_count
            )


@given(EVENTS)
def test_with_places_for_all_names_each_job_counts_once(events: list[tuple[str, str, str, str, int]]) -> None:
    counters = fed(Jobs(names=counting(50)), [*events, ("added", "9", "last", "", 0)], later=0).counters()
    names = by_name(counters.names).values()
    for outcome in COUNTED:
        assert sum(getattr(each, outcome) for each in names) == getattr(counters, outcome)
    assert sum(sum(each.wait.counts) for each in names) == sum(counters.wait.counts)
    processing = sum(sum(each.counts) for each in counters.processing.values())
    assert sum(sum(each.processing.counts) for each in names) == processing


@given(before=EVENTS, after=EVENTS, native=st.booleans())
def test_it_goes_on_after_a_restart(
    before: list[tuple[str, str, str, str, int]], after: list[tuple[str, str, str, str, int]], *, native: bool
) -> None:
    """With enough places for all names, which a restart does not choose again."""

    def begun() -> Jobs:
        return Jobs(names=counting(50, native=native), native=native)

    first, again = fed(begun(), before, later=0), begun()
    dumped: dict[str, Any] = json.loads(json.dumps(first.dump()))
    again.restore(dumped, first.busy)
    assert again.counters() == first.counters()
    assert counts(fed(again, after, later=0).counters().names) == counts(
        fed(first, after, later=0).counters().names
    )
