"""`scaling export`: the targets of the settings in another form. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml

from scaler.config.policy_layers import resolve
from scaler.config.scaled_queue import API_VERSION, KIND, spec_of, target_name
from scaler.config.settings import POLICY_KEYS, ScalerSettings, TargetSettings

_LONGEST_NAME: Final = 253


class Exported(NamedTuple):
    """`text` is YAML of many documents; `notes` have a line for each thing that the objects cannot say, and
    `left_out` are the names of targets that are not among them."""

    text: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...]


def as_scaled_queues(settings: ScalerSettings) -> Exported:
    """Each target as a ScaledQueue, with what differs from the `defaults` and `policies` of these settings,
    which count for objects too."""
    objects: list[dict[str, Any]] = []
    notes: list[str] = []
    left_out: list[str] = []
    names: set[tuple[str, str]] = set()
    for target in settings.targets:
        if (why := _not_an_object(settings, target)) is not None:
            notes.append(f"{target.name} is left out: {why}")
            left_out.append(target.name)
            continue
        namespace = _namespace(settings, target) or ""
        name = _object_name(target.name, namespace, names)
        names.add((namespace, name))
        policy = _own_policy(settings, target, target_name(namespace, name))
        notes += [f"{target.name}: {note}" for note in _unsaid(policy)]
        said = {key: value for key, value in policy.items() if value is not None and key != "enabled"}
        if policy.get("enabled") is False:
            said["mode"] = "shadow"
        objects.append(
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": name, "namespace": namespace},
                "spec": spec_of(target, said),
            }
        )
    text = yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True) if objects else ""
    return Exported(text, tuple(notes), tuple(left_out))


def _not_an_object(settings: ScalerSettings, target: TargetSettings) -> str | None:
    if target.kubernetes is None:
        return "its workers are processes"
    if _namespace(settings, target) is None:
        return "it has no namespace: set it, or kubernetes.namespace"
    if target.queries is not None:
        return "it has queries of its own, which an object cannot have"
    return None


def _namespace(settings: ScalerSettings, target: TargetSettings) -> str | None:
    own = target.kubernetes.namespace if target.kubernetes else None
    return own or settings.kubernetes.namespace


def _own_policy(settings: ScalerSettings, target: TargetSettings, name: str) -> dict[str, Any]:
    """The keys in which its policy differs from that of an object of this name that says nothing."""
    silent = TargetSettings(
        name=name, queues=target.queues, prefix=target.prefix, kubernetes=target.kubernetes
    )
    policy, without = resolve(settings, target), resolve(settings, silent)
    return {key: getattr(policy, key) for key in POLICY_KEYS if getattr(policy, key) != getattr(without, key)}


def _unsaid(policy: dict[str, Any]) -> Iterator[str]:
    for key, value in policy.items():
        if value is None:
            yield f"{key} is not set, and is in the defaults: an object cannot undo that"
        elif key == "enabled":
            yield (
                "enabled: true undoes the defaults, which an object cannot"
                if value
                else "enabled: false becomes mode: shadow, which decides too and does not scale"
            )


def _object_name(name: str, namespace: str, taken: set[tuple[str, str]]) -> str:
    """The target's name with the letters that an object's may have."""
    plain = (
        re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip(".-")[: _LONGEST_NAME - 6].rstrip(".-") or "target"
    )
    names = iter([plain, *(f"{plain}-{number}" for number in range(2, len(taken) + 3))])
    return next(free for free in names if (namespace, free) not in taken)
