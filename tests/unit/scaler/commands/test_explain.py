from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from scaler.commands.explain import NoTargetError, explanation, find_target_view
from scaler.config.settings import PolicySettings, ScalerSettings
from scaler.model import Control, Missing, Workers
from scaler.state.commands import find_target
from scaler.step_result import StepResult, TargetStep
from scaler.views import scaler_view
from service.outcome import Ok
from tests.support.scaling_view import view


def lines(shown: dict[str, Any], name: str = "mailer") -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=200, markup=False, highlight=False)
    console.print(explanation(shown, find_target_view(shown, name)))
    return [" ".join(line.split()) for line in stream.getvalue().splitlines() if line.strip("─ ")]


def test_large_numbers_are_written_out() -> None:
    text = " ".join(lines(view(1_234_567.0, since=1000.0)))
    assert "1234567 wait" in text
    assert "e+" not in text


def test_the_four_needs_and_which_is_the_most() -> None:
    text = lines(view(400.0))
    assert text[0].startswith("mailer: 2 -> 36 workers (queue): 400 wait and 8 run, ")
    assert text[1] == "workers: 2 current, 2 ready, 36 desired, 36 recommended; policy wait_target"
    assert "400 wait, 8 run, 0 more are due within 60 s; the oldest waits" in text[2]
    assert "jobs/s come" in text[3]
    assert text[4] == "workers start in 25 s; those of this decision help in 30 s"
    assert "is expected to wait" in text[5]
    assert text[6] == "figures are 0.1 s old; conditions: Active"
    needs = {line.split()[0]: line for line in text[8:12]}
    assert list(needs) == ["queue", "load", "due", "kept"]
    assert [name for name, line in needs.items() if "<- most" in line] == ["queue"]
    assert text[12:15] == ["guards", "- none changed the number", "- bounds: 2 to 40 workers"]


def test_the_guards_that_changed_the_number_are_listed() -> None:
    text = lines(view(400.0, settings={"max_workers": 5, "max_step_up": 1}))
    guards = text[text.index("guards") + 1 : text.index("what would change it")]
    assert guards == [
        "- 36 proposed: at most 1 more in one step",
        "- bounds: 2 to 5 workers, at most 1 more in one step",
    ]


def test_jobs_that_stalled_are_told_from_those_that_run() -> None:
    text = lines(view(400.0, active=3.0, unseen=4.0))
    said = "400 wait, 3 run, 4 stalled and may still run, "
    assert said in text[0]
    assert text[2].startswith(f"{said}0 more are due within 60 s")


def test_it_fits_80_columns() -> None:
    for shown in (
        view(400.0),
        view(400.0, active=3.0, unseen=4.0),
        view(400.0, active=0.0, held=400.0),
        view(40.0, policy="threshold"),
    ):
        stream = io.StringIO()
        Console(file=stream, width=80, markup=False, highlight=False).print(
            explanation(shown, shown["targets"][0])
        )
        assert max(map(len, stream.getvalue().splitlines())) <= 80


def test_a_pause_has_a_row_of_its_own() -> None:
    assert any(line.startswith("cap ") for line in lines(view(400.0, active=0.0, held=400.0)))


def test_another_policy_shows_its_figures() -> None:
    text = lines(view(40.0, policy="threshold"))
    assert "waiting 40, active 8, load_factor 1, target_waiting 5" in text
    assert text[0].startswith("mailer: 2 -> 8 workers (waiting): 40 jobs wait")


TARGETS: list[dict[str, Any]] = [
    {"name": "m", "queues": ["{mail}"]},
    {"name": "bulk", "queues": ["bulk-*"]},
    {"name": "shop", "queues": ["orders", "bills"], "prefix": "shop"},
    {"name": "other", "queues": ["bills"]},
]


@pytest.mark.parametrize(
    "name", ["m", "mail", "{mail}", "bull:mail", "bulk", "bulk-x", "orders", "shop:orders", "shop:bills"]
)
def test_a_name_finds_the_target_that_a_manual_command_finds(name: str) -> None:
    processes = {"command": ["node"]}
    settings = ScalerSettings.model_validate(
        {"targets": [target | {"processes": processes} for target in TARGETS]}
    )
    policy = PolicySettings()
    steps = [
        TargetStep(target.name, (), policy, 1.0, Ok(Workers(1, 1)), Missing("empty", "no queue"), Control())
        for target in settings.targets
    ]
    shown = scaler_view(
        StepResult(1.0, 0.1, tuple(steps)),
        version="1",
        uptime=1.0,
        actions=(),
        origins={},
        configured={target.name: target for target in settings.targets},
    )
    assert find_target_view(shown, name)["name"] == find_target(settings, name).name
    with pytest.raises(NoTargetError, match="bills is served by"):
        find_target_view(shown, "bills")


def test_the_view_of_an_earlier_version_has_the_queues_that_were_found() -> None:
    shown = {"targets": [{"name": "m", "queues": ["{mail}"]}, {"name": "bulk", "queues": ["bulk-a"]}]}
    assert find_target_view(shown, "mail")["name"] == "m"
    assert find_target_view(shown, "bull:bulk-a")["name"] == "bulk"


def test_a_queue_finds_its_target() -> None:
    shown = view(1.0)
    assert find_target_view(shown, "mail-retry")["name"] == "mailer"
    with pytest.raises(NoTargetError, match="targets: mailer"):
        find_target_view(shown, "video")


def test_a_queue_is_found_without_its_hash_tag_and_one_of_several_targets_has_to_be_named() -> None:
    shown = {"targets": [{"name": "a", "queues": ["{mail}", "x"]}, {"name": "b", "queues": ["x"]}]}
    assert find_target_view(shown, "mail")["name"] == "a"
    with pytest.raises(NoTargetError, match="x is served by a, b: name one of them"):
        find_target_view(shown, "x")
