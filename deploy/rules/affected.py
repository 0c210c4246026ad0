"""What an alert affects: a recording rule with a series for each, and the sentence that names the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LISTED: Final = 5
"""As many of the affected are named; a notification has to fit on a phone."""

GAP: Final = "1m"
"""A value counts this long after its series vanished: a scrape or a collection that fails in between would
restart the `for` of an alert."""


@dataclass(frozen=True, slots=True)
class Affected:
    """`expression` has a series for each of the affected, with the labels that `by` and the label `subject`
    name; its value says how badly, most first, or least first with `least`.

    `unit` is the template function for that value, empty where it says nothing; `note` stands behind it.
    `total` is an expression for the number of all where `expression` has only the worst. `variable` is the
    dashboard's, which the link sets to the subjects, or to the label `queue` if it is that.
    """

    expression: str
    unit: str = "humanize"
    note: str = ""
    least: bool = False
    total: str = ""
    variable: str = ""


def recorded(alert: str) -> str:
    """The name of the recording rule of an alert."""
    return f"oxherd:{alert}:affected"


def one_each(expression: str, source: str, *, by: Sequence[str] = ("job",), least: bool = False) -> str:
    """The expression's worst value for each value of the label `source`, which becomes `subject`."""
    aggregation = "min" if least else "max"
    return f"""\
{aggregation} by ({", ".join((*by, "subject"))}) (label_replace(
  {expression.strip()},
  "subject", "$1", "{source}", "(.+)"
))"""


def one_each_queue(expression: str) -> str:
    """The same for each queue, with its name, which nothing finds in the subject again: prefix and name may
    have colons. The prefix belongs to the subject where it is not BullMQ's default."""
    return f"""\
max by (job, subject, queue) (label_replace(label_join(
  {expression.strip()},
  "subject", ":", "prefix", "queue"
), "subject", "$1", "subject", "bull:(.+)"))"""


def recent(selector: str) -> str:
    """The last value, over a gap."""
    return f"last_over_time({selector}[{GAP}])"


def worst(alert: str, affected: Affected, by: Sequence[str]) -> str:
    """A Go template's query for the worst of the affected."""
    order = "bottomk" if affected.least else "topk"
    return _query(f"{order}({LISTED}, {recorded(alert)}{{{_matchers(by)}}})", by)


def listed(alert: str, affected: Affected, by: Sequence[str]) -> str:
    """The worst by name, and how many more there are."""
    published = affected.total if "subject" not in by else ""
    total = published or f"count({recorded(alert)}{{{_matchers(by)}}})"
    value = f" ({{{{ .Value | {affected.unit} }}}}{affected.note})" if affected.unit else ""
    more = _query(f"{total} > {LISTED}", () if published else by)
    return (
        f"{{{{ range $place, $one := {worst(alert, affected, by)} }}}}"
        f"{{{{ if $place }}}}, {{{{ end }}}}{{{{ .Labels.subject }}}}{value}{{{{ end }}}}"
        f'{{{{ with {more} }}}} and more, {{{{ . | first | value | printf "%.0f" }}}} in all{{{{ end }}}}'
    )


def dashboard_query(alert: str, affected: Affected, by: Sequence[str]) -> str:
    """The query string of a dashboard's URL that selects the worst."""
    if not affected.variable:
        return ""
    label = "queue" if affected.variable == "queue" else "subject"
    return (
        f"?{{{{ range $place, $one := {worst(alert, affected, by)} }}}}{{{{ if $place }}}}&{{{{ end }}}}"
        f"var-{affected.variable}={{{{ .Labels.{label} | urlquery }}}}{{{{ end }}}}"
    )


def _matchers(by: Sequence[str]) -> str:
    return ", ".join(f"{label}=%q" for label in by)


def _query(expression: str, by: Sequence[str]) -> str:
    """A call of the template function `query`, with the values of the alert's own labels."""
    if not by:
        return f"query `{expression}`"
    return f"query (printf `{expression}` {' '.join(f'$labels.{label}' for label in by)})"
