"""Small plots of the last hour as SVG, with a gap where the value is unknown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from exporter.history import HISTORY_SECONDS, Point
from exporter.page.frame import as_html
from service.i18n import Translator
from service.units import count, milliseconds

_WIDTH: Final = 240
_HEIGHT: Final = 48
_GAP: Final = 900.0  # seconds without a point that are a gap; assessments may be minutes apart

_PLOTS: Final = (
    ("plot.score", "score", 100.0),
    ("plot.waiting", "waiting", None),
    ("plot.done", "done", None),
    ("plot.wait", "wait", None),
    ("plot.workers", "workers", None),
)


def plots(points: Sequence[Point], now: float, translator: Translator) -> str:
    """The plots as HTML, one figure each."""
    return "".join(
        _plot(
            translator.translate(title),
            field,
            top,
            [(point.at, getattr(point, field)) for point in points],
            at_least=getattr(points[-1], f"known_{field}", None) if points else None,
            now=now,
            translator=translator,
        )
        for title, field, top in _PLOTS
    )


def _plot(
    title: str,
    field: str,
    top: float | None,
    pairs: Sequence[tuple[float, float | None]],
    *,
    at_least: float | None,
    now: float,
    translator: Translator,
) -> str:
    known = [value for _, value in pairs if value is not None]
    last = pairs[-1][1] if pairs else None
    highest = max(known, default=0.0)
    scale = top or highest or 1.0
    lines = "".join(
        f'<polyline points="{" ".join(_at(at, value, now, scale) for at, value in line)}"/>'
        if len(line) > 1
        else f'<circle cx="{_x(line[0][0], now):.1f}" cy="{_y(line[0][1], scale):.1f}" r="1.5"/>'
        for line in _lines(pairs)
    )
    latest = _value(field, last) if last is not None else _unknown(field, at_least, translator)
    maximum = translator.translate("plot.maximum", value=_value(field, highest)) if known else ""
    label = as_html(f"{title}: {latest}{', ' + maximum if maximum else ''}")
    return (
        f"<figure><figcaption>{as_html(title)} <b>{as_html(latest)}</b></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{lines}</svg><small>{as_html(maximum)}</small></figure>"
    )


def _unknown(field: str, at_least: float | None, translator: Translator) -> str:
    """What is said of a value that is not known as a whole; the line has a gap there."""
    if at_least is None:
        return translator.translate("plot.no_data")
    return translator.translate("plot.at_least", value=_value(field, at_least))


def _lines(pairs: Sequence[tuple[float, float | None]]) -> Iterator[list[tuple[float, float]]]:
    """The segments between gaps."""
    line: list[tuple[float, float]] = []
    for (at, value), before in zip(pairs, [None, *pairs], strict=False):
        if value is None or (before is not None and at - before[0] > _GAP):
            if line:
                yield line
            line = []
        if value is not None:
            line.append((at, value))
    if line:
        yield line


def _at(at: float, value: float, now: float, scale: float) -> str:
    return f"{_x(at, now):.1f},{_y(value, scale):.1f}"


def _x(at: float, now: float) -> float:
    return _WIDTH * (1 - min(1.0, max(0.0, (now - at) / HISTORY_SECONDS)))


def _y(value: float, scale: float) -> float:
    return _HEIGHT - 2 - (_HEIGHT - 4) * min(1.0, value / scale)


def _value(field: str, value: float) -> str:
    if field == "wait":
        return milliseconds(value)
    return f"{value:g}" if field == "score" else count(value)
