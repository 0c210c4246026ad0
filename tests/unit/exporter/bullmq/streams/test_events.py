from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.names.tally import NameTally
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Entry, Jobs, missing_before
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.snapshot.histogram import Histogram
from exporter.snapshot.queues import JobCounters

NONE = dict.fromkeys(
    ("added", "started", "completed", "failed", "retried", "stalled", "removed", "deduplicated"), 0
)


def entry(at: str, text: str) -> Entry:
    """`active 7 prev=waiting` at "120-1", as XREAD answers it."""
    event, *rest = text.split()
    fields = ["event", event, *(["jobId", rest[0]] if rest else [])]
    for pair in rest[1:]:
        fields += pair.split("=")
    return [at.encode(), [field.encode() for field in fields]]


def feed(script: str, jobs: Jobs | None = None) -> JobCounters:
    """Each line is `<ms>[-<number>] event jobId field=value ...`; afterwards the stream is at its end."""
    jobs = jobs or Jobs()
    lines = [line.split(maxsplit=1) for line in script.strip().splitlines()]
    jobs.feed(entry(at if "-" in at else f"{at}-0", text) for at, text in lines)
    jobs.settle()
    return jobs.counters()


def nonzero(counters: JobCounters) -> dict[str, int]:
    return {name: value for name in NONE if (value := getattr(counters, name))}


def durations(histogram: Histogram) -> tuple[int, float]:
    return sum(histogram.counts), histogram.total


def spent(counters: JobCounters) -> dict[str, tuple[int, float]]:
    """Outcome -> attempts and seconds."""
    processing = counters.processing.items()
    return {outcome: durations(histogram) for outcome, histogram in processing if sum(histogram.counts)}


PLAIN = """
1000-0 added 1 name=x
1000-1 waiting 1
1200-0 active 1 prev=waiting
"""

CASES: dict[str, tuple[str, dict[str, int], tuple[int, float], dict[str, tuple[int, float]]]] = {
    "completed in v6": (
        PLAIN + "1500 completed 1 returnvalue=null prev=active",
        {"added": 1, "started": 1, "completed": 1},
        (1, 0.2),
        {"completed": (1, 0.3)},
    ),
    "completed in v3, without prev": (
        PLAIN + "1500 completed 1 returnvalue=null",
        {"added": 1, "started": 1, "completed": 1},
        (1, 0.2),
        {"completed": (1, 0.3)},
    ),
    "failed at the last attempt, and reported twice": (
        PLAIN + "1500-0 failed 1 failedReason=no prev=active\n1500-1 retries-exhausted 1 attemptsMade=1",
        {"added": 1, "started": 1, "failed": 1},
        (1, 0.2),
        {"failed": (1, 0.3)},
    ),
    "retried at once in v5 and v6": (
        PLAIN + "1500 waiting 1 prev=active\n1600 active 1 prev=waiting\n1650 completed 1 returnvalue=1",
        {"added": 1, "started": 2, "completed": 1, "retried": 1},
        (2, 0.3),
        {"retried": (1, 0.3), "completed": (1, 0.05)},
    ),
    "retried at once in v3 and v4": (
        PLAIN + "1500 waiting 1 prev=failed\n1600 active 1 prev=waiting\n1650 completed 1 returnvalue=1",
        {"added": 1, "started": 2, "completed": 1, "retried": 1},
        (2, 0.3),
        {"retried": (1, 0.3), "completed": (1, 0.05)},
    ),
    "retried with backoff, with v3's fractional time": (
        PLAIN
        + "1500 delayed 1 delay=2500.0012\n2500 waiting 1 prev=delayed\n2510 active 1 prev=waiting\n"
        + "2600 failed 1 failedReason=no prev=active",
        {"added": 1, "started": 2, "failed": 1, "retried": 1},
        (2, 0.21),
        {"retried": (1, 0.3), "failed": (1, 0.09)},
    ),
    "delayed when it is added is no retry": (
        (
            "1000-0 added 1 name=x\n1000-1 delayed 1 delay=2000\n1100 delayed 1 delay=3000\n"
            "3000 waiting 1 prev=delayed\n3001 active 1 prev=waiting"
        ),
        {"added": 1, "started": 1},
        (1, 0.001),
        {},
    ),
    "failed, then put back by hand": (
        PLAIN + "1500 failed 1 failedReason=no\n9000 waiting 1 prev=failed\n9010 active 1 prev=waiting\n"
        "9020 completed 1 returnvalue=1",
        {"added": 1, "started": 2, "failed": 1, "completed": 1},
        (2, 0.21),
        {"failed": (1, 0.3), "completed": (1, 0.01)},
    ),
    "stalled is no retry": (
        PLAIN + "9000-0 waiting 1 prev=active\n9000-1 stalled 1\n9100 active 1 prev=waiting\n"
        "9200 completed 1 returnvalue=1",
        {"added": 1, "started": 2, "stalled": 1, "completed": 1},
        (2, 0.3),
        {"completed": (1, 0.1)},
    ),
    "stalled too often": (
        PLAIN + "9000-0 failed 1 prev=active failedReason=stalled",
        {"added": 1, "started": 1, "failed": 1},
        (1, 0.2),
        {"failed": (1, 7.8)},
    ),
    "two go back, one of them stalled": (
        PLAIN + "1200-1 active 2 prev=waiting\n1500-0 waiting 2 prev=active\n1500-1 waiting 1 prev=active\n"
        "1500-2 stalled 1",
        {"added": 1, "started": 2, "stalled": 1, "retried": 1},
        (1, 0.2),
        {"retried": (1, 0.3)},
    ),
    "the rate limit's return in v4 is no retry": (
        PLAIN + "1300 waiting 1\n1400 active 1 prev=waiting\n1500 completed 1 returnvalue=1",
        {"added": 1, "started": 2, "completed": 1},
        (2, 0.3),
        {"completed": (1, 0.1)},
    ),
    "a flow's parent": (
        (
            "1000-0 added 9 name=x\n1000-1 waiting-children 9\n3000 waiting 9 prev=waiting-children\n"
            "3100 active 9 prev=waiting\n3200 waiting-children 9 prev=active\n"
            "4000 waiting 9 prev=waiting-children\n4300 active 9 prev=waiting\n4400 completed 9 returnvalue=1"
        ),
        {"added": 1, "started": 2, "completed": 1},
        (2, 0.4),
        {"completed": (1, 0.1)},
    ),
    "a parent that waits again in v4, which says nothing of it": (
        PLAIN + "1500 waiting 1 prev=waiting-children\n1700 active 1 prev=waiting",
        {"added": 1, "started": 2},
        (2, 0.4),
        {},
    ),
    "a parent that fails with its child": (
        (
            "1000-0 added 9 name=x\n1000-1 waiting-children 9\n"
            "2000 failed 9 failedReason=child prev=waiting-children"
        ),
        {"added": 1, "failed": 1},
        (0, 0),
        {},
    ),
    "removed, and its id used again": (
        "1000-0 added 1 name=x\n1000-1 waiting 1\n1100 removed 1 prev=wait\n9000 active 1 prev=waiting",
        {"added": 1, "started": 1, "removed": 1},
        (0, 0),
        {},
    ),
    "obliterated, and its id used again": (
        PLAIN + "9000-0 added 1 name=x\n9000-1 delayed 1 delay=9999",
        {"added": 2, "started": 1},
        (1, 0.2),
        {},
    ),
    "deduplicated, and reported twice in v5": (
        "1-0 debounced 1 debounceId=d\n1-1 deduplicated 1 deduplicationId=d deduplicatedJobId=2",
        {"deduplicated": 1},
        (0, 0),
        {},
    ),
    "what is no job's change": (
        "1 progress 1 data=5\n2 drained\n3 paused\n4 resumed\n5 duplicated 1\n6 cleaned\n7 no 1\n8 added",
        {"added": 1},
        (0, 0),
        {},
    ),
    "begun before anyone looked": (
        "1 waiting 1 prev=active\n2 completed 2 returnvalue=1\n3 active 3 prev=waiting",
        {"retried": 1, "completed": 1, "started": 1},
        (0, 0),
        {},
    ),
    "a clock that went back": (
        "1000 waiting 1\n990 active 1 prev=waiting\n980 completed 1 returnvalue=1",
        {"started": 1, "completed": 1},
        (1, 0),
        {"completed": (1, 0)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_counters_and_durations_of_a_stream(name: str) -> None:
    script, expected, waited, processed = CASES[name]
    counters = feed(script)
    assert nonzero(counters) == expected
    assert durations(counters.wait) == pytest.approx(waited)
    assert spent(counters) == {
        outcome: pytest.approx(spent_time) for outcome, spent_time in processed.items()
    }


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    counters = feed(
        "0-1 waiting 1\n1 waiting 2\n2 waiting 3\n101 active 2 a=b\n103 active 3 a=b", Jobs((0.1, 1))
    )
    assert counters.wait == Histogram((0.1, 1), (1, 1, 0), 0.201)


@pytest.mark.fault
def test_an_invalid_entry_is_ignored() -> None:
    jobs = Jobs()
    senseless: list[Any] = [[b"1-0", []], [b"1-0", None], [], None, 5, [b"1-0", [b"event"]]]
    jobs.feed([*senseless, [b"x", [b"event", b"active", b"jobId", b"1"]], entry("2-0", "added 1")])
    assert nonzero(jobs.counters()) == {"added": 1}


def test_an_active_job_that_was_seeded_is_retried_without_a_duration() -> None:
    jobs = Jobs()
    jobs.seed([b"1"])
    counters = feed("1 delayed 1 delay=5", jobs)
    assert (nonzero(counters), spent(counters)) == ({"retried": 1}, {})


def test_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    jobs = Jobs(max_jobs=80)
    for n in range(200):
        jobs.feed([entry(f"{n}-0", f"waiting {n}")])
        assert jobs.remembered <= 80
    assert jobs.counters().evicted == 200 - jobs.remembered
    counters = feed("500 active 199\n501 active 0", jobs)
    assert durations(counters.wait) == pytest.approx((1, 0.301))


def test_what_went_without_an_event_is_pruned() -> None:
    jobs = Jobs()
    jobs.feed([entry("100-0", "waiting 1"), entry("150-0", "active 2"), entry("200-0", "waiting 3")])
    jobs.prune(200, waiting=False, active=True)
    assert (jobs.remembered, jobs.counters().evicted) == (2, 1)
    jobs.prune(201, waiting=True, active=False)
    assert jobs.remembered == 1
    jobs.forget()
    assert jobs.remembered == 0


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (b"5-0", b"4-7", 0),
        (b"5-3", b"4-7", 3),
        (b"5-3", b"5-2", 0),
        (b"5-9", b"5-2", 6),
        (b"5", b"0-0", 0),
    ],
)
def test_missing_before(first: bytes, last: bytes, expected: int) -> None:
    assert missing_before(first, last) == expected


EVENTS = (
    "added", "waiting", "waiting {} prev=active", "waiting {} prev=failed", "waiting {} prev=delayed",
    "active", "completed", "failed", "delayed", "stalled", "removed", "waiting-children",
    "deduplicated", "progress",
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[Entry]:
    at = 1
    entries: list[Entry] = []
    for _ in range(draw(st.integers(0, 60))):
        at += draw(st.sampled_from([0, 1, 40, 7000]))
        text = draw(st.sampled_from(EVENTS))
        job = draw(st.integers(0, 5))
        entries.append(entry(f"{at}-{len(entries)}", text.format(job) if "{}" in text else f"{text} {job}"))
    return entries


@pytest.mark.slow
@given(streams(), st.lists(st.integers(0, 60)), st.integers(2, 20), st.booleans())
def test_any_split_with_a_restart_at_each_gives_the_same_tallies(
    entries: list[Entry],
    cuts: list[int],
    max_jobs: int,
    native: bool,  # noqa: FBT001
) -> None:
    whole, parts = Jobs(max_jobs=max_jobs, native=native), Jobs(max_jobs=max_jobs, native=native)
    whole.feed(entries)
    for start, end in pairwise(sorted({0, len(entries), *(cut for cut in cuts if cut < len(entries))})):
        before = parts.counters()
        parts.feed(entries[start:end])
        saved, busy = json.loads(json.dumps([parts.dump(), parts.busy]))
        parts = Jobs(max_jobs=max_jobs, native=native)
        parts.restore(saved, busy)
        after = parts.counters()
        assert all(getattr(before, name) <= getattr(after, name) for name in NONE)
    whole.settle()
    parts.settle()
    assert whole.counters() == parts.counters()
    assert (whole.remembered, whole.busy) == (parts.remembered, parts.busy)


@pytest.mark.slow
@given(streams())
def test_native_durations_are_those_of_the_buckets(entries: list[Entry]) -> None:
    classic, native = Jobs(), Jobs(native=True)
    for jobs in (classic, native):
        jobs.feed(entries)
        jobs.settle()
    counters = native.counters()
    assert counters._replace(native=None) == classic.counters()
    assert counters.native is not None
    histograms = {"wait": counters.wait, **counters.processing}
    for outcome, each in {"wait": counters.native.wait, **counters.native.processing}.items():
        assert each.zero_count + sum(each.counts) == sum(histograms[outcome].counts)


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True), (False, False)])
def test_durations_go_on_where_they_were_counted_in_the_same_forms(*, before: bool, after: bool) -> None:
    jobs = Jobs(native=before)
    jobs.feed([entry("1000-0", "waiting 1"), entry("1500-0", "active 1")])
    restored = Jobs(native=after)
    restored.restore(jobs.dump())
    counters = restored.counters()
    assert counters.started == 1
    kept = before or not after  # else the two forms would not be of the same jobs
    assert sum(counters.wait.counts) == kept
    assert (sum(counters.native.wait.counts) if counters.native else None) == (kept if after else None)


@pytest.mark.parametrize("native", [{"wait": [3, 0, 0, 7]}, {"wait": [9, 0, 0, 1]}, {"wait": "x"}, {}, 5])
def test_native_durations_that_are_not_those_of_the_buckets_are_refused(native: object) -> None:
    jobs = Jobs(native=True)
    jobs.feed([entry("1000-0", "waiting 1"), entry("1500-0", "active 1")])
    restored = Jobs(native=True)
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        restored.restore({**jobs.dump(), "native": native})
    assert restored.counters() == Jobs(native=True).counters()


@pytest.mark.parametrize("part", ["waits", "active", "returned"])
def test_of_a_dump_that_is_refused_nothing_is_restored(part: str) -> None:
    def begun() -> Jobs:
        names = NameTally(LabelBudget(10), 5, DEFAULT_BUCKETS)
        return Jobs(reasons=ReasonTally(LabelBudget(10), 5), names=names)

    jobs, refused = begun(), begun()
    jobs.feed([entry("1000-0", "added 1 name=send"), entry("1001-0", "failed 1 failedReason=disk")])
    with pytest.raises(ValueError, match="latin-1"):
        refused.restore({**jobs.dump(), part: [["☃", 5]]})
    assert refused.counters() == begun().counters()


def test_of_a_job_whose_id_has_megabytes_a_hash_is_remembered() -> None:
    """Of 200,000 such jobs the ids would be all of the memory; what is counted is the same."""
    long, other = "x" * 3_000_000, "x" * 2_999_999 + "y"
    names = NameTally(LabelBudget(10), 5, DEFAULT_BUCKETS)
    jobs = Jobs(reasons=ReasonTally(LabelBudget(10), 5), names=names)
    jobs.seed([other.encode()], 500)
    script = [f"added {long} name=send", f"waiting {long}", f"active {long}", f"completed {other}"]
    jobs.feed(entry(f"{1000 + 100 * place}-0", text) for place, text in enumerate(script))
    assert len(json.dumps(jobs.dump())) < 5000
    assert jobs.remembered == 1, "the one with the other id ended"
    jobs.feed([entry("1900-0", f"failed {long} failedReason=disk")])
    counters = jobs.counters()
    assert spent(counters) == {"failed": (1, 0.7)}
    assert counters.names is not None
    assert counters.names.named[0][1:5] == (1, 0, 1, 0)
    assert counters.reasons is not None
    assert counters.reasons.known[0].job == "x" * 200


def test_a_job_whose_id_is_no_text_is_not_remembered() -> None:
    jobs = Jobs()
    jobs.feed(
        [[b"1000-0", [b"event", b"active", b"jobId", 5]], [b"1000-1", [b"event", b"active", b"jobId", None]]]
    )
    jobs.settle()
    assert (jobs.counters().started, jobs.remembered) == (2, 0)
    json.dumps(jobs.dump())
