"""Commands for queues, each queue's at the node that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from exporter.bullmq.placement import SlotMap
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Argument, Reply, pack_request
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from service.outcome import Failed

Commands: TypeAlias = Mapping[QueueId, Sequence[tuple[Argument, ...]]]
"""The commands for each queue."""

_NO_OWNER: Final = Failed("unreachable", "no node owns its slot")


def ask_owners(
    deployment: Deployment, slot_map: SlotMap, deadline: Deadline, commands: Commands, *, pool: str
) -> dict[QueueId, list[Reply] | Failed]:
    """Each queue's replies, or why its node gave none; all nodes in parallel, one request to each."""
    owned, unowned = slot_map.by_owner(commands)
    requests = {
        address: pack_request(command for queue in queues for command in commands[queue])
        for address, queues in owned.items()
    }
    outcomes = deployment.execute(requests, deadline, pool=pool)
    answers: dict[QueueId, list[Reply] | Failed] = dict.fromkeys(unowned, _NO_OWNER)
    for address, queues in owned.items():
        outcome = outcomes[address]
        if isinstance(outcome, Failed):
            answers |= dict.fromkeys(queues, Failed(outcome.kind, f"{address}: {outcome.message}"))
            continue
        replies = iter(outcome.value)
        answers |= {queue: [next(replies) for _ in commands[queue]] for queue in queues}
    return answers
