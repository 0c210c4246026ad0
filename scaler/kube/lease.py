"""Leader election: a Lease decides which of several scalers acts. The leader renews it and releases it.

A leader may write from the moment before it sent its last renewal until a margin before the lease expires;
a request that hangs past that moment hangs without leadership. The clock goes on while the machine sleeps.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.election import (
    LeaseRecord,
    ObservedRecord,
    acquire_or_renew,
    lease_body,
    record_of,
    release,
)
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json
from service.clock import Deadline, boottime, now
from service.logs import ProblemLog
from service.threads import Supervised

log = logging.getLogger(__name__)

_RENEWALS: Final = 3  # in a lease's duration
_MARGIN: Final = 1 / 15  # of a lease's duration, not used at its end
_MIN_PAUSE: Final = 0.1


def identity() -> str:
    """The pod's name and a random suffix: a container that restarts in its pod is another candidate."""
    name = os.environ.get("POD_NAME", "").strip() or socket.gethostname()
    return f"{name}_{secrets.token_hex(4)}"


class LeaderElector:
    """A candidate in the leader election until `stop`; a `scaler.kube.fence.Fence`."""

    def __init__(
        self,
        api: KubeApi,
        name: str,
        seconds: int,
        identity: str,
    ) -> None:
        """`name` of the Lease, `seconds` of its duration, `identity` of this candidate."""
        self.identity: Final = identity
        self._api = api
        self._name = name
        self._seconds = seconds
        self._period = seconds / _RENEWALS
        self._on_lead: Callable[[], None] | None = None
        self._leading_until = float("-inf")
        self._observed: ObservedRecord | None = None
        self._lease: Json | None = None
        self._logged_leading = False
        self._problem = ProblemLog(log, "leader election failed", "leader election recovered")
        self.task: Final = Supervised("lease", self._step, max_age=10 * seconds, pause=lambda _: self._period)

    def start(self, on_lead: Callable[[], None] | None = None) -> None:
        """Begin; `on_lead` is called each time this candidate becomes leader."""
        self._on_lead = on_lead
        self.task.start()

    def stop(self, seconds: float = 3.0) -> bool:
        """Leave the election and release the lease; whether the thread has ended."""
        ended = self.task.stop(seconds)
        until, self._leading_until = self._leading_until, float("-inf")
        if ended and boottime() < until:
            self._release()
        return ended

    @property
    def leading(self) -> bool:
        """Whether this process may act now."""
        return boottime() < self._leading_until

    def bounded(self, deadline: Deadline) -> Deadline:
        """The deadline, or the end of our leadership, whichever is earlier."""
        return deadline.at_most(max(0.0, self._leading_until - boottime()))

    @property
    def holder(self) -> str | None:
        """The leader as last read; None where there is none, or nothing was read."""
        return (self._observed.record.holder or None) if self._observed else None

    # --- one step ----------------------------------------------------------------------------------------

    def _step(self) -> float:
        """Renew the lease, or read it and acquire it if it is free; seconds until the next step."""
        try:
            pause = self._renew() if self.leading else self._try_acquire()
        except KubeError as error:
            self._log_failure(error)
            pause = self._period / 2 if self.leading else self._period
        else:
            self._log_failure(None)
        self._log_transition()
        return max(_MIN_PAUSE, pause)

    def _try_acquire(self) -> float:
        record = self._read_record()
        if record is not None and record.holder != self.identity:
            assert self._observed is not None  # noqa: S101  # set by _read_record
            remaining = self._observed.available_at() - boottime()
            if remaining > 0:
                return min(remaining, self._period / 2)
        return self._write_record(record)

    def _renew(self) -> float:
        if self._observed is None:
            raise RuntimeError("leads without a record")
        try:
            return self._write_record(self._observed.record)
        except KubeError as error:
            if error.kind not in {"conflict", "not_found"}:
                raise
        record = self._read_record()
        if record is not None and record.holder != self.identity:
            self._leading_until = float("-inf")
            return self._period / 2
        return self._write_record(record)

    def _read_record(self) -> LeaseRecord | None:
        """The record; None where there is no Lease yet."""
        try:
            self._lease = self._api.lease(self._name, self._request_deadline())
        except KubeError as error:
            if error.kind != "not_found":
                raise
            self._lease = self._observed = None
            return None
        record = _parsed(self._name, self._lease)
        self._observed = (
            self._observed.observe(record, boottime())
            if self._observed
            else ObservedRecord(record, boottime())
        )
        return record

    def _write_record(self, record: LeaseRecord | None) -> float:
        """Acquire or renew the lease; seconds until the next renewal. A write in between is a conflict."""
        sent = boottime()
        renewed = acquire_or_renew(record, self.identity, self._seconds, now())
        body = lease_body(self._name, renewed, self._lease, now())
        if record is None:
            self._lease = self._api.create_lease(body, self._request_deadline())
        else:
            self._lease = self._api.replace_lease(self._name, body, self._request_deadline())
        self._observed = ObservedRecord(_parsed(self._name, self._lease), sent)
        self._leading_until = sent + self._seconds * (1 - _MARGIN)
        return self._period - (boottime() - sent)

    def _release(self) -> None:
        if self._observed is None:
            return
        body = lease_body(self._name, release(self._observed.record), self._lease, now())
        try:
            self._api.replace_lease(self._name, body, self._request_deadline())
            log.info("lease released", extra={"lease": self._name})
        except KubeError as error:
            log.warning("cannot release the lease", extra={"error": str(error)})

    def _request_deadline(self) -> Deadline:
        """A request that takes longer than this leaves too little time to try again."""
        return Deadline.after(0.45 * self._period)

    # --- log ---------------------------------------------------------------------------------------------

    def _log_transition(self) -> None:
        leading = self.leading
        if leading == self._logged_leading:
            return
        self._logged_leading = leading
        if leading:
            log.info("became leader", extra={"lease": self._name, "identity": self.identity})
            if self._on_lead is not None:
                self._on_lead()
        else:
            log.warning("lost leadership", extra={"lease": self._name, "leader": self.holder})

    def _log_failure(self, error: KubeError | None) -> None:
        if error is None or error.kind == "conflict":  # another candidate was faster: not a failure
            self._problem.report("", lease=self._name)
        else:
            self._problem.report(str(error))


def _parsed(name: str, data: Json) -> LeaseRecord:
    try:
        return record_of(data)
    except ValueError as error:
        raise KubeError("invalid", f"lease {name}: {error}") from None
