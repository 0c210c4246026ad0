"""Dashboards as values: rows of panels, variables, annotations. grafana.py renders them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

GREEN: Final = "green"
YELLOW: Final = "yellow"
RED: Final = "red"


@dataclass(frozen=True)
class PanelQuery:
    """PromQL. `legend` is Grafana's, such as {{queue}}. `column` is the header of the values in a table; a
    query without it only adds labels."""

    expr: str
    legend: str = ""
    column: str = ""
    instant: bool = False


@dataclass(frozen=True)
class PanelThresholds:
    """Each colour applies from its value on; the first has no lower bound."""

    steps: Sequence[tuple[float | None, str]]

    @classmethod
    def rising(cls, warning: float, critical: float) -> PanelThresholds:
        """More is worse."""
        return cls(((None, GREEN), (warning, YELLOW), (critical, RED)))

    @classmethod
    def falling(cls, warning: float, good: float) -> PanelThresholds:
        """Less is worse: yellow from `warning`, green from `good`."""
        return cls(((None, RED), (warning, YELLOW), (good, GREEN)))

    @classmethod
    def zero_is_bad(cls) -> PanelThresholds:
        """0 is red, 1 is green."""
        return cls(((None, RED), (1, GREEN)))


PLAIN: Final = PanelThresholds(((None, GREEN),))

PanelKind: TypeAlias = Literal["stat", "timeseries", "table", "heatmap", "state-timeline", "bargauge", "text"]


@dataclass(frozen=True)
class Panel:
    """`width` of 24 columns, `height` in Grafana's units of 30 pixels. `unit` is Grafana's id."""

    title: str
    description: str
    queries: Sequence[PanelQuery]
    kind: PanelKind = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    thresholds: PanelThresholds = PLAIN
    stacked: bool = False
    bars: bool = False
    minimum: float | None = 0
    maximum: float | None = None
    texts: Mapping[str, str] = field(default_factory=dict)  # value -> the text that is shown
    good_value: str = "1"  # the value that is green; the others are red
    units: Mapping[str, str] = field(default_factory=dict)  # a table's column -> its unit
    no_value: str = ""  # the text if there is no data
    link: tuple[str, str] | None = None  # title and URL


@dataclass(frozen=True)
class Row:
    """Panels under a heading; with `repeat` there is one row for each value of that variable."""

    title: str
    panels: Sequence[Panel]
    repeat: str | None = None


@dataclass(frozen=True)
class Variable:
    """A selection of the values that `label` has in the series of `metric`."""

    name: str
    label: str
    metric: str
    heading: str
    multi: bool = True

    @property
    def query(self) -> str:
        return f"label_values({self.metric}, {self.label})"


@dataclass(frozen=True)
class Annotation:
    """A mark in every graph where the query is above 0."""

    name: str
    expr: str
    text: str
    color: str


@dataclass(frozen=True)
class Dashboard:
    """`uid` is part of the URL and never changes."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    annotations: Sequence[Annotation] = ()

    @property
    def panels(self) -> list[Panel]:
        """All panels, in order."""
        return [panel for row in self.rows for panel in row.panels]
