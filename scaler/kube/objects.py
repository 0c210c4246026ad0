"""The API server's objects as far as the scaler knows them. Pure: from JSON data, and to patches.

Where an object lacks what every server sends, ValueError says so: a half-read object is not acted on.
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

_SLOWEST_START: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Ref:
    """What is scaled. As a text: `Deployment oxherd/mail-worker`."""

    kind: WorkloadKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def resource(self) -> str:
        """As roles name it: `deployments`."""
        return f"{self.kind.lower()}s"


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet. `ready` and `owner` are None where only its scale may be read; `owner` is
    the field manager that set `spec.replicas` last; `selector` is the pods' as a query."""

    replicas: int
    version: str
    uid: str
    selector: str
    ready: int | None = None
    owner: str | None = None


def workload_of(data: Json) -> Workload:
    """Of a Deployment or StatefulSet. Without `spec.replicas` it has one, as the API documents."""
    meta, spec, status = _mapping(data, "metadata"), _mapping(data, "spec"), _mapping(data, "status")
    return Workload(
        replicas=_count(spec.get("replicas", 1)),
        version=str(meta.get("resourceVersion", "")),
        uid=str(meta.get("uid", "")),
        selector=selector_text(spec.get("selector") or {}),
        ready=_count(status.get("readyReplicas", 0)),
        owner=owner_of_replicas(meta.get("managedFields") or ()),
    )


def workload_of_scale(data: Json) -> Workload:
    """Of a Scale, whose spec is empty at 0."""
    if data.get("kind") != "Scale":
        raise ValueError(f"a {data.get('kind')!r}, not a Scale")
    meta, spec, status = _mapping(data, "metadata"), _mapping(data, "spec"), _mapping(data, "status")
    return Workload(
        replicas=_count(spec.get("replicas", 0)),
        version=str(meta.get("resourceVersion", "")),
        uid=str(meta.get("uid", "")),
        selector=str(status.get("selector", "")),
    )


def scale_patch(old: int, new: int) -> list[dict[str, Any]]:
    """JSON patch of a Scale: from `old` and from nothing else. At 0 there is no value to test: null is."""
    test = {"op": "test", "path": "/spec/replicas", "value": old or None}
    return [test, {"op": "replace" if old else "add", "path": "/spec/replicas", "value": new}]


def selector_text(selector: Json) -> str:
    """A LabelSelector as the query that selects the same: `app=mail,tier in (a,b)`."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        key, operator, values = one.get("key"), one.get("operator"), ",".join(one.get("values") or ())
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
                raise ValueError(f"a selector with operator {operator!r}")
    return ",".join(parts)


def owner_of_replicas(managed: Iterable[Json]) -> str | None:
    """The manager that set `spec.replicas` last, of managedFields; at 0 replicas nobody is listed."""
    owners = [
        (str(entry.get("time", "")), str(entry.get("manager", "")))
        for entry in managed
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return max(owners)[1] if owners else None


# --- pods ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pod:
    """`start_seconds`: from its creation until it was ready; None for one that is not, or not for the first
    time. `cost` is its deletion cost."""

    name: str
    ready: bool
    ending: bool
    start_seconds: float | None
    cost: int


def pod_of(data: Json) -> Pod:
    """Of a Pod."""
    meta, status = _mapping(data, "metadata"), _mapping(data, "status")
    ready: Json = next((one for one in status.get("conditions") or () if one.get("type") == "Ready"), {})
    is_ready = ready.get("status") == "True"
    restarts = sum(int(one.get("restartCount", 0)) for one in status.get("containerStatuses") or ())
    took = None
    if is_ready and not restarts:
        took = unix_seconds(ready.get("lastTransitionTime")) - unix_seconds(meta.get("creationTimestamp"))
    try:
        cost = int((meta.get("annotations") or {}).get(DELETION_COST, 0))
    except ValueError:
        cost = 0
    return Pod(
        name=str(meta.get("name", "")),
        ready=is_ready,
        ending="deletionTimestamp" in meta,
        start_seconds=took if took is not None and 0 <= took <= _SLOWEST_START else None,
        cost=cost,
    )


def unix_seconds(text: object) -> float:
    """Of a time as the API writes it (`2026-01-31T12:00:00Z`, also with microseconds). Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("a time is missing")  # noqa: TRY004  # it is data
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def api_time(seconds: float, *, micro: bool = False) -> str:
    """Unix seconds as the API writes times, with microseconds where its field has them."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


# --- other autoscalers -----------------------------------------------------------------------------------


def conflicts_of(autoscalers: Sequence[Json], scaled_objects: Sequence[Json]) -> dict[tuple[str, str], str]:
    """Who else scales what: (kind, name) of the workload, and the other as a person calls it.

    A ScaledObject makes an autoscaler of its own; both are named as the ScaledObject. One that KEDA was told
    to pause leaves its workload alone.
    """
    found: dict[tuple[str, str], str] = {}
    for one in autoscalers:
        owners = [o for o in _mapping(one, "metadata").get("ownerReferences") or () if o.get("controller")]
        named = next((o for o in owners if o.get("kind") == "ScaledObject"), None)
        name = f"ScaledObject {named.get('name')}" if named else f"HorizontalPodAutoscaler {_name(one)}"
        found[_target(one)] = name
    for one in scaled_objects:
        if not _paused(one):
            found[_target(one)] = f"ScaledObject {_name(one)}"
    return found


def _paused(scaled_object: Json) -> bool:
    notes = _mapping(scaled_object, "metadata").get("annotations") or {}
    return notes.get("autoscaling.keda.sh/paused") == "true" or "autoscaling.keda.sh/paused-replicas" in notes


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
        raise ValueError(f"{key} is no object")  # noqa: TRY004  # it is data
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no number of replicas")
    return value
