"""Writes the rule files in deploy/prometheus/rules from thresholds.yml, or compares them.

`python -m deploy.rules --write` and `--check`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Final

from deploy.rules.alerts import oxherd
from deploy.rules.extra import oxherd_extra
from deploy.rules.scaler import oxherd_scaler
from deploy.rules.thresholds import AlertThresholds

RULE_FOLDER: Final = Path(__file__).parents[1] / "prometheus" / "rules"
OPERATOR_FILE: Final = Path(__file__).parents[1] / "kubernetes" / "monitoring" / "rules.yaml"


def rule_files(thresholds: AlertThresholds) -> dict[Path, str]:
    """Each rule file and its text."""
    texts = {
        "oxherd": oxherd(thresholds),
        "oxherd-extra": oxherd_extra(thresholds),
        "oxherd-scaler": oxherd_scaler(thresholds),
    }
    return {RULE_FOLDER / f"{name}.yml": text for name, text in texts.items()} | {
        OPERATOR_FILE: operator_rules(texts)
    }


def operator_rules(texts: Mapping[str, str]) -> str:
    """The rule files as the prometheus-operator's PrometheusRules."""
    parts = []
    for name, text in texts.items():
        head = (
            f"apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {name}\nspec:\n"
        )
        comment, _, groups = text.partition("\n")
        parts.append(f"{comment}\n{head}{indent(groups, '  ')}")
    return "---\n".join(parts)


def main(arguments: list[str]) -> int:
    """The exit code: 0 when written or equal, 1 when a file differs, 2 for wrong arguments."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m deploy.rules --check | --write", file=sys.stderr)
        return 2
    expected = rule_files(AlertThresholds.read(RULE_FOLDER / "thresholds.yml"))
    if arguments == ["--write"]:
        for path, text in expected.items():
            path.write_text(text)
        return 0
    stale = [path.name for path, text in expected.items() if not path.exists() or path.read_text() != text]
    for name in stale:
        print(f"{name} differs from thresholds.yml: run python -m deploy.rules --write", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
