"""Writes the dashboards in deploy/grafana/dashboards, or compares them.

`python -m deploy.dashboards --write` and `--check`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from deploy.dashboards.grafana import grafana_json
from deploy.dashboards.host import host_dashboard
from deploy.dashboards.model import Dashboard
from deploy.dashboards.overview import overview_dashboard
from deploy.dashboards.queues import queues_dashboard
from deploy.dashboards.redis import redis_dashboard
from deploy.dashboards.scaling import scaling_dashboard
from deploy.rules.thresholds import AlertThresholds

_DEPLOY: Final = Path(__file__).parents[1]
DASHBOARD_FOLDER: Final = _DEPLOY / "grafana" / "dashboards"


def dashboards() -> tuple[Dashboard, ...]:
    """All dashboards, from the overview to the details."""
    runbooks = AlertThresholds.read(_DEPLOY / "prometheus" / "rules" / "thresholds.yml").runbooks + "/"
    overview = overview_dashboard(runbooks)
    queues = queues_dashboard(runbooks)
    redis = redis_dashboard(runbooks)
    host = host_dashboard(runbooks)
    scaling = scaling_dashboard(runbooks)
    return overview, queues, redis, host, scaling


def dashboard_files() -> dict[Path, str]:
    """Each file and its text."""
    documents = {dashboard.uid: grafana_json(dashboard) for dashboard in dashboards()}
    return {
        DASHBOARD_FOLDER / f"{uid}.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for uid, document in documents.items()
    }


def main(arguments: list[str]) -> int:
    """The exit code: 0 when written or equal, 1 when a file differs, 2 for wrong arguments."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m deploy.dashboards --check | --write", file=sys.stderr)
        return 2
    expected = dashboard_files()
    if arguments == ["--write"]:
        DASHBOARD_FOLDER.mkdir(parents=True, exist_ok=True)
        for path, text in expected.items():
            path.write_text(text)
        return 0
    stale = [path.name for path, text in expected.items() if not path.exists() or path.read_text() != text]
    for name in stale:
        print(
            f"{name} differs from deploy/dashboards: run python -m deploy.dashboards --write",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
