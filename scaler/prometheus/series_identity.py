"""What the series of an answer are: of which queue and exporter, and which figure. Pure.

Each step has the same series: what their labels mean is worked out once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from scaler.config.prometheus import QuerySettings
from scaler.prometheus.exporter_series import figure_of, native_figure
from scaler.prometheus.promql import MEASURE_LABEL, QueueKey, measure_texts

Labels: TypeAlias = frozenset[tuple[str, str]]
"""Labels with their values. Those besides the queue's own labels identify the exporter of a series."""

OWN_MEASURES: Final = frozenset({"up", "deployment", "shard", "started"})
"""Those that an exporter reports of itself."""

_SPARE: Final = 1_000  # series that have ended, and are kept nevertheless


class SeriesIdentity(NamedTuple):
    """`figure` as `exporter_series` has it, or the name of a measure; `queue` None: what an exporter reports
    of itself, and `rest` then has all other labels."""

    figure: Any
    queue: QueueKey | None
    rest: Labels


class SeriesIdentities:
    """Remembers those of the answers to some queries."""

    def __init__(self, queries: QuerySettings) -> None:
        self._queries: Final = queries
        self._measures: Final = {measure for measure, _ in measure_texts(queries)}
        self._known: dict[tuple[Any, ...], SeriesIdentity] = {}
        self._origins: dict[Labels, Labels] = {}  # few distinct ones, each held once

    def of(self, labels: Mapping[Any, Any]) -> SeriesIdentity:
        """Raises TypeError, KeyError and AttributeError: it is no series that was queried."""
        key = tuple(labels.items())
        identity = self._known.get(key)
        if identity is None:
            identity = self._known[key] = self._learned(dict(labels))
        return identity

    def forget(self, series: int) -> None:
        """After an answer with so many series: forget all, if many of those that are known have ended."""
        if len(self._known) > 2 * series + _SPARE:
            self._known.clear()
            self._origins.clear()

    def _learned(self, labels: dict[Any, Any]) -> SeriesIdentity:
        queries = self._queries
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
            return SeriesIdentity(figure, None, self._shared(labels))
        prefix = labels.pop(queries.prefix_label or "", queries.default_prefix)
        name = labels.pop(queries.queue_label)
        if not isinstance(prefix, str) or not isinstance(name, str):
            raise TypeError
        return SeriesIdentity(figure, QueueKey(prefix, name), self._shared(labels))

    def _shared(self, labels: Mapping[Any, Any]) -> Labels:
        if not all(isinstance(text, str) for pair in labels.items() for text in pair):
            raise TypeError
        found = frozenset(labels.items())
        return self._origins.setdefault(found, found)
