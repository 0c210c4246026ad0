"""The actions of the scaler, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from pydantic.alias_generators import to_camel

from scaler.api import models
from scaler.config.policy_keys import ignored_keys
from scaler.config.policy_layers import checked_policy, origins
from scaler.config.settings import POLICY_KEYS, ScalerSettings, TargetSettings
from scaler.state.commands import (
    CommandError,
    change_policy,
    clear_override,
    find_target,
    is_automatic,
    make_override,
    pause_target,
    reset_policy,
    set_enabled,
    set_override,
    why_without_effect,
)
from scaler.state.model import OperatorState, State, StateError
from scaler.state.store import StoreError, Update
from scaler.views import ScalerView
from service.api.actions import Api, ApiRequest, Command, Query
from service.api.envelope import ApiError, Camel, to_json_data


class ScalerControl(Protocol):
    """What the actions need from the scaler."""

    def status(self) -> ScalerView:
        """The last step as plain data."""

    @property
    def settings(self) -> ScalerSettings:
        """The settings in force."""

    @property
    def operator(self) -> OperatorState:
        """What operators have set, as last read."""

    @property
    def most_workers(self) -> int | None:
        """How many workers the machine can run, if they are its processes."""

    def update(self, update: Callable[[State], State]) -> Update:
        """Change the state, and take the next step at once. Raises StateError, StoreError, CommandError."""


def make_scaling_api(scaler: ScalerControl) -> Api:
    """Every action of the scaler, by name."""

    def status(_: ApiRequest) -> Any:
        return to_json_data(_status(scaler))

    def metrics(_: ApiRequest) -> Any:
        return to_json_data(_figures(scaler.status()))

    def start(request: ApiRequest, command: models.StartAutoscaling) -> Any:
        minutes = command.interval_minutes
        seconds = None if minutes is None else max(1.0, minutes * 60)
        _update(scaler, lambda state: set_enabled(state, enabled=True, interval_seconds=seconds))
        return status(request)

    def stop(request: ApiRequest, _: models.StopAutoscaling) -> Any:
        _update(scaler, lambda state: set_enabled(state, enabled=False))
        return status(request)

    def manual(_: ApiRequest, command: models.OrderManualScale) -> Any:
        target = _target(scaler, command.queue_name)
        seconds = None if command.duration_minutes is None else command.duration_minutes * 60
        try:
            override = make_override(
                command.target_workers, reason=command.reason, by=command.requested_by, seconds=seconds
            )
        except CommandError as error:
            raise ApiError(400, str(error)) from None
        after = _update(
            scaler,
            lambda state: set_override(state, scaler.settings, target, override, most=scaler.most_workers),
        ).after
        return to_json_data(
            models.ManualScale(
                target=target.name,
                workers=override.workers,
                reason=override.reason,
                requested_by=override.by,
                since=override.at,
                until=override.until,
                without_effect=why_without_effect(after, scaler.settings, target),
            )
        )

    def automatic(_: ApiRequest, command: models.AutomaticScale) -> Any:
        target = _target(scaler, command.queue_name)
        before = _update(scaler, lambda state: clear_override(state, target)).before
        return to_json_data(models.Automatic(target=target.name, changed=not is_automatic(before, target)))

    def pause(_: ApiRequest, command: models.PauseScaling) -> Any:
        target = _target(scaler, command.queue_name)
        before = _update(scaler, lambda state: pause_target(state, target)).before
        changed = target.name not in before.operator.paused
        return to_json_data(models.Automatic(target=target.name, changed=changed))

    def update(_: ApiRequest, command: Any) -> Any:
        target = _target(scaler, command.queue_name)
        keys = _changed_keys(command)
        if not keys:
            names = ", ".join(map(to_camel, POLICY_KEYS))
            raise ApiError(400, f"nothing to change: set one of {names}")
        _update(
            scaler,
            lambda state: change_policy(state, scaler.settings, target, keys, most=scaler.most_workers),
        )
        return to_json_data(_policy(scaler, target, [key for key in keys if keys[key] is not None]))

    def reset(_: ApiRequest, command: models.ResetScalingConfig) -> Any:
        target = _target(scaler, command.queue_name)
        _update(scaler, lambda state: reset_policy(state, target))
        return to_json_data(_policy(scaler, target))

    return Api(
        queries={
            "scaling_status": Query(
                "The state of each target and its last decision.", models.ScalingStatus, status
            ),
            "scaling_metrics": Query(
                "The figures that decisions are based on.", models.ScalingMetrics, metrics
            ),
        },
        commands={
            "start_autoscaling": Command(
                "Scale; `intervalMinutes` sets the interval of decisions. Kept over restarts.",
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
                "Set the workers of a queue to a number, whatever the metrics say.",
                models.OrderManualScale,
                models.ManualScale,
                manual,
            ),
            "automatic_scale": Command(
                "Clear a `manual_scale` or `pause_scaling`: the metrics decide again.",
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
                "Undo every `update_scaling_config` of a target.",
                models.ResetScalingConfig,
                models.Policy,
                reset,
            ),
        },
    )


def _update(scaler: ScalerControl, update: Callable[[State], State]) -> Update:
    """Raises ApiError: 400 for an invalid command, 503 if it cannot be saved."""
    try:
        return scaler.update(update)
    except CommandError as error:
        raise ApiError(400, _camel(str(error))) from None
    except (StateError, StoreError) as error:
        raise ApiError(503, f"the command could not be saved: {error}") from None


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
                {**target, "settings": _camels(target["settings"]), "origins": _camels(target["origins"])}
                for target in view["targets"]
            ],
        }
    )


def _figures(view: ScalerView) -> models.ScalingMetrics:
    targets = [{**target["metrics"], **target} for target in view["targets"]]
    return models.ScalingMetrics.model_validate({"time": view["time"], "targets": targets})


def _changed_keys(command: Any) -> dict[str, Any]:
    """The keys of a policy that a command sets. Raises ApiError 400 for a cooldown in two units."""
    keys = {key: getattr(command, key) for key in POLICY_KEYS if key in command.model_fields_set}
    if "cooldown_period" in command.model_fields_set:
        if "cooldown_seconds" in keys:
            raise ApiError(400, "cooldownPeriod: cooldownSeconds is set too: keep one of them")
        minutes = command.cooldown_period
        keys["cooldown_seconds"] = None if minutes is None else minutes * 60
    return keys


def _policy(scaler: ScalerControl, target: TargetSettings, set_keys: Iterable[str] = ()) -> Camel:
    """The policy from the next step on; `set_keys` are those of the command."""
    settings, changed = scaler.settings, scaler.operator.policies.get(target.name, {})
    policy = checked_policy(settings, target, changed)
    origin_of = origins(settings, target, changed)
    return models.Policy(
        target=target.name,
        settings=_camels(policy.model_dump()),
        origins=_camels({key: origin for key, origin in origin_of.items() if origin != "built in"}),
        warnings=[
            f"{to_camel(key)}: the policy in force is {policy.policy}; only {reader} reads this key"
            for key, reader in ignored_keys(policy.policy, set_keys).items()
        ],
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
