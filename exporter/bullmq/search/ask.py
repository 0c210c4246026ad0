"""Commands for queues, each queue's at the node that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from exporter.bullmq.placement import SlotMap
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Argument, Reply, Request, in_pieces, pack_request
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from service.outcome import Failed

Commands: TypeAlias = Mapping[QueueId, Sequence[tuple[Argument, ...]]]
"""The commands for each queue."""
Answers: TypeAlias = "dict[QueueId, list[Reply] | Failed]"
"""Each queue's replies, or why its node gave none."""

NO_OWNER: Final = Failed("unreachable", "no node owns its slot")


def ask_owners(
    deployment: Deployment, slot_map: SlotMap, deadline: Deadline, commands: Commands, *, pool: str
) -> Answers:
    """Each queue's replies to its commands, as `ask_packed`."""
    requests = {queue: pack_request(each) for queue, each in commands.items()}
    return ask_packed(deployment, slot_map, deadline, requests, pool=pool)


def ask_packed(
    deployment: Deployment,
    slot_map: SlotMap,
    deadline: Deadline,
    requests: Mapping[QueueId, Request],
    *,
    pool: str,
) -> Answers:
    """Each queue's replies to its request, or why its node gave none: all nodes in parallel, and of each the
    queues in pieces, which are kept if a later one does not arrive."""
    owned, unowned = slot_map.by_owner(requests)
    by_node = {address: [requests[queue] for queue in queues] for address, queues in owned.items()}
    answers: Answers = dict.fromkeys(unowned, NO_OWNER)
    for address, replies in ask_nodes(deployment, deadline, by_node, pool=pool).items():
        answers.update(zip(owned[address], replies, strict=True))
    return answers


def ask_nodes(
    deployment: Deployment, deadline: Deadline, requests: Mapping[str, Sequence[Request]], *, pool: str
) -> dict[str, list[list[Reply] | Failed]]:
    """Each node's replies to each of its requests, or why it gave none, as `ask_packed`."""
    divided = {address: in_pieces(of_node) for address, of_node in requests.items()}
    pieces = {address: of_node for address, (of_node, _) in divided.items()}
    outcomes = deployment.execute_pieces(pieces, deadline, pool=pool)
    answers: dict[str, list[list[Reply] | Failed]] = {}
    for address, of_node in requests.items():
        taken: list[list[Reply] | Failed] = []
        for outcome, number in zip(outcomes[address], divided[address][1], strict=True):
            if isinstance(outcome, Failed):
                taken += [Failed(outcome.kind, f"{address}: {outcome.message}")] * number
                continue
            start, replies = 0, outcome.value
            for _, count in of_node[len(taken) : len(taken) + number]:
                end = start + count
                taken.append(replies[start:end])
                start = end
        answers[address] = taken
    return answers
