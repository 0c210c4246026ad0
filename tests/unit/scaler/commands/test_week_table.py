from __future__ import annotations

import pytest

from scaler.commands.week_table import plan_table
from service.commands.console import make_console
from tests.support.plans import PROCESSES, made_plan, target_with


def test_a_plan_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print(plan_table(made_plan(target_with(processes=PROCESSES)), 0.1))
    shown = capsys.readouterr().out
    assert "mailer: 40,000 jobs in 300 recorded hours; 2 to 12 workers keep an SLO of 30 s for 99 %" in shown
    assert "jobs that a worker runs at once: 4, as measured" in shown
    assert "1 in 100 jobs of mail runs over 70 s: a grace period of 1 min 30 s" in shown
    [monday] = [line.split() for line in shown.splitlines() if line.split()[:1] == ["Mon"]]
    assert monday[1:] == ["3", "0", *["?"] * 22]
    [strict] = [line.split() for line in shown.splitlines() if line.lstrip().startswith("7.5 s")]
    assert strict == [
        "7.5",
        "s,",
        "not",
        "kept",
        "2",
        "12",
        "0.40",
        "%",
        "21.5",
        "s",
        "300",
        "1,100.0",
        "110.00",
    ]
    assert "30 s, planned" in shown
    assert "price" not in plan_text_without_price(capsys)


def test_it_is_in_the_language_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "id_ID.UTF-8")
    make_console().print(plan_table(made_plan(target_with(processes=PROCESSES)), 0.1))
    shown = capsys.readouterr().out
    assert "2 sampai 12 worker memenuhi SLO 30 s" in shown
    assert "7.5 s, tidak terpenuhi" in shown
    assert [line.split()[1] for line in shown.splitlines() if line.split()[:1] == ["Sen"]] == ["3"]


def plan_text_without_price(capsys: pytest.CaptureFixture[str]) -> str:
    make_console().print(plan_table(made_plan(target_with(processes=PROCESSES)), None))
    return capsys.readouterr().out
