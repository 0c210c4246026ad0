"""What the HPA is told: the numbers of the targets that a question means, or why there is none. Pure.

The workload of a target and the HPA are in one namespace, so the namespace of the question bounds the answer:
no team reads another one's numbers. The HPA adds up all values of an answer, and goes to 0 by them alone. So
one number that is not known makes all of the answer an error, and 0 is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from scaler.config.settings import TargetSettings
from scaler.engines.decisions import Code, Decisions, NoAnswer, needed
from scaler.external_metrics.selectors import Selector, SelectorError, matches, parse_selector

METRICS_GROUP: Final = "external.metrics.k8s.io"
METRICS_VERSION: Final = "v1beta1"
EXTERNAL_METRIC: Final = "oxherd-recommended-replicas"
"""The name of the only metric. With `averageValue: 1` the HPA sets as many replicas as its value."""

HTTP_STATUSES: Final[Mapping[Code, int]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": 400,
        "NOT_FOUND": 404,
        "FAILED_PRECONDITION": 503,
        "UNAVAILABLE": 503,
    }
)
"""Of HTTP: the HPA keeps the replicas at each of them, and shows the sentence in its conditions."""
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    405: "MethodNotAllowed",
    503: "ServiceUnavailable",
}
_NEAR: Final = 3  # names that are suggested
_MOST_COMPARED: Final = 200  # names that one is compared with: each costs up to a tenth of a millisecond
_LONGEST_COMPARED: Final = 63  # characters, of a label's value


class Located(NamedTuple):
    """Where a target is: the namespace of its workload, and the labels by which a selector finds it."""

    name: str
    namespace: str
    labels: Mapping[str, str]


def places_of(targets: Iterable[TargetSettings], home: str) -> list[Located]:
    """Those of the targets that have a workload; `home` is the namespace where none is named."""
    places = []
    for target in targets:
        if target.kubernetes is None:
            continue
        *_, namespace, workload = target.kubernetes.workload(home)
        declared_in, _, declared = target.name.partition("/")
        is_declared = declared and declared_in == target.kubernetes.namespace
        named = {"scaledqueue": declared} if is_declared else {"target": target.name}
        places.append(Located(target.name, namespace or home, {**named, "workload": workload}))
    return places


def metric_values(
    decisions: Decisions, places: Sequence[Located], namespace: str, selector: str, *, now: float, at: str
) -> Mapping[str, Any] | NoAnswer:
    """The ExternalMetricValueList; `now` on the clock of `Decisions.ended`, `at`: the step as RFC 3339."""
    try:
        wanted = parse_selector(selector)
    except SelectorError as error:
        return NoAnswer("INVALID_ARGUMENT", str(error))
    here = [place for place in places if place.namespace == namespace]
    meant = [place for place in here if matches(wanted, place.labels)]
    if not meant:
        return NoAnswer("NOT_FOUND", _nobody(namespace, selector, wanted, here))
    items = []
    for place in meant:
        number = needed(decisions, place.name, now)
        if isinstance(number, NoAnswer):
            return number
        items.append(
            {
                "metricName": EXTERNAL_METRIC,
                "metricLabels": dict(place.labels),
                "timestamp": at,
                "value": str(number),
            }
        )
    version = f"{METRICS_GROUP}/{METRICS_VERSION}"
    return {"kind": "ExternalMetricValueList", "apiVersion": version, "metadata": {}, "items": items}


def _nobody(namespace: str, text: str, selector: Selector, here: Sequence[Located]) -> str:
    """Why nothing is meant, with the nearest of the first value that is wanted alone."""
    if not here:
        return f"no target has its workload in namespace {namespace}"
    near = _nearest(selector, here)
    if near:
        return f"no target in namespace {namespace} has {text}: the nearest: {', '.join(near)}"
    names = sorted(",".join(f"{key}={value}" for key, value in place.labels.items()) for place in here)
    more = f" and {len(names) - _NEAR} more" if len(names) > _NEAR else ""
    return f"no target in namespace {namespace} has {text}: there are {'; '.join(names[:_NEAR])}{more}"


def _nearest(selector: Selector, here: Sequence[Located]) -> list[str]:
    for key, values, negated in selector:
        if values is None or negated or len(values) != 1:
            continue
        [value] = values
        known = sorted({place.labels[key] for place in here if key in place.labels})
        if value in known or len(value) > _LONGEST_COMPARED or len(known) > _MOST_COMPARED:
            continue
        return get_close_matches(value, known, n=_NEAR)
    return []


def resource_list() -> Mapping[str, Any]:
    """What the API server asks to see that we are there, and for the discovery of its clients."""
    metric = {
        "name": EXTERNAL_METRIC,
        "singularName": "",
        "namespaced": True,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    }
    version = f"{METRICS_GROUP}/{METRICS_VERSION}"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [metric]}


def group() -> Mapping[str, Any]:
    """The API group."""
    version = {"groupVersion": f"{METRICS_GROUP}/{METRICS_VERSION}", "version": METRICS_VERSION}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": METRICS_GROUP,
        "versions": [version],
        "preferredVersion": version,
    }


def status_failure(status: int, why: str) -> Mapping[str, Any]:
    """A Status of Kubernetes, whose message clients show."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": why,
        "reason": _REASONS.get(status, "InternalError"),
        "code": status,
    }
