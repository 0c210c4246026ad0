"""Expositions of an exporter that watches a large deployment in which much is wrong."""

from __future__ import annotations

from collections.abc import Sequence

HEALTHY = 'oxherd_collect_success{source="redis"} 1\nbullmq_up 1\n'
WORST = 10
"""As many of the affected queues have a series of their own."""


def standing_still(queues: Sequence[str]) -> str:
    """These queues stand still, each a second longer than the next."""
    labels = 'issue="queue_standing_still",source="bullmq",severity="critical"'
    lines = [f"oxherd_issue{{{labels}}} {int(bool(queues))}"]
    if queues:
        lines.append(f"oxherd_issue_subjects{{{labels}}} {len(queues)}")
    lines += [
        f'oxherd_issue_affected{{{labels},subject="{queue}"}} {len(queues) - place}'
        for place, queue in enumerate(queues[:WORST])
    ]
    return "\n".join(lines) + "\n"


def nodes(up: Sequence[str], down: Sequence[str], *, memory: float = 0.5) -> str:
    """Nodes that answer, whose memory is full to this ratio, and nodes that do not."""
    lines = [f'redis_up{{node="{node}"}} 1' for node in up] + [
        f'redis_up{{node="{node}"}} 0' for node in down
    ]
    for node in up:
        lines += [
            f'redis_memory_used_bytes{{node="{node}"}} {memory * 1000}',
            f'redis_memory_max_bytes{{node="{node}"}} 1000',
        ]
    return "\n".join(lines) + "\n"


def failed(queues: Sequence[str], each: int) -> str:
    """Queues of which so many jobs failed in the last hour each."""
    series = 'bullmq_queue_failed_last_hour{prefix="bull",queue='
    return "".join(f'{series}"{queue}"}} {each}\n' for queue in queues)
