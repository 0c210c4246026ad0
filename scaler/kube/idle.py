"""Idle pods first: pods whose workers have jobs in hand are marked as dearer to delete before a scale-in.

A worker is known by its name, which has to be its pod's; who is busy the exporter says, asked at that moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import DELETION_COST, Pod, Ref
from service.clock import Deadline
from service.web.client import HttpClientError, fetch

MOST_PATCHES: Final = 50
"""So many pods are marked before one scale-in; the dearest first."""

_LIMIT: Final = 16 << 20
_LEAST_SECONDS: Final = 0.1


class IdleFirst:
    """Marks the pods of a target. `queues` are names or patterns."""

    def __init__(
        self, api: KubeApi, exporter_url: str, prefix: str, queues: Sequence[str], key: str | None = None
    ) -> None:
        query = urlencode([("prefix", prefix), *(("queue", queue) for queue in queues)])
        self._url = f"{exporter_url.rstrip('/')}/busy.json?{query}"
        self._headers = {"accept": "application/json", **({"x-api-key": key} if key else {})}
        self._api = api

    def __call__(self, ref: Ref, pods: list[Pod], going: int, deadline: Deadline) -> None:
        """Before `going` of the pods go. Raises KubeError."""
        if not 0 < going < len(pods):
            return
        for name, cost in marks(pods, self._busy(deadline)):
            self._api.annotate_pod(ref.namespace, name, {DELETION_COST: str(cost)}, deadline)

    def _busy(self, deadline: Deadline) -> Mapping[str, int]:
        half = Deadline.after(max(_LEAST_SECONDS, deadline.remaining() / 2))
        try:
            response = fetch(self._url, deadline=half, headers=self._headers, limit=_LIMIT)
            if response.status != 200:
                raise ValueError(f"it answered {response.status}")  # noqa: TRY301
            return jobs_of(json.loads(response.body))
        except (HttpClientError, ValueError) as error:
            raise KubeError(
                "unreachable", f"the exporter does not report the busy workers: {error}"
            ) from None


def jobs_of(answer: Any) -> dict[str, int]:
    """Jobs in hand by worker. Raises ValueError: not what an exporter answers."""
    workers = answer.get("workers") if isinstance(answer, dict) else None
    if not isinstance(workers, dict):
        raise ValueError("not an exporter's answer")  # noqa: TRY004  # it is data
    return {str(name): int(jobs) for name, jobs in workers.items()}


def marks(pods: Iterable[Pod], busy: Mapping[str, int]) -> list[tuple[str, int]]:
    """The pods whose cost has to change, and the new one: a pod costs as many as it has jobs in hand."""
    costs = [(pod, busy.get(pod.name, 0)) for pod in pods]
    changed = [(pod.name, cost) for pod, cost in costs if pod.cost != cost]
    return sorted(changed, key=lambda change: -change[1])[:MOST_PATCHES]
