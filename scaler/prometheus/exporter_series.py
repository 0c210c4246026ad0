"""The figures of queues from the series of Oxherd's exporter: one query, and what its answer means. Pure.

Prometheus reads the series as they are, by one selector, and the sums are made here: sums, `or` and
`label_replace` over all series cost it six times as much. The selector is an instant one, not a range: only
there does Prometheus leave out a series that has ended, whose marker a range does not show, and a range would
have to be longer than any scrape interval. What an instant selector does not show is when a series was
scraped, so that `timestamp()` of one series of each queue comes with it, in the same query and so of the same
moment. The selector is the last operand of `or`: VictoriaMetrics keeps only one of several series of the
others that differ in their names alone, or in no label of `on (...)`.
Run times are a histogram in classic form, in native form, or in both. Of native ones the sums and counts are
asked for by functions, as a selector would bring the buckets of all queues; only where there are native ones,
as not every server knows these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from scaler.prometheus.numbers import finite_number
from scaler.prometheus.promql import MEASURE_LABEL, RUN_TIMES, matchers_text, names_pattern, quoted

MAX_TEXT_BYTES: Final = 15_000
"""Bytes of a query that every server takes: VictoriaMetrics takes 16 KiB by default."""

_COUNT: Final = "bullmq_job_count"
_STATES: Final = ("waiting", "prioritized", "active")
# Each is one figure as it is.
_FIGURES: Final = {
    "bullmq_job_completed_total": "completed",
    "bullmq_job_failed_total": "failed",
    "bullmq_job_added_total": "added",
    "bullmq_queue_oldest_waiting_seconds": "oldest_waiting",
    "bullmq_queue_delayed_due": "due",
    "bullmq_queue_paused": "paused",
    "bullmq_queue_busy_seconds_total": "busy_seconds",
    "bullmq_queue_rate_limit_ttl_seconds": "limit_seconds",
    "bullmq_queue_concurrency_limit": "concurrency_limit",
    "bullmq_job_stalled_total": "stalled",
}
# Several are one figure: the label that distinguishes them, which is not of the exporter.
_PARTS: Final = {
    _COUNT: ("state", None),
    f"{RUN_TIMES}_sum": ("outcome", "duration_sum"),
    f"{RUN_TIMES}_count": ("outcome", "duration_count"),
}
_NATIVE: Final = {"native_sum": "duration_sum", "native_count": "duration_count"}
_NATIVE_TEXTS: Final = {
    "native_sum": f"histogram_sum({RUN_TIMES}{{%s}})",
    "native_count": f"histogram_count({RUN_TIMES}{{%s}})",
}
_NATIVE_SERIES: Final = "native_series"  # how many there are
_STATUSES: Final = {
    "up": "bullmq_up{%s}",
    "deployment": "oxherd_redis_deployment_info{%s}",
    "shard": "oxherd_shard_info{%s}",
    "started": "(process_start_time_seconds{%s} and bullmq_up{%s})",
}
_OR: Final = "\nor "
_OUTCOMES: Final = ("completed", "failed")

COLUMNS: Final = (
    *(
        "timestamp",
        ("waiting", "waiting"),
        ("waiting", "prioritized"),
        "active",
        "completed",
        "failed",
        "added",
    ),
    *("oldest_waiting", "due", "paused", "busy_seconds", "limit_seconds", "concurrency_limit", "stalled"),
    *((name, outcome) for name in ("duration_sum", "duration_count", *_NATIVE) for outcome in _OUTCOMES),
)
"""The figures of a queue that its exporter usually has, see `figure_of`."""


def exporter_queries(
    label: str, matchers: Mapping[str, str], names: Collection[str], *, native: bool = False
) -> tuple[str, tuple[str, ...]]:
    """The query for the queues with these names, or for all; and the same in pieces of MAX_TEXT_BYTES, each
    of some of the queues: the first has what the exporters report of themselves. No pieces: it is short."""
    whole = exporter_query(label, matchers, names, native=native)
    if len(whole.encode()) <= MAX_TEXT_BYTES:
        return whole, ()
    room = MAX_TEXT_BYTES - len(exporter_query(label, matchers, ["x"], native=native).encode())
    chunks = list(_chunks(sorted(names), room, selectors=2 + len(_NATIVE) * native))
    pieces = tuple(
        exporter_query(label, matchers, chunk, statuses=not n, native=native)
        for n, chunk in enumerate(chunks)
    )
    return whole, pieces if len(pieces) > 1 else ()


def exporter_query(
    label: str,
    matchers: Mapping[str, str],
    names: Collection[str],
    *,
    statuses: bool = True,
    native: bool = False,
) -> str:
    """One query for all figures of these queues, or of all queues without names. `label` has the name of a
    queue. `native`: with the figures of native histograms, instead of whether there are such."""
    extra = matchers_text(matchers)
    queues = f"{label}=~{names_pattern(names)}" if names else f'{label}!=""'
    selector = queues + (f",{extra}" if extra else "")
    series = quoted("|".join((_COUNT, *_FIGURES, *list(_PARTS)[1:])))
    states = quoted("|".join(("", *_STATES)))  # the other series have no such label
    asked = {name: text.replace("%s", extra) for name, text in _STATUSES.items()} if statuses else {}
    asked["timestamp"] = f'timestamp({_COUNT}{{state="active",{selector}}})'
    if native:
        asked |= {name: text.replace("%s", selector) for name, text in _NATIVE_TEXTS.items()}
    elif statuses:
        asked[_NATIVE_SERIES] = f"count({RUN_TIMES}{{{extra}}})"
    labelled = (f'label_replace({text}, "{MEASURE_LABEL}", "{name}", "", "")' for name, text in asked.items())
    return _OR.join((*labelled, f"{{__name__=~{series},state=~{states},{selector}}}"))


def without_native_series(series: list[Any]) -> tuple[list[Any], bool]:
    """The series of an answer without the one that says that there are native histograms; and whether."""

    def counts(entry: Any) -> bool:
        labels = entry.get("metric") if isinstance(entry, dict) else None
        return isinstance(labels, dict) and labels.get(MEASURE_LABEL) == _NATIVE_SERIES

    others = [entry for entry in series if not counts(entry)]
    return others, len(others) < len(series)


def native_figure(name: str, labels: dict[Any, Any]) -> tuple[str, Any] | None:
    """Which figure of native histograms a series is, by a label that is removed; None: none."""
    if name not in _NATIVE:
        return None
    labels.pop("__name__", None)
    return name, labels.pop("outcome", "")


def figure_of(labels: dict[Any, Any]) -> Any:
    """Which figure a series is, by labels that are removed: the name of a measure, or a pair of it and one of
    its parts. Raises KeyError: none that was queried."""
    name = labels.pop("__name__")
    measure = _FIGURES.get(name)
    if measure is not None:
        return measure
    label, measure = _PARTS[name]
    part = labels.pop(label, "")
    if measure is not None:
        return measure, part
    if part == "active":
        return part
    if part not in _STATES:
        raise KeyError(part)
    return "waiting", part


def derive_measures(figures: dict[Any, Any]) -> None:
    """Replace the figures of one queue, pairs of a time and a text, by the measures: all jobs that can be
    taken now, seconds and attempts of each outcome together, what a pause holds back. A part that is absent
    leaves no sum; what is not a number is left in its place."""
    parts: dict[str, dict[str, Any]] = {}
    for key in [key for key in figures if type(key) is tuple]:
        parts.setdefault(key[0], {})[key[1]] = figures.pop(key)
    native = {measure: parts.pop(name) for name, measure in _NATIVE.items() if name in parts}
    if not parts.keys() >= native.keys():  # where both forms are there they are the same figures
        parts |= native
    for measure, pairs in parts.items():
        if measure != "waiting" or len(pairs) == len(_STATES) - 1:
            figures[measure] = _calculated(lambda *values: sum(values), *pairs.values())
    if "paused" not in figures:
        return
    paused = figures.pop("paused")
    # Jobs that are due in a paused queue will wait with the others.
    if "due" in figures:
        figures["due"] = _calculated(lambda due, pause: due * (1 - pause), figures["due"], paused)
    if "waiting" in figures:
        figures["held"] = _calculated(lambda waiting, pause: waiting * pause, figures["waiting"], paused)


def _calculated(formula: Callable[..., float], *pairs: Any) -> Any:
    """The pair of a result; None, which means several series, if one of them is that."""
    if None in pairs:
        return None
    try:
        value = formula(*(finite_number(pair[1]) for pair in pairs))
    except ValueError:
        return pairs[0][0], "NaN"
    return pairs[0][0], repr(float(value))


def _chunks(names: list[str], room: int, *, selectors: int) -> Iterator[list[str]]:
    """The names in lists that take at most `room` bytes in so many selectors of a query."""
    chunk: list[str] = []
    left = room
    for name in names:
        cost = selectors * len(names_pattern([name]).encode())
        if chunk and cost > left:
            yield chunk
            chunk, left = [], room
        chunk.append(name)
        left -= cost
    if chunk:
        yield chunk
