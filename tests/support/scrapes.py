"""A scrape of the exporter and its values."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families as parse_text

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(url: str, *, seconds: float = 10) -> Values:
    """Every sample of /metrics; the response must come within the scrape's time-out."""
    response = httpx.get(
        f"{url}/metrics", headers={"x-prometheus-scrape-timeout-seconds": str(seconds)}, timeout=seconds
    )
    assert response.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(response.text)
        for sample in family.samples
    }


def get(values: Values, name: str, **labels: str) -> float | None:
    return values.get((name, tuple(sorted(labels.items()))))
