"""The host that the exporter runs on, and the exporter itself."""

from __future__ import annotations

from deploy.dashboards.common import ALL, JOB, UP, rate
from deploy.dashboards.model import Dashboard, Panel, Query, Row, Thresholds

_BUSY = f'{ALL}, mode!="idle"'
_DISKS = f'{ALL}, device!~"loop.*|ram.*"'
_NETWORKS = f'{ALL}, device!~"lo|veth.*"'


def host(runbooks: str) -> Dashboard:
    """`runbooks`: where the alerts' pages are."""
    machine = Row(
        "The host",
        [
            Panel(
                "Load by core",
                "Load over a minute by the machine's cores; the alert is at 2.",
                [
                    Query(
                        f"host_load1{{{ALL}}} / host_machine_cpu_count{{{ALL}}}",
                        "{{instance}}",
                    )
                ],
                thresholds=Thresholds.rising(1, 2),
                link=("HighSystemLoad", f"{runbooks}HighSystemLoad.md"),
            ),
            Panel(
                "CPU",
                "Time of all cores by what it was spent on, as a part of all of it.",
                [
                    Query(
                        f"sum by (mode) ({rate('host_cpu_seconds_total', _BUSY)}) "
                        f"/ scalar(sum({rate('host_cpu_seconds_total', ALL)}))",
                        "{{mode}}",
                    )
                ],
                unit="percentunit",
                stacked=True,
            ),
            Panel(
                "Memory available",
                "Of the host's, or of the container's limit where that is lower. The alert is below 10 %.",
                [
                    Query(
                        f"host_memory_available_bytes{{{ALL}}} / host_memory_total_bytes{{{ALL}}}",
                        "{{instance}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
                thresholds=Thresholds.falling(0.1, 0.2),
                link=("SystemMemoryLow", f"{runbooks}SystemMemoryLow.md"),
            ),
            Panel(
                "Memory",
                "In use without caches, and swap.",
                [
                    Query(f"sum by (instance) (host_memory_used_bytes{{{ALL}}})", "{{instance}} used"),
                    Query(f"sum by (instance) (host_memory_swap_used_bytes{{{ALL}}})", "{{instance}} swap"),
                ],
                unit="bytes",
            ),
            Panel(
                "File systems",
                "Part of each that is left.",
                [
                    Query(
                        f"min by (mountpoint) (host_filesystem_avail_bytes{{{ALL}}} "
                        f"/ (host_filesystem_size_bytes{{{ALL}}} > 0))",
                        "{{mountpoint}}",
                    )
                ],
                kind="bargauge",
                unit="percentunit",
                maximum=1,
                thresholds=Thresholds.falling(0.1, 0.2),
            ),
            Panel(
                "Disks",
                "Bytes read, and written below.",
                [
                    Query(
                        f"sum by (device) ({rate('host_disk_read_bytes_total', _DISKS)})",
                        "{{device}} read",
                    ),
                    Query(
                        f"-sum by (device) ({rate('host_disk_written_bytes_total', _DISKS)})",
                        "{{device}} written",
                    ),
                ],
                unit="Bps",
                minimum=None,
            ),
            Panel(
                "Network",
                "Bytes received, and sent below.",
                [
                    Query(
                        f"sum by (device) ({rate('host_network_receive_bytes_total', _NETWORKS)})",
                        "{{device}} in",
                    ),
                    Query(
                        f"-sum by (device) ({rate('host_network_transmit_bytes_total', _NETWORKS)})",
                        "{{device}} out",
                    ),
                ],
                unit="Bps",
                minimum=None,
            ),
            Panel(
                "Uptime",
                "Since the host booted.",
                [Query(f"time() - min by (instance) (host_boot_time_seconds{{{ALL}}})", "{{instance}}")],
                kind="stat",
                unit="s",
            ),
        ],
    )
    endpoints = Row(
        "Endpoints of your own",
        [
            Panel(
                "Available",
                "Whether each endpoint answered its probe as it should.",
                [Query(f"min by (probe) (oxherd_probe_success{{{ALL}}})", "{{probe}}")],
                kind="state-timeline",
                thresholds=Thresholds.wanted(),
                texts=UP,
                nothing="no probes are set",
            ),
            Panel(
                "Response time",
                "Half of the probes took less than p50, one in twenty more than p95; failed ones count too.",
                [
                    Query(
                        f"histogram_quantile({quantile}, sum by (probe, le) "
                        f"({rate('oxherd_probe_duration_seconds_bucket', ALL)}))",
                        f"{{{{probe}}}} {name}",
                    )
                    for quantile, name in (("0.5", "p50"), ("0.95", "p95"))
                ],
                unit="s",
            ),
            Panel(
                "Error rate",
                "Probes that failed, by endpoint and reason, of all.",
                [
                    Query(
                        f"sum by (probe, reason) ({rate('oxherd_probe_failures_total', ALL)}) "
                        "/ on (probe) group_left () "
                        f"sum by (probe) ({rate('oxherd_probe_duration_seconds_count', ALL)}) > 0",
                        "{{probe}}: {{reason}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
                nothing="no probe failed",
            ),
            Panel(
                "Answers",
                "The HTTP status of the last answer.",
                [Query(f"max by (probe) (oxherd_probe_http_status_code{{{ALL}}})", column="status")],
                kind="table",
                width=12,
                height=6,
                nothing="no probes are set",
            ),
            Panel(
                "Certificates",
                "Until each endpoint's certificate expires.",
                [
                    Query(
                        "min by (probe) "
                        f"(oxherd_probe_certificate_expiry_timestamp_seconds{{{ALL}}}) - time()",
                        "{{probe}}",
                    )
                ],
                kind="bargauge",
                unit="s",
                width=12,
                height=6,
                thresholds=Thresholds.falling(7 * 86400, 21 * 86400),
                nothing="none of the endpoints has one",
            ),
        ],
    )
    exporter = Row(
        "The exporter",
        [
            Panel(
                "Sources",
                "Whether each source could be read.",
                [Query(f"min by (source) (oxherd_collect_success{{{ALL}}})", "{{source}}")],
                kind="state-timeline",
                thresholds=Thresholds.wanted(),
                texts=UP,
            ),
            Panel(
                "Time to collect",
                "Seconds that each source took in a scrape.",
                [Query(f"max by (source) (oxherd_collect_duration_seconds{{{ALL}}})", "{{source}}")],
                unit="s",
            ),
            Panel(
                "Its memory",
                "Resident bytes of the exporter.",
                [Query(f"max by (instance) (process_resident_memory_bytes{{{ALL}}})", "{{instance}}")],
                unit="bytes",
            ),
            Panel(
                "Event streams",
                "Events read, and those that were trimmed before they could be: then counts are too low.",
                [
                    Query(f"sum by (job) ({rate('bullmq_events_read_total', ALL)})", "read"),
                    Query(f"sum by (job) ({rate('bullmq_events_lost_total', ALL)})", "lost"),
                ],
                unit="ops",
                width=12,
            ),
            Panel(
                "Lag of the event streams",
                "Seconds since each stream was last read to its end; the ten longest.",
                [Query(f"topk(10, bullmq_events_lag_seconds{{{ALL}}})", "{{prefix}}:{{queue}}")],
                unit="s",
                width=12,
            ),
        ],
    )
    return Dashboard(
        "oxherd-host",
        "Oxherd / Host and exporter",
        "Is the machine, or the exporter, the cause?",
        [JOB],
        [machine, endpoints, exporter],
    )
