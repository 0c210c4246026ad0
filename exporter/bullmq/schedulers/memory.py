"""From what is read and remembered of a scheduler to what is known of it. No I/O and no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from exporter.bullmq.schedulers.members import is_repeatable
from exporter.bullmq.schedulers.reading import JobFacts, Member, Options, SchedulerFacts
from exporter.snapshot.schedulers import NextJob, Scheduler

_SAME_MS: Final = 1000  # the time between the computation of a delay and the job's own time stamp
MOST_GROUPS: Final = 100
"""How many groups of duplicates of a queue are named."""


class Sighting(NamedTuple):
    """A scheduler as read in one round; `hidden`: its next job may be there under an unknown id; `lost`: its
    job is there, but in none of the lists from which workers take."""

    member: Member
    facts: SchedulerFacts
    job: JobFacts
    hidden: bool = False
    lost: bool = False


class Remembered(NamedTuple):
    """What one round leaves to the next. Times are unix s by the node's clock; None: not known.

    `options` are those of the job of the next run, read once for each job; `digest` is that of its data.
    """

    member: Member
    job: JobFacts
    options: Options | None
    first_seen: float
    every_ms: float | None
    next_run: float
    iterations: int | None = None
    last_run: float | None = None
    missing_since: float | None = None
    digest: str | None = None


def knows_options(before: Remembered | None, sighting: Sighting) -> bool:
    """Whether the options of this very job were read before."""
    return before is not None and before.options is not None and _same_job(before, sighting)


def remember(sighting: Sighting, before: Remembered | None, options: Options | None, at: float) -> Remembered:
    """The next memory. `options` were read just now, or are None."""
    member, facts, job = sighting.member, sighting.facts, sighting.job
    same_run = before is not None and before.member == member
    same_job = before is not None and _same_job(before, sighting)
    if options is None and before is not None and (same_job or (same_run and _gone(sighting))):
        options = before.options  # a job that is gone has none any more
    unchanged = before is not None and before.every_ms == facts.every_ms
    missing = before.missing_since if before is not None and same_run else None
    return Remembered(
        member,
        job,
        options,
        first_seen=before.first_seen if before is not None and unchanged else at,
        every_ms=facts.every_ms,
        next_run=next_run(sighting, options),
        iterations=facts.iterations,
        last_run=_last_run(sighting, options) or _run_between(sighting, before, at),
        missing_since=(at if missing is None else missing) if _gone(sighting) else None,
        digest=before.digest if before is not None and same_job else None,
    )


def next_run(sighting: Sighting, options: Options | None) -> float:
    """Unix s at which the next job is due: the score, unless the job was added with another delay.

    It is due when it was made, at the earliest: BullMQ 5.53 scores a first run at the begin of its interval.
    """
    job, at_ms = sighting.job, sighting.member.at_ms
    if job.state == "pending" and job.created_ms is not None and options is not None:
        due_ms = job.created_ms + options.delay_ms
        return (max(at_ms, job.created_ms) if abs(due_ms - at_ms) < _SAME_MS else due_ms) / 1000
    return at_ms / 1000


def scheduler(sighting: Sighting, memory: Remembered, at: float) -> Scheduler:
    """What is known of a scheduler."""
    member, facts, job = sighting.member, sighting.facts, sighting.job
    options = memory.options or Options()
    limit = facts.limit if facts.limit is not None else options.limit
    ends_ms = facts.ends_ms if facts.ends_ms is not None else options.ends_ms
    iterations = facts.iterations if facts.iterations is not None else options.number
    over = _gone(sighting) and (
        (ends_ms is not None and ends_ms <= at * 1000)
        or (limit is not None and max(iterations or 0, options.number or 0) >= limit)
    )
    every = None if facts.every_ms is None else facts.every_ms / 1000
    chosen = not is_repeatable(member.text, member.key if facts.iterations is None else None)
    starts = (facts.starts_ms or 0.0) / 1000
    state: NextJob
    if _gone(sighting):
        state = "over" if over else "gone"
    elif sighting.hidden:
        state = "unknown"
    else:
        state = "active" if job.state == "active" else "pending"
    return Scheduler(
        id=member.text,
        name=facts.name,
        chosen_id=chosen,
        next_run=memory.next_run,
        last_run=memory.last_run,
        every=every,
        pattern=facts.pattern,
        timezone=facts.timezone,
        ends_at=None if ends_ms is None else ends_ms / 1000,
        limit=limit,
        iterations=iterations,
        job=state,
        missing_since=None if over else memory.missing_since,
        quiet_since=max(memory.last_run or 0.0, memory.first_seen, starts)
        if chosen and every is not None
        else None,
    )


def lookalikes(sightings: Iterable[Sighting], *, changed: bool) -> list[list[Sighting]]:
    """Groups of schedulers that are duplicates if the data of their jobs is the same too.

    Those of one job name and one schedule; with `changed` repeatables of one job name and one id, whatever
    their schedules: a changed cron makes another, and the old one stays.
    """
    groups: defaultdict[tuple[object, ...], list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        if _gone(sighting) or sighting.hidden:
            continue
        member, facts = sighting.member, sighting.facts
        groups["same", facts.name, facts.every_ms, facts.pattern, facts.timezone].append(sighting)
        if changed and is_repeatable(member.text, member.key):
            groups["changed", facts.name, member.key.id if member.key else ""].append(sighting)
    return [group for group in groups.values() if len(group) > 1]


def duplicates(
    groups: Iterable[Sequence[Sighting]], memories: Mapping[str, Remembered]
) -> tuple[tuple[str, ...], ...]:
    """The ids in each group whose jobs have the same data; one whose data is not known is left out."""
    found: dict[tuple[str, ...], None] = {}
    for group in groups:
        by_data: defaultdict[str, list[str]] = defaultdict(list)
        for sighting in group:
            digest = memories[sighting.member.text].digest
            if digest is not None:
                by_data[digest].append(sighting.member.text)
        found |= dict.fromkeys(tuple(sorted(ids)) for ids in by_data.values() if len(ids) > 1)
    whole = [ids for ids in found if not any(set(ids) < set(other) for other in found)]
    return tuple(sorted(whole)[:MOST_GROUPS])


def _same_job(before: Remembered, sighting: Sighting) -> bool:
    job = sighting.job
    return before.job.id == job.id and before.job.created_ms == job.created_ms is not None


def _gone(sighting: Sighting) -> bool:
    return sighting.lost or (sighting.job.state in ("none", "finished") and not sighting.hidden)


def _last_run(sighting: Sighting, options: Options | None) -> float | None:
    """Unix s at which a worker took the last job: it adds the next one then. The first job of a scheduler,
    or the first after an upsert, is added by that."""
    job = sighting.job
    if job.state == "pending" and job.created_ms is not None and options is not None:
        return job.created_ms / 1000 if (options.number or 0) > 1 else None
    return None if job.started_ms is None else job.started_ms / 1000


def _run_between(sighting: Sighting, before: Remembered | None, at: float) -> float | None:
    """The last run as it was, or when the one was due that was taken since: an upsert came after it."""
    if before is None:
        return None
    if before.missing_since is not None:
        return before.last_run
    counted = (sighting.facts.iterations or 0) > (before.iterations or 0) > 0
    passed = before.next_run <= at and sighting.member != before.member
    return max(before.last_run or 0.0, before.next_run) if counted or passed else before.last_run
