"""What the series of an answer are: of which queue and exporter, and which figure. Pure.

Each step has the same series: what their labels mean is worked out once.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from scaler.config.prometheus import QuerySettings
from scaler.prometheus.exporter_series import COLUMNS, figure_of, native_figure
from scaler.prometheus.promql import MEASURE_LABEL, QueueKey, measure_texts

Labels: TypeAlias = frozenset[tuple[str, str]]
"""Labels with their values. Those besides the queue's own labels identify the exporter of a series."""

OWN_MEASURES: Final = frozenset({"up", "deployment", "shard", "started"})
"""Those that an exporter reports of itself."""

_labels_of: Final = attrgetter("labels")
_SPARE: Final = 1_000  # series that have ended, and are kept nevertheless


CELLS: Final = len(COLUMNS)
"""Cells of a row: one for each of COLUMNS."""
STATUS: Final = -1
"""The cell of what an exporter reports of itself."""

_COLUMN_OF: Final = {figure: column for column, figure in enumerate(COLUMNS)}


class SeriesIdentity(NamedTuple):
    """`figure` as `exporter_series` has it, or the name of a measure; `queue` None: what an exporter reports
    of itself, and `rest` then has all other labels. `cell`: among those of all rows; None: it has none, as
    the figure is none of COLUMNS. `labels`: all of the series."""

    figure: Any
    queue: QueueKey | None
    rest: Labels
    cell: int | None
    labels: Mapping[Any, Any]


class SeriesIdentities:
    """Remembers those of the answers to some queries."""

    def __init__(self, queries: QuerySettings) -> None:
        self._queries: Final = queries
        self._measures: Final = {measure for measure, _ in measure_texts(queries)}
        self._known: dict[tuple[Any, ...], SeriesIdentity] = {}
        self._origins: dict[Labels, Labels] = {}  # few distinct ones, each held once
        self._rows: dict[tuple[QueueKey, Labels], int] = {}

    @property
    def rows(self) -> list[tuple[QueueKey, Labels]]:
        """Of each queue and exporter, in the order of their cells."""
        return list(self._rows)

    def of(self, labels: Mapping[Any, Any]) -> SeriesIdentity:
        """Raises TypeError, KeyError and AttributeError: it is no series that was queried."""
        key = tuple(labels.values())
        identity = self._known.get(key)
        if identity is None or identity.labels != labels:  # with the same values in other labels
            identity = self._known[key] = self._learned(labels)
        return identity

    def of_all(self, series: list[dict[Any, Any]]) -> list[SeriesIdentity]:
        """Those of many labels at once. Raises as `of` does."""
        found = list(map(self._known.get, map(tuple, map(dict.values, series))))
        if None not in found and list(map(_labels_of, found)) == series:
            return found  # type: ignore[return-value]
        return [self.of(labels) for labels in series]

    def forget(self, series: int) -> None:
        """Before an answer with so many series: forget all, if many of those that are known have ended."""
        if len(self._known) > 2 * series + _SPARE:
            self._known.clear()
            self._origins.clear()
            self._rows.clear()

    def _learned(self, series: Mapping[Any, Any]) -> SeriesIdentity:
        queries, labels = self._queries, dict(series)
        named = labels.pop(MEASURE_LABEL, None)
        figure: Any = None
        if queries.is_default:
            figure = figure_of(labels) if named is None else native_figure(named, labels)
        if figure is None:
            if named not in self._measures:
                raise KeyError(named)
            figure = named
            labels.pop("__name__", None)
            if queries.is_default:
                labels.pop("state", None)  # of the count whose timestamp it is
        if figure in OWN_MEASURES:
            return SeriesIdentity(figure, None, self._shared(labels), STATUS, series)
        prefix = labels.pop(queries.prefix_label or "", queries.default_prefix)
        name = labels.pop(queries.queue_label)
        if not isinstance(prefix, str) or not isinstance(name, str):
            raise TypeError
        queue, rest = QueueKey(prefix, name), self._shared(labels)
        column = _COLUMN_OF.get(figure) if queries.is_default else None
        cell = (
            None if column is None else self._rows.setdefault((queue, rest), len(self._rows)) * CELLS + column
        )
        return SeriesIdentity(figure, queue, rest, cell, series)

    def _shared(self, labels: Mapping[Any, Any]) -> Labels:
        if not all(isinstance(text, str) for pair in labels.items() for text in pair):
            raise TypeError
        found = frozenset(labels.items())
        return self._origins.setdefault(found, found)
