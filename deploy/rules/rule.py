"""Rules as Prometheus reads them, and their YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import dedent
from typing import Any, Literal, TypeAlias

import yaml

from deploy.rules.affected import Affected, dashboard_query, listed, recorded, worst
from deploy.rules.thresholds import AlertThresholds

Severity: TypeAlias = Literal["critical", "high", "medium", "none"]
RuleJson: TypeAlias = dict[str, Any]

HEADER = "# Written by `python -m deploy.rules --write` from thresholds.yml: changes made here are lost.\n"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, and one notification, for each value of the labels `by`: those are all that it keeps.

    The summary is static, the description a template. `[affected]` stands in the expression for the number of
    the affected, or the sum of their values, and in the description for the worst of them by name; `[worst]`
    in the description is the query for those. `for_` and `keep_firing_for` are Prometheus'; without the
    latter it is the cooldown, so that a flap does not resolve the alert.
    """

    name: str
    severity: Severity
    cooldown: str
    for_: str
    summary: str
    description: str
    affected: Affected | None = None
    combine: Literal["count", "sum"] = "count"
    expression: str = "[affected]"
    keep_firing_for: str = ""
    by: Sequence[str] = ("job",)

    def rules(self, thresholds: AlertThresholds, job: str) -> Iterator[RuleJson]:
        """The entries of a group's `rules` for a scrape job: what is affected comes before the alert."""
        if self.affected is not None:
            yield recording(recorded(self.name), self.affected.expression)
        keep = self.keep_firing_for or self.cooldown
        yield {
            "alert": self.name,
            "expr": tidy(self.expression).replace("[affected]", self._number(job)),
            "for": self.for_,
            **({"keep_firing_for": keep} if keep else {}),
            "labels": {"severity": self.severity} | ({"cooldown": self.cooldown} if self.cooldown else {}),
            "annotations": {
                "summary": self.summary,
                "description": self._description(),
                "runbook_url": f"{thresholds.runbooks}/{self.name}.md",
                "dashboard_url": thresholds.dashboard + self._selection(),
            },
        }

    def one_for_each(self) -> Alert:
        """The same with an alert, and a notification, for each of the affected queues."""
        return replace(self, by=(*self.by, "subject", "queue"))

    def _number(self, job: str) -> str:
        own = recorded(self.name) + (f'{{job="{job}"}}' if "job" in self.by else "")
        return own if "subject" in self.by else f"{self.combine} by ({', '.join(self.by)}) ({own})"

    def _description(self) -> str:
        text = " ".join(tidy(self.description).split())
        if self.affected is None:
            return text
        text = text.replace("[worst]", worst(self.name, self.affected, self.by))
        return text.replace("[affected]", listed(self.name, self.affected, self.by))

    def _selection(self) -> str:
        return dashboard_query(self.name, self.affected, self.by) if self.affected is not None else ""


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


def group(name: str, rules: Iterable[RuleJson], *, interval: str = "15s") -> RuleJson:
    """A group, evaluated every 15 s: with Prometheus' default of 1 min, `for: 30s` would act as `for: 1m`."""
    return {"name": name, "interval": interval, "rules": list(rules)}


def alert_rules(alerts: Iterable[Alert], thresholds: AlertThresholds, job: str = "") -> list[RuleJson]:
    """The rules of these alerts on a scrape job, by default the exporter's, in order."""
    return [rule for alert in alerts for rule in alert.rules(thresholds, job or thresholds.job)]


def rules_yaml(*groups: RuleJson) -> str:
    """The text of a rule file."""
    return HEADER + yaml.dump({"groups": list(groups)}, Dumper=_Dumper, sort_keys=False, width=1000)
