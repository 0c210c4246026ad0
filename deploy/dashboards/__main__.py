"""Writes the dashboards in deploy/grafana/dashboards, or compares.

`python -m deploy.dashboards --write` and `--check`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from deploy.dashboards.host import host
from deploy.dashboards.model import Dashboard
from deploy.dashboards.overview import overview
from deploy.dashboards.queues import queues
from deploy.dashboards.redis import redis
from deploy.dashboards.scaling import scaling
from deploy.rules.thresholds import Thresholds

HERE: Final = Path(__file__).parents[1]
TARGET: Final = HERE / "grafana" / "dashboards"


def dashboards() -> tuple[Dashboard, ...]:
    """All of them, in the order in which one asks."""
    runbooks = Thresholds.read(HERE / "prometheus" / "rules" / "thresholds.yml").runbooks + "/"
    return tuple(make(runbooks) for make in (overview, queues, redis, host, scaling))


def files() -> dict[Path, str]:
    """Each file and the text it should have."""
    return {
        TARGET / f"{dashboard.uid}.json": json.dumps(dashboard.json(), indent=2, ensure_ascii=False) + "\n"
        for dashboard in dashboards()
    }


def main(arguments: list[str]) -> int:
    """0 when all is written or right, 1 when a file is stale, 2 for a wrong call."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m deploy.dashboards --check | --write", file=sys.stderr)
        return 2
    expected = files()
    if arguments == ["--write"]:
        TARGET.mkdir(parents=True, exist_ok=True)
        for path, text in expected.items():
            path.write_text(text)
        return 0
    stale = [path.name for path, text in expected.items() if not path.exists() or path.read_text() != text]
    for name in stale:
        print(
            f"{name} is not what deploy/dashboards makes: run python -m deploy.dashboards --write",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
