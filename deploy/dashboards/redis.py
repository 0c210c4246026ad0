"""What Redis is doing: its nodes, memory, commands, replication and slots."""

from __future__ import annotations

from deploy.dashboards.common import (
    FAILOVER_EVENTS,
    JOB_MATCHER,
    JOB_VARIABLE,
    NODE_MATCHER,
    NODE_VARIABLE,
    UP,
    rate,
)
from deploy.dashboards.model import Dashboard, Panel, PanelQuery, PanelThresholds, Row


def redis_dashboard(runbooks: str) -> Dashboard:
    """`runbooks`: where the alerts' pages are."""
    cluster = Row(
        "The cluster",
        [
            Panel(
                "Nodes",
                "Every node with the role that the nodes agree on, its replicas' lag, memory and clients.",
                [
                    PanelQuery(f"max by (node, role) (redis_cluster_node_role{{{NODE_MATCHER}}} == 1)"),
                    PanelQuery(f"max by (node) (redis_up{{{NODE_MATCHER}}})", column="up"),
                    PanelQuery(f"max by (node) (redis_memory_used_bytes{{{NODE_MATCHER}}})", column="memory"),
                    PanelQuery(
                        f"max by (node) (redis_connected_clients{{{NODE_MATCHER}}})", column="clients"
                    ),
                    PanelQuery(
                        f"sum by (node) (rate(redis_commands_processed_total{{{NODE_MATCHER}}}[5m]))",
                        column="commands",
                    ),
                    PanelQuery(
                        f"max by (node) (redis_cluster_replication_lag_bytes{{{NODE_MATCHER}}})",
                        column="lag",
                    ),
                    PanelQuery(f"max by (node) (redis_uptime_in_seconds{{{NODE_MATCHER}}})", column="uptime"),
                ],
                kind="table",
                width=24,
                height=8,
                units={"memory": "bytes", "commands": "ops", "lag": "bytes", "uptime": "s"},
                link=("ClusterNodeDown", f"{runbooks}ClusterNodeDown.md"),
            ),
            Panel(
                "Nodes over time",
                "Whether each node answered.",
                [PanelQuery(f"max by (node) (redis_up{{{NODE_MATCHER}}})", "{{node}}")],
                kind="state-timeline",
                width=12,
                thresholds=PanelThresholds.zero_is_bad(),
                texts=UP,
            ),
            Panel(
                "Masters over time",
                "While a node is its shard's master: one that begins as another ends is a failover.",
                [
                    PanelQuery(
                        f'max by (node) (redis_cluster_node_role{{{NODE_MATCHER}, role="master"}})',
                        "{{node}}",
                    )
                ],
                kind="state-timeline",
                width=12,
                texts={"1": "master"},
            ),
            Panel(
                "Slots",
                "Slots that are covered, and those whose owner is failing in some node's view.",
                [
                    PanelQuery(f"min by (job) (redis_cluster_slots_covered{{{JOB_MATCHER}}})", "covered"),
                    PanelQuery(
                        f"max by (job) (redis_cluster_slots_pfail{{{JOB_MATCHER}}})", "owner perhaps failing"
                    ),
                    PanelQuery(f"max by (job) (redis_cluster_slots_fail{{{JOB_MATCHER}}})", "owner failed"),
                ],
                width=8,
            ),
            Panel(
                "Failovers",
                "By shard, within the time shown.",
                [
                    PanelQuery(
                        "sum by (shard) "
                        f"(increase(redis_cluster_failovers_total{{{JOB_MATCHER}}}[$__range]))",
                        "{{shard}}",
                    )
                ],
                kind="bargauge",
                width=8,
                thresholds=PanelThresholds.rising(0.5, 3),
            ),
            Panel(
                "Replication lag",
                "Bytes of its master's stream that each replica has not got yet.",
                [
                    PanelQuery(
                        f"max by (node) (redis_cluster_replication_lag_bytes{{{NODE_MATCHER}}})", "{{node}}"
                    )
                ],
                unit="bytes",
                width=8,
            ),
        ],
    )
    load = Row(
        "Load",
        [
            Panel(
                "Commands",
                "Commands processed, by node.",
                [
                    PanelQuery(
                        f"sum by (node) ({rate('redis_commands_processed_total', NODE_MATCHER)})",
                        "{{node}}",
                    )
                ],
                unit="ops",
            ),
            Panel(
                "Busiest commands",
                "The ten commands that Redis spends most time on, all nodes together.",
                [
                    PanelQuery(
                        "topk(10, sum by (cmd) "
                        f"({rate('redis_commands_duration_seconds_total', NODE_MATCHER)}))",
                        "{{cmd}}",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                "Hit rate",
                "Key look-ups that found the key; empty while there are none.",
                [
                    PanelQuery(
                        f"sum by (node) ({rate('redis_keyspace_hits_total', NODE_MATCHER)}) / "
                        f"(sum by (node) ({rate('redis_keyspace_hits_total', NODE_MATCHER)}) + "
                        f"sum by (node) ({rate('redis_keyspace_misses_total', NODE_MATCHER)}) > 0)",
                        "{{node}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                "Clients",
                "Connections, and those of them that wait in a blocking command, such as idle workers.",
                [
                    PanelQuery(f"max by (node) (redis_connected_clients{{{NODE_MATCHER}}})", "{{node}}"),
                    PanelQuery(
                        f"max by (node) (redis_blocked_clients{{{NODE_MATCHER}}})", "{{node}} blocked"
                    ),
                ],
            ),
            Panel(
                "Network",
                "Bytes received, and sent below.",
                [
                    PanelQuery(
                        f"sum by (node) ({rate('redis_net_input_bytes_total', NODE_MATCHER)})",
                        "{{node}} in",
                    ),
                    PanelQuery(
                        f"-sum by (node) ({rate('redis_net_output_bytes_total', NODE_MATCHER)})",
                        "{{node}} out",
                    ),
                ],
                unit="Bps",
                minimum=None,
            ),
            Panel(
                "Slow log",
                "Entries in each node's slow log: SLOWLOG GET shows them.",
                [PanelQuery(f"max by (node) (redis_slowlog_length{{{NODE_MATCHER}}})", "{{node}}")],
            ),
        ],
    )
    memory = Row(
        "Memory and keys",
        [
            Panel(
                "Memory",
                "Bytes allocated, by node.",
                [PanelQuery(f"max by (node) (redis_memory_used_bytes{{{NODE_MATCHER}}})", "{{node}}")],
                unit="bytes",
                link=("HighMemoryUsage", f"{runbooks}HighMemoryUsage.md"),
            ),
            Panel(
                "Memory used of maxmemory",
                "Of the host's memory where no maxmemory is set. The alert is at 80 %.",
                [
                    PanelQuery(
                        f"max by (node) (redis_memory_used_bytes{{{NODE_MATCHER}}} "
                        f"/ ((redis_memory_max_bytes{{{NODE_MATCHER}}} > 0) "
                        f"or redis_total_system_memory_bytes{{{NODE_MATCHER}}}))",
                        "{{node}}",
                    )
                ],
                kind="bargauge",
                unit="percentunit",
                maximum=1,
                thresholds=PanelThresholds.rising(0.7, 0.8),
            ),
            Panel(
                "Fragmentation",
                "Resident by allocated memory: above 1.5 much is lost, below 1 the host swaps.",
                [PanelQuery(f"max by (node) (redis_mem_fragmentation_ratio{{{NODE_MATCHER}}})", "{{node}}")],
            ),
            Panel(
                "Keys",
                "Keys in all databases, by node.",
                [PanelQuery(f"sum by (node) (redis_db_keys{{{NODE_MATCHER}}})", "{{node}}")],
            ),
            Panel(
                "Evicted and expired",
                "A queue's keys must never be evicted: maxmemory-policy noeviction.",
                [
                    PanelQuery(
                        f"sum by (node) ({rate('redis_evicted_keys_total', NODE_MATCHER)})",
                        "{{node}} evicted",
                    ),
                    PanelQuery(
                        f"sum by (node) ({rate('redis_expired_keys_total', NODE_MATCHER)})",
                        "{{node}} expired",
                    ),
                ],
                unit="ops",
            ),
            Panel(
                "Rejected connections",
                "Connections refused because maxclients was reached.",
                [
                    PanelQuery(
                        f"sum by (node) ({rate('redis_rejected_connections_total', NODE_MATCHER)})",
                        "{{node}}",
                    )
                ],
                unit="ops",
            ),
        ],
    )
    return Dashboard(
        "oxherd-redis",
        "Oxherd / Redis",
        "What is Redis doing?",
        [JOB_VARIABLE, NODE_VARIABLE],
        [cluster, load, memory],
        [FAILOVER_EVENTS],
    )
