"""New texts cost bounded time; those that are known none."""

from __future__ import annotations

from collections.abc import Callable

from exporter.bullmq.names.tally import COUNTED, NameTally
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Jobs
from exporter.bullmq.tallies.known_texts import KnownTexts
from exporter.bullmq.tallies.label_budget import LabelBudget

THOUSANDS = 5000


def tokens(amount: float) -> Callable[[float], bool]:
    """A bucket that nobody fills."""
    left = [amount]

    def take(wanted: float) -> bool:
        if left[0] < wanted:
            return False
        left[0] -= wanted
        return True

    return take


class Converter:
    """How often it was asked, and for how many bytes at most."""

    def __init__(self) -> None:
        self.times = self.longest = 0

    def __call__(self, raw: bytes) -> str:
        self.times += 1
        self.longest = max(self.longest, len(raw))
        return raw.decode().upper()


def test_a_known_text_is_not_converted_again_and_takes_nothing() -> None:
    convert = Converter()
    texts = KnownTexts(convert, 10, tokens(44))
    assert [texts.get(b"send") for _ in range(3)] == ["SEND"] * 3
    assert texts.get(b"sync") is None
    assert texts.get(b"send") == "SEND"
    assert convert.times == 1


def test_of_megabytes_only_the_beginning_is_looked_at_and_remembered() -> None:
    convert = Converter()
    texts = KnownTexts(convert, 10, tokens(1000))
    assert texts.get(b"x" * 5_000_000) == texts.get(b"x" * 10 + b"y") == "X" * 10
    assert (convert.times, convert.longest) == (1, 10)


def test_a_text_that_comes_again_and_again_stays_among_thousands_of_new_ones() -> None:
    convert = Converter()
    texts = KnownTexts(convert, 20)
    for number in range(THOUSANDS):
        texts.get(b"send")
        texts.get(b"other %d" % number)
    assert convert.times == THOUSANDS + 1
    texts.get(b"other 0")
    assert convert.times == THOUSANDS + 2, "the oldest were forgotten"


def words(number: int) -> bytes:
    """A text of its own: numbers would be folded."""
    return b"job " + bytes(97 + int(digit) for digit in f"{number:04}")


def flooded(names: Converter, reasons: Converter) -> Jobs:
    """Thousands of jobs, each with a name and a reason of its own; every tenth with the same."""
    name_texts = KnownTexts(names, 500, tokens(50 * 100))
    reason_texts = KnownTexts(reasons, 1000, tokens(50 * 100))
    jobs = Jobs(
        names=NameTally(LabelBudget(100), 20, DEFAULT_BUCKETS, texts=name_texts),
        reasons=ReasonTally(LabelBudget(100), 10, reason_texts),
    )
    for number in range(THOUSANDS):
        job, text = b"%d" % number, words(number if number % 10 else 0)
        fields = [(b"added", b"name"), (b"waiting", b"x"), (b"active", b"x"), (b"failed", b"failedReason")]
        for place, (event, field) in enumerate(fields):
            entry_id = b"%d-%d" % (1000 + 2000 * number + 1000 * place, place)
            jobs.feed([[entry_id, [b"event", event, b"jobId", job, field, text]]])
    return jobs


def test_a_flood_of_new_names_and_reasons_is_counted_without_looking_at_all_of_it() -> None:
    names, reasons = Converter(), Converter()
    counters = flooded(names, reasons).counters()
    assert names.times <= 105
    assert reasons.times <= 105
    assert counters.reasons is not None
    assert counters.names is not None
    labelled = {each.text: each.labelled for each in counters.reasons.known if each.labelled is not None}
    assert sum(labelled.values()) + counters.reasons.other == THOUSANDS
    assert labelled["JOB AAAA"] == THOUSANDS // 10, "it is known: each counts"
    by_name = {each.name: each for each in counters.names.all}
    assert by_name["JOB AAAA"][1:5] == (500, 0, 500, 0)
    assert "" not in by_name
    assert "other" in by_name
    assert "unknown" not in by_name
    for outcome in COUNTED:
        assert sum(getattr(each, outcome) for each in by_name.values()) == getattr(counters, outcome)


def test_names_without_time_for_them_are_not_kept_over_a_restart_as_a_name() -> None:
    dumped = flooded(Converter(), Converter()).dump()
    assert "" not in [text for text, *_ in dumped["names"]["names"]]
