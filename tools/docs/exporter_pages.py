"""The exporter's pages in docs/ that are made from its declarations: series, settings, conditions."""

from __future__ import annotations

import json
from typing import Final

from exporter.background.series import SLOWDOWN, SLOWDOWN_HELP, USED, USED_HELP, USED_LABELS
from exporter.condition_table import CONDITION_TABLE, HealthCondition
from exporter.config.environment import CLUSTER_VARIABLES, EXPORTER_VARIABLES
from exporter.config.settings import ExporterSettings
from exporter.metrics import (
    bullmq,
    cluster,
    events,
    health,
    host,
    internal,
    job_names,
    memory,
    probes,
    redis,
)
from exporter.otlp.series import OTLP_SERIES
from exporter.web.exposition import OWN
from service.api.metrics import HELP, LABELS, REFUSED
from service.config.load import secret_names
from service.web.connections.series import HTTP_SERIES
from tools.docs.markdown import (
    SERIES_COLUMNS,
    SETTING_COLUMNS,
    cell,
    paragraph,
    series_row,
    setting_rows,
    table_lines,
)

_NODES: Final = (
    "`node` is host:port as the deployment announces it. The names are redis_exporter's where the meaning is "
    "the same; `deploy/prometheus/prometheus.yml` copies `node` into `instance`, which its dashboards use."
)
_STREAMS: Final = (
    "Read without consumer groups, so that any number of exporters may follow the same streams. A counter "
    "starts at 0 when the exporter first finds the queue, and is reset when the exporter restarts."
)
_PROBES: Final = (
    "`probe` is a name from `probes` in the settings ([probes](probes.md)). The error rate is "
    "`sum without (reason) (rate(oxherd_probe_failures_total[5m]))` / "
    "`rate(oxherd_probe_duration_seconds_count[5m])`."
)
_SECTIONS: Final = (
    ("Health", "[How the score is calculated](health.md).", health.FAMILIES),
    (
        "Redis, per node",
        _NODES,
        redis.FAMILIES,
    ),
    (
        "Redis Cluster and Sentinel",
        "A node's own view where CLUSTER INFO reports it; the agreed view where the help says so.",
        cluster.FAMILIES,
    ),
    ("BullMQ, per queue", "`prefix` and `queue` name a queue.", bullmq.FAMILIES),
    (
        "BullMQ, from the event streams",
        _STREAMS,
        events.FAMILIES,
    ),
    (
        "BullMQ, by the names of jobs",
        "What they are, and what they cost: [Jobs by name](job-names.md).",
        job_names.FAMILIES,
    ),
    (
        "Memory, sampled",
        "What is measured, and how sure it is: [Which queue takes the memory](memory.md).",
        memory.FAMILIES,
    ),
    ("Host", "Disabled by `host.enabled: false`, where node_exporter runs anyway.", host.FAMILIES),
    (
        "Endpoints of your own",
        _PROBES,
        probes.FAMILIES,
    ),
    (
        "The exporter itself",
        "prometheus-client adds `process_*` and `python_*`.",
        internal.FAMILIES,
    ),
)

_INTRODUCTION: Final = """\
# Series

Written by `make docs` from the declarations in `exporter/metrics/`.

- Base units: seconds, bytes, ratios from 0 to 1. Only the name of a counter ends in `_total`.
- A series whose source could not be read in a scrape is absent from it, and its `_up` or `_success` is 0.
  A value of 0 never means "unknown".
- The series of a queue or a node that no longer exists disappear.
- No label has an unbounded number of values: no job, worker or pod.
"""


_CONDITIONS: Final = """\
# Conditions

Written by `make docs` from `exporter/condition_table.py`. What they are for: [the health score](health.md).
Points and thresholds are [settings](settings.md), `health.penalties.*` and `health.thresholds.*`; the numbers
here are the defaults.
"""
_CONDITION_COLUMNS: Final = ("condition", "source", "severity", "points", "there when", "paged by")


def exporter_conditions() -> str:
    """The text of docs/conditions.md: the most points first."""
    rows = sorted(CONDITION_TABLE.values(), key=lambda row: -row.points)
    lines = table_lines(_CONDITION_COLUMNS, [_condition_row(row) for row in rows])
    return "\n".join([_CONDITIONS, *lines])


def _condition_row(row: HealthCondition) -> str:
    paged = f"[{row.alert}](runbooks/{row.alert}.md)" if row.alert else f"none: {row.unpaged}"
    cells = (f"`{row.name}`", row.source, row.severity, f"{row.points:g}", row.present_when, paged)
    return f"| {' | '.join(map(cell, cells))} |"


def exporter_metrics() -> str:
    """The text of docs/metrics.md."""
    lines = [_INTRODUCTION]
    for title, text, families in _SECTIONS:
        rows = [series_row(family.name, family.kind, family.labels, family.help) for family in families]
        if families is internal.FAMILIES:
            rows += [series_row(name, "gauge", labels, meaning) for name, (labels, meaning) in OWN.items()]
            rows.append(series_row(REFUSED, "counter", LABELS, HELP))
            rows += [series_row(*series) for series in (*HTTP_SERIES, *OTLP_SERIES)]
            rows.append(series_row(USED, "counter", USED_LABELS, USED_HELP))
            rows.append(series_row(SLOWDOWN, "gauge", (), SLOWDOWN_HELP))
        lines += [f"## {title}", "", paragraph(text), "", *table_lines(SERIES_COLUMNS, rows)]
    return "\n".join(lines)


_PLACE: Final = (
    "`REDIS_HOST` and `REDIS_PORT` are read where neither `REDIS_URL` nor `REDIS_SENTINELS` nor cluster "
    "nodes are set; `REDIS_DATABASE` is the same as `REDIS_DB`. A unix socket is "
    "`REDIS_URL=unix:///run/redis.sock?db=1` or `REDIS_HOST=/run/redis.sock`; its `node` in series is the "
    "path. `REDIS_PORT=tcp://10.0.0.1:6379` is Kubernetes' variable for a Service named redis: its port is "
    "used with `REDIS_HOST=redis`, and it is ignored otherwise."
)
_UNKNOWN: Final = (
    "A variable that has no effect is named in the log, and by `--check-config`: one that begins with "
    "`REDIS_`, `BULLMQ_`, `EXPORTER_`, `MONITORING_` or `ENABLE_` and is not a setting (with the name that "
    "was probably meant), and one that another setting overrides. Variables that Kubernetes sets for its "
    "Services are not named."
)


def exporter_settings() -> str:
    """The text of docs/settings.md."""
    secrets = ", ".join(f"`{name}_FILE`" for name in secret_names(ExporterSettings, EXPORTER_VARIABLES))
    source = (
        "Written by `make docs` from `exporter/config/`. The file is YAML, named by "
        "`--config FILE` or `EXPORTER_CONFIG`. The environment overrides the file, and "
        "the command line overrides both. An unknown key is an error. "
        "`monitor start --check-config` checks the settings and exits; "
        "`--print-config` prints the effective settings, secrets hidden. "
        "[settings.schema.json](settings.schema.json) is for editors."
    )
    files = (
        f"A secret may be in a file that a variable names: {secrets}. One line end at the end of the file "
        "is dropped. A file that is empty or cannot be read is an error, and so is a secret that is given "
        "both ways."
    )
    cluster = [f"| `{name}` | {cell(text)} |" for name, text in CLUSTER_VARIABLES.items()]
    lines = [
        *("# Settings", "", paragraph(source), "", paragraph(files), ""),
        *table_lines(SETTING_COLUMNS, setting_rows(ExporterSettings, EXPORTER_VARIABLES)),
        *(
            paragraph(_PLACE),
            "",
            paragraph(_UNKNOWN),
            "",
            "The nodes of a cluster may be given one by one:",
            "",
        ),
        *table_lines(("environment", "meaning"), cluster),
    ]
    return "\n".join(lines)


def exporter_schema() -> str:
    """The text of docs/settings.schema.json."""
    return json.dumps(ExporterSettings.model_json_schema(), indent=2) + "\n"
