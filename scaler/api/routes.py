"""The actions of the scaler, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic.alias_generators import to_camel

from scaler.api import models
from scaler.settings import POLICY_KEYS, Settings, TargetSettings, checked, origins
from scaler.state.commands import (
    Change,
    OrderError,
    find_target,
    order_auto,
    order_enabled,
    order_override,
    order_pause,
    order_policy,
    order_policy_reset,
    override_of,
)
from scaler.state.model import Orders, StateError
from scaler.state.store import StoreError
from scaler.views import View
from service.api.endpoint import Api, Asked, Command, Question
from service.api.envelope import ApiError, Camel, plain


class Answers(Protocol):
    """What the actions need of the scaler."""

    def status(self) -> View:
        """The last step as plain data."""

    @property
    def settings(self) -> Settings:
        """As they are in force."""

    @property
    def orders(self) -> Orders:
        """What people have ordered, as last seen."""

    def order(self, change: Callable[[Change], Any]) -> Any:
        """Let it change the state, and take the next step at once.

        Raises StateError, StoreError, OrderError.
        """


def make_api(answers: Answers) -> Api:
    """Every action."""

    def status(_: Asked) -> Any:
        return plain(_status(answers))

    def metrics(_: Asked) -> Any:
        return plain(_figures(answers.status()))

    def start(asked: Asked, order: models.StartAutoscaling) -> Any:
        minutes = order.interval_minutes
        seconds = None if minutes is None else max(1.0, minutes * 60)
        _ordered(answers, lambda change: order_enabled(change, enabled=True, interval_seconds=seconds))
        return status(asked)

    def stop(asked: Asked, _: models.StopAutoscaling) -> Any:
        _ordered(answers, lambda change: order_enabled(change, enabled=False))
        return status(asked)

    def manual(_: Asked, order: models.OrderManualScale) -> Any:
        target = _target(answers, order.queue_name)
        seconds = None if order.duration_minutes is None else order.duration_minutes * 60
        wanted = override_of(
            order.target_workers, reason=order.reason, by=order.requested_by, seconds=seconds
        )
        made = _ordered(answers, lambda change: order_override(answers.settings, target, wanted, change))
        return plain(
            models.ManualScale(
                target=target.name,
                workers=made.workers,
                reason=made.reason,
                requested_by=made.by,
                since=made.at,
                until=made.until,
            )
        )

    def automatic(_: Asked, order: models.AutomaticScale) -> Any:
        target = _target(answers, order.queue_name)
        changed = _ordered(answers, lambda change: order_auto(target, change))
        return plain(models.Automatic(target=target.name, changed=changed))

    def pause(_: Asked, order: models.PauseScaling) -> Any:
        target = _target(answers, order.queue_name)
        changed = target.name not in answers.orders.paused
        _ordered(answers, lambda change: order_pause(target, change))
        return plain(models.Automatic(target=target.name, changed=changed))

    def update(_: Asked, order: Any) -> Any:
        target = _target(answers, order.queue_name)
        keys = {key: getattr(order, key) for key in POLICY_KEYS if key in order.model_fields_set}
        if not keys:
            raise ApiError(
                400, f"nothing is to be changed: name one of {', '.join(map(to_camel, POLICY_KEYS))}"
            )
        _ordered(answers, lambda change: order_policy(answers.settings, target, keys, change))
        return plain(_policy(answers, target))

    def reset(_: Asked, order: models.ResetScalingConfig) -> Any:
        target = _target(answers, order.queue_name)
        _ordered(answers, lambda change: order_policy_reset(target, change))
        return plain(_policy(answers, target))

    return Api(
        questions={
            "scaling_status": Question("What each target has and why.", models.ScalingStatus, status),
            "scaling_metrics": Question("The figures that are decided by.", models.ScalingMetrics, metrics),
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


def _ordered(answers: Answers, order: Callable[[Change], Any]) -> Any:
    """Raises ApiError: 400 for what cannot be, 503 where it cannot be kept."""
    try:
        return answers.order(order)
    except OrderError as error:
        raise ApiError(400, _camel(str(error))) from None
    except (StateError, StoreError) as error:
        raise ApiError(503, f"the order could not be kept: {error}") from None


def _target(answers: Answers, name: str) -> TargetSettings:
    try:
        return find_target(answers.settings, name)
    except OrderError as error:
        raise ApiError(400, f"queueName: {error}") from None


def _status(answers: Answers) -> models.ScalingStatus:
    view, settings, orders = answers.status(), answers.settings, answers.orders
    enabled = settings.enabled if orders.enabled is None else orders.enabled
    interval = orders.interval_seconds
    return models.ScalingStatus.model_validate(
        {
            "dry_run": settings.dry_run,
            "leading": False,
            **view,
            "enabled": enabled,
            "enabled_origin": "settings" if orders.enabled is None else "order",
            "interval_seconds": settings.interval_seconds if interval is None else interval,
            "interval_origin": "settings" if interval is None else "order",
            "targets": [
                {**one, "settings": _camels(one["settings"]), "origins": _camels(one["origins"])}
                for one in view["targets"]
            ],
        }
    )


def _figures(view: View) -> models.ScalingMetrics:
    targets = [{**one["metrics"], **one} for one in view["targets"]]
    return models.ScalingMetrics.model_validate({"time": view["time"], "targets": targets})


def _policy(answers: Answers, target: TargetSettings) -> Camel:
    """As it is from the next step on."""
    settings, changed = answers.settings, answers.orders.policies.get(target.name, {})
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
