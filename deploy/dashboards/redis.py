"""What Redis is doing: its nodes, memory, commands, replication and slots."""

from __future__ import annotations

from deploy.dashboards.common import ALL, FAILOVERS, JOB, NODE, NODES, UP, rate
from deploy.dashboards.model import Dashboard, Panel, Query, Row, Thresholds


def redis(runbooks: str) -> Dashboard:
    """`runbooks`: where the alerts' pages are."""
    cluster = Row(
        "The cluster",
        [
            Panel(
                "Nodes",
                "Every node with the role that the nodes agree on, its replicas' lag, memory and clients.",
                [
                    Query(f"max by (node, role) (redis_cluster_node_role{{{NODES}}} == 1)"),
                    Query(f"max by (node) (redis_up{{{NODES}}})", column="up"),
                    Query(f"max by (node) (redis_memory_used_bytes{{{NODES}}})", column="memory"),
                    Query(f"max by (node) (redis_connected_clients{{{NODES}}})", column="clients"),
                    Query(
                        f"sum by (node) (rate(redis_commands_processed_total{{{NODES}}}[5m]))",
                        column="commands",
                    ),
                    Query(f"max by (node) (redis_cluster_replication_lag_bytes{{{NODES}}})", column="lag"),
                    Query(f"max by (node) (redis_uptime_in_seconds{{{NODES}}})", column="uptime"),
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
                [Query(f"max by (node) (redis_up{{{NODES}}})", "{{node}}")],
                kind="state-timeline",
                width=12,
                thresholds=Thresholds.wanted(),
                texts=UP,
            ),
            Panel(
                "Masters over time",
                "While a node is its shard's master: one that begins as another ends is a failover.",
                [
                    Query(
                        f'max by (node) (redis_cluster_node_role{{{NODES}, role="master"}})',
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
                    Query(f"min by (job) (redis_cluster_slots_covered{{{ALL}}})", "covered"),
                    Query(f"max by (job) (redis_cluster_slots_pfail{{{ALL}}})", "owner perhaps failing"),
                    Query(f"max by (job) (redis_cluster_slots_fail{{{ALL}}})", "owner failed"),
                ],
                width=8,
            ),
            Panel(
                "Failovers",
                "By shard, within the time shown.",
                [
                    Query(
                        f"sum by (shard) (increase(redis_cluster_failovers_total{{{ALL}}}[$__range]))",
                        "{{shard}}",
                    )
                ],
                kind="bargauge",
                width=8,
                thresholds=Thresholds.rising(0.5, 3),
            ),
            Panel(
                "Replication lag",
                "Bytes of its master's stream that each replica has not got yet.",
                [Query(f"max by (node) (redis_cluster_replication_lag_bytes{{{NODES}}})", "{{node}}")],
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
                    Query(
                        f"sum by (node) ({rate('redis_commands_processed_total', NODES)})",
                        "{{node}}",
                    )
                ],
                unit="ops",
            ),
            Panel(
                "Busiest commands",
                "The ten commands that Redis spends most time on, all nodes together.",
                [
                    Query(
                        f"topk(10, sum by (cmd) ({rate('redis_commands_duration_seconds_total', NODES)}))",
                        "{{cmd}}",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                "Hit rate",
                "Key look-ups that found the key; empty while there are none.",
                [
                    Query(
                        f"sum by (node) ({rate('redis_keyspace_hits_total', NODES)}) / "
                        f"(sum by (node) ({rate('redis_keyspace_hits_total', NODES)}) + "
                        f"sum by (node) ({rate('redis_keyspace_misses_total', NODES)}) > 0)",
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
                    Query(f"max by (node) (redis_connected_clients{{{NODES}}})", "{{node}}"),
                    Query(f"max by (node) (redis_blocked_clients{{{NODES}}})", "{{node}} blocked"),
                ],
            ),
            Panel(
                "Network",
                "Bytes received, and sent below.",
                [
                    Query(
                        f"sum by (node) ({rate('redis_net_input_bytes_total', NODES)})",
                        "{{node}} in",
                    ),
                    Query(
                        f"-sum by (node) ({rate('redis_net_output_bytes_total', NODES)})",
                        "{{node}} out",
                    ),
                ],
                unit="Bps",
                minimum=None,
            ),
            Panel(
                "Slow log",
                "Entries in each node's slow log: SLOWLOG GET shows them.",
                [Query(f"max by (node) (redis_slowlog_length{{{NODES}}})", "{{node}}")],
            ),
        ],
    )
    memory = Row(
        "Memory and keys",
        [
            Panel(
                "Memory",
                "Bytes allocated, by node.",
                [Query(f"max by (node) (redis_memory_used_bytes{{{NODES}}})", "{{node}}")],
                unit="bytes",
                link=("HighMemoryUsage", f"{runbooks}HighMemoryUsage.md"),
            ),
            Panel(
                "Memory used of maxmemory",
                "Of the host's memory where no maxmemory is set. The alert is at 80 %.",
                [
                    Query(
                        f"max by (node) (redis_memory_used_bytes{{{NODES}}} "
                        f"/ ((redis_memory_max_bytes{{{NODES}}} > 0) "
                        f"or redis_total_system_memory_bytes{{{NODES}}}))",
                        "{{node}}",
                    )
                ],
                kind="bargauge",
                unit="percentunit",
                maximum=1,
                thresholds=Thresholds.rising(0.7, 0.8),
            ),
            Panel(
                "Fragmentation",
                "Resident by allocated memory: above 1.5 much is lost, below 1 the host swaps.",
                [Query(f"max by (node) (redis_mem_fragmentation_ratio{{{NODES}}})", "{{node}}")],
            ),
            Panel(
                "Keys",
                "Keys in all databases, by node.",
                [Query(f"sum by (node) (redis_db_keys{{{NODES}}})", "{{node}}")],
            ),
            Panel(
                "Evicted and expired",
                "A queue's keys must never be evicted: maxmemory-policy noeviction.",
                [
                    Query(
                        f"sum by (node) ({rate('redis_evicted_keys_total', NODES)})",
                        "{{node}} evicted",
                    ),
                    Query(
                        f"sum by (node) ({rate('redis_expired_keys_total', NODES)})",
                        "{{node}} expired",
                    ),
                ],
                unit="ops",
            ),
            Panel(
                "Rejected connections",
                "Connections refused because maxclients was reached.",
                [
                    Query(
                        f"sum by (node) ({rate('redis_rejected_connections_total', NODES)})",
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
        [JOB, NODE],
        [cluster, load, memory],
        [FAILOVERS],
    )
