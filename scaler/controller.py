"""Observe, decide, act, publish: one step over all targets. The only module that changes workers.

A target that cannot be read gets no decision; the others go on. Nothing is acted on in a dry run, while
scaling is switched off, or while another process is the leader.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, Protocol

from scaler.activity import Activity, ActivityHistory
from scaler.busy import unlisted_jobs
from scaler.config.settings import PolicySettings
from scaler.decision.capacity import Demand, share
from scaler.decision.concurrency_check import ExcessJobs, jobs_in_excess, most_jobs, update_excess
from scaler.decision.step import TargetMemory, record_scaling, step, with_number_of
from scaler.model import (
    Applied,
    Condition,
    Missing,
    NotApplied,
    Observation,
    QueueSample,
    Stalled,
    TargetMetrics,
    Workers,
)
from scaler.sources.declared import NO_ORDERS, Orders
from scaler.state.learned import Learned
from scaler.state.live import LiveState
from scaler.step_result import TOTAL_LIMIT, StepCounters, StepResult, TargetStep
from scaler.steps.step_log import StepLog
from scaler.steps.total_limit import within_limit
from scaler.steps.turns import Turns, waits, with_last_turn
from scaler.targets.base import Target
from scaler.targets.idle_answers import IdleAnswers
from service.clock import Deadline, monotonic, now
from service.logs import ProblemLog
from service.outcome import Failed, Ok, Outcome
from service.threads import TaskPool

log = logging.getLogger(__name__)

_ACT_SECONDS: Final = 10.0  # for all targets of a step, at least: writes that hang delay no other step
_IDLE_SECONDS: Final = 2.0  # for all targets of a step: an exporter that hangs delays no other decision
_THREADS: Final = 8
_TURNS: Final = "a step is too short for all: requests_per_second, or the API server's limit or latency"
_NO_TIME: Final = NotApplied(
    "throttled", "not scaled in this step, others took all its time: among the first in the next", 0.0
)


@dataclass(frozen=True)
class Managed:
    """A target before a step: its name, the settings of its policy, and the `Target` of its workers.

    `slo` returns the SLO while these queues have jobs; None: that of the settings. `problem`: why what was
    changed of the policy is not in force; `orders`: those where it is declared.
    """

    name: str
    settings: PolicySettings
    target: Target
    slo: Callable[[Sequence[str]], float] | None = None
    priority: int = 0
    problem: str = ""
    orders: Orders = NO_ORDERS


class MetricsSource(Protocol):
    """The source of the metrics of the targets' queues."""

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        """The metrics of each target, by its name. Never raises."""


class Controller:
    """Holds what was learned of each target. `step` is for one thread; `last` may be read by all."""

    def __init__(self, state: LiveState, *, leading: Callable[[], bool] = lambda: True) -> None:
        self._state = state
        self._leading = leading
        self._memories: dict[str, TargetMemory | None] = {}
        self._activities: dict[str, ActivityHistory] = {}
        self._step_log = StepLog()
        self._excess: dict[str, ExcessJobs | None] = {}
        self._since: dict[str, Mapping[Condition, float]] = {}
        self._requested: dict[str, int] = {}
        self._asked_late: set[str] = set()  # they come first in the next step
        self._led = False
        self._turns = Turns()
        self._waiting = ProblemLog(log, "targets not read in time", "all targets read in time")
        self._late: list[str] = []
        self._workers: dict[str, int] = {}
        self._stalled: dict[str, Stalled] = {}
        self._recalled: dict[str, Learned] = {}
        self.counters = StepCounters()
        self.last: StepResult | None = None

    def step(
        self,
        metrics: MetricsSource,
        managed: Iterable[Managed],
        interval: float,
        *,
        enabled: bool = True,
        dry_run: bool = False,
        most: int | None = None,
        limit: str = TOTAL_LIMIT,
        reloaded: bool = True,
    ) -> StepResult:
        """One step over all targets; the result is also available as `last`. `most`: workers of all targets
        together, which `limit` is the name of. `reloaded`: the settings file is in force as it is."""
        targets = list(managed)
        begun, time = monotonic(), now()
        deadline = Deadline.after(max(1.0, interval))
        with TaskPool(_THREADS, "target") as pool:
            by_name = {target.name: target for target in targets}
            order = self._turns.order(by_name)
            turns = iter([by_name[name] for name in order])
            chunks = [pool.submit(_read, turns, deadline) for _ in range(_THREADS)]
            metrics_by_target = metrics.read(deadline)
            workers = {name: outcome for chunk in chunks for name, outcome in chunk.result().items()}
            self._turns.done(order, workers)
            stalled = {
                name: known.stalled
                for name, known in metrics_by_target.items()
                if isinstance(known.sample, QueueSample)
            }
            more_stalled = any(
                not set(jobs).issubset(self._stalled.get(name, ())) for name, jobs in stalled.items()
            )
            self._stalled |= stalled
            leading = self._leading()
            if not leading:
                self._follow(workers, time)
            elif not self._led:
                self._take_over(by_name)
            self._led = leading
            unlisted = {name: unlisted_jobs(stalled, time) for name, stalled in self._stalled.items()}
            answers = IdleAnswers(_IDLE_SECONDS, unlisted) if leading else None
            decided = {
                target.name: self._decide(
                    target,
                    workers[target.name],
                    metrics_by_target[target.name],
                    interval,
                    time,
                    answers=answers,
                    shared=leading or dry_run,
                )
                for target in sorted(targets, key=lambda target: target.name not in self._asked_late)
            }
            steps = [decided[target.name] for target in targets]
            read = {name for name, outcome in workers.items() if not waits(outcome)}
            self.counters.count_waiting(len(steps) - len(read))
            self._waiting.report(_TURNS if len(read) < len(steps) else "")
            steps = with_last_turn(steps, self.last.steps if self.last else ())
            if most is not None:
                steps = within_limit(
                    steps,
                    {target.name: target.priority for target in targets},
                    most,
                    known=self._known(by_name.keys()),
                    targets={name: by_name[name].target for name in read},
                    answers=answers,
                    limit=limit,
                )
            self._asked_late = answers.late if answers else set()
            acting = enabled and leading and not dry_run
            if acting:
                steps = self._act(pool, targets, steps, read, Deadline.after(max(_ACT_SECONDS, interval / 2)))
        names = {target.name for target in targets}
        self._memories = {name: memory for name, memory in self._memories.items() if name in names}
        self._activities = {name: history for name, history in self._activities.items() if name in names}
        self._recalled = {name: learned for name, learned in self._recalled.items() if name in names}
        self._excess = {name: excess for name, excess in self._excess.items() if name in names}
        self._workers = {name: number for name, number in self._workers.items() if name in names}
        self._stalled = {name: stalled for name, stalled in self._stalled.items() if name in names}
        for target_step in steps:
            if isinstance(target_step.acted, Applied):
                self._workers[target_step.name] = target_step.acted.workers
            elif isinstance(target_step.workers, Ok):
                self._workers[target_step.name] = target_step.workers.value.requested
        steps = [self._with_since(target_step) for target_step in steps]
        self._since = {target_step.name: target_step.since for target_step in steps}
        self._step_log.report(steps, acting=acting)
        took = monotonic() - begun
        result = StepResult(
            time,
            took,
            tuple(steps),
            leading=leading,
            enabled=enabled,
            dry_run=dry_run,
            readable=self._state.readable,
            write_errors=self._state.write_errors,
            reloaded=reloaded,
        )
        self.counters.count(replace(result, steps=tuple(step for step in steps if step.name in read)))
        self.last = result
        if leading:
            self._state.save(lambda: self.learned(targets), soon=more_stalled)
        return result

    def restore(self, managed: Iterable[Managed], *, workers: bool, most: int | None = None) -> None:
        """Before the first step of targets: what was learned of them before the scaler started.

        `workers`: those of the targets ended with the scaler, so as many as there were are started again;
        `most` of all targets together.
        """
        demands = []
        new = [target for target in managed if target.name not in self._recalled]
        for target in new:
            learned = self._recalled[target.name] = self._state.recall(target.name)
            target.target.restore_start_times(learned.start_times)
            acts = target.settings.mode == "act"
            count = min(learned.workers or 0, target.settings.max_workers) if acts else 0
            demands.append(
                Demand(target.name, count, target.settings.min_workers if acts else 0, target.priority)
            )
        counts = share(demands, sum(demand.desired for demand in demands) if most is None else most)
        for target in new:
            count = counts[target.name]
            if not workers or count == 0:
                continue
            result = target.target.scale(0, count, Deadline.after(_ACT_SECONDS))
            if isinstance(result, Applied):
                log.info("workers restored", extra={"target": target.name, "workers": count})

    def learned(self, managed: Iterable[Managed]) -> dict[str, Learned]:
        """What was learned of those targets that had a decision."""
        learned = {}
        for target in managed:
            memory = self._memories.get(target.name)
            if memory is not None:
                workers = self._workers.get(target.name)
                stalled = self._stalled.get(target.name, ())
                learned[target.name] = Learned(memory, target.target.start_times(), workers, stalled)
        return learned

    def _known(self, names: AbstractSet[str]) -> dict[str, int]:
        """The last known number of workers by target, from before the start too."""
        recalled = {name: self._recalled[name].workers or 0 for name in names if name in self._recalled}
        return recalled | {name: self._workers[name] for name in names if name in self._workers}

    def _follow(self, workers: Mapping[str, Outcome[Workers]], time: float) -> None:
        """While another is the leader, its changes count for our cooldowns: we may lead in the next step."""
        for name, outcome in workers.items():
            if not isinstance(outcome, Ok):
                continue
            requested = outcome.value.requested
            before, self._requested[name] = self._requested.get(name), requested
            memory = self._memories.get(name)
            if memory is not None and before is not None and before != requested:
                self._memories[name] = record_scaling(memory, time)

    def _take_over(self, targets: Mapping[str, Managed]) -> None:
        """What the leader before has stored tells whose the numbers are, and how long workers start: this
        process saw no writes."""
        for name, memory in self._memories.items():
            if memory is not None and name in targets:
                learned = self._state.recall(name)
                self._memories[name] = with_number_of(memory, learned.memory)
                if learned.start_times:
                    targets[name].target.restore_start_times(learned.start_times)

    def _decide(
        self,
        target: Managed,
        outcome: Outcome[Workers],
        metrics: TargetMetrics,
        interval: float,
        time: float,
        *,
        answers: IdleAnswers | None,
        shared: bool,
    ) -> TargetStep:
        """`answers`: of the targets that are asked for their idle workers; None: none is. `shared`: a number
        that is not this scaler's is somebody's, not the leader's."""
        control = target.orders.joined(self._state.control(target.name, time), time)
        settings = target.settings
        if target.slo is not None:
            settings = settings.model_copy(update={"wait_slo_seconds": target.slo(metrics.busy)})
        undecided = TargetStep(
            target.name,
            metrics.queues,
            settings,
            time,
            outcome,
            metrics.sample,
            control,
            activity=self._activity(target.name, metrics.sample),
            unknown=metrics.unknown,
            run_p99=metrics.run_p99,
            policy_problem=target.problem,
        )
        if isinstance(outcome, Failed):
            known = self._memories.get(target.name)
            if outcome.kind == "not_found" and known is not None:  # what comes next is new
                self._memories[target.name] = with_number_of(known, None)
            return undecided
        if target.name not in self._memories:
            recalled = self._recalled.get(target.name) or self._state.recall(target.name)
            self._memories[target.name] = recalled.memory
        workers = outcome.value
        excess = self._excess_of(target, metrics, workers)
        observation = Observation(
            time,
            workers.requested,
            workers.ready,
            metrics.sample,
            workers.start_seconds,
            workers.contested,
            unknown=metrics.unknown,
            shared=workers.shared and shared,
            applied=workers.applied,
            grace_seconds=workers.grace_seconds,
            leaving=workers.leaving,
        )
        memory = self._memories[target.name]
        decision, learned = step(settings, interval, observation, control, memory)
        if decision.workers < workers.requested:
            idle = None if answers is None else answers.of(target.name, target.target)
            asked = observation
            if isinstance(idle, Ok):
                asked = observation._replace(idle=idle.value)
            elif idle is not None and undecided._replace(decision=decision).may_outlast_grace:
                asked = observation._replace(idle_unknown=idle.message)
            if asked is not observation:  # decide again, with what is known only now
                decision, learned = step(settings, interval, asked, control, memory)
        self._memories[target.name] = learned
        return undecided._replace(decision=decision, excess=excess)

    def _excess_of(self, target: Managed, metrics: TargetMetrics, workers: Workers) -> float | None:
        most = most_jobs(target.settings, len(metrics.queues))
        known = update_excess(self._excess.get(target.name), metrics.sample, workers, most)
        self._excess[target.name] = known
        return jobs_in_excess(known, workers.grace_seconds)

    def _with_since(self, target_step: TargetStep) -> TargetStep:
        before, conditions = self._since.get(target_step.name, {}), target_step.conditions
        since = before
        if before.keys() != conditions:
            since = {name: before.get(name, target_step.time) for name in conditions}
        return target_step._replace(since=since)

    def _activity(self, name: str, sample: QueueSample | Missing) -> Activity | None:
        if isinstance(sample, Missing):
            return None
        return self._activities.setdefault(name, ActivityHistory()).observe(sample)

    def _act(
        self,
        pool: TaskPool,
        targets: Sequence[Managed],
        steps: Sequence[TargetStep],
        read: AbstractSet[str],
        deadline: Deadline,
    ) -> list[TargetStep]:
        """The steps with the results of scaling those that were `read` in this step, first those for which
        there was no time in the one before."""
        by_name = {target.name: target.target for target in targets}
        changing = {
            decided.name: decided
            for decided in steps
            if decided.name in read and decided.changes and decided.settings.mode == "act"
        }
        order = dict.fromkeys([name for name in self._late if name in changing] + list(changing))
        pending = {name: pool.submit(_scale, by_name[name], changing[name], deadline) for name in order}
        results = {name: scaling.result() for name, scaling in pending.items()}
        self._late = [
            name
            for name, result in results.items()
            if isinstance(result, NotApplied) and result.kind == "throttled"
        ]
        return [
            self._applied(decided, results[decided.name]) if decided.name in results else decided
            for decided in steps
        ]

    def _applied(self, decided: TargetStep, result: Applied | NotApplied) -> TargetStep:
        if isinstance(result, Applied):
            old, new, reason = decided.change
            memory = self._memories[decided.name]
            if memory is not None:
                self._memories[decided.name] = record_scaling(memory, decided.time, new)
            self._state.record_action(decided.name, decided.time, old, new, reason)
        return decided._replace(acted=result)


def _read(targets: Iterator[Managed], deadline: Deadline) -> dict[str, Outcome[Workers]]:
    """One after another, from an iterator that the threads share, whose `next` is atomic: a thread for each
    of a thousand targets would cost more than the reads."""
    return {
        target.name: target.target.read(deadline, acts=target.settings.mode == "act") for target in targets
    }


def _scale(target: Target, step: TargetStep, deadline: Deadline) -> Applied | NotApplied:
    if deadline.passed():
        return _NO_TIME
    old, new, _ = step.change
    return target.scale(old, new, deadline)
