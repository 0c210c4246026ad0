"""The candidates and the queues of a deployment: what is to be verified, what is a queue, what is none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from exporter.bullmq.candidates import NO_KEYS, Classification, NotAQueue
from exporter.bullmq.keys import base, is_selected
from exporter.bullmq.search.passed_over import PassedOver
from exporter.bullmq.search.room import Room
from exporter.snapshot.queues import LeftOut, LeftOutReason, Library, QueueId
from service.outcome import Failed

_VERIFY_AGAIN: Final = 600.0  # seconds: a queue of Bull may become one of BullMQ with the same name
_NEVER: Final = -2  # before any search
_REFUSED: Final = 1000  # candidates that are named as unreadable


class Candidate(NamedTuple):
    """`has_key`: a key of it was found; `has_meta`: its meta key was; `worker`: a connection has the name of
    its worker; `before`: the classification that holds as long as the same number of its keys exists."""

    queue: QueueId
    has_key: bool = False
    has_meta: bool = False
    worker: bool = False
    before: NotAQueue | None = None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """`search`, `keyed`, `worked`: in which search it was last proposed, as a key of it was found, and as a
    connection has the name of its worker."""

    failed: Failed
    search: int
    keyed: int
    worked: int


class Registry:
    """`queues` has the library of each confirmed queue. Times are in seconds of one clock.

    The same keys may belong to a queue called b with the prefix p:a, and to one called a:b with the prefix p:
    a worker's connection decides, as its name has the queue's name encoded; else the shorter name counts.
    """

    def __init__(
        self,
        prefixes: Sequence[str],
        selected: Sequence[str],
        watches: Callable[[QueueId], bool] = lambda _: True,
        room: Room | None = None,
    ) -> None:
        self._prefixes = frozenset(prefixes)
        self._selected = selected
        self._watches = watches
        self._room = room or Room()
        self.queues: dict[QueueId, Library] = {}
        self._verified_at: dict[QueueId, float] = {}
        self._by_base: dict[str, QueueId] = {}
        self._pending: dict[str, Candidate] = {}
        self._later: list[Candidate] = []
        self._refused: dict[QueueId, _Refusal] = {}
        self._passed_over = PassedOver()
        self.search = 0
        self.changes = 0
        """How often `queues` has changed."""

    @property
    def pending(self) -> int:
        """How many candidates are to be verified."""
        return len(self._pending)

    def propose(
        self,
        queue: QueueId,
        at: float,
        *,
        has_key: bool = False,
        has_meta: bool = False,
        worker: bool = False,
        encoded: bool = False,
    ) -> bool:
        """A candidate was found; it is verified unless that was done recently. Returns whether it is watched
        here: what is another shard's is left to that one.

        `encoded`: its name is that of a worker's connection, which says where the prefix ends.
        """
        if not self._watches(queue):
            return False
        if self._selected and not is_selected(queue, self._selected):
            return True
        key = base(queue)
        known = self._by_base.get(key)
        if known is not None:
            if encoded and known != queue:
                self._rename(known, queue)
                known = queue
            if at - self._verified_at[known] < _VERIFY_AGAIN:
                return True
            queue = known
        elif self._room.stays_out(queue):
            return True
        before = self._pending.get(key)
        if before is not None:
            has_key, has_meta = has_key or before.has_key, has_meta or before.has_meta
            worker = worker or before.worker
            queue = queue if encoded else before.queue
        self._pending[key] = Candidate(queue, has_key, has_meta, worker)
        return True

    def was_verified(self, queue: QueueId, at: float) -> bool:
        """Whether it is a queue, and that was verified recently: to propose it would change nothing."""
        verified_at = self._verified_at.get(queue)
        return verified_at is not None and at - verified_at < _VERIFY_AGAIN

    def has_no_keys(self, queue: QueueId, at: float) -> bool:
        """Whether it had no keys recently: a search finds it when it has some."""
        before = self._passed_over.classification(queue, at)
        return before is not None and before.why == NO_KEYS.why

    def take(self, limit: int, at: float) -> list[Candidate]:
        """The next candidates to verify."""
        candidates = [self._pending.pop(key) for key in list(islice(self._pending, limit))]
        passed_over = self._passed_over.classification
        return [
            each if (before := passed_over(each.queue, at)) is None else each._replace(before=before)
            for each in candidates
        ]

    def settle(self, candidate: Candidate, answer: Classification | Failed, at: float) -> None:
        """The classification on a candidate. A node that did not answer is asked again in the next round."""
        queue = candidate.queue
        if isinstance(answer, Failed):
            if not _is_denied(answer) and len(self._later) < self._room.most:
                self._later.append(candidate)
            # Keys that a search found, in a slot that no node has now, are unread too.
            if answer.kind in {"refused", "unreachable"} and queue not in self.queues:
                self._refuse(candidate, answer, at)
            return
        self._refused.pop(queue, None)
        if isinstance(answer, NotAQueue):
            # A queue of Bull that has removed its jobs has no more than a counter: it remains what it was.
            if queue not in self.queues:
                self._passed_over.add(queue, answer, at, has_meta=candidate.has_meta)
            return
        self._passed_over.forget(queue)
        if queue not in self.queues:
            if (reason := self._room.refusal(queue)) is not None:
                self._room.leave_out(queue, reason)
                return
            self._room.take(queue)
        self.changes += self.queues.get(queue) != answer
        self.queues[queue] = answer
        self._verified_at[queue] = at
        self._by_base[base(queue)] = queue

    @property
    def unanswered(self) -> bool:
        """Whether some could not be verified, and not as an ACL hides them."""
        return bool(self._later)

    def retry(self) -> None:
        """Verify again what could not be verified."""
        for candidate in self._later:
            self._pending.setdefault(base(candidate.queue), candidate)
        self._later = []

    def reconsider(self, queue: QueueId) -> None:
        """Verify a queue again, as another library has written to it."""
        self._pending.setdefault(base(queue), Candidate(queue, has_meta=True))

    def remove(self, queues: Iterable[QueueId]) -> None:
        """These have no keys and no workers any more."""
        for queue in queues:
            del self.queues[queue], self._verified_at[queue], self._by_base[base(queue)]
            self._room.give_back(queue)
            self.changes += 1

    def begin_search(self) -> None:
        self.search += 1
        self._room.begin_search()

    def end_search(self) -> None:
        """What was refused or left out before and was not found again is gone."""
        self._room.end_search()
        self._refused = {
            queue: refusal for queue, refusal in self._refused.items() if refusal.search >= self.search
        }

    def unread(self, named: Collection[QueueId], *, keyed: bool = False) -> dict[QueueId, Failed]:
        """Refused candidates that count as queues: under a prefix of the settings, named in them or by a
        worker's connection, those that an ACL does not hide (Redis is loading, its cluster is down), and all
        of them where no queue can be read.

        `keyed`: keys are searched, so that a connection's name counts only where a key was found as well.
        """
        recent = self.search - 1
        return {
            queue: refusal.failed
            for queue, refusal in self._refused.items()
            if not self.queues
            or queue.prefix in self._prefixes
            or queue in named
            or (refusal.worked >= recent and (not keyed or refusal.keyed >= recent))
            or not _is_denied(refusal.failed)
        }

    def refused(self) -> dict[QueueId, str]:
        """All refused candidates, and why."""
        return {queue: refusal.failed.message for queue, refusal in self._refused.items()}

    def passed_over(self) -> Mapping[QueueId, str]:
        return self._passed_over.shown()

    def left_out(self) -> Mapping[LeftOutReason, LeftOut]:
        """The queues for which there is no room, by the reason."""
        return self._room.left_out()

    def _refuse(self, candidate: Candidate, failed: Failed, at: float) -> None:
        queue = candidate.queue
        looks_like_one = candidate.has_meta or candidate.worker or queue.prefix in self._prefixes
        if looks_like_one and (queue in self._refused or len(self._refused) < _REFUSED):
            before, search = self._refused.get(queue), self.search
            self._refused[queue] = _Refusal(
                failed,
                search,
                search if candidate.has_key else before.keyed if before else _NEVER,
                search if candidate.worker else before.worked if before else _NEVER,
            )
            self._passed_over.forget(queue)
        elif candidate.has_key:
            self._passed_over.add(queue, NotAQueue(failed.message), at, has_meta=False)
        # Else it is no more than the other meaning of a connection's name.

    def _rename(self, known: QueueId, queue: QueueId) -> None:
        self.changes += 1
        self._room.give_back(known)
        self._room.take(queue)
        self.queues[queue] = self.queues.pop(known)
        self._verified_at[queue] = self._verified_at.pop(known)
        self._by_base[base(queue)] = queue


def _is_denied(failed: Failed) -> bool:
    """Whether an ACL hides it: asking again soon would not help."""
    return failed.kind == "refused" and failed.message.removeprefix("TYPE: ").startswith("NOPERM")
