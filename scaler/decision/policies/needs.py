"""What a queue needs, in slots (jobs that run at once): one rule. Pure.

*The fewest slots with which, as jobs come and run now, no job that is inside or comes waits over the SLO,
where what is asked for now helps one start time from now.*

With I jobs inside, m slots that take jobs, r jobs/s that come, S seconds of run time, T the SLO, D the
seconds until what is asked for now can help, and u = max(0, D - T), the largest of these counts:

- queue: (I + r' u - m D/S + 2 sqrt(v)) / (1 + (T + u - D)/S), v = r' min(u, T + S) + min(m D/S, I). The jobs
  that come within u are late unless this decision helps them, so they must have begun by u + T. What is there
  begins m D/S jobs until help comes, or none if none has ended for as long as a job waits over T already; a
  new slot begins one at once, and one more each S. r' is r, or more where the last sample proves it. The
  root: two standard errors of both.
- load: L + sqrt(L) (1 - T/D), L = r S (Little's law). A standard deviation as far as help comes later than a
  job may wait; nothing where it comes sooner. L is at most twice the slots that were busy and that what is
  inside would keep busy: one long job beside many short ones is not the run time of all.
- due: (N + 2 sqrt(N))/(1 + T/S'), N = I + due. Delayed jobs of the next minute as if they were here already:
  what comes is known, but not exactly how long it runs (S' is two standard errors more than S).
- kept: I/(1 + (T - oldest)/S) of what was asked for: what still starts comes sooner than D, so it is not sent
  back while jobs that wait need it.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Final, NamedTuple

from scaler.decision.policies.flow import PROOF

_TWICE: Final = 2.0  # the load is a mean, and what was busy another one


class Situation(NamedTuple):
    """The inputs. Times in seconds, rates in jobs/s.

    `level` is the mean rate, `rate` that or more where it is proved; `run_error` is relative; `start` is that
    of a worker; `ready_slots` take jobs now, `asked_slots` are those of all workers that are asked for;
    `oldest`: how long the oldest job waits; `held`: jobs of a paused queue beside others, which are not
    among those that wait; `paused`: those of the waiting jobs that a pause of all queues holds; `stuck`: a
    job waits over the SLO, and none has ended for as long; `work`: the slots that were busy, and that what is
    inside would keep busy for as long; `stalled`: those of the active jobs that stalled and may still run.
    """

    waiting: float
    active: float
    due: float
    level: float
    rate: float
    run_seconds: float
    run_error: float
    slo: float
    start: float
    horizon: float
    ready_slots: float
    asked_slots: float
    oldest: float
    held: float = 0.0
    stuck: bool = False
    paused: float = 0.0
    work: float = inf
    stalled: float = 0.0

    @property
    def inside(self) -> float:
        return self.waiting + self.active


class Needs(NamedTuple):
    """In slots."""

    queue: float
    load: float
    due: float
    kept: float

    @property
    def most(self) -> float:
        return max(self)

    @property
    def winner(self) -> str:
        """The name of the largest need."""
        return self._fields[self.index(self.most)]


def needs_of(situation: Situation) -> Needs:
    """The four needs, none of them for more jobs than there can be by then."""
    s, run = situation, situation.run_seconds
    ahead = max(0.0, s.horizon - s.slo)
    begun = 0.0 if s.stuck else s.ready_slots * s.horizon / run
    noise = PROOF * sqrt(s.rate * min(ahead, s.slo + run) + min(begun, s.inside))
    queue = (s.inside + s.rate * ahead - begun + noise) / (1.0 + (s.slo + ahead - s.horizon) / run)
    load = min(s.level * run, _TWICE * s.work)
    load = min(load + sqrt(load) * max(0.0, 1.0 - s.slo / s.horizon), s.inside + s.rate * s.horizon)
    known = s.inside + s.due
    longer = run * (1.0 + PROOF * s.run_error)
    due = (known + PROOF * sqrt(known)) / (1.0 + s.slo / longer) if s.due else 0.0
    kept = s.inside / (1.0 + max(0.0, s.slo - s.oldest) / run) if s.waiting else 0.0
    possible = s.inside + s.due + s.rate * (s.horizon + s.slo)
    return Needs(
        queue=min(possible, max(0.0, queue)),
        load=min(possible, load),
        due=min(possible, due),
        kept=min(possible, kept, s.asked_slots),
    )
