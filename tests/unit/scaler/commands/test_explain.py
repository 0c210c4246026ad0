from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from scaler.commands.explain import NoTargetError, explanation, find_target_view
from scaler.config.settings import PolicySettings
from scaler.decision.step import step
from scaler.model import Control, Observation, QueueSample, Workers
from scaler.step_result import StepResult, TargetStep
from scaler.views import scaler_view
from service.outcome import Ok


def view(
    waiting: float, *, policy: str = "wait_target", since: float = 1005.0, **sample: Any
) -> dict[str, Any]:
    """As the scaler would show it after two samples; jobs wait since this time."""
    settings = PolicySettings.model_validate(
        {"policy": policy, "worker_concurrency": 4, "max_workers": 40, "cooldown_seconds": 0}
    )
    memory = None
    decided: list[TargetStep] = []
    for at in (since - 5.0, *([since] if since < 1005 else []), 1005.0):
        figures = QueueSample(at, waiting if at >= since else 0, 8, completed=10 * at, failed=0.0, due=0.0)
        figures = replace(figures, **sample)
        observation = Observation(at, 2, 2, figures, 25.0)
        decision, memory = step(settings, 5.0, observation, Control(), memory)
        workers = Ok(Workers(2, 2, 25.0))
        decided = [
            TargetStep("mailer", ("mail", "mail-retry"), settings, at, workers, figures, Control(), decision)
        ]
    shown = scaler_view(
        StepResult(1005.0, 0.1, tuple(decided)), version="1", uptime=1.0, actions=(), origins={}
    )
    data: dict[str, Any] = json.loads(json.dumps(shown))
    return data


def lines(shown: dict[str, Any], name: str = "mailer") -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=200, markup=False, highlight=False)
    console.print(explanation(find_target_view(shown, name)))
    return [" ".join(line.split()) for line in stream.getvalue().splitlines() if line.strip("─ ")]


def test_large_numbers_are_written_out() -> None:
    text = " ".join(lines(view(1_234_567.0, since=1000.0)))
    assert "1234567 wait" in text
    assert "e+" not in text


def test_the_four_needs_and_which_is_the_most() -> None:
    text = lines(view(400.0))
    assert text[0].startswith("mailer: 2 workers requested, ")
    assert lines(view(0.0) | {"targets": [view(0.0)["targets"][0] | {"current": 1}]})[0].startswith(
        "mailer: 1 worker requested, "
    )
    assert "400 wait, 8 run, 0 more are due within 60 s; the oldest waits" in text[1]
    assert "jobs/s come" in text[2]
    assert text[3] == "workers start in 25 s; those of this decision help in 30 s"
    assert "is expected to wait" in text[4]
    needs = {line.split()[0]: line for line in text[6:10]}
    assert list(needs) == ["queue", "load", "due", "kept"]
    assert [name for name, line in needs.items() if "<- most" in line] == ["queue"]
    assert text[-1].startswith("queue: ")


def test_a_pause_has_a_row_of_its_own() -> None:
    assert any(line.startswith("cap ") for line in lines(view(400.0, active=0.0, held=400.0)))


def test_another_policy_shows_its_figures() -> None:
    text = lines(view(40.0, policy="threshold"))
    assert "waiting 40" in text
    assert text[-1].startswith("waiting: 40 jobs wait")


def test_a_queue_finds_its_target() -> None:
    shown = view(1.0)
    assert find_target_view(shown, "mail-retry")["name"] == "mailer"
    with pytest.raises(NoTargetError, match="targets: mailer"):
        find_target_view(shown, "video")
