"""The API server's objects as far as the scaler uses them. Pure: from JSON data, and to patches.

An object that lacks what every server sends raises ValueError: the scaler does not act on a partial object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

Json: TypeAlias = Mapping[str, Any]
WorkloadKind: TypeAlias = Literal["Deployment", "StatefulSet"]

FIELD_MANAGER: Final = "oxherd-scaler"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_MAX_START_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to the workload that is scaled. As a text: `Deployment oxherd/mail-worker`."""

    kind: WorkloadKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def resource(self) -> str:
        """The resource as roles name it: `deployments`."""
        return f"{self.kind.lower()}s"


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet. `ready` and `owner` are None if only its scale may be read; `owner` is the
    field manager that set `spec.replicas` last; `selector` is the label selector of its pods as a query."""

    replicas: int
    version: str
    uid: str
    selector: str
    ready: int | None = None
    grace_seconds: float | None = None  # terminationGracePeriodSeconds of its pods
    owner: str | None = None


def workload_of(data: Json) -> Workload:
    """From a Deployment or StatefulSet. Without `spec.replicas` it has one replica, as the API documents."""
    meta, spec, status = _mapping(data, "metadata"), _mapping(data, "spec"), _mapping(data, "status")
    return Workload(
        replicas=_count(spec.get("replicas", 1)),
        grace_seconds=_grace_seconds(spec),
        version=str(meta.get("resourceVersion", "")),
        uid=str(meta.get("uid", "")),
        selector=selector_text(spec.get("selector") or {}),
        ready=_count(status.get("readyReplicas", 0)),
        owner=owner_of_replicas(meta.get("managedFields") or ()),
    )


def workload_of_scale(data: Json) -> Workload:
    """From a Scale, whose spec is empty at 0 replicas."""
    if data.get("kind") != "Scale":
        raise ValueError(f"a {data.get('kind')!r}, not a Scale")
    meta, spec, status = _mapping(data, "metadata"), _mapping(data, "spec"), _mapping(data, "status")
    return Workload(
        replicas=_count(spec.get("replicas", 0)),
        version=str(meta.get("resourceVersion", "")),
        uid=str(meta.get("uid", "")),
        selector=str(status.get("selector", "")),
    )


def _grace_seconds(spec: Json) -> float:
    """Of its pods; without the field they have 30 s, as the API documents."""
    pods = (spec.get("template") or {}).get("spec") or {}
    return float(_count(pods.get("terminationGracePeriodSeconds", 30)))


def scale_patch(old: int, new: int) -> list[dict[str, Any]]:
    """JSON patch of a Scale from `old` to `new`; it fails at any other number. At 0 the field is absent,
    which a test for null matches."""
    test = {"op": "test", "path": "/spec/replicas", "value": old or None}
    return [test, {"op": "replace" if old else "add", "path": "/spec/replicas", "value": new}]


def selector_text(selector: Json) -> str:
    """A LabelSelector as a query that selects the same pods: `app=mail,tier in (a,b)`."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key"), expression.get("operator")
        values = ",".join(expression.get("values") or ())
        match operator:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(f"{key}")
            case "DoesNotExist":
                parts.append(f"!{key}")
            case _:
                raise ValueError(f"unknown selector operator {operator!r}")
    return ",".join(parts)


def owner_of_replicas(managed_fields: Iterable[Json]) -> str | None:
    """The manager that set `spec.replicas` last, from managedFields, which list none at 0 replicas."""
    owners = [
        (str(entry.get("time", "")), str(entry.get("manager", "")))
        for entry in managed_fields
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return max(owners)[1] if owners else None


# --- pods ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pod:
    """`start_seconds`: from its creation until it was ready; None if it is not ready, or has restarted.
    `ending`: it is being deleted. `cost` is its deletion cost."""

    name: str
    ready: bool
    ending: bool
    start_seconds: float | None
    cost: int


def pod_of(data: Json) -> Pod:
    """From a Pod."""
    meta, status = _mapping(data, "metadata"), _mapping(data, "status")
    conditions = status.get("conditions") or ()
    condition: Json = next((entry for entry in conditions if entry.get("type") == "Ready"), {})
    ready = condition.get("status") == "True"
    containers = status.get("containerStatuses") or ()
    restarts = sum(int(container.get("restartCount", 0)) for container in containers)
    start_seconds = None
    if ready and not restarts:
        created = unix_seconds(meta.get("creationTimestamp"))
        start_seconds = unix_seconds(condition.get("lastTransitionTime")) - created
    try:
        cost = int((meta.get("annotations") or {}).get(DELETION_COST, 0))
    except ValueError:
        cost = 0
    return Pod(
        name=str(meta.get("name", "")),
        ready=ready,
        ending="deletionTimestamp" in meta,
        start_seconds=(
            start_seconds if start_seconds is not None and 0 <= start_seconds <= _MAX_START_SECONDS else None
        ),
        cost=cost,
    )


def unix_seconds(text: object) -> float:
    """Unix seconds of a time as the API writes it (`2026-01-31T12:00:00Z`, also with microseconds). Raises
    ValueError."""
    if not isinstance(text, str):
        raise ValueError("a time is missing")  # noqa: TRY004  # it is data
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def api_time(seconds: float, *, micro: bool = False) -> str:
    """Unix seconds as the API writes times; `micro`: with microseconds, for the fields that have them."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


# --- other autoscalers -----------------------------------------------------------------------------------


def conflicts_of(autoscalers: Sequence[Json], scaled_objects: Sequence[Json]) -> dict[tuple[str, str], str]:
    """The other autoscaler of each workload: (kind, name) of the workload, kind and name of the autoscaler.

    A ScaledObject creates an HPA of its own; both are named as the ScaledObject. A paused ScaledObject does
    not scale its workload.
    """
    conflicts: dict[tuple[str, str], str] = {}
    for hpa in autoscalers:
        references = _mapping(hpa, "metadata").get("ownerReferences") or ()
        owners = [owner for owner in references if owner.get("controller")]
        keda = next((owner for owner in owners if owner.get("kind") == "ScaledObject"), None)
        name = f"ScaledObject {keda.get('name')}" if keda else f"HorizontalPodAutoscaler {_name(hpa)}"
        conflicts[_target(hpa)] = name
    for scaled_object in scaled_objects:
        if not _paused(scaled_object):
            conflicts[_target(scaled_object)] = f"ScaledObject {_name(scaled_object)}"
    return conflicts


def _paused(scaled_object: Json) -> bool:
    annotations = _mapping(scaled_object, "metadata").get("annotations") or {}
    return (
        annotations.get("autoscaling.keda.sh/paused") == "true"
        or "autoscaling.keda.sh/paused-replicas" in annotations
    )


def _target(autoscaler: Json) -> tuple[str, str]:
    ref = _mapping(autoscaler, "spec").get("scaleTargetRef") or {}
    return str(ref.get("kind") or "Deployment"), str(ref.get("name", ""))


def _name(data: Json) -> str:
    return str(_mapping(data, "metadata").get("name", ""))


def _mapping(data: Json, key: str) -> Json:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is not an object")  # noqa: TRY004  # it is data
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a number of replicas")
    return value
