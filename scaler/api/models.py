"""Models of the scaling actions: their bodies and the data of their responses. Seconds, ratios from 0 to 1;
null: not known."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from scaler.config.settings import MOST_WORKERS, POLICY_KEYS, PolicySettings
from service.api.envelope import Camel, CommandBody
from service.config.model import YEAR_SECONDS


class Override(Camel):
    workers: int
    reason: str
    by: str
    at: float = Field(description="unix seconds")
    until: float | None = Field(description="unix seconds; null: until automatic_scale")


class TargetStatus(Camel):
    name: str
    queues: list[str]
    policy: str
    current: int | None = Field(description="requested workers")
    ready: int | None = Field(description="workers that are ready")
    desired: int | None = Field(description="workers that the last step decided on")
    recommended: int | None = Field(
        None,
        description="workers that the policy proposes, within the bounds; also while the target is disabled, "
        "paused, overridden or contested; null without metrics",
    )
    min: int
    max: int
    conditions: list[str]
    conditions_since: dict[str, float] = Field(
        default_factory=dict, description="unix seconds at which each of the conditions began"
    )
    warnings: list[str] = Field(
        default_factory=list, description="what will go wrong with the settings as they are"
    )
    reason: str | None
    sentence: str | None = Field(description="the decision in words, or the error")
    notes: list[str]
    paused: bool
    override: Override | None
    error: str | None
    settings: dict[str, Any] = Field(description="the policy as it is in force")
    origins: dict[str, str] = Field(
        description="where a key is set that is not built in; `changed`: by a command"
    )


class Action(Camel):
    at: float = Field(description="unix seconds")
    target: str
    old: int
    new: int
    reason: str


class ScalingStatus(Camel):
    """`scaling_status`; also what `start_autoscaling` and `stop_autoscaling` leave."""

    version: str
    uptime_seconds: float
    enabled: bool
    enabled_origin: Literal["settings", "order"]
    dry_run: bool
    leading: bool = Field(description="whether this process is the leader, which acts")
    interval_seconds: float
    interval_origin: Literal["settings", "order"]
    time: float | None = Field(description="unix seconds of the last step")
    targets: list[TargetStatus]
    actions: list[Action] = Field(description="the last changes, the newest first")


class Activity(Camel):
    """What the workers of the target did in the last minutes."""

    seconds: float = Field(description="what the figures cover, at most 5 minutes")
    jobs_per_minute: float | None = Field(description="completed and failed")
    error_rate: float | None = Field(description="share of them that failed; null where none ended")
    processing_seconds: float | None = Field(description="average of an attempt")


class TargetFigures(Camel):
    name: str
    queues: list[str]
    current: int | None
    ready: int | None
    desired: int | None
    recommended: int | None = Field(None, description="what the policy proposes, within the bounds")
    load_factor: float | None
    worker_utilization: float | None = Field(
        description="active / (workers x their concurrency as set, else as measured, which is at least that)"
    )
    activity: Activity | None = Field(description="null until two samples are 10 seconds apart")
    wait_estimate_seconds: float | None = Field(description="expected wait of a job that arrives now")
    missing: str | None = Field(description="why there are no figures, in one word")
    why: str | None = None
    age_seconds: float | None = None
    waiting: float | None = None
    active: float | None = None
    completed: float | None = Field(None, description="a counter")
    failed: float | None = Field(None, description="a counter")
    oldest_waiting: float | None = Field(None, description="seconds")
    inputs: dict[str, Any] = Field(description="the figures behind the decision")


class ScalingMetrics(Camel):
    """`scaling_metrics`"""

    time: float | None
    targets: list[TargetFigures]


class ManualScale(Camel):
    target: str
    workers: int
    reason: str
    requested_by: str
    since: float
    until: float | None
    without_effect: str | None = Field(
        None, description="why no worker is started or ended now, such as a target that is not enabled"
    )


class Automatic(Camel):
    target: str
    changed: bool = Field(description="false: there was nothing to change")


class Policy(Camel):
    """`update_scaling_config`, `reset_scaling_config`: the policy that results."""

    target: str
    settings: dict[str, Any]
    origins: dict[str, str]
    warnings: list[str] = Field(description="keys of this command that the policy in force does not read")


# --- bodies ----------------------------------------------------------------------------------------------

QueueName = Annotated[str, Field(min_length=1, max_length=512, description="a queue or target")]


class StartAutoscaling(CommandBody):
    """Scale all targets; with an interval, decide that often from now on."""

    action: Literal["start_autoscaling"]
    interval_minutes: float | None = Field(None, ge=1 / 60, le=60, description="minutes between decisions")


class StopAutoscaling(CommandBody):
    """Leave every number of workers as it is."""

    action: Literal["stop_autoscaling"]


class OrderManualScale(CommandBody):
    """Override the number of workers."""

    action: Literal["manual_scale"]
    queue_name: QueueName
    target_workers: int = Field(ge=0, le=MOST_WORKERS, description="within the bounds of the target")
    reason: str = Field("ordered by the API", max_length=1000)
    requested_by: str = Field("api", min_length=1, max_length=200, description="who requests it")
    duration_minutes: float | None = Field(
        None, gt=0, le=366 * 1440, description="how long the override lasts; null: until automatic_scale"
    )


class AutomaticScale(CommandBody):
    """Clear a manual_scale or pause_scaling."""

    action: Literal["automatic_scale"]
    queue_name: QueueName


class PauseScaling(CommandBody):
    """Leave the workers as they are until automatic_scale."""

    action: Literal["pause_scaling"]
    queue_name: QueueName


class ResetScalingConfig(CommandBody):
    """Undo every update_scaling_config of the target."""

    action: Literal["reset_scaling_config"]
    queue_name: QueueName


def _keys() -> dict[str, Any]:
    """Each key of a policy; absent: not changed, null: reset to the settings."""
    keys: dict[str, Any] = {}
    for name in POLICY_KEYS:
        field = PolicySettings.model_fields[name]
        kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        keys[name] = (kind | None, Field(None, description=field.description))  # type: ignore[operator]
    return keys


class _Update(CommandBody):
    action: Literal["update_scaling_config"]
    queue_name: QueueName
    cooldown_period: float | None = Field(
        None,
        ge=0,
        le=YEAR_SECONDS / 60,
        description="cooldownSeconds in minutes; only one of both may be set",
    )


UpdateScalingConfig: Any = create_model(
    "UpdateScalingConfig",
    __base__=_Update,
    __doc__="Change keys of a target's policy; null resets a key to the settings.",
    **_keys(),
)
