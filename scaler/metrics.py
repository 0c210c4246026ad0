"""The scaler's series: name, type, help and labels beside the function that reads their samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from scaler.config.policy_keys import POLICY_OWN
from scaler.model import Condition, Missing, Workers
from scaler.step_result import StepCounters, StepResult, TargetStep
from service.outcome import Ok

CONDITIONS: Final[tuple[Condition, ...]] = get_args(Condition)

LabelledValue: TypeAlias = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class ScalerFamily:
    """One family; `read` yields nothing for a value that is not known."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...]
    read: Callable[[StepResult, StepCounters], Iterable[LabelledValue]]


def _of(
    value: Callable[[TargetStep], float | None],
) -> Callable[[StepResult, StepCounters], Iterator[LabelledValue]]:
    """A sample for each target that has the value."""

    def read(result: StepResult, counters: StepCounters) -> Iterator[LabelledValue]:
        del counters
        for step in result.steps:
            figure = value(step)
            if figure is not None:
                yield (",".join(step.queues), step.name), float(figure)

    return read


def _workers(value: Callable[[Workers], int | None]) -> Callable[[TargetStep], float | None]:
    return lambda step: value(step.workers.value) if isinstance(step.workers, Ok) else None


def _conditions(result: StepResult, counters: StepCounters) -> Iterator[LabelledValue]:
    del counters
    for step in result.steps:
        queues, holding = ",".join(step.queues), step.conditions
        for condition in CONDITIONS:
            yield (queues, step.name, condition), float(condition in holding)


def _slo(step: TargetStep) -> float | None:
    own = POLICY_OWN[step.settings.policy]
    return step.settings.wait_slo_seconds if "wait_slo_seconds" in own else None


def _age(step: TargetStep) -> float | None:
    return None if isinstance(step.sample, Missing) else max(0.0, step.time - step.sample.at)


def _counted(
    counts: Callable[[StepCounters], Mapping[Any, int]],
) -> Callable[[StepResult, StepCounters], list[LabelledValue]]:
    def read(result: StepResult, counters: StepCounters) -> list[LabelledValue]:
        del result
        return [(values, float(value)) for values, value in counts(counters).items()]

    return read


_PER: Final = ("queue", "target")

SCALER_FAMILIES: Final = (
    ScalerFamily(
        "oxherd_scaler_desired_replicas",
        "gauge",
        "Workers that the last step decided on, whether the target accepted them or not.",
        _PER,
        _of(lambda step: step.desired),
    ),
    ScalerFamily(
        "oxherd_scaler_recommended_replicas",
        "gauge",
        "Workers that the policy proposes by the metrics, within the minimum and the maximum; also while the "
        "target is disabled, paused, overridden or scaled by another autoscaler. Absent without metrics.",
        _PER,
        _of(lambda step: step.recommended),
    ),
    ScalerFamily(
        "oxherd_scaler_current_replicas",
        "gauge",
        "Workers that are requested of the target now.",
        _PER,
        _of(_workers(lambda workers: workers.requested)),
    ),
    ScalerFamily(
        "oxherd_scaler_ready_replicas",
        "gauge",
        "Workers of the target that can take jobs; absent if that is not known.",
        _PER,
        _of(_workers(lambda workers: workers.ready)),
    ),
    ScalerFamily(
        "oxherd_scaler_min_replicas",
        "gauge",
        "Minimum number of workers by the settings.",
        _PER,
        _of(lambda step: step.settings.min_workers),
    ),
    ScalerFamily(
        "oxherd_scaler_max_replicas",
        "gauge",
        "Maximum number of workers by the settings.",
        _PER,
        _of(lambda step: step.settings.max_workers),
    ),
    ScalerFamily(
        "oxherd_scaler_load_factor",
        "gauge",
        "Ratio 0 to 1: (waiting + active) / workers / capacity of a worker; absent without metrics.",
        _PER,
        _of(lambda step: step.load_factor),
    ),
    ScalerFamily(
        "oxherd_scaler_wait_estimate_seconds",
        "gauge",
        "Seconds until a job that arrives now is taken: waiting jobs x their service time / ready slots; "
        "absent if the service time is not known.",
        _PER,
        _of(lambda step: step.wait_estimate),
    ),
    ScalerFamily(
        "oxherd_scaler_wait_slo_seconds",
        "gauge",
        "Seconds that no job should wait longer, by the settings; absent for a policy without such a limit.",
        _PER,
        _of(_slo),
    ),
    ScalerFamily(
        "oxherd_scaler_condition",
        "gauge",
        "1 while the condition holds, else 0: " + ", ".join(CONDITIONS) + ".",
        (*_PER, "condition"),
        _conditions,
    ),
    ScalerFamily(
        "oxherd_scaler_override_replicas",
        "gauge",
        "Workers of the override; absent without an override.",
        _PER,
        _of(lambda step: step.control.override.workers if step.control.override else None),
    ),
    ScalerFamily(
        "oxherd_scaler_override_expires_timestamp_seconds",
        "gauge",
        "Unix time at which the override ends; absent without an override, or for one without an end.",
        _PER,
        _of(lambda step: step.control.override.until if step.control.override else None),
    ),
    ScalerFamily(
        "oxherd_scaler_metrics_age_seconds",
        "gauge",
        "Seconds since the scrape that the last step used; absent without metrics.",
        _PER,
        _of(_age),
    ),
    ScalerFamily(
        "oxherd_scaler_decisions_total",
        "counter",
        "Decisions for another number of workers, by direction (up, down) and reason; those of a dry run "
        "too.",
        (*_PER, "direction", "reason"),
        _counted(lambda counters: counters.decisions),
    ),
    ScalerFamily(
        "oxherd_scaler_errors_total",
        "counter",
        "Errors by kind: of a target (not_found, forbidden, conflict, throttled, timeout, "
        "unreachable, invalid, fenced), or of its metrics (metrics_stale, metrics_unreachable, ...).",
        ("kind",),
        _counted(lambda counters: {(kind,): count for kind, count in counters.errors.items()}),
    ),
    ScalerFamily(
        "oxherd_scaler_leader",
        "gauge",
        "1 when this process is the leader, which acts, else 0.",
        (),
        lambda result, _: [((), float(result.leading))],
    ),
    ScalerFamily(
        "oxherd_scaler_enabled",
        "gauge",
        "1, or 0 when ENABLE_AUTO_SCALING is false or scaling was stopped: then nothing is changed.",
        (),
        lambda result, _: [((), float(result.enabled))],
    ),
    ScalerFamily(
        "oxherd_scaler_dry_run",
        "gauge",
        "1 when decisions are published and not acted on, else 0.",
        (),
        lambda result, _: [((), float(result.dry_run))],
    ),
    ScalerFamily(
        "oxherd_scaler_state_readable",
        "gauge",
        "1 when every order in the state could be read, else 0: a target whose order is not known stays as "
        "it is, and so do all where the state is not known. Absent where no state is kept.",
        (),
        lambda result, _: [] if result.readable is None else [((), float(result.readable))],
    ),
    ScalerFamily(
        "oxherd_scaler_config_last_reload_successful",
        "gauge",
        "1 if the settings file is in force as it is now; 0: it was changed and cannot be used, and the "
        "settings of before stay in force.",
        (),
        lambda result, _: [((), float(result.reloaded))],
    ),
    ScalerFamily(
        "oxherd_scaler_state_write_errors_total",
        "counter",
        "Failed writes of the state since the start: of orders, of changes, of what was learned. Absent "
        "where no state is kept.",
        (),
        lambda result, _: [] if result.readable is None else [((), float(result.write_errors))],
    ),
    ScalerFamily(
        "oxherd_scaler_last_step_timestamp_seconds",
        "gauge",
        "Unix time of the last step.",
        (),
        lambda result, _: [((), result.time)],
    ),
    ScalerFamily(
        "oxherd_scaler_step_duration_seconds",
        "gauge",
        "Seconds that the last step took, queries and targets included.",
        (),
        lambda result, _: [((), result.took)],
    ),
    ScalerFamily(
        "oxherd_scaler_steps_total",
        "counter",
        "Steps since the start.",
        (),
        lambda _, counters: [((), float(counters.steps))],
    ),
)
