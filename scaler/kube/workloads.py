"""Reads workloads in as few requests as the role permits: one list in a step, or a get for each.

A list reads all workloads of a namespace at once. If listing is not permitted, or few workloads are
registered, each is read by name; if that is not permitted either, its Scale is read, which has neither the
ready replicas nor the manager that set `spec.replicas`.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Literal, TypeAlias

from scaler.kube.api import KubeApi
from scaler.kube.backoff import Permission, as_blip
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json, Ref, Workload, workload_of, workload_of_scale
from service.clock import Deadline, monotonic

log = logging.getLogger(__name__)

LIST_FROM: Final = 10
"""From this number of workloads in a namespace on, one list costs less than a get for each."""

_LONGEST_PAUSE: Final = 300.0  # a permission may have been granted since

_Collection: TypeAlias = tuple[str, str, str]  # API version, kind and namespace


class Workloads:
    """Reads workloads. For many threads: those that need the same list wait for one request."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._registered: dict[_Collection, Counter[str]] = {}
        self._lists: dict[_Collection, _WorkloadList] = {}
        self._templates: dict[Ref, tuple[float, float | None]] = {}  # when they were read, and their grace
        self._permissions: dict[tuple[Literal["list", "get"], str, str], Permission] = {}

    def register(self, ref: Ref) -> None:
        """The workload will be read in each step, until `unregister` is called as often as this."""
        collection = _collection(ref)
        with self._lock:
            self._registered.setdefault(collection, Counter())[ref.name] += 1
            self._lists.setdefault(collection, _WorkloadList())

    def unregister(self, ref: Ref) -> None:
        """One of those that registered the workload does not read it any more."""
        with self._lock:
            names = self._registered.get(_collection(ref), Counter())
            names[ref.name] -= 1
            if names[ref.name] <= 0:
                del names[ref.name]

    def written(self, ref: Ref) -> None:
        """The workload may have been changed: what was listed before is not read any more."""
        workloads = self._lists.get(_collection(ref))
        if workloads is not None:
            with workloads.lock:
                workloads.forget()

    def read(self, ref: Ref, deadline: Deadline) -> Workload:
        """All reads of a step have the same deadline, by which they share a list. Raises KubeError."""
        if not ref.is_like_deployment:
            return self._from_scale(ref, deadline)
        workload = self._read(ref, deadline)
        if workload.grace_seconds is None and workload.template_of is not None:
            template = Ref("Deployment", ref.namespace, workload.template_of)
            return replace(workload, grace_seconds=self._grace_seconds(template, deadline))
        return workload

    def _grace_seconds(self, template: Ref, deadline: Deadline) -> float | None:
        """Of the pods that a Deployment defines for another workload, as it was within five minutes; None: it
        cannot be read."""
        known, now = self._templates.get(template), monotonic()
        if known is not None and now - known[0] < _LONGEST_PAUSE:
            return known[1]
        try:
            seconds = self._get(template, deadline).grace_seconds
        except KubeError as error:
            log.debug("cannot read pod template", extra={"workload": str(template), "error": str(error)})
            seconds = None if known is None else known[1]
        self._templates[template] = now, seconds
        return seconds

    def _read(self, ref: Ref, deadline: Deadline) -> Workload:
        collection = _collection(ref)
        if len(self._registered.get(collection, ())) >= LIST_FROM:
            workload = self._permitted("list", *collection[1:], partial(self._from_list, ref, deadline))
            if workload is not None:
                return workload
        workload = self._permitted("get", ref.kind, str(ref), partial(self._get, ref, deadline))
        return self._from_scale(ref, deadline) if workload is None else workload

    def _from_list(self, ref: Ref, deadline: Deadline) -> Workload:
        workloads = self._lists[_collection(ref)]
        with workloads.lock:
            if deadline.at != workloads.step:
                workloads.refresh(self._api, ref, deadline)
            if workloads.error is not None:
                raise workloads.error
            data = workloads.by_name.get(ref.name)
        if data is None:
            raise KubeError("not_found", f"{ref} does not exist")
        return _parsed(ref, data)

    def _get(self, ref: Ref, deadline: Deadline) -> Workload:
        return _parsed(ref, self._api.workload(ref, deadline))

    def _from_scale(self, ref: Ref, deadline: Deadline) -> Workload:
        data = self._api.scale(ref, deadline)
        try:
            return workload_of_scale(data)
        except ValueError as error:
            raise KubeError("invalid", f"{ref}: {error}") from None

    def _permitted(
        self, verb: Literal["list", "get"], kind: str, name: str, read: Callable[[], Workload]
    ) -> Workload | None:
        """What `read` returns; None if it is not permitted, so that the workload is read in another way."""
        permission = self._permissions.setdefault((verb, kind, name), Permission(_LONGEST_PAUSE))
        error = permission.error
        if error is None or not permission.pause(monotonic()):
            first = error is None or not permission.denied
            try:
                workload = read()
            except KubeError as refused:
                if refused.kind != "forbidden":
                    raise
                error = refused
                permission.refuse(error, monotonic())
                if first and permission.denied:
                    log.info(
                        "request forbidden, workloads are read in another way", extra={"request": str(error)}
                    )
            else:
                permission.grant()
                return workload
        if not permission.denied:
            raise as_blip(error)
        return None


class _WorkloadList:
    """The workloads of a kind in a namespace at one moment. The readers of one step share the list, or its
    error, however long the step takes; those of no other step do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.step: float | None = None  # the deadline of its reads
        self.by_name: Mapping[str, Json] = {}
        self.error: KubeError | None = None

    def forget(self) -> None:
        self.step, self.error, self.by_name = None, None, {}

    def refresh(self, api: KubeApi, ref: Ref, deadline: Deadline) -> None:
        self.step, self.error, self.by_name = deadline.at, None, {}
        try:
            items = api.workloads(ref, deadline)
            self.by_name = {str((item.get("metadata") or {}).get("name", "")): item for item in items}
        except KubeError as error:
            self.error = error


def _collection(ref: Ref) -> _Collection:
    return ref.api_version, ref.kind, ref.namespace


def _parsed(ref: Ref, data: Json) -> Workload:
    try:
        return workload_of(data)
    except ValueError as error:
        raise KubeError("invalid", f"{ref}: {error}") from None
