"""The scaler's permissions in the manifests, for workloads named `mail`, `one`, `two`, ..."""

from __future__ import annotations

from typing import Any, Final

from tests.support.kubernetes.admin import Json
from tests.support.kubernetes.manifests import named, of


def manifest_rules() -> list[dict[str, Any]]:
    """The rules of both Roles, every component's included, without the sample's names of workloads."""
    rules = [dict(rule) for role in of("overlays/everything", "Role") for rule in role["rules"]]
    for rule in rules:
        if rule.get("resourceNames") == ["mail-worker"]:
            del rule["resourceNames"]
    return rules


def scaled_queue_rules() -> list[dict[str, Any]]:
    """Those of the ClusterRole that lets the scaler into a namespace of ScaledQueues."""
    return list(named("overlays/scaled-queues", "ClusterRole", "oxherd-scaled-queues")["rules"])


RULES: Final[list[dict[str, Any]]] = manifest_rules()


def without(rules: list[Json], resource: str) -> list[Json]:
    """The rules without those for a resource."""
    return [rule for rule in rules if resource not in rule["resources"]]
