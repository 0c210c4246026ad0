"""Commands for queues, each queue's at the node that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
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
    divided = {address: in_pieces(map(requests.__getitem__, queues)) for address, queues in owned.items()}
    pieces = {address: requests_of_node for address, (requests_of_node, _) in divided.items()}
    outcomes = deployment.execute_pieces(pieces, deadline, pool=pool)
    answers: Answers = dict.fromkeys(unowned, NO_OWNER)
    for address, queues in owned.items():
        remaining = iter(queues)
        for outcome, number in zip(outcomes[address], divided[address][1], strict=True):
            named = islice(remaining, number)
            if isinstance(outcome, Failed):
                answers |= dict.fromkeys(named, Failed(outcome.kind, f"{address}: {outcome.message}"))
                continue
            start, replies = 0, outcome.value
            for queue in named:
                end = start + requests[queue].replies
                answers[queue] = replies[start:end]
                start = end
    return answers
