"""Writes docs/metrics.md, docs/settings.md and docs/settings.schema.json from the declarations, or compares.

`python -m tools.exporter_docs --write` and `--check`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from exporter.environment import CLUSTER_VARIABLES, EXPORTER_VARIABLES
from exporter.metrics import bullmq, cluster, events, health, host, internal, probes, redis
from exporter.settings import ExporterSettings
from exporter.web.exposition import OWN
from service.api.metrics import HELP, LABELS, REFUSED
from service.config.load import secret_names
from tools.docs import cell, series_row, setting_rows, write_or_check

HERE: Final = Path(__file__).parent.parent / "docs"

_NODES: Final = (
    "`node` is host:port as the deployment announces it. The names are redis_exporter's where the meaning is "
    "the same; `deploy/prometheus/prometheus.yml` copies `node` into `instance`, which its dashboards go by."
)
_STREAMS: Final = (
    "Read without consumer groups, so that any number of exporters may follow the same streams. A counter "
    "begins at 0 when the exporter first knows the queue, and starts anew with the exporter."
)
_PROBES: Final = (
    "`probe` is a name from `probes` in the settings ([probes](probes.md)). The error rate is "
    "`sum without (reason) (rate(oxherd_probe_failures_total[5m]))` / "
    "`rate(oxherd_probe_duration_seconds_count[5m])`."
)
SUBJECTS: Final = (
    ("Health", "[What the score is made of](health.md).", health.FAMILIES),
    (
        "Redis, per node",
        _NODES,
        redis.FAMILIES,
    ),
    (
        "Redis Cluster and Sentinel",
        "A node's own view where CLUSTER INFO gives it; the agreed one where the help says so.",
        cluster.FAMILIES,
    ),
    ("BullMQ, per queue", "`prefix` and `queue` name a queue.", bullmq.FAMILIES),
    (
        "BullMQ, from the event streams",
        _STREAMS,
        events.FAMILIES,
    ),
    ("Host", "Switched off by `host.enabled: false`, where node_exporter runs anyway.", host.FAMILIES),
    (
        "Endpoints of your own",
        _PROBES,
        probes.FAMILIES,
    ),
    (
        "The exporter itself",
        "And `process_*` and `python_*`, which prometheus-client adds.",
        internal.FAMILIES,
    ),
)

RULES: Final = """\
# Series

Written by `make docs` from the declarations in `exporter/metrics/`.

- Base units: seconds, bytes, ratios from 0 to 1. `_total` ends the name of a counter and of nothing else.
- A series whose source could not be read in a scrape is left out of it, and its `_up` or `_success` is 0.
  It is never 0 for "unknown".
- A queue or a node that is gone disappears.
- No label holds a value that grows without end: no job, worker or pod.
"""


def metrics_page() -> str:
    """docs/metrics.md"""
    lines = [RULES]
    for title, text, families in SUBJECTS:
        lines += [f"## {title}", "", text, "", "| series | type | labels | meaning |", "|---|---|---|---|"]
        lines += [series_row(one.name, one.kind, one.labels, one.help) for one in families]
        if families is internal.FAMILIES:
            lines += [series_row(name, "gauge", labels, text) for name, (labels, text) in OWN.items()]
            lines.append(series_row(REFUSED, "counter", LABELS, HELP))
        lines.append("")
    return "\n".join(lines)


def settings_page() -> str:
    """docs/settings.md"""
    secrets = ", ".join(f"`{name}_FILE`" for name in secret_names(ExporterSettings, EXPORTER_VARIABLES))
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from `exporter/settings.py`. The file is YAML, named by `--config FILE` or",
        "`EXPORTER_CONFIG`; the environment goes before the file, and the command line before both. An",
        "unknown key is an error. `monitor start --check-config` checks and does not start, `--print-config`",
        "shows what counts, secrets hidden. [settings.schema.json](settings.schema.json) is for editors.",
        "",
        f"A secret may be in a file that a variable names: {secrets}.",
        "One line end at the file's end is dropped. A file that is empty or cannot be read is an error, and",
        "so is a secret that is given both ways.",
        "",
        "| setting | environment | type | default | meaning |",
        "|---|---|---|---|---|",
        *setting_rows(ExporterSettings, EXPORTER_VARIABLES),
        "",
        "A cluster's nodes may be given one by one:",
        "",
        "| environment | meaning |",
        "|---|---|",
        *(f"| `{name}` | {cell(text)} |" for name, text in CLUSTER_VARIABLES.items()),
        "",
    ]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every generated file and what should be in it."""
    schema = json.dumps(ExporterSettings.model_json_schema(), indent=2) + "\n"
    return {
        HERE / "metrics.md": metrics_page(),
        HERE / "settings.md": settings_page(),
        HERE / "settings.schema.json": schema,
    }


def main(arguments: list[str]) -> int:
    """--write or --check; the exit code."""
    return write_or_check(pages(), arguments, "tools.exporter_docs")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
