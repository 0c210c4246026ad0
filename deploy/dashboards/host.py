"""The exporter's host, the probes, and the exporter itself."""

from __future__ import annotations

from deploy.dashboards.common import JOB_MATCHER, JOB_VARIABLE, UP, rate
from deploy.dashboards.model import Dashboard, Panel, PanelQuery, PanelThresholds, Row

_BUSY = f'{JOB_MATCHER}, mode!="idle"'
_DISKS = f'{JOB_MATCHER}, device!~"loop.*|ram.*"'
_NETWORKS = f'{JOB_MATCHER}, device!~"lo|veth.*"'


def host_dashboard(runbooks: str) -> Dashboard:
    """`runbooks`: the URL of the runbooks."""
    machine = Row(
        "The host",
        [
            Panel(
                "Load per core",
                "Load over a minute divided by the machine's cores; the alert is above 2.",
                [
                    PanelQuery(
                        f"host_load1{{{JOB_MATCHER}}} / host_machine_cpu_count{{{JOB_MATCHER}}}",
                        "{{instance}}",
                    )
                ],
                thresholds=PanelThresholds.rising(1, 2),
                link=("HighSystemLoad", f"{runbooks}HighSystemLoad.md"),
            ),
            Panel(
                "CPU",
                "Time of all cores by mode, as a ratio of all time.",
                [
                    PanelQuery(
                        f"sum by (mode) ({rate('host_cpu_seconds_total', _BUSY)}) "
                        f"/ scalar(sum({rate('host_cpu_seconds_total', JOB_MATCHER)}))",
                        "{{mode}}",
                    )
                ],
                unit="percentunit",
                stacked=True,
            ),
            Panel(
                "Memory available",
                "Ratio of the host's memory, or of the container's limit where that is lower. The alert is "
                "below 10 %.",
                [
                    PanelQuery(
                        f"host_memory_available_bytes{{{JOB_MATCHER}}} "
                        f"/ host_memory_total_bytes{{{JOB_MATCHER}}}",
                        "{{instance}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
                thresholds=PanelThresholds.falling(0.1, 0.2),
                link=("SystemMemoryLow", f"{runbooks}SystemMemoryLow.md"),
            ),
            Panel(
                "Memory",
                "Memory in use, without caches, and swap in use.",
                [
                    PanelQuery(
                        f"sum by (instance) (host_memory_used_bytes{{{JOB_MATCHER}}})", "{{instance}} used"
                    ),
                    PanelQuery(
                        f"sum by (instance) (host_memory_swap_used_bytes{{{JOB_MATCHER}}})",
                        "{{instance}} swap",
                    ),
                ],
                unit="bytes",
            ),
            Panel(
                "File systems",
                "Ratio of each file system that is free.",
                [
                    PanelQuery(
                        f"min by (mountpoint) (host_filesystem_avail_bytes{{{JOB_MATCHER}}} "
                        f"/ (host_filesystem_size_bytes{{{JOB_MATCHER}}} > 0))",
                        "{{mountpoint}}",
                    )
                ],
                kind="bargauge",
                unit="percentunit",
                maximum=1,
                thresholds=PanelThresholds.falling(0.1, 0.2),
            ),
            Panel(
                "Disks",
                "Bytes read, and bytes written below the axis.",
                [
                    PanelQuery(
                        f"sum by (device) ({rate('host_disk_read_bytes_total', _DISKS)})",
                        "{{device}} read",
                    ),
                    PanelQuery(
                        f"-sum by (device) ({rate('host_disk_written_bytes_total', _DISKS)})",
                        "{{device}} written",
                    ),
                ],
                unit="Bps",
                minimum=None,
            ),
            Panel(
                "Network",
                "Bytes received, and bytes sent below the axis.",
                [
                    PanelQuery(
                        f"sum by (device) ({rate('host_network_receive_bytes_total', _NETWORKS)})",
                        "{{device}} in",
                    ),
                    PanelQuery(
                        f"-sum by (device) ({rate('host_network_transmit_bytes_total', _NETWORKS)})",
                        "{{device}} out",
                    ),
                ],
                unit="Bps",
                minimum=None,
            ),
            Panel(
                "Uptime",
                "Time since the host booted.",
                [
                    PanelQuery(
                        f"time() - min by (instance) (host_boot_time_seconds{{{JOB_MATCHER}}})",
                        "{{instance}}",
                    )
                ],
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
                "Whether the last probe of each endpoint succeeded.",
                [PanelQuery(f"min by (probe) (oxherd_probe_success{{{JOB_MATCHER}}})", "{{probe}}")],
                kind="state-timeline",
                thresholds=PanelThresholds.zero_is_bad(),
                texts=UP,
                no_value="no probes configured",
            ),
            Panel(
                "Response time",
                "Half of the probes took less than p50, one in twenty more than p95; failed probes are "
                "included.",
                [
                    PanelQuery(
                        f"histogram_quantile({quantile}, sum by (probe, le) "
                        f"({rate('oxherd_probe_duration_seconds_bucket', JOB_MATCHER)}))",
                        f"{{{{probe}}}} {name}",
                    )
                    for quantile, name in (("0.5", "p50"), ("0.95", "p95"))
                ],
                unit="s",
            ),
            Panel(
                "Error rate",
                "Ratio of probes that failed, by endpoint and reason.",
                [
                    PanelQuery(
                        f"sum by (probe, reason) ({rate('oxherd_probe_failures_total', JOB_MATCHER)}) "
                        "/ on (probe) group_left () "
                        f"sum by (probe) ({rate('oxherd_probe_duration_seconds_count', JOB_MATCHER)}) > 0",
                        "{{probe}}: {{reason}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
                no_value="no failed probes",
            ),
            Panel(
                "HTTP status",
                "The HTTP status of the last response.",
                [
                    PanelQuery(
                        f"max by (probe) (oxherd_probe_http_status_code{{{JOB_MATCHER}}})", column="status"
                    )
                ],
                kind="table",
                width=12,
                height=6,
                no_value="no probes configured",
            ),
            Panel(
                "Certificates",
                "Time until the certificate of each endpoint expires.",
                [
                    PanelQuery(
                        "min by (probe) "
                        f"(oxherd_probe_certificate_expiry_timestamp_seconds{{{JOB_MATCHER}}}) - time()",
                        "{{probe}}",
                    )
                ],
                kind="bargauge",
                unit="s",
                width=12,
                height=6,
                thresholds=PanelThresholds.falling(7 * 86400, 21 * 86400),
                no_value="no endpoint has a certificate",
            ),
        ],
    )
    exporter = Row(
        "The exporter",
        [
            Panel(
                "Sources",
                "Whether each source could be read in the last scrape.",
                [PanelQuery(f"min by (source) (oxherd_collect_success{{{JOB_MATCHER}}})", "{{source}}")],
                kind="state-timeline",
                thresholds=PanelThresholds.zero_is_bad(),
                texts=UP,
            ),
            Panel(
                "Time to collect",
                "Seconds to read each source in a scrape.",
                [
                    PanelQuery(
                        f"max by (source) (oxherd_collect_duration_seconds{{{JOB_MATCHER}}})", "{{source}}"
                    )
                ],
                unit="s",
            ),
            Panel(
                "Memory of the exporter",
                "Resident memory.",
                [
                    PanelQuery(
                        f"max by (instance) (process_resident_memory_bytes{{{JOB_MATCHER}}})", "{{instance}}"
                    )
                ],
                unit="bytes",
            ),
            Panel(
                "Event streams",
                "Events read, and events that were trimmed before they were read: the counters are too low "
                "then.",
                [
                    PanelQuery(f"sum by (job) ({rate('bullmq_events_read_total', JOB_MATCHER)})", "read"),
                    PanelQuery(f"sum by (job) ({rate('bullmq_events_lost_total', JOB_MATCHER)})", "lost"),
                ],
                unit="ops",
                width=12,
            ),
            Panel(
                "Lag of the event streams",
                "Seconds since the stream that is furthest behind was last read to its end.",
                [
                    PanelQuery(
                        f"max by (instance) (bullmq_events_lag_seconds{{{JOB_MATCHER}}})", "{{instance}}"
                    )
                ],
                unit="s",
                width=12,
            ),
        ],
    )
    return Dashboard(
        "oxherd-host",
        "Oxherd / Host and exporter",
        "Is the host or the exporter the cause?",
        [JOB_VARIABLE],
        [machine, endpoints, exporter],
    )
