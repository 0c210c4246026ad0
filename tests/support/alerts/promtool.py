"""Assessments in time as the input of promtool's tests of rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from exporter.assessment import Assessment
from exporter.metrics.render import Renderer

STEP: Final = 15
"""Seconds between two scrapes, and between two evaluations."""
_SAMPLE = re.compile(r"([a-z0-9_]+)(?:\{(.*)\})? (\S+)")
_JOB, _TARGET = "oxherd", "e:9877"


def series_of(assessment: Assessment) -> dict[str, str]:
    """The values of a scrape of the exporter by their series, with the labels that prometheus.yml gives."""
    target = f'job="{_JOB}",instance="{_TARGET}"'
    monitoring = "1" if assessment.snapshot.parts() else "0"
    samples = {f"up{{{target}}}": "1", f"oxherd_monitoring_enabled{{{target}}}": monitoring}
    for line in Renderer().text(assessment).decode().splitlines():
        if line.startswith("#"):
            continue
        found = _SAMPLE.fullmatch(line)
        assert found, line
        name, labels, value = found.groups()
        node = re.search(r'\bnode="([^"]*)"', labels or "")
        instance = node[1] if node else _TARGET
        inner = ",".join(filter(None, (labels, f'job="{_JOB}"', f'instance="{instance}"')))
        samples[f"{name}{{{inner}}}"] = value
    return samples


def input_series(phases: Sequence[tuple[Assessment, int]]) -> list[dict[str, str]]:
    """Each assessment for so many scrapes. A series that a scrape lacks is stale from then on."""
    scrapes = [(series_of(assessment), count) for assessment, count in phases]
    names = sorted({name for samples, _ in scrapes for name in samples})
    return [{"series": name, "values": " ".join(_values(name, scrapes))} for name in names]


def _values(name: str, scrapes: Iterable[tuple[Mapping[str, str], int]]) -> Iterable[str]:
    for samples, count in scrapes:
        value = samples.get(name)
        if value is None:
            yield "stale"
            if count > 1:
                yield f"_x{count - 1}"
        else:
            yield f"{value}x{count - 1}" if count > 1 else value


def firing(time: int, alerts: Iterable[str]) -> dict[str, Any]:
    """A test that at `time` (s) these alerts fire, each as one series, and no other."""
    return {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{time}s",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)],
    }
