from __future__ import annotations

from bench.profiles import Share, shares


def test_shares_of_modules_whatever_the_folder() -> None:
    stacks = [
        "run (threading.py:9);r (/a/exporter/metrics/render.py:3);draw (/b/exporter/metrics/lines.py:5) 3",
        "run (threading.py:9);r (/a/exporter/metrics/render.py:3);join (json/x.py:1) 1",
        "loop (/v/.venv/lib/site-packages/uvicorn/service/x.py:3) 4",
    ]
    assert shares(stacks) == [
        Share("exporter/metrics/render.py", 0.125, 0.5),
        Share("other", 0.5, 0.5),
        Share("exporter/metrics/lines.py", 0.375, 0.375),
    ]
