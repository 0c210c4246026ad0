"""What a decision of `wait_target` says to people. Pure."""

from __future__ import annotations

from typing import NamedTuple

from scaler.decision.policies.needs import Needs, Situation
from scaler.model import DUE_SECONDS
from service.units import plain


class DecisionFigures(NamedTuple):
    """The figures of one decision: `workers` decided, `enough` that would do now, `slots` of a worker,
    `held_for` the seconds that a hold still lasts, `cap` of a throttled queue in slots, `limit` of the jobs
    that it lets run at once, `taken` by a worker where it is set to run more."""

    situation: Situation
    needs: Needs
    workers: int
    enough: int
    slots: float
    held_for: float | None
    cap: float | None
    limit: float | None = None
    taken: float | None = None

    def inputs(self) -> dict[str, float]:
        """By the names under which status, log and `scaling explain` show them."""
        situation, needs = self.situation, self.needs
        inputs = {
            "rate": situation.rate,
            "level": situation.level,
            "service_seconds": situation.run_seconds,
            "concurrency": self.slots,
            "start_seconds": situation.start,
            "horizon_seconds": situation.horizon,
            "waiting": situation.waiting,
            "active": situation.active - situation.stalled,
            "due": situation.due,
            "oldest_seconds": situation.oldest,
            "slo_seconds": situation.slo,
            "queue_slots": needs.queue,
            "load_slots": needs.load,
            "due_slots": needs.due,
            "kept_slots": needs.kept,
            "enough": float(self.enough),
        }
        if situation.stalled:
            inputs["stalled"] = situation.stalled
        if self.cap is not None:
            inputs["cap_slots"] = self.cap
        if self.held_for is not None:
            inputs["held_seconds"] = self.held_for
        if self.taken is not None:
            inputs["taken"] = self.taken
        return inputs


def sentence_of(reason: str, figures: DecisionFigures) -> str:
    """One sentence: workers, jobs, rate, run time, start time, and until when; and whether a worker runs
    fewer jobs than it is set to."""
    sentence = _sentence(reason, figures)
    if figures.taken is None:
        return sentence
    ran = f"a worker ran {figures.taken:.1f} jobs at once at most while jobs waited"
    return f"{sentence}; {ran}: is its concurrency right?"


def stalled_text(jobs: float) -> str:
    """Of jobs whose locks ran out: they are not active, and the workers that lost them may go on."""
    return f"{jobs:.0f} stalled and may still run"


def _sentence(reason: str, figures: DecisionFigures) -> str:
    situation, needs = figures.situation, figures.needs
    jobs = f"{situation.waiting:.0f} wait and {situation.active:.0f} run"
    if situation.stalled:
        known = situation.active - situation.stalled
        jobs = f"{situation.waiting:.0f} wait, {known:.0f} run, {stalled_text(situation.stalled)}"
    if situation.held:
        jobs += f" ({situation.held:.0f} more are held by a pause or a limit)"
    work = f"{jobs}, {plain(situation.rate)} jobs/s of {plain(situation.run_seconds)} s come"
    count = "1 worker" if figures.workers == 1 else f"{figures.workers} workers"
    helps = f"new workers help in {situation.horizon:.0f} s"
    match reason:
        case "queue":
            slots = f"{needs.queue:.1f} slots keep each wait within {situation.slo:g} s"
            return f"{count}: {work}; {slots}, as {helps}"
        case "load":
            return f"{count}: {work}; {needs.load:.1f} slots run what comes; {helps}"
        case "due":
            due = f"{situation.due:.0f} more are due within {DUE_SECONDS:g} s"
            return f"{count}: {work}, {due}; {needs.due:.1f} slots start them within {situation.slo:g} s"
        case "kept":
            oldest = f"the oldest waits {situation.oldest:.0f} s"
            if situation.ready_slots >= situation.asked_slots:
                return f"{count}: {work}; {oldest}: what waits needs those that are there"
            return f"{count}: {work}; {oldest}: those that start come sooner than new ones ({helps})"
        case "throttled" if situation.paused and not figures.cap:
            return f"{count}: {jobs}; a pause or a limit holds back all that wait"
        case "throttled" if figures.limit is not None and figures.limit == figures.cap:
            return f"{count}: {jobs}; no more than {figures.limit:g} may run at once in all workers"
        case "throttled":
            limit = "a rate limit or a pause held jobs back beside free slots"
            return f"{count}: {jobs}; {limit}: {figures.cap or 0.0:.0f} slots are more than get work"
        case "held":
            lasts = f"for {figures.held_for or 0.0:.0f} s, the cost of a start"
            return f"{count}: {work}; {figures.enough} would do, more were needed just now: held {lasts}"
    return f"{count}: {work}; they are enough"
