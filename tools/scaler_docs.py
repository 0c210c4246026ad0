"""Writes the pages of the scaler's settings and series from the declarations, or compares them.

`python -m tools.scaler_docs --write` and `--check`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from scaler.metrics import FAMILIES
from scaler.settings import MINUTES, POLICY_KEYS, SCALER_VARIABLES, ScalerSettings
from service.api.metrics import HELP, LABELS, REFUSED
from service.config.load import secret_names
from tools.docs import series_row, setting_rows, write_or_check

HERE: Final = Path(__file__).parent.parent / "docs"

_REPEATED: Final = tuple(f"| `{part}[].{key}`" for part in ("policies", "targets") for key in POLICY_KEYS)


def settings_page() -> str:
    """docs/scaler-settings.md"""
    secrets = ", ".join(f"`{name}_FILE`" for name in secret_names(ScalerSettings, SCALER_VARIABLES))
    rows = [row for row in setting_rows(ScalerSettings, SCALER_VARIABLES) if not row.startswith(_REPEATED)]
    lines = [
        "# The scaler's settings",
        "",
        "Written by `make docs` from `scaler/settings.py`. The file is YAML, named by `--config FILE` or",
        "`SCALER_CONFIG`; the environment goes before the file, and the command line before both. An unknown",
        "key is an error. `scaling start --check-config` checks and does not start, `--print-config` shows",
        "what counts, secrets hidden. [scaler-settings.schema.json](scaler-settings.schema.json) is for",
        "editors.",
        "",
        "A file that changes is taken over at the next step; one that cannot be used is refused, and the old",
        "settings stay. `listen`, `state_file` and `log` need a restart.",
        "",
        "The keys of `defaults` may also stand in an entry of `policies` and in a target. The nearest",
        "counts: the target's own, else those of the first of `policies` that matches, else `defaults`.",
        "",
        f"`{MINUTES}` sets `interval_seconds`, in minutes. A secret may be in a file that a variable",
        f"names: {secrets}.",
        "",
        "| setting | environment | type | default | meaning |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)


def metrics_page() -> str:
    """docs/scaler-metrics.md"""
    lines = [
        "# The scaler's series",
        "",
        "Written by `make docs` from `scaler/metrics.py`. `target` is the target's name, `queue` its queues,",
        "joined by commas. And `process_*` and `python_*`, which prometheus-client adds. The exporter's are",
        "in [metrics](metrics.md).",
        "",
        "| series | type | labels | meaning |",
        "|---|---|---|---|",
        *(series_row(one.name, one.kind, one.labels, one.help) for one in FAMILIES),
        series_row(REFUSED, "counter", LABELS, HELP),
        series_row("oxherd_build_info", "gauge", ("version",), "1, with the scaler's version."),
        "",
    ]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every generated file and what should be in it."""
    return {
        HERE / "scaler-settings.md": settings_page(),
        HERE / "scaler-settings.schema.json": json.dumps(ScalerSettings.model_json_schema(), indent=2) + "\n",
        HERE / "scaler-metrics.md": metrics_page(),
    }


def main(arguments: list[str]) -> int:
    """--write or --check; the exit code."""
    return write_or_check(pages(), arguments, "tools.scaler_docs")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
