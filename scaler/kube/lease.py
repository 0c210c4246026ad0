"""The lease: which of several scalers acts. Held by renewing, lost by silence, given back at the end.

A leader may write from before it sent its last renewal until a margin before the lease runs out; whatever
hangs, hangs past that moment without leading. The clock goes on while the machine sleeps.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.election import Record, Watched, held, lease_body, record_of, released
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json
from service.clock import Deadline, boottime, now
from service.threads import Supervised

log = logging.getLogger(__name__)

_RENEWALS: Final = 3  # of a lease's time
_MARGIN: Final = 1 / 15  # of a lease's time, kept unused at its end
_LEAST_PAUSE: Final = 0.1


def identity() -> str:
    """The pod's name and a few digits: a container that starts anew in its pod is another scaler."""
    name = os.environ.get("POD_NAME", "").strip() or socket.gethostname()
    return f"{name}_{secrets.token_hex(4)}"


class Elector:
    """Takes part in the election until `stop`; a `scaler.kube.fence.Fence`."""

    def __init__(
        self,
        api: KubeApi,
        name: str,
        seconds: int,
        who: str,
    ) -> None:
        self.identity: Final = who
        self._api = api
        self._name = name
        self._seconds = seconds
        self._period = seconds / _RENEWALS
        self._on_lead: Callable[[], None] | None = None
        self._until = float("-inf")
        self._watched: Watched | None = None
        self._data: Json | None = None
        self._told_leading = False
        self._told_problem = ""
        self._task = Supervised("lease", self._step, max_age=10 * seconds, pause=lambda _: self._period)

    def start(self, on_lead: Callable[[], None] | None = None) -> None:
        """Begin; `on_lead` is called each time it begins to lead."""
        self._on_lead = on_lead
        self._task.start()

    def stop(self, seconds: float = 3.0) -> bool:
        """Take part no longer, and give the lease back; whether the thread has ended."""
        ended = self._task.stop(seconds)
        until, self._until = self._until, float("-inf")
        if ended and boottime() < until:
            self._release()
        return ended

    @property
    def leading(self) -> bool:
        """Whether this process may act now."""
        return boottime() < self._until

    def bounded(self, deadline: Deadline) -> Deadline:
        """The deadline, or the end of our time, whichever is earlier."""
        return deadline.at_most(max(0.0, self._until - boottime()))

    @property
    def holder(self) -> str | None:
        """Who leads, as last seen; None where nobody does, or nothing was seen."""
        return (self._watched.record.holder or None) if self._watched else None

    # --- one turn ----------------------------------------------------------------------------------------

    def _step(self) -> float:
        """Renew, or look and take it if it is free; seconds until the next turn."""
        try:
            pause = self._renew() if self.leading else self._stand()
        except KubeError as error:
            self._problem(error)
            pause = self._period / 2 if self.leading else self._period
        else:
            self._problem(None)
        self._tell()
        return max(_LEAST_PAUSE, pause)

    def _stand(self) -> float:
        record = self._look()
        if record is not None and record.holder != self.identity:
            assert self._watched is not None  # noqa: S101  # set by the look
            left = self._watched.free_at() - boottime()
            if left > 0:
                return min(left, self._period / 2)
        return self._write(record)

    def _renew(self) -> float:
        if self._watched is None:
            raise RuntimeError("leads without a record")
        try:
            return self._write(self._watched.record)
        except KubeError as error:
            if error.kind not in {"conflict", "not_found"}:
                raise
        record = self._look()
        if record is not None and record.holder != self.identity:
            self._until = float("-inf")
            return self._period / 2
        return self._write(record)

    def _look(self) -> Record | None:
        """The record, or None where there is no Lease yet."""
        try:
            self._data = self._api.lease(self._name, self._soon())
        except KubeError as error:
            if error.kind != "not_found":
                raise
            self._data = self._watched = None
            return None
        record = _parsed(self._name, self._data)
        self._watched = (
            self._watched.seen(record, boottime()) if self._watched else Watched(record, boottime())
        )
        return record

    def _write(self, record: Record | None) -> float:
        """Take or renew it; a pause of a third of its time. Another's write in between is a conflict."""
        sent = boottime()
        wanted = held(record, self.identity, self._seconds, now())
        body = lease_body(self._name, wanted, self._data, now())
        if record is None:
            self._data = self._api.create_lease(body, self._soon())
        else:
            self._data = self._api.replace_lease(self._name, body, self._soon())
        self._watched = Watched(_parsed(self._name, self._data), sent)
        self._until = sent + self._seconds * (1 - _MARGIN)
        return self._period - (boottime() - sent)

    def _release(self) -> None:
        if self._watched is None:
            return
        body = lease_body(self._name, released(self._watched.record), self._data, now())
        try:
            self._api.replace_lease(self._name, body, self._soon())
            log.info("lease given back", extra={"lease": self._name})
        except KubeError as error:
            log.warning("the lease could not be given back", extra={"error": str(error)})

    def _soon(self) -> Deadline:
        """A request that takes longer than this leaves too little time to try again."""
        return Deadline.after(0.45 * self._period)

    # --- what is told ------------------------------------------------------------------------------------

    def _tell(self) -> None:
        leading = self.leading
        if leading == self._told_leading:
            return
        self._told_leading = leading
        if leading:
            log.info("leads now", extra={"lease": self._name, "identity": self.identity})
            if self._on_lead is not None:
                self._on_lead()
        else:
            log.warning("does not lead any more", extra={"lease": self._name, "leader": self.holder})

    def _problem(self, error: KubeError | None) -> None:
        message = "" if error is None or error.kind == "conflict" else str(error)
        if message and message != self._told_problem:
            log.warning("the lease cannot be reached", extra={"error": message})
        elif self._told_problem and not message:
            log.info("the lease can be reached again", extra={"lease": self._name})
        self._told_problem = message


def _parsed(name: str, data: Json) -> Record:
    try:
        return record_of(data)
    except ValueError as error:
        raise KubeError("invalid", f"lease {name}: {error}") from None
