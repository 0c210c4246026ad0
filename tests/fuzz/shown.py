"""What is made of a snapshot wherever it is shown: a figure that nothing can show, or that is no number, is a
finding as well."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Final

from exporter.assessment import Assessment
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.metrics.render import Renderer
from exporter.page import status_page
from exporter.snapshot.whole import Snapshot
from exporter.views import About, status_view

_EVERY: Final = 25  # it takes a ms; what it would fail on comes in many inputs
_ABOUT: Final = About("1.2.3", monitoring=True, uptime=1.0)
_RENDERER: Final = Renderer()
_SETTINGS: Final = HealthSettings()
_NO_NUMBER: Final = re.compile(rb"^[^#].* [+-]?(?:nan|inf)$", re.MULTILINE | re.IGNORECASE)
_calls = count()


def show(snapshot: Snapshot) -> None:
    """Judge it and write series, JSON and page, for the first call and each 25th."""
    if next(_calls) % _EVERY:
        return
    assessment = Assessment(snapshot, assess(snapshot, _SETTINGS))
    odd = _NO_NUMBER.search(_RENDERER.text(assessment))
    assert odd is None, odd
    view = status_view(assessment, _ABOUT)
    json.dumps(view, allow_nan=False)
    status_page(view, now=snapshot.taken_at).encode("utf-8", "surrogateescape")
