"""Reads workloads in as few requests as the role permits: one list in a step, or a get for each.

A list reads all workloads of a namespace at once. If listing is not permitted, or few workloads are
registered, each is read by name; if that is not permitted either, its Scale is read, which has neither the
ready replicas nor the manager that set `spec.replicas`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json, Ref, Workload, workload_of, workload_of_scale
from service.clock import Deadline, monotonic

log = logging.getLogger(__name__)

LIST_FROM: Final = 10
"""From this number of workloads in a namespace on, one list costs less than a get for each."""

_RETRY_DENIED_SECONDS: Final = 300.0  # a permission may have been granted since

_Collection: TypeAlias = tuple[str, str]  # kind and namespace


class Workloads:
    """Reads workloads. For many threads: those that need the same list wait for one request."""

    def __init__(self, api: KubeApi, max_age: float) -> None:
        """A list is used for reads within `max_age` seconds."""
        self._api = api
        self._max_age = max_age
        self._registered: dict[_Collection, set[str]] = {}
        self._lists: dict[_Collection, _WorkloadList] = {}
        self._denied: dict[tuple[Literal["list", "get"], str, str], float] = {}

    def register(self, ref: Ref) -> None:
        """The workload will be read in each step."""
        collection = ref.kind, ref.namespace
        self._registered.setdefault(collection, set()).add(ref.name)
        self._lists.setdefault(collection, _WorkloadList())

    def unregister(self, ref: Ref) -> None:
        """The workload will not be read any more."""
        self._registered.get((ref.kind, ref.namespace), set()).discard(ref.name)

    def read(self, ref: Ref, deadline: Deadline) -> Workload:
        """Raises KubeError."""
        collection = ref.kind, ref.namespace
        if len(self._registered.get(collection, ())) >= LIST_FROM and self._permitted("list", *collection):
            try:
                return self._from_list(ref, deadline)
            except KubeError as error:
                if error.kind != "forbidden":
                    raise
                self._deny("list", *collection, message=str(error))
        return self._get(ref, deadline)

    def _from_list(self, ref: Ref, deadline: Deadline) -> Workload:
        workloads = self._lists[ref.kind, ref.namespace]
        with workloads.lock:
            if monotonic() - workloads.at > self._max_age:
                workloads.refresh(self._api, ref, deadline)
            if workloads.error is not None:
                raise workloads.error
            data = workloads.by_name.get(ref.name)
        if data is None:
            raise KubeError("not_found", f"{ref} does not exist")
        return _parsed(ref, data)

    def _get(self, ref: Ref, deadline: Deadline) -> Workload:
        if self._permitted("get", ref.kind, str(ref)):
            try:
                return _parsed(ref, self._api.workload(ref, deadline))
            except KubeError as error:
                if error.kind != "forbidden":
                    raise
                self._deny("get", ref.kind, str(ref), message=str(error))
        data = self._api.scale(ref, deadline)
        try:
            return workload_of_scale(data)
        except ValueError as error:
            raise KubeError("invalid", f"{ref}: {error}") from None

    def _permitted(self, verb: Literal["list", "get"], kind: str, name: str) -> bool:
        return monotonic() >= self._denied.get((verb, kind, name), 0.0)

    def _deny(self, verb: Literal["list", "get"], kind: str, name: str, *, message: str) -> None:
        first = (verb, kind, name) not in self._denied
        self._denied[verb, kind, name] = monotonic() + _RETRY_DENIED_SECONDS
        if first:
            log.info("request forbidden, workloads are read in another way", extra={"request": message})


class _WorkloadList:
    """The workloads of a kind in a namespace at one moment. All readers share the list, or its error."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at = float("-inf")
        self.by_name: Mapping[str, Json] = {}
        self.error: KubeError | None = None

    def refresh(self, api: KubeApi, ref: Ref, deadline: Deadline) -> None:
        self.at, self.error, self.by_name = monotonic(), None, {}
        try:
            items = api.workloads(ref.kind, ref.namespace, deadline)
            self.by_name = {str((item.get("metadata") or {}).get("name", "")): item for item in items}
        except KubeError as error:
            self.error = error


def _parsed(ref: Ref, data: Json) -> Workload:
    try:
        return workload_of(data)
    except ValueError as error:
        raise KubeError("invalid", f"{ref}: {error}") from None
