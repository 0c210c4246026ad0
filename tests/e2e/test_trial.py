"""A small trial: a burst, with real workers, a real Prometheus and the command `scaling start`."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.trial.picture import draw
from bench.trial.recording import changes, summary_of
from bench.trial.run import run
from bench.trial.scenarios import Disturbance, Plant, Scenario, arrivals

pytestmark = pytest.mark.timeout(240)  # 57 s alone, of jobs that come in real time

BURST = Scenario(
    "burst", "A small burst", 4.0, 0.5, (Disturbance("rate", 2, 8, 5.0),), seconds=44.0, lead=3.0
)
PLANT = Plant(interval=1, slo=10.0, concurrency=2, max_workers=8, start=(0.5, 1.0), start_cost=3.0)


def test_workers_follow_a_burst_out_and_in_and_every_job_is_done_once(tmp_path: Path) -> None:
    recording = run(BURST, PLANT)
    total = summary_of(recording)
    assert (recording.lost, recording.repeated) == (0, 0)
    assert len(recording.jobs) == len(arrivals(BURST))
    assert total.late <= 0.05 * total.jobs
    before = max(look.requested for look in recording.looks if look.at < 2)
    after = recording.looks[-1].requested
    assert total.most_workers > before
    assert total.most_workers > after
    moves = changes(recording.looks)
    assert {now.reason for was, now in moves if now.requested > was.requested} & {"queue", "load"}
    assert all(now.sentence for _, now in moves)
    picture = tmp_path / "trial-burst.svg"
    draw(recording, picture)
    assert ET.parse(picture).getroot().tag.endswith("svg")  # noqa: S314 - our own file
