from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.schedulers.members import parse_key
from exporter.bullmq.schedulers.memory import (
    Remembered,
    Sighting,
    duplicates,
    knows_options,
    lookalikes,
    remember,
    scheduler,
)
from exporter.bullmq.schedulers.reading import JobFacts, Member, Options, SchedulerFacts
from exporter.snapshot.schedulers import Scheduler

EVERY = SchedulerFacts("report", 60_000.0, None, None, None, None, None, 1)
NO_JOB = JobFacts("", None, None, None, 0, 0)


def pending(next_ms: int = 160_000, created_ms: float = 100_000, facts: SchedulerFacts = EVERY) -> Sighting:
    job = JobFacts(f"repeat:r:{next_ms}", created_ms, None, None, 100, 2)
    return Sighting(Member("r", str(next_ms), None), facts, job)


def gone(next_ms: int = 160_000, facts: SchedulerFacts = EVERY) -> Sighting:
    return pending(next_ms, facts=facts)._replace(job=NO_JOB)


def after(*steps: tuple[Sighting, Options | None, float]) -> Scheduler:
    """What is known of a scheduler after these rounds: what was read, the options, and the time in s."""
    memory: Remembered | None = None
    known: list[Scheduler] = []
    for sighting, options, at in steps:
        memory = remember(sighting, memory, options, at)
        known.append(scheduler(sighting, memory, at))
    return known[-1]


def test_a_first_run_that_is_to_come() -> None:
    known = after((pending(), Options(60_000, 1), 101.0))
    assert (known.next_run, known.last_run, known.every, known.job) == (160.0, None, 60.0, "pending")
    assert (known.missing_since, known.quiet_since, known.chosen_id) == (None, 101.0, True)


def test_a_later_job_was_added_as_the_last_was_taken() -> None:
    assert after((pending(), Options(60_000, 2), 101.0)).last_run == 100.0


def test_an_upsert_adds_a_first_job_again_and_what_was_seen_stays() -> None:
    known = after(
        (pending(160_000, 100_000), Options(60_000, 2), 101.0),
        (pending(160_000, 110_000), Options(50_000, 1), 111.0),
    )
    assert known.last_run == 100.0


def test_a_run_between_two_rounds_is_seen_although_an_upsert_followed() -> None:
    known = after(
        (pending(160_000, 100_000), Options(60_000, 1), 101.0),
        (pending(220_000, 165_000), Options(55_000, 1), 166.0),
    )
    assert known.last_run == 160.0  # when it was due


def test_an_upsert_before_the_next_run_is_no_run() -> None:
    known = after(
        (pending(160_000, 100_000), Options(60_000, 1), 101.0),
        (pending(180_000, 120_000), Options(60_000, 1), 121.0),
    )
    assert (known.last_run, known.quiet_since) == (None, 101.0)


def test_iterations_that_grow_are_runs() -> None:
    facts = EVERY._replace(iterations=2)
    known = after(
        (pending(160_000, 100_000), Options(60_000, 1), 101.0),
        (pending(220_000, 161_000, facts), Options(59_000, 1), 165.0),
    )
    assert known.last_run == 160.0


def test_a_job_with_another_delay_is_due_then() -> None:
    """`immediately` in BullMQ 3 and 4: the score is the start of the current interval."""
    assert after((pending(60_000, 100_000), Options(0, 1), 101.0)).next_run == 100.0
    assert after((pending(160_000, 100_000), Options(60_001, 1), 101.0)).next_run == 160.0


def test_a_job_is_not_due_before_it_was_made() -> None:
    """BullMQ 5.53 scores the first run of `every: 1000` at the begin of this second."""
    assert after((pending(99_001, 100_000), Options(0, 1), 100.0)).next_run == 100.0


def test_options_that_cannot_be_read_leave_the_score() -> None:
    known = after((pending(), None, 101.0))
    assert (known.next_run, known.last_run, known.limit) == (160.0, None, None)


def test_options_are_read_once_for_each_job() -> None:
    first = pending()
    memory = remember(first, None, Options(60_000, 2, 5), 101.0)
    assert knows_options(memory, first)
    assert not knows_options(memory, pending(220_000, 160_000))
    assert not knows_options(memory, pending(160_000, 110_000))
    assert not knows_options(None, first)
    assert scheduler(first, remember(first, memory, None, 111.0), 111.0).limit == 5


def test_a_job_that_is_gone_since_the_first_round_without_it() -> None:
    known = after((pending(), Options(60_000, 2), 101.0), (gone(), None, 111.0), (gone(), None, 121.0))
    assert (known.job, known.missing_since, known.last_run) == ("gone", 111.0, 100.0)


def test_a_job_that_is_there_again_is_not_missing() -> None:
    known = after((gone(), None, 111.0), (pending(), Options(60_000, 1), 121.0))
    assert (known.job, known.missing_since) == ("pending", None)


def test_a_missing_run_is_no_run_when_the_scheduler_is_added_again() -> None:
    known = after((gone(), None, 111.0), (pending(220_000, 170_000), Options(50_000, 1), 171.0))
    assert known.last_run is None


def test_another_missing_run_is_missing_since_then() -> None:
    assert after((gone(), None, 111.0), (gone(220_000), None, 121.0)).missing_since == 121.0


def test_a_job_that_ended_without_another_is_gone() -> None:
    ended = pending()._replace(job=JobFacts("j", 100_000, 160_000, 170_000, 100, 2))
    known = after((ended, Options(60_000, 2), 171.0))
    assert (known.job, known.last_run) == ("gone", 160.0)


def test_a_job_in_no_list_is_gone() -> None:
    assert after((pending()._replace(lost=True), None, 101.0)).job == "gone"


def test_a_job_that_may_have_another_name_is_not_known() -> None:
    known = after((gone()._replace(hidden=True), None, 101.0))
    assert (known.job, known.missing_since) == ("unknown", None)


def test_a_job_that_is_taken_and_has_no_next_yet() -> None:
    taken = pending()._replace(job=JobFacts("j", 100_000, 161_000, None, 100, 2))
    known = after((taken, None, 162.0))
    assert (known.job, known.last_run) == ("active", 161.0)


@pytest.mark.parametrize(
    ("facts", "options", "state"),
    [
        (EVERY._replace(limit=3, iterations=3), None, "over"),
        (EVERY._replace(limit=3, iterations=2), None, "gone"),
        (EVERY._replace(ends_ms=101_000), None, "over"),
        (EVERY._replace(ends_ms=103_000), None, "gone"),
        (EVERY._replace(iterations=None), Options(0, 3, 3), "over"),
        (EVERY._replace(iterations=None), Options(0, 2, 3), "gone"),
        (EVERY._replace(iterations=None), Options(0, 2, None, 101_000), "over"),
        (EVERY._replace(iterations=None), None, "gone"),
    ],
)
def test_the_end(facts: SchedulerFacts, options: Options | None, state: str) -> None:
    """By the scheduler's own fields, or by the options of the last job that was there."""
    known = after((pending(facts=facts), options, 101.0), (gone(facts=facts), None, 102.0))
    assert (known.job, known.missing_since) == (state, None if state == "over" else 102.0)


def test_a_start_that_is_to_come_is_no_silence() -> None:
    assert after((pending(facts=EVERY._replace(starts_ms=500_000)), None, 101.0)).quiet_since == 500.0


def test_a_changed_interval_begins_anew() -> None:
    slower = pending(facts=EVERY._replace(every_ms=120_000.0))
    assert after((pending(), None, 101.0), (slower, None, 111.0)).quiet_since == 111.0


@pytest.mark.parametrize(
    ("member", "iterations", "chosen"),
    [
        ("r", None, True),
        ("9bbf444aca3c81002ea4e0fea8350d97", 2, False),
        ("r::::1000", None, False),
        ("r::::1000", 1, True),
    ],
)
def test_who_made_it(member: str, iterations: int | None, *, chosen: bool) -> None:
    """5.16 to 5.40 count no iterations, and 5.60 and later also count those of repeatables."""
    facts = EVERY._replace(iterations=iterations)
    sighting = pending(facts=facts)._replace(member=Member(member, "160000", parse_key(member, "bullmq")))
    known = after((sighting, None, 101.0))
    assert (known.chosen_id, known.quiet_since is not None) == (chosen, chosen)


def one(
    member: str, name: str = "report", pattern: str = "0 3 * * *", job: JobFacts | None = None
) -> Sighting:
    facts = SchedulerFacts(name, None, pattern, None, None, None, None, 1)
    job = job or JobFacts("j", 100_000, None, None, 100, 2)
    return Sighting(Member(member, "160000", parse_key(member, "bullmq")), facts, job)


def twins(*pairs: tuple[Sighting, str | None], changed: bool = True) -> tuple[tuple[str, ...], ...]:
    """The duplicates of these schedulers, whose data have these digests."""
    memories = {
        each.member.text: remember(each, None, None, 101.0)._replace(digest=digest) for each, digest in pairs
    }
    return duplicates(lookalikes([each for each, _ in pairs], changed=changed), memories)


def test_the_same_job_by_the_same_schedule() -> None:
    assert twins((one("b"), "d"), (one("a"), "d")) == (("a", "b"),)


@pytest.mark.parametrize(
    "other",
    [
        (one("b"), "other data"),
        (one("b"), None),
        (one("b", name="other"), "d"),
        (one("b", pattern="0 4 * * *"), "d"),
        (one("b", job=NO_JOB), "d"),
        (one("b")._replace(hidden=True), "d"),
        (one("b")._replace(lost=True), "d"),
    ],
)
def test_what_is_no_duplicate(other: tuple[Sighting, str | None]) -> None:
    assert twins((one("a"), "d"), other) == ()


def test_a_changed_cron() -> None:
    old, new = one("report:::: 0 3 * * *"), one("report:::: 0 4 * * *", pattern="0 4 * * *")
    of_another = one("report:id::: 0 5 * * *", pattern="0 5 * * *")
    both = ("report:::: 0 3 * * *", "report:::: 0 4 * * *")
    assert twins((old, "d"), (new, "d"), (of_another, "d")) == (both,)
    assert twins((old, "d"), (new, "d"), changed=False) == ()


def test_a_group_within_a_larger_one_is_not_named_twice() -> None:
    hashes = ["a" * 32, "b" * 32, "c" * 32]
    three = (one(hashes[0]), one(hashes[1]), one(hashes[2], pattern="0 4 * * *"))
    assert twins(*((each, "d") for each in three)) == (tuple(hashes),)


TIMES = st.integers(0, 10**13)


@given(
    st.lists(
        st.tuples(TIMES, TIMES | st.none(), TIMES | st.none(), TIMES | st.none(), st.booleans()), min_size=1
    ),
    st.integers(1, 10),
)
def test_any_rounds_make_sense(
    rounds: list[tuple[int, int | None, int | None, int | None, bool]], step: int
) -> None:
    memory: Remembered | None = None
    for index, (next_ms, created, started, ended, hidden) in enumerate(rounds):
        at = float(index * step)
        job = JobFacts("j", created, started, ended, 1, 1)
        sighting = Sighting(Member("r", str(next_ms), None), EVERY, job, hidden)
        memory = remember(sighting, memory, Options(5.0, 2) if created else None, at)
        known = scheduler(sighting, memory, at)
        assert (known.job == "gone") == (known.missing_since is not None)
        assert known.missing_since is None or known.missing_since <= at
