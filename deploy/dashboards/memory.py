"""The memory of the queues: which takes most, in which state, and when the nodes are full."""

from __future__ import annotations

from deploy.dashboards.common import JOB_MATCHER, QUEUE_MATCHER
from deploy.dashboards.model import Panel, PanelQuery, Row

_PER = "sum by (prefix, queue)"


def memory_row() -> Row:
    """Estimates of the exporter (bullmq.memory); the table has the queues with series of their own."""
    return Row(
        "Memory",
        [
            Panel(
                "Memory of the queues",
                "Bytes in Redis, by a sample of the jobs, and their change in a day, by the last six hours.",
                [
                    PanelQuery(_bytes(), column="memory"),
                    PanelQuery(_bytes("waiting|active|delayed|prioritized|waiting-children"), column="to do"),
                    PanelQuery(_bytes("completed"), column="completed"),
                    PanelQuery(_bytes("failed"), column="failed, kept"),
                    PanelQuery(_bytes("events"), column="events"),
                    PanelQuery(
                        f"{_PER} (deriv(bullmq_queue_memory_bytes{{{QUEUE_MATCHER}}}[6h])) * 86400",
                        column="a day",
                    ),
                ],
                kind="table",
                width=24,
                units=dict.fromkeys(
                    ("memory", "to do", "completed", "failed, kept", "events", "a day"), "bytes"
                ),
                no_value="not measured",
            ),
            Panel(
                "Memory by state",
                "All queues that are measured.",
                [PanelQuery(f"sum by (state) (bullmq_memory_bytes{{{JOB_MATCHER}}})", "{{state}}")],
                unit="bytes",
                stacked=True,
                width=12,
            ),
            Panel(
                "Full in",
                "Until a node reaches its maxmemory at this rate; empty without a maxmemory, and while "
                "it does not grow.",
                [PanelQuery(f"min by (node) (redis_memory_until_full_seconds{{{JOB_MATCHER}}})", "{{node}}")],
                unit="s",
                width=12,
            ),
        ],
    )


def _bytes(states: str = "") -> str:
    matcher = f'{QUEUE_MATCHER}, state=~"{states}"' if states else QUEUE_MATCHER
    return f"{_PER} (bullmq_queue_memory_bytes{{{matcher}}})"
