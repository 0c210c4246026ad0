"""Whether candidates are queues: reads the types of their keys, and where those leave it open one job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from exporter.bullmq.candidates import (
    NO_KEYS,
    TYPED_KEYS,
    Classification,
    Evidence,
    NotAQueue,
    classify,
    needs_a_closer_look,
)
from exporter.bullmq.keys import base
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.bullmq.search.ask import Commands, ask_owners, ask_packed
from exporter.bullmq.search.own import MARKS, marked_by_bullmq
from exporter.bullmq.search.registry import Candidate
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Argument, Reply, ReplyError
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from service.outcome import Failed

Answer: TypeAlias = Classification | Failed
"""A classification, or why there is none: kind "refused" for an error of Redis, else that of the node."""

_POOL: Final = "discover"
_NO_MORE: Final = NotAQueue("it has one key, and nothing else that a queue has")
_LISTS: Final = ("wait", "active", "paused")
_SETS: Final = ("completed", "failed", "delayed", "prioritized", "waiting-children")
_EXISTS: Final = QueueCommands(("EXISTS", *map(Key, TYPED_KEYS)))
_PROOF: Final = QueueCommands(MARKS, ("TYPE", Key("events")))
_TYPES: Final = QueueCommands(*(("TYPE", Key(key)) for key in TYPED_KEYS), MARKS)
_CLOSER: Final = 20  # candidates read at once whose entries and jobs may be long


class Verifier:
    """Each step is one request to each node. The number of candidates is the caller's."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.problems: dict[str, str] = {}
        """The commands that this user may not send, and without which some queues cannot be told."""

    def verify(
        self, candidates: Iterable[Candidate], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Answer]:
        """The classification on each candidate."""
        answers: dict[QueueId, Answer] = {}
        asked = {candidate.queue: candidate for candidate in candidates}
        proofs = not self.problems  # else the other ways tell whether the command is refused still
        if proofs:
            likely = [queue for queue in asked if asked[queue].has_meta]
            answers |= self._marked(likely, slot_map, deadline)
        held = self._ask_each(slot_map, deadline, _EXISTS, [queue for queue in asked if queue not in answers])
        for queue, reply in held.items():
            if isinstance(reply, Failed):
                answers[queue] = reply
            elif _denies_keys(reply[0]):
                answers[queue] = Failed("refused", str(reply[0]))
            elif reply[0] == 0:
                answers[queue] = replace(NO_KEYS, held=0)
            elif isinstance(reply[0], int) and not asked[queue].worker:
                # Of thousands of other keys called `id`, this is all that is read.
                before = asked[queue].before
                if reply[0] == 1:
                    answers[queue] = replace(_NO_MORE, held=1)
                elif before is not None and before.held == reply[0]:
                    answers[queue] = before
        rest = [queue for queue in asked if queue not in answers]
        if proofs:
            answers |= self._marked(
                [queue for queue in rest if not asked[queue].has_meta], slot_map, deadline
            )
        rest = [queue for queue in rest if queue not in answers]
        typed = self._ask_each(slot_map, deadline, _TYPES, rest)
        self._note("EXISTS", held)
        self._note("TYPE", typed)
        evidence: dict[QueueId, Evidence] = {}
        for queue, reply in typed.items():
            if isinstance(reply, Failed):
                answers[queue] = reply
                continue
            read = _evidence(reply, worker=asked[queue].worker)
            if isinstance(read, Failed):
                exists = held[queue]
                count = exists[0] if isinstance(exists, list) else None
                answers[queue] = _without_types(read, reply[-1], count)
            else:
                evidence[queue] = read
        answers |= {queue: classify(read) for queue, read in evidence.items()}
        open_ones = [queue for queue, read in evidence.items() if needs_a_closer_look(read)]
        for start in range(0, len(open_ones), _CLOSER):
            some = {queue: evidence[queue] for queue in open_ones[start : start + _CLOSER]}
            answers |= self._closer(some, slot_map, deadline)
        return {queue: _with_held(answer, held.get(queue, [])) for queue, answer in answers.items()}

    def _marked(
        self, queues: Iterable[QueueId], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Answer]:
        """Those whose meta has BullMQ's marks, and which have an event stream: `classify` needs no more."""
        replies = self._ask_each(slot_map, deadline, _PROOF, queues)
        return {
            queue: "bullmq"
            for queue, reply in replies.items()
            if isinstance(reply, list) and reply[1] == b"stream" and marked_by_bullmq(reply[0])
        }

    def _closer(
        self, evidence: Mapping[QueueId, Evidence], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Answer]:
        """The classifications by one entry of the stream and one job of each candidate."""
        probes = {queue: _probes(queue, read) for queue, read in evidence.items()}
        replies = self._ask(slot_map, deadline, probes)
        answers: dict[QueueId, Answer] = {}
        jobs: dict[QueueId, list[tuple[Argument, ...]]] = {}
        event: dict[QueueId, bool] = {}
        for queue, reply in replies.items():
            if isinstance(reply, Failed):
                answers[queue] = reply
                continue
            error = next((part for part in reply if isinstance(part, ReplyError)), None)
            if error is not None:
                answers[queue] = Failed("refused", str(error))
                continue
            event[queue] = _begins_with_event(reply[0]) if "events" in evidence[queue].types else False
            jobs[queue] = [
                ("HMGET", base(queue).encode("utf-8", "surrogateescape") + job, "timestamp", "delay", "opts")
                for job in _jobs(reply)
            ]
        read = self._ask(slot_map, deadline, jobs)
        for queue, begins in event.items():
            reply = read.get(queue, [])
            if isinstance(reply, Failed):
                answers[queue] = reply
            else:
                job = any(map(_is_job, reply))
                answers[queue] = classify(replace(evidence[queue], event=begins, job=job))
        return answers

    def _note(self, command: str, replies: Mapping[QueueId, list[Reply] | Failed]) -> None:
        """Whether the command is refused although the keys are not, from the first reply to it."""
        answers = (reply[0] for reply in replies.values() if isinstance(reply, list) and reply)
        first = next((reply for reply in answers if not _denies_keys(reply)), None)
        if isinstance(first, ReplyError) and first.code == "NOPERM":
            self.problems[command] = f"{command}: {first}"
        elif first is not None:
            self.problems.pop(command, None)

    def _ask(
        self, slot_map: SlotMap, deadline: Deadline, commands: Commands
    ) -> dict[QueueId, list[Reply] | Failed]:
        asked = {queue: parts for queue, parts in commands.items() if parts}
        answers = ask_owners(self._deployment, slot_map, deadline, asked, pool=_POOL) if asked else {}
        return {queue: answers.get(queue, []) for queue in commands}

    def _ask_each(
        self, slot_map: SlotMap, deadline: Deadline, commands: QueueCommands, queues: Iterable[QueueId]
    ) -> dict[QueueId, list[Reply] | Failed]:
        requests = {queue: commands.request(queue) for queue in queues}
        return ask_packed(self._deployment, slot_map, deadline, requests, pool=_POOL) if requests else {}


def _with_held(answer: Answer, exists: list[Reply] | Failed) -> Answer:
    """A refusal of a candidate remembers how many keys it had."""
    if not isinstance(answer, NotAQueue):
        return answer
    count = exists[0] if isinstance(exists, list) and exists else None
    return replace(answer, held=count) if isinstance(count, int) else answer


def _denies_keys(reply: Reply) -> bool:
    """Whether an ACL hides the keys; another command would be refused as well."""
    return isinstance(reply, ReplyError) and reply.code == "NOPERM" and "key" in str(reply)


def _evidence(replies: list[Reply], *, worker: bool) -> Evidence | Failed:
    *types, meta = replies
    error = next((reply for reply in types if isinstance(reply, ReplyError)), None)
    if error is not None:
        return Failed("moved" if error.code == "MOVED" else "refused", f"TYPE: {error}")
    kinds = {key: _text(kind) for key, kind in zip(TYPED_KEYS, types, strict=True)}
    version, longest = _fields(meta)
    present = {key: kind for key, kind in kinds.items() if kind != "none"}
    return Evidence(present, version, longest, worker=worker)


def _without_types(failed: Failed, meta: Reply, keys: Reply) -> Answer:
    """A user that may not send TYPE still sees BullMQ's own fields in meta."""
    marked = marked_by_bullmq(meta)
    return "bullmq" if marked and isinstance(keys, int) and keys > 1 else failed


def _fields(meta: Reply) -> tuple[str, str]:
    version, longest = meta[:2] if isinstance(meta, list) and len(meta) >= 2 else (None, None)
    return _text(version)[:80], _text(longest)[:80]


def _probes(queue: QueueId, evidence: Evidence) -> list[tuple[Argument, ...]]:
    """The first entry of the stream, and one member of each list and set that exists."""
    key, types = base(queue), evidence.types
    probes: list[tuple[Argument, ...]] = []
    if "events" in types:
        probes.append(("XREAD", "COUNT", 1, "STREAMS", key + "events", "0"))
    probes += [("LINDEX", key + name, -1) for name in _LISTS if name in types]
    probes += [("ZRANGE", key + name, -1, -1) for name in _SETS if name in types]
    return probes


def _begins_with_event(reply: Reply) -> bool:
    match reply:
        case [[_, [[_, [first, *_]], *_]], *_]:
            return first == b"event"
    return False


def _jobs(replies: Iterable[Reply]) -> list[bytes]:
    """The job ids among the replies: LINDEX gives one, ZRANGE a list of one."""
    jobs = [reply[0] if isinstance(reply, list) and len(reply) == 1 else reply for reply in replies]
    return [job for job in jobs if isinstance(job, bytes)]


def _is_job(reply: Reply) -> bool:
    """Both libraries write a job's time and delay as numbers, and its options as JSON."""
    match reply:
        case [bytes() as timestamp, bytes() as delay, bytes() as options]:
            return timestamp.isdigit() and delay.replace(b".", b"").isdigit() and options.startswith(b"{")
    return False


def _text(reply: Reply) -> str:
    return reply.decode("utf-8", "surrogateescape") if isinstance(reply, bytes) else ""
