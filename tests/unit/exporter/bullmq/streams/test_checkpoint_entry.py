from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.names.tally import NameTally
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.streams.checkpoint_entry import CheckpointEntryError, check_entry, read_entry
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Jobs
from exporter.bullmq.streams.state_file import checkpoint_line
from exporter.bullmq.streams.stream import Stream, StreamPosition
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.snapshot.queues import QueueId
from tests.support.state_entries import BROKEN, broken

MAIL = QueueId("bull", "mail")
POSITION = StreamPosition(b"1000-0", 5, 1, 0, -3, 1.8e9)

pytestmark = pytest.mark.fault


def counting(*, native: bool) -> Jobs:
    names = NameTally(LabelBudget(10), 3, DEFAULT_BUCKETS, native=native)
    return Jobs(native=native, reasons=ReasonTally(LabelBudget(10), 3), names=names)


def entry(*, native: bool = True) -> dict[str, Any]:
    jobs = counting(native=native)
    jobs.feed([[b"900-0", [b"event", b"added", b"jobId", b"7", b"name", b"send"]]])
    jobs.feed([[b"1000-0", [b"event", b"waiting", b"jobId", b"7"]]])
    jobs.feed([[b"1500-0", [b"event", b"active", b"jobId", b"7"]]])
    jobs.feed([[b"9500-0", [b"event", b"completed", b"jobId", b"7"]]])
    jobs.feed([[b"9600-0", [b"event", b"waiting", b"jobId", b"8"]]])
    jobs.feed([[b"9650-0", [b"event", b"added", b"jobId", b"8", b"name", b"send"]]])
    jobs.feed([[b"9700-0", [b"event", b"failed", b"jobId", b"9", b"failedReason", b"disk full"]]])
    loaded: dict[str, Any] = json.loads(checkpoint_line(MAIL, POSITION, Stream(MAIL, jobs, 1.8e9)))
    return loaded


@pytest.mark.parametrize("native", [False, True])
def test_what_was_written_can_be_used(*, native: bool) -> None:
    written = entry(native=native)
    assert read_entry(json.dumps(written).encode())[0] == MAIL
    check_entry(written)


@pytest.mark.parametrize(("part", "value"), BROKEN)
def test_a_number_that_nothing_was_counted_as_is_named(part: str, value: object) -> None:
    with pytest.raises(
        CheckpointEntryError, match=rf"^{part.rpartition('.')[2].rstrip('0123456789')}"
    ) as error:
        check_entry(broken(entry(), part, value))
    assert "should be" in str(error.value)


@pytest.mark.parametrize("text", ["other", "unknown"])
def test_what_many_are_called_together_is_no_name(text: str) -> None:
    """Two series with the same labels: Prometheus would refuse all of the scrape."""
    with pytest.raises(CheckpointEntryError, match=rf"^names: should have no name {text}$"):
        check_entry(broken(entry(), "jobs.names.names.0.0", text))


def test_what_all_reasons_are_called_together_is_no_reason() -> None:
    with pytest.raises(CheckpointEntryError, match=r"^known: should have no reason other$"):
        check_entry(broken(entry(), "jobs.reasons.known.0.0", "other"))


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff\x00",
        b"[" * 100_000,
        b"7",
        b"{}",
        b'{"prefix": "a"}',
        b'{"prefix": "\\ud800", "name": ""}',
    ],
)
def test_a_line_that_is_none_is_an_error(line: bytes) -> None:
    with pytest.raises(CheckpointEntryError):
        read_entry(line)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("4", "4.0", "4.1", "4.1.0", "4.1.1", "4.2.0.3")
PARTS = (
    *(*StreamPosition._fields, "busy", "jobs", *(f"jobs.{part}" for part in counting(native=True).dump())),
    *(f"jobs.reasons.{part}" for part in ("other", "known", "known.0", *(f"known.0.{n}" for n in range(6)))),
    *(f"jobs.names.{part}" for part in ("names", "other", "unknown", "jobs", "jobs.0", "names.0")),
    *(f"jobs.names.names.0.{part}" for part in ("0", "1", "2", "3", *FIELDS)),
)


@given(st.sampled_from(PARTS), VALUES)
def test_whatever_an_entry_has_it_is_used_or_named(part: str, value: object) -> None:
    """And what is used can be counted on and served."""
    changed = broken(entry(), part, value)
    jobs = counting(native=True)
    try:
        check_entry(changed)
        jobs.restore(changed["jobs"], changed.get("busy", (0, 0)))
    except (CheckpointEntryError, ValueError, TypeError, KeyError, OverflowError):
        return
    jobs.feed([[b"%d-0" % (1 << 50), [b"event", b"active", b"jobId", b"8"]]])
    jobs.feed([[b"%d-0" % (1 << 51), [b"event", b"completed", b"jobId", b"8"]]])
    jobs.feed([[b"%d-0" % (1 << 51), [b"event", b"failed", b"jobId", b"8", b"failedReason", b"disk full"]]])
    counters = jobs.counters()
    assert counters.reasons is not None
    assert counters.reasons.known[0].text
    assert counters.names is not None
    assert all(sum(each.wait.counts) >= 0 <= each.completed for each in counters.names.all)
    counts = (counters.added, counters.completed, *counters.wait.counts, counters.reasons.known[0].jobs)
    assert all(float(count or 0) >= 0 for count in counts)
