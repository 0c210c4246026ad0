"""The API server's objects as far as the scaler uses them. Pure: from JSON data, and to patches.

An object that lacks what every server sends raises ValueError: the scaler does not act on a partial object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from scaler.kube.errors import KubeError, of_object

Json: TypeAlias = Mapping[str, Any]

FIELD_MANAGER: Final = "oxherd-scaler"
FRONT_PROXY_NAMESPACE: Final = "kube-system"
FRONT_PROXY_CONFIG: Final = "extension-apiserver-authentication"
"""The ConfigMap of each cluster that says how the API server shows itself to servers behind it."""
_APPLIERS: Final = frozenset({"kubectl-client-side-apply", "kubectl-create", "helm", "argocd-controller"})
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"


_LIKE_DEPLOYMENTS: Final = frozenset(
    {("apps", "Deployment"), ("apps", "StatefulSet"), ("argoproj.io", "Rollout")}
)


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to an object, such as the workload that is scaled. As a text: `Deployment shop/mail`."""

    kind: str
    namespace: str
    name: str
    api_version: str = "apps/v1"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def resource(self) -> str:
        """The resource in messages, and of what is like a Deployment as roles name it: `deployments`."""
        return f"{self.kind.lower()}s"

    @property
    def group(self) -> str:
        """The API group: `apps`."""
        return self.api_version.partition("/")[0]

    @property
    def version(self) -> str:
        """The version of the API group: `v1`."""
        return self.api_version.partition("/")[2]

    @property
    def is_like_deployment(self) -> bool:
        """Whether the object itself has its replicas, selector and ready pods where a Deployment has them; of
        other kinds only /scale is known."""
        return (self.group, self.kind) in _LIKE_DEPLOYMENTS


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet. `ready` and `owner` are None if only its scale may be read; `owner` is the
    field manager that set `spec.replicas` last, `applied`: by applying a manifest; `selector` is the label
    selector of its pods as a query. `outdated`: pods of an earlier template; `rolling`: they are being
    replaced now, by a rollout that is neither paused nor stuck; `terminating` pods, None: the server does not
    count them; `template_of`: the Deployment that defines its pods, as one may for a Rollout.
    """

    replicas: int
    version: str
    uid: str
    selector: str
    ready: int | None = None
    grace_seconds: float | None = None  # terminationGracePeriodSeconds of its pods
    owner: str | None = None
    applied: bool = False
    outdated: int = 0
    rolling: bool = False
    terminating: int | None = None
    template_of: str | None = None


@of_object
def workload_of(data: Json) -> Workload:
    """From a Deployment or StatefulSet. Without `spec.replicas` it has one replica, as the API documents."""
    if not data:
        raise ValueError("an empty object, no workload")  # without `spec.replicas` it would have one replica
    meta, spec, status = _mapping(data, "metadata"), _mapping(data, "spec"), _mapping(data, "status")
    outdated = max(0, _count(status.get("replicas", 0)) - _count(status.get("updatedReplicas", 0)))
    terminating = status.get("terminatingReplicas")
    return Workload(
        replicas=_count(spec.get("replicas", 1)),
        grace_seconds=_grace_seconds(spec),
        version=str(meta.get("resourceVersion", "")),
        uid=str(meta.get("uid", "")),
        selector=selector_text(spec.get("selector") or {}) or str(status.get("selector", "")),
        ready=_count(status.get("readyReplicas", 0)),
        owner=owner_of_replicas(meta.get("managedFields") or ()),
        applied=replicas_are_applied(meta.get("managedFields") or ()),
        outdated=outdated,
        rolling=outdated > 0 and _is_progressing(status),
        terminating=None if terminating is None else _count(terminating),
        template_of=_template_of(spec),
    )


@of_object
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


def _is_progressing(status: Json) -> bool:
    """False while a rollout is paused (Unknown), after its deadline, and of kinds that do not say."""
    return any(
        entry.get("type") == "Progressing" and entry.get("status") == "True"
        for entry in status.get("conditions") or ()
    )


def _template_of(spec: Json) -> str | None:
    elsewhere = _mapping(spec, "workloadRef")
    return str(elsewhere.get("name", "")) or None if elsewhere.get("kind") == "Deployment" else None


def _grace_seconds(spec: Json) -> float | None:
    """Of its pods; without the field they have 30 s, as the API documents. None: its pods are defined
    elsewhere, as those of a Rollout may be."""
    if "template" not in spec and "workloadRef" in spec:
        return None
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


def replicas_are_applied(managed_fields: Iterable[Json]) -> bool:
    """Whether `spec.replicas` are those of a manifest: applied server-side, or by what applies manifests."""
    return any(
        entry.get("operation") == "Apply" or entry.get("manager") in _APPLIERS
        for entry in managed_fields
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    )


def owner_of_replicas(managed_fields: Iterable[Json]) -> str | None:
    """The manager that set `spec.replicas` last, from managedFields; None if they do not say.

    Entries of /scale have no time. They list nobody at 0 replicas, nor for an object that was applied
    server-side without `replicas`.
    """
    owners = [
        (entry.get("subresource") == "scale", str(entry.get("time", "")), str(entry.get("manager", "")))
        for entry in managed_fields
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return max(owners)[2] if owners else None


def scaled_resource(resources: Json, ref: Ref) -> str:
    """The resource of the kind, from the list of an API group's. KubeError "not_found": it has no /scale."""
    names = {
        str(entry.get("name", "")): str(entry.get("kind", "")) for entry in resources.get("resources") or ()
    }
    for name, kind in names.items():
        if kind == ref.kind and "/" not in name and f"{name}/scale" in names:
            return name
    raise KubeError("not_found", f"{ref}: {ref.api_version} has no kind {ref.kind} with /scale")


# --- pods ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pod:
    """`start_seconds`: from when it was scheduled until it became ready, for the first time or again; None if
    it is not ready, or has restarted. `ending`: it is being deleted. `cost` is its deletion cost. `created`
    is in unix seconds of the server."""

    name: str
    ready: bool
    ending: bool
    start_seconds: float | None
    cost: int
    created: float = 0.0


@of_object
def pod_of(data: Json) -> Pod:
    """From a Pod."""
    meta, status = _mapping(data, "metadata"), _mapping(data, "status")
    changed_at = {
        str(entry.get("type")): entry.get("lastTransitionTime")
        for entry in status.get("conditions") or ()
        if entry.get("status") == "True"
    }
    containers = status.get("containerStatuses") or ()
    restarts = sum(int(container.get("restartCount", 0)) for container in containers)
    start_seconds = None
    if "Ready" in changed_at and not restarts:
        scheduled = changed_at.get("PodScheduled") or meta.get("creationTimestamp")
        start_seconds = unix_seconds(changed_at["Ready"]) - unix_seconds(scheduled)
    try:
        cost = int((meta.get("annotations") or {}).get(DELETION_COST, 0))
    except ValueError:
        cost = 0
    return Pod(
        name=str(meta.get("name", "")),
        ready="Ready" in changed_at,
        ending="deletionTimestamp" in meta,
        start_seconds=start_seconds if start_seconds is not None and start_seconds >= 0 else None,
        cost=cost,
        created=unix_seconds(meta.get("creationTimestamp")),
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

_KEDA: Final = "autoscaling.keda.sh/"
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # as Go's ParseBool reads them
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parsed_bool(text: str) -> bool | None:
    """As Go's ParseBool reads an annotation; None: it is neither true nor false."""
    return True if text in _TRUE else False if text in _FALSE else None


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """Another autoscaler of a workload, its kind and name as a text. With `least` and `most`, both directions
    are disabled: it only keeps the replicas within them."""

    name: str
    least: int | None = None
    most: int | None = None

    def scales(self, replicas: int) -> bool:
        """Whether it may change this number. An HPA that must have at least one leaves 0 alone."""
        if self.least is None or self.most is None:
            return True
        return not (replicas == 0 or self.least <= replicas <= self.most)


@of_object
def conflicts_of(
    autoscalers: Sequence[Json], scaled_objects: Sequence[Json]
) -> dict[tuple[str, str], Autoscaler]:
    """The other autoscaler of each workload, by the kind and the name of the workload.

    A ScaledObject creates an HPA of its own; both are named as the ScaledObject. What pauses one is read as
    KEDA and the HPA read it: `paused` ends KEDA's scaling, `paused-replicas` makes it keep that number,
    `paused-scale-in` and `paused-scale-out` disable one direction of its HPA each.
    """
    conflicts: dict[tuple[str, str], Autoscaler] = {}
    for hpa in autoscalers:
        references = _mapping(hpa, "metadata").get("ownerReferences") or ()
        owners = [owner for owner in references if owner.get("controller")]
        keda = next((owner for owner in owners if owner.get("kind") == "ScaledObject"), None)
        name = f"ScaledObject {keda.get('name')}" if keda else f"HorizontalPodAutoscaler {_name(hpa)}"
        least, most = _bounds_alone(hpa)
        conflicts[_target(hpa)] = Autoscaler(name, least, most)
    for scaled_object in scaled_objects:
        pause = _pause(scaled_object)
        if pause is not None:
            conflicts[_target(scaled_object)] = Autoscaler(f"ScaledObject {_name(scaled_object)}{pause}")
    return conflicts


def _bounds_alone(hpa: Json) -> tuple[int | None, int | None]:
    """The bounds of an HPA whose two directions are disabled."""
    spec = _mapping(hpa, "spec")
    behavior = _mapping(spec, "behavior")
    directions = [_mapping(behavior, direction) for direction in ("scaleUp", "scaleDown")]
    if any(direction.get("selectPolicy") != "Disabled" for direction in directions):
        return None, None
    least = spec.get("minReplicas")
    return _count(1 if least is None else least), _count(spec.get("maxReplicas"))


def _pause(scaled_object: Json) -> str | None:
    """What to add to its name; None if it does not change the replicas by itself."""
    annotations = _mapping(_mapping(scaled_object, "metadata"), "annotations")
    if (replicas := annotations.get(f"{_KEDA}paused-replicas")) is not None:
        return f" (which keeps it at {replicas}: paused-replicas)"
    if annotations.get(f"{_KEDA}paused", "false") not in _FALSE:
        return None
    both = all(annotations.get(f"{_KEDA}paused-scale-{direction}") in _TRUE for direction in ("in", "out"))
    return None if both else ""


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
