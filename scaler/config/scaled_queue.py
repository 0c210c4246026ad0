"""A ScaledQueue: the settings of one target as an object of Kubernetes, in camelCase. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic.alias_generators import to_camel

from scaler.config.settings import POLICY_KEYS, TargetSettings, WorkloadSettings
from service.config.load import ConfigError, load

GROUP: Final = "oxherd.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ScaledQueue"
PLURAL: Final = "scaledqueues"

MOST_DECLARED_QUEUES: Final = 100
"""Queues of an object, and entries of its queueSloSeconds, at most."""
LONGEST_QUEUE_NAME: Final = 512
"""Letters of the name of a queue, of a pattern, of a prefix, at most."""

POLICY_NAMES: Final = {to_camel(key): key for key in POLICY_KEYS if key != "enabled"}
"""The keys of a policy as the spec has them. The mode says what `enabled` does."""
TARGET_NAMES: Final = {to_camel(key): key for key in ("queues", "prefix", "queue_slo_seconds", "priority")}
"""The other keys of a target."""
REFERENCE_NAMES: Final = {to_camel(key): key for key in ("api_version", "kind", "name")}

_KNOWN: Final = POLICY_NAMES | TARGET_NAMES
_WORKLOAD: Final = "kubernetes"


class SpecError(ValueError):
    """A spec that is no target; the text names the field: `spec.minWorkers: ...`."""


def target_name(namespace: str, name: str) -> str:
    """The name of a ScaledQueue's target in commands and series; no target of the settings has a slash."""
    return f"{namespace}/{name}"


def target_of(namespace: str, name: str, spec: object) -> TargetSettings:
    """The target of an object's spec, whose workload is in the same namespace. Raises SpecError."""
    if not isinstance(spec, Mapping):
        raise SpecError("spec: is missing")
    given = {key: value for key, value in spec.items() if value is not None}
    reference = given.pop("targetRef", None)
    if not isinstance(reference, Mapping):
        raise SpecError("spec.targetRef: is missing")
    workload: dict[str, Any] = {
        REFERENCE_NAMES.get(str(key), str(key)): value for key, value in reference.items()
    }
    if unknown := sorted(workload.keys() - set(REFERENCE_NAMES.values())):
        raise SpecError(f"spec.targetRef.{unknown[0]}: unknown field")
    workload["namespace"] = namespace
    if "idleFirst" in given:
        workload["idle_first"] = given.pop("idleFirst")
    data: dict[str, Any] = {"name": target_name(namespace, name), _WORKLOAD: workload}
    for key, value in given.items():
        if key not in _KNOWN:
            raise SpecError(f"spec.{key}: unknown field")
        data[_KNOWN[key]] = value
    try:
        target = load(TargetSettings, json.dumps(data), {}, file="spec").model
    except ConfigError as error:
        raise SpecError(
            f"{field_of(error.setting)}: {error.why.replace('api_version', 'apiVersion')}"
        ) from None
    _check_sizes(target)
    return target


def _check_sizes(target: TargetSettings) -> None:
    """The bounds that the schema has, for an object that an earlier schema let through."""
    for field, texts in (
        ("queues", target.queues),
        ("queueSloSeconds", tuple(target.queue_slo_seconds)),
        ("prefix", (target.prefix,)),
    ):
        if len(texts) > MOST_DECLARED_QUEUES:
            raise SpecError(f"spec.{field}: should have at most {MOST_DECLARED_QUEUES} entries")
        if any(len(text) > LONGEST_QUEUE_NAME for text in texts):
            raise SpecError(f"spec.{field}: should have at most {LONGEST_QUEUE_NAME} letters each")
    if "" in target.queues:
        raise SpecError("spec.queues: a name should not be empty")


def field_of(setting: str) -> str:
    """The field of a setting of the target: `spec.targetRef.kind` of `kubernetes.kind`."""
    if setting == f"{_WORKLOAD}.idle_first":
        return "spec.idleFirst"
    head, *rest = re.split(r"(?=[.\[])", setting, maxsplit=1)
    if head == _WORKLOAD:
        names = {key: name for name, key in REFERENCE_NAMES.items()}
        inner = "".join(rest).removeprefix(".")
        return f"spec.targetRef.{names.get(inner, inner)}" if inner else "spec.targetRef"
    return f"spec.{to_camel(head)}{''.join(rest)}"


# --- the other way: from the settings --------------------------------------------------------------------


def spec_of(target: TargetSettings, policy: Mapping[str, object]) -> dict[str, Any]:
    """The spec of the same target, with these keys of its policy. Of the other keys, what is built in is left
    out. Raises ValueError where it has no workload."""
    workload = target.kubernetes
    if workload is None:
        raise ValueError(f"{target.name}: its workers are processes, not pods")
    reference = {
        name: getattr(workload, key)
        for name, key in REFERENCE_NAMES.items()
        if key == "name" or getattr(workload, key) != WorkloadSettings.model_fields[key].default
    }
    spec: dict[str, Any] = {"targetRef": reference, "queues": list(target.queues)}
    for name, key in TARGET_NAMES.items():
        value, field = getattr(target, key), TargetSettings.model_fields[key]
        if key != "queues" and value != field.get_default(call_default_factory=True):
            spec[name] = _plain(value)
    if workload.idle_first is not None:
        spec["idleFirst"] = workload.idle_first
    return spec | {name: _plain(policy[key]) for name, key in POLICY_NAMES.items() if key in policy}


def _plain(value: object) -> object:
    """Whole numbers as people write them: 30, not 30.0."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _plain(part) for key, part in value.items()}
    return value
