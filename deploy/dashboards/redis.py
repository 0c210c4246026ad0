"""Redis: nodes, memory, commands, replication and slots."""

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
    """`runbooks`: the URL of the runbooks."""
    cluster = Row(
        "The cluster",
        [
            Panel(
                "Nodes",
                "Every node with the role that the nodes agree on, replication lag, memory and clients.",
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
                "Whether each node answered the last scrape.",
                [PanelQuery(f"max by (node) (redis_up{{{NODE_MATCHER}}})", "{{node}}")],
                kind="state-timeline",
                width=12,
                thresholds=PanelThresholds.zero_is_bad(),
                texts=UP,
            ),
            Panel(
                "Masters over time",
                "The times in which a node is the master of its shard: one starts as another ends in a "
                "failover.",
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
                "Covered slots, and slots whose owner is failing in the view of a node.",
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
                "Failovers of each shard within the time shown.",
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
                "Bytes of the master's replication stream that each replica has not received yet.",
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
                "Commands processed by each node.",
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
                "The ten commands on which Redis spends most time, all nodes together.",
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
                "Ratio of key look-ups that found the key; empty while there are none.",
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
                "Connections, and connections that wait in a blocking command, such as those of idle "
                "workers.",
                [
                    PanelQuery(f"max by (node) (redis_connected_clients{{{NODE_MATCHER}}})", "{{node}}"),
                    PanelQuery(
                        f"max by (node) (redis_blocked_clients{{{NODE_MATCHER}}})", "{{node}} blocked"
                    ),
                ],
            ),
            Panel(
                "Network",
                "Bytes received, and bytes sent below the axis.",
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
                "Entries in the slow log of each node: SLOWLOG GET shows them.",
                [PanelQuery(f"max by (node) (redis_slowlog_length{{{NODE_MATCHER}}})", "{{node}}")],
            ),
        ],
    )
    memory = Row(
        "Memory and keys",
        [
            Panel(
                "Memory",
                "Bytes allocated by each node.",
                [PanelQuery(f"max by (node) (redis_memory_used_bytes{{{NODE_MATCHER}}})", "{{node}}")],
                unit="bytes",
                link=("HighMemoryUsage", f"{runbooks}HighMemoryUsage.md"),
            ),
            Panel(
                "Memory used of maxmemory",
                "Ratio of maxmemory, or of the host's memory where maxmemory is not set. The alert is above "
                "80 %.",
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
                "Resident divided by allocated memory: above 1.5 memory is wasted, below 1 the host swaps.",
                [PanelQuery(f"max by (node) (redis_mem_fragmentation_ratio{{{NODE_MATCHER}}})", "{{node}}")],
            ),
            Panel(
                "Keys",
                "Keys in all databases of each node.",
                [PanelQuery(f"sum by (node) (redis_db_keys{{{NODE_MATCHER}}})", "{{node}}")],
            ),
            Panel(
                "Evicted and expired",
                "Keys of a queue must never be evicted: set maxmemory-policy noeviction.",
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
