"""Workloads as they are now, in as few requests as the role allows: one list a step, or a get for each.

A list tells of all workloads of a namespace at once; where it is not granted, or only few are wanted, each is
got by name; where that is not granted either, its scale is, which tells neither what is ready nor who set it.
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
"""So many workloads of a namespace are worth a list of all."""

_ASK_AGAIN: Final = 300.0  # what was not granted may be by now

_Place: TypeAlias = tuple[str, str]  # kind and namespace


class Workloads:
    """Reads workloads. For many threads: those that want the same list wait for one."""

    def __init__(self, api: KubeApi, fresh_seconds: float) -> None:
        """A list serves those that ask within `fresh_seconds` of it."""
        self._api = api
        self._fresh = fresh_seconds
        self._wanted: dict[_Place, set[str]] = {}
        self._lists: dict[_Place, _List] = {}
        self._denied: dict[tuple[Literal["list", "get"], str, str], float] = {}

    def want(self, ref: Ref) -> None:
        """It will be read again and again."""
        place = ref.kind, ref.namespace
        self._wanted.setdefault(place, set()).add(ref.name)
        self._lists.setdefault(place, _List())

    def forget(self, ref: Ref) -> None:
        """It will not be read any more."""
        self._wanted.get((ref.kind, ref.namespace), set()).discard(ref.name)

    def read(self, ref: Ref, deadline: Deadline) -> Workload:
        """Raises KubeError."""
        place = ref.kind, ref.namespace
        if len(self._wanted.get(place, ())) >= LIST_FROM and self._granted("list", *place):
            try:
                return self._listed(ref, deadline)
            except KubeError as error:
                if error.kind != "forbidden":
                    raise
                self._deny("list", *place, message=str(error))
        return self._got(ref, deadline)

    def _listed(self, ref: Ref, deadline: Deadline) -> Workload:
        kept = self._lists[ref.kind, ref.namespace]
        with kept.lock:
            if monotonic() - kept.at > self._fresh:
                kept.take(self._api, ref, deadline)
            if kept.problem is not None:
                raise kept.problem
            found = kept.found.get(ref.name)
        if found is None:
            raise KubeError("not_found", f"{ref} is not there")
        return _parsed(ref, found)

    def _got(self, ref: Ref, deadline: Deadline) -> Workload:
        if self._granted("get", ref.kind, str(ref)):
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

    def _granted(self, verb: Literal["list", "get"], kind: str, what: str) -> bool:
        return monotonic() >= self._denied.get((verb, kind, what), 0.0)

    def _deny(self, verb: Literal["list", "get"], kind: str, what: str, *, message: str) -> None:
        first = (verb, kind, what) not in self._denied
        self._denied[verb, kind, what] = monotonic() + _ASK_AGAIN
        if first:
            log.info("read in another way, as this is not granted", extra={"request": message})


class _List:
    """The workloads of a place, as of one moment. A failure is as good for all who ask as a list is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at = float("-inf")
        self.found: Mapping[str, Json] = {}
        self.problem: KubeError | None = None

    def take(self, api: KubeApi, ref: Ref, deadline: Deadline) -> None:
        self.at, self.problem, self.found = monotonic(), None, {}
        try:
            listed = api.workloads(ref.kind, ref.namespace, deadline)
            self.found = {str((one.get("metadata") or {}).get("name", "")): one for one in listed}
        except KubeError as error:
            self.problem = error


def _parsed(ref: Ref, data: Json) -> Workload:
    try:
        return workload_of(data)
    except ValueError as error:
        raise KubeError("invalid", f"{ref}: {error}") from None
