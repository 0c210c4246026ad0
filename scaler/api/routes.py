"""The actions of the scaler, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic.alias_generators import to_camel

from scaler.api import models
from scaler.settings import POLICY_KEYS, Settings, TargetSettings, checked, origins
from scaler.state.commands import (
    ChangeState,
    CommandError,
    change_policy,
    clear_override,
    find_target,
    override_of,
    pause_target,
    reset_policy,
    set_enabled,
    set_override,
)
from scaler.state.model import OperatorState, StateError
from scaler.state.store import StoreError
from scaler.views import ScalerView
from service.api.endpoint import Api, ApiRequest, Command, Query
from service.api.envelope import ApiError, Camel, to_json_data


class ScalerControl(Protocol):
    """What the actions need of the scaler."""

    def status(self) -> ScalerView:
        """The last step as plain data."""

    @property
    def settings(self) -> Settings:
        """As they are in force."""

    @property
    def operator(self) -> OperatorState:
        """What people have ordered, as last seen."""

    def order(self, change: Callable[[ChangeState], Any]) -> Any:
        """Let it change the state, and take the next step at once.

        Raises StateError, StoreError, CommandError.
        """


def make_scaling_api(scaler: ScalerControl) -> Api:
    """Every action."""

    def status(_: ApiRequest) -> Any:
        return to_json_data(_status(scaler))

    def metrics(_: ApiRequest) -> Any:
        return to_json_data(_figures(scaler.status()))

    def start(asked: ApiRequest, order: models.StartAutoscaling) -> Any:
        minutes = order.interval_minutes
        seconds = None if minutes is None else max(1.0, minutes * 60)
        _ordered(scaler, lambda change: set_enabled(change, enabled=True, interval_seconds=seconds))
        return status(asked)

    def stop(asked: ApiRequest, _: models.StopAutoscaling) -> Any:
        _ordered(scaler, lambda change: set_enabled(change, enabled=False))
        return status(asked)

    def manual(_: ApiRequest, order: models.OrderManualScale) -> Any:
        target = _target(scaler, order.queue_name)
        seconds = None if order.duration_minutes is None else order.duration_minutes * 60
        wanted = override_of(
            order.target_workers, reason=order.reason, by=order.requested_by, seconds=seconds
        )
        made = _ordered(scaler, lambda change: set_override(scaler.settings, target, wanted, change))
        return to_json_data(
            models.ManualScale(
                target=target.name,
                workers=made.workers,
                reason=made.reason,
                requested_by=made.by,
                since=made.at,
                until=made.until,
            )
        )

    def automatic(_: ApiRequest, order: models.AutomaticScale) -> Any:
        target = _target(scaler, order.queue_name)
        changed = _ordered(scaler, lambda change: clear_override(target, change))
        return to_json_data(models.Automatic(target=target.name, changed=changed))

    def pause(_: ApiRequest, order: models.PauseScaling) -> Any:
        target = _target(scaler, order.queue_name)
        changed = target.name not in scaler.operator.paused
        _ordered(scaler, lambda change: pause_target(target, change))
        return to_json_data(models.Automatic(target=target.name, changed=changed))

    def update(_: ApiRequest, order: Any) -> Any:
        target = _target(scaler, order.queue_name)
        keys = {key: getattr(order, key) for key in POLICY_KEYS if key in order.model_fields_set}
        if not keys:
            raise ApiError(
                400, f"nothing is to be changed: name one of {', '.join(map(to_camel, POLICY_KEYS))}"
            )
        _ordered(scaler, lambda change: change_policy(scaler.settings, target, keys, change))
        return to_json_data(_policy(scaler, target))

    def reset(_: ApiRequest, order: models.ResetScalingConfig) -> Any:
        target = _target(scaler, order.queue_name)
        _ordered(scaler, lambda change: reset_policy(target, change))
        return to_json_data(_policy(scaler, target))

    return Api(
        queries={
            "scaling_status": Query("What each target has and why.", models.ScalingStatus, status),
            "scaling_metrics": Query("The figures that are decided by.", models.ScalingMetrics, metrics),
        },
        commands={
            "start_autoscaling": Command(
                "Scale; `intervalMinutes` sets how often it is decided. Kept over restarts.",
                models.StartAutoscaling,
                models.ScalingStatus,
                start,
            ),
            "stop_autoscaling": Command(
                "Leave every number of workers as it is. Kept over restarts.",
                models.StopAutoscaling,
                models.ScalingStatus,
                stop,
            ),
            "manual_scale": Command(
                "So many workers for a queue, whatever the metrics say.",
                models.OrderManualScale,
                models.ManualScale,
                manual,
            ),
            "automatic_scale": Command(
                "Take a `manual_scale` or `pause_scaling` back: the metrics decide again.",
                models.AutomaticScale,
                models.Automatic,
                automatic,
            ),
            "pause_scaling": Command(
                "Leave the workers of a queue as they are, until `automatic_scale`.",
                models.PauseScaling,
                models.Automatic,
                pause,
            ),
            "update_scaling_config": Command(
                "Change keys of a target's policy. Kept over restarts, shown with the origin `changed`.",
                models.UpdateScalingConfig,
                models.Policy,
                update,
            ),
            "reset_scaling_config": Command(
                "Take every `update_scaling_config` of a target back.",
                models.ResetScalingConfig,
                models.Policy,
                reset,
            ),
        },
    )


def _ordered(scaler: ScalerControl, order: Callable[[ChangeState], Any]) -> Any:
    """Raises ApiError: 400 for what cannot be, 503 where it cannot be kept."""
    try:
        return scaler.order(order)
    except CommandError as error:
        raise ApiError(400, _camel(str(error))) from None
    except (StateError, StoreError) as error:
        raise ApiError(503, f"the order could not be kept: {error}") from None


def _target(scaler: ScalerControl, name: str) -> TargetSettings:
    try:
        return find_target(scaler.settings, name)
    except CommandError as error:
        raise ApiError(400, f"queueName: {error}") from None


def _status(scaler: ScalerControl) -> models.ScalingStatus:
    view, settings, operator = scaler.status(), scaler.settings, scaler.operator
    enabled = settings.enabled if operator.enabled is None else operator.enabled
    interval = operator.interval_seconds
    return models.ScalingStatus.model_validate(
        {
            "dry_run": settings.dry_run,
            "leading": False,
            **view,
            "enabled": enabled,
            "enabled_origin": "settings" if operator.enabled is None else "order",
            "interval_seconds": settings.interval_seconds if interval is None else interval,
            "interval_origin": "settings" if interval is None else "order",
            "targets": [
                {**one, "settings": _camels(one["settings"]), "origins": _camels(one["origins"])}
                for one in view["targets"]
            ],
        }
    )


def _figures(view: ScalerView) -> models.ScalingMetrics:
    targets = [{**one["metrics"], **one} for one in view["targets"]]
    return models.ScalingMetrics.model_validate({"time": view["time"], "targets": targets})


def _policy(scaler: ScalerControl, target: TargetSettings) -> Camel:
    """As it is from the next step on."""
    settings, changed = scaler.settings, scaler.operator.policies.get(target.name, {})
    policy = checked(settings, target, changed)
    where = origins(settings, target, changed)
    return models.Policy(
        target=target.name,
        settings=_camels(policy.model_dump()),
        origins=_camels({key: place for key, place in where.items() if place != "built in"}),
    )


def _camels(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {to_camel(key): value for key, value in keys.items()}


def _camel(message: str) -> str:
    """The keys of a policy as a client writes them."""
    words = message.split(" ")
    return " ".join(
        to_camel(word.rstrip(":,")) + word[len(word.rstrip(":,")) :]
        if word.rstrip(":,") in POLICY_KEYS
        else word
        for word in words
    )
