"""Rules as Prometheus reads them, and their YAML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, Literal, TypeAlias

import yaml

from deploy.rules.thresholds import AlertThresholds

Severity: TypeAlias = Literal["critical", "high", "medium"]
RuleJson: TypeAlias = dict[str, Any]

HEADER = "# Written by `python -m deploy.rules --write` from thresholds.yml: changes made here are lost.\n"


@dataclass(frozen=True, slots=True)
class Alert:
    """`for_` and `keep_firing_for` are Prometheus'; without the latter it is the cooldown, so that a
    flap does not resolve the alert.

    `variables` are labels that the dashboard's URL gets; the summary is static, the description a template.
    """

    name: str
    severity: Severity
    cooldown: str
    for_: str
    expression: str
    summary: str
    description: str
    keep_firing_for: str = ""
    variables: Sequence[str] = ()

    def rule(self, thresholds: AlertThresholds) -> RuleJson:
        """As an entry of a group's `rules`."""
        query = "&".join(f"var-{name}={{{{ $labels.{name} | urlquery }}}}" for name in self.variables)
        return {
            "alert": self.name,
            "expr": tidy(self.expression),
            "for": self.for_,
            "keep_firing_for": self.keep_firing_for or self.cooldown,
            "labels": {"severity": self.severity, "cooldown": self.cooldown},
            "annotations": {
                "summary": self.summary,
                "description": " ".join(tidy(self.description).split()),
                "runbook_url": f"{thresholds.runbooks}/{self.name}.md",
                "dashboard_url": thresholds.dashboard + (f"?{query}" if query else ""),
            },
        }


def recording(name: str, expression: str) -> RuleJson:
    """A recording rule."""
    return {"record": name, "expr": tidy(expression)}


def tidy(text: str) -> str:
    """The text without its indentation in the source."""
    return dedent(text).strip()


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, expressions of several lines as they were written."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def group(name: str, rules: Iterable[RuleJson]) -> RuleJson:
    """A group, evaluated every 15 s: with Prometheus' default of 1 min, `for: 30s` would act as `for: 1m`."""
    return {"name": name, "interval": "15s", "rules": list(rules)}


def rules_yaml(*groups: RuleJson) -> str:
    """The text of a rule file."""
    return HEADER + yaml.dump({"groups": list(groups)}, Dumper=_Dumper, sort_keys=False, width=1000)
