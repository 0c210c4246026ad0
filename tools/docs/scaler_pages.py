"""docs/scaler-settings.md, docs/scaler-settings.schema.json and docs/scaler-metrics.md, from the scaler's
declarations."""

from __future__ import annotations

import json
from typing import Final

from scaler.config.environment import MINUTES, SCALER_VARIABLES
from scaler.config.settings import POLICY_KEYS, ScalerSettings
from scaler.external_metrics.series import EXTERNAL_METRICS_SERIES
from scaler.keda.series import KEDA_SERIES
from scaler.metrics import SCALER_FAMILIES
from service.api.metrics import HELP, LABELS, REFUSED
from service.config.load import secret_names
from service.web.connections.series import HTTP_SERIES
from tools.docs.markdown import (
    SERIES_COLUMNS,
    SETTING_COLUMNS,
    paragraph,
    series_row,
    setting_rows,
    table_lines,
)

_REPEATED: Final = tuple(f"| `{part}[].{key}`" for part in ("policies", "targets") for key in POLICY_KEYS)


def scaler_settings() -> str:
    """The text of docs/scaler-settings.md."""
    secrets = ", ".join(f"`{name}_FILE`" for name in secret_names(ScalerSettings, SCALER_VARIABLES))
    rows = [row for row in setting_rows(ScalerSettings, SCALER_VARIABLES) if not row.startswith(_REPEATED)]
    source = (
        "Written by `make docs` from `scaler/config/settings.py`. The file is YAML, named by "
        "`--config FILE` or `SCALER_CONFIG`. The environment overrides the file, and "
        "the command line overrides both. An unknown key is an error. "
        "`scaling start --check-config` checks the settings and exits; "
        "`--print-config` prints the effective settings, secrets hidden. "
        "[scaler-settings.schema.json](scaler-settings.schema.json) is for editors."
    )
    reload = (
        "A file that changes is loaded at the next step. A file with an error is rejected, and the previous "
        "settings stay in effect; so is a file without targets where there were some: an empty one would end "
        "all workers. `listen`, `keda`, `external_metrics`, `web`, `state_file` and `log` need a restart."
    )
    precedence = (
        "The keys of `defaults` may also be set in an entry of `policies` and in a target. The order of "
        "precedence: the target, the first entry of `policies` that matches, `defaults`."
    )
    names = (
        "Keys of a policy may be written in camelCase, such as `scaleUpThreshold`, `scaleDownThreshold` and "
        "`maxWorkers`; `cooldownPeriod` is `cooldown_seconds` in minutes. A key that the target's policy "
        "does not read has no effect: `--check-config` and the log name it. The thresholds are read by "
        "`policy: threshold` only."
    )
    variables = (
        f"`{MINUTES}` sets `interval_seconds`, in minutes. A secret may be in a file that a variable names: "
        f"{secrets}."
    )
    lines = ["# The scaler's settings", ""]
    for text in (source, reload, precedence, names, variables):
        lines += [paragraph(text), ""]
    return "\n".join([*lines, *table_lines(SETTING_COLUMNS, rows)])


def scaler_metrics() -> str:
    """The text of docs/scaler-metrics.md."""
    text = (
        "Written by `make docs` from `scaler/metrics.py`. `target` is the name of the target, `queue` its "
        "queues, joined by commas. prometheus-client adds `process_*` and `python_*`. The series of the "
        "exporter are in [metrics](metrics.md)."
    )
    rows = [
        *(series_row(family.name, family.kind, family.labels, family.help) for family in SCALER_FAMILIES),
        series_row(REFUSED, "counter", LABELS, HELP),
        *(series_row(*series) for series in (*KEDA_SERIES, *EXTERNAL_METRICS_SERIES)),
        *(series_row(*series) for series in HTTP_SERIES),
        series_row("oxherd_build_info", "gauge", ("version",), "1, with the scaler's version."),
    ]
    return "\n".join(["# The scaler's series", "", paragraph(text), "", *table_lines(SERIES_COLUMNS, rows)])


def scaler_schema() -> str:
    """The text of docs/scaler-settings.schema.json."""
    return json.dumps(ScalerSettings.model_json_schema(), indent=2) + "\n"
