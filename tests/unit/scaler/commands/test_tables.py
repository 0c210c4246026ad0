from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from scaler.commands.explain import explanation
from scaler.commands.status import status_exit_code
from scaler.commands.tables import scaling_table
from scaler.config.settings import PolicySettings
from scaler.model import Control, Decision, QueueSample, Workers
from scaler.step_result import StepResult, TargetStep
from scaler.views import scaler_view
from service.outcome import Ok
from tests.support.public_interface import FIXTURES


@pytest.fixture
def view() -> dict[str, Any]:
    status: dict[str, Any] = json.loads((FIXTURES / "scaler-status.json").read_text())
    return status | {"enabled": False, "dry_run": True, "leading": False}


def lines(view: dict[str, Any], width: int = 250) -> list[str]:
    """With single spaces."""
    stream = io.StringIO()
    Console(file=stream, width=width, markup=False, highlight=False).print(scaling_table(view))
    return [" ".join(line.split()) for line in stream.getvalue().splitlines() if line.strip()]


def test_in_english(view: dict[str, Any]) -> None:
    off, dry_run, not_leader, head, _, target, override, action = lines(view)
    assert off == "scaling is switched off: nothing is changed"
    assert dry_run == "dry run: nothing is changed"
    assert not_leader == "another scaler is the leader: this one changes nothing"
    assert head == (
        "target queues workers ready bounds waiting active load util jobs/min run avg wait age conditions "
        "last decision"
    )
    assert target == (
        "mail mail 2 -> 5 2 2 to 10 5 2 0.70 20 % 120 500 ms 1.0 s 1 s Overridden 15 min "
        "2 -> 5 workers, not applied (override): n, for 0 s more; the metrics call for 3"
    )
    assert override == "mail: 5 workers until 1970-01-01 00:00:02 UTC, by b: a"
    assert action == "1970-01-01 00:00:01 UTC mail 1 -> 5 (x)"


@pytest.mark.parametrize(("age", "late"), [(14.0, False), (15.2, True), (None, False)])
def test_a_last_step_that_is_long_ago_is_said_first_and_is_not_ok(
    view: dict[str, Any], age: float | None, *, late: bool
) -> None:
    shown = view | {"step_age_seconds": age, "enabled": True, "dry_run": False, "leading": True}
    first = "no step for 15 s, although one is due every 5 s: what follows is as old"
    assert (lines(shown)[0] == first) == late
    assert status_exit_code(shown) == late
    [target] = view["targets"]
    stream = io.StringIO()
    Console(file=stream, width=250).print(explanation(shown, target))
    assert stream.getvalue().startswith(first) == late


def test_orders_that_cannot_be_read_are_said_first_and_are_not_ok(view: dict[str, Any]) -> None:
    shown = view | {"enabled": True, "dry_run": False, "leading": False, "held": "the state cannot be read"}
    held, head, *_ = lines(shown)
    assert (held, head[:6]) == ("nothing is scaled: the state cannot be read", "target")
    assert status_exit_code(shown) == 1
    assert status_exit_code(shown | {"held": None}) == 0


def test_figures_age_with_the_step() -> None:
    sample = QueueSample(at=1000.0, waiting=1, active=0)
    step = TargetStep(
        "mail",
        ("mail",),
        PolicySettings(),
        1001.0,
        Ok(Workers(1, 1)),
        sample,
        Control(),
        Decision(1, 1, "x", "y"),
    )
    result = StepResult(1001.0, 0.5, (step,))
    shown = scaler_view(result, version="1", uptime=1.0, actions=(), origins={}, interval=5.0, age=40.0)
    assert shown["targets"][0]["metrics"]["age_seconds"] == 41.5
    assert (shown["step_age_seconds"], shown["interval_seconds"]) == (40.0, 5.0)


def test_in_indonesian(view: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "id_ID.UTF-8")
    off, dry_run, not_leader, head, _, target, override, _ = lines(view)
    assert off == "penskalaan dimatikan: tidak ada yang diubah"
    assert dry_run == "uji coba: tidak ada yang diubah"
    assert not_leader == "scaler lain adalah pemimpin: yang ini tidak mengubah apa pun"
    assert head == (
        "target antrean worker siap batas menunggu aktif beban utilisasi job/mnt proses rata2 tunggu usia "
        "kondisi keputusan terakhir"
    )
    assert target.startswith("mail mail 2 -> 5 2 2 sampai 10 5 2 0.70")
    assert override == "mail: 5 worker sampai 1970-01-01 00:00:02 UTC, oleh b: a"


@pytest.mark.parametrize(
    ("locale", "no_step", "no_targets"),
    [
        ("C", "the first step is not done yet", "no targets are set"),
        ("id", "langkah pertama belum selesai", "tidak ada target yang diatur"),
    ],
)
def test_without_a_step_and_without_targets(
    view: dict[str, Any], monkeypatch: pytest.MonkeyPatch, locale: str, no_step: str, no_targets: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    assert lines(view | {"time": None}) == [no_step]
    assert lines(view | {"targets": []})[-1] == no_targets


def test_an_override_without_an_end(view: dict[str, Any]) -> None:
    (target,) = view["targets"]
    override = target["override"] | {"until": None, "workers": 1}
    overridden = view | {"targets": [target | {"override": override}]}
    assert lines(overridden)[-2] == "mail: 1 worker, by b: a"


@pytest.mark.parametrize("locale", ["C", "id"])
def test_on_a_narrow_terminal_no_cell_is_broken(
    view: dict[str, Any], monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    target = view["targets"][0] | {
        "name": "notifications",
        "reason": "load",
        "sentence": "5 workers: " + "many words " * 20,
        "notes": [],
        "conditions": ["AtMax"],
        "conditions_since": {"AtMax": view["time"] - 900},
    }
    printed = lines(view | {"targets": [target]}, width=80)
    head, row = printed[3], printed[5]
    assert head.startswith("target worker")
    assert row.startswith("notifications 2 -> 5 2 ")
    assert row.endswith("AtMax 15 min")
    head = "notifications: 2 -> 5 workers, not applied (load): "
    assert " ".join(printed[6:10]) == head + " ".join(["many words"] * 20)


def test_lines_of_a_sentence_are_indented_and_fit_80_columns(view: dict[str, Any]) -> None:
    stream = io.StringIO()
    target = view["targets"][0] | {"warnings": ["jobs run longer than the grace period " * 4]}
    Console(file=stream, width=80, markup=False, highlight=False).print(
        scaling_table(view | {"targets": [target, target | {"name": "x" * 30}]})
    )
    printed = stream.getvalue().splitlines()
    assert max(map(len, printed)) <= 80
    first = next(number for number, line in enumerate(printed) if line.startswith("mail: jobs run"))
    assert printed[first + 1].startswith("  ")


def test_conditions_have_the_time_that_they_hold(view: dict[str, Any]) -> None:
    target = view["targets"][0] | {
        "conditions": ["Active", "AtMax", "Paused"],
        "conditions_since": {"Active": 1.0, "AtMax": view["time"] - 7500, "Paused": view["time"] - 61},
    }
    assert any("Active, AtMax 2 h, Paused 1 min" in line for line in lines(view | {"targets": [target]}))
