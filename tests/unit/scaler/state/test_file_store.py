from __future__ import annotations

import json
import logging
import multiprocessing
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scaler.decision.step import initial_memory
from scaler.model import Override
from scaler.settings import PolicySettings
from scaler.state.file_store import StateFile
from scaler.state.live import LiveState
from scaler.state.model import State, StateError, to_json, with_override, with_pause, with_policy
from scaler.state.store import StoreError

SALE = Override(5, "a sale", "ann", 100.0)


def ordered(state: State) -> State:
    return replace(state, operator=with_override(state.operator, "mail", SALE))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no folder"):
        StateFile(str(tmp_path / "none" / "state.json"))


def test_it_is_replaced_for_its_owner_only(path: Path) -> None:
    file = StateFile(str(path))
    assert file.read() == (State(), [])
    file.change(ordered)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file.read()[0].operator.overrides == {"mail": SALE}


def test_what_is_torn_is_never_written_over_by_a_change(path: Path) -> None:
    path.write_text("{")
    with pytest.raises(StateError):
        StateFile(str(path)).change(ordered)
    assert path.read_text() == "{"


def test_a_running_scaler_takes_over_what_a_command_wrote(path: Path) -> None:
    ledger = LiveState(StateFile(str(path)))
    assert ledger.control("mail", 0.0).override is None
    StateFile(str(path)).change(ordered)
    ledger.refresh()
    assert ledger.control("mail", 0.0).override == SALE
    ledger.close()


def test_an_order_given_while_the_scaler_saves_is_kept(path: Path) -> None:
    ledger = LiveState(StateFile(str(path)))
    StateFile(str(path)).change(ordered)  # not seen yet
    ledger.record_action("mail", 1.0, 2, 3, "burst")
    ledger.save({"mail": initial_memory(PolicySettings())})
    state, problems = StateFile(str(path)).read()
    assert problems == []
    assert state.operator.overrides == {"mail": SALE}
    assert [(one.old, one.new) for one in state.actions] == [(2, 3)]
    assert ledger.control("mail", 0.0).override == SALE
    ledger.close()


class Interrupted(StateFile):
    """Somebody gives an order as soon as a change is written."""

    def change(self, change: Callable[[State], State]) -> tuple[State, object]:
        done = super().change(change)
        StateFile(str(self.path)).change(ordered)
        return done


def test_an_order_given_just_after_the_scaler_saved_is_seen(path: Path) -> None:
    ledger = LiveState(Interrupted(str(path)))
    ledger.record_action("mail", 1.0, 2, 3, "burst")
    ledger.save({"mail": initial_memory(PolicySettings())})
    ledger.refresh()
    assert ledger.control("mail", 0.0).override == SALE
    ledger.close()


def test_a_change_tells_the_mark_it_left(path: Path) -> None:
    file = StateFile(str(path))
    assert file.change(ordered)[1] == file.mark()
    assert file.change(ordered)[1] == file.mark(), "nothing changed"
    before = file.mark()
    assert file.change(lambda _: State())[1] == file.mark() != before


def test_what_was_learned_is_there_after_a_restart(path: Path) -> None:
    first = LiveState(StateFile(str(path)))
    memory = initial_memory(PolicySettings())
    first.save({"mail": memory}, at_once=True)
    first.close()
    second = LiveState(StateFile(str(path)))
    assert second.recall("mail") == memory
    assert second.recall("video") is None
    second.close()


def test_learned_values_of_another_release_are_told_and_dropped(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(
        to_json(State(learned={"mail": {"policy": "threshold", "learned": {"x": 1}, "guards": {}}}))
    )
    ledger = LiveState(StateFile(str(path)))
    assert ledger.recall("mail") is None
    assert "what was learned cannot be used" in caplog.text
    ledger.close()


def test_a_torn_file_is_set_aside_at_start(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text('{"format": "oxherd')
    ledger = LiveState(StateFile(str(path)))
    assert ledger.actions == ()
    [aside] = path.parent.glob("state.json.unusable-*")
    assert aside.read_text() == '{"format": "oxherd'
    assert "cannot be used" in caplog.text
    ledger.close()


def test_a_hand_that_slips_is_told_once_and_its_file_stays(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    StateFile(str(path)).change(ordered)
    ledger = LiveState(StateFile(str(path)))
    path.write_text("not json")
    with caplog.at_level(logging.WARNING):
        ledger.refresh()
        ledger.refresh()
    assert caplog.text.count("cannot be read") == 1
    assert ledger.control("mail", 0.0).override == SALE  # as it was last read
    ledger.record_action("mail", 1.0, 2, 3, "burst")
    ledger.save({})
    assert path.read_text() == "not json"
    ledger.close()


def test_a_slip_in_one_part_is_not_lost_when_another_changes(path: Path) -> None:
    file = StateFile(str(path))
    file.change(ordered)
    data = json.loads(path.read_text())
    data["overrides"]["video"] = {"workers": "many"}
    data["policies"] = ["none"]
    path.write_text(json.dumps(data))
    file.change(lambda state: replace(state, operator=with_override(state.operator, "text", SALE)))
    file.change(lambda state: replace(state, operator=with_override(state.operator, "mail", None)))
    kept = json.loads(path.read_text())
    assert kept["overrides"].keys() == {"video", "text"}
    assert kept["policies"] == ["none"]
    with pytest.raises(StateError, match="policies: should be an object"):
        file.change(lambda state: replace(state, operator=with_policy(state.operator, "mail", {"aim": 0.2})))


def test_a_hand_edit_counts_part_by_part(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = LiveState(StateFile(str(path)))
    StateFile(str(path)).change(ordered)
    data = json.loads(path.read_text())
    data["paused"] = ["video"]
    data["overrides"]["mail"]["workers"] = "x"
    path.write_text(json.dumps(data))
    ledger.refresh()
    assert ledger.control("video", 0.0).paused
    assert ledger.control("mail", 0.0).override is None
    assert any(getattr(one, "part", "").startswith("overrides.mail") for one in caplog.records)
    ledger.close()


def test_two_scalers_do_not_share_a_file(path: Path) -> None:
    first = LiveState(StateFile(str(path)))
    with pytest.raises(StoreError, match="another scaler"):
        LiveState(StateFile(str(path)))
    first.close()
    LiveState(StateFile(str(path))).close()


def write_for_ever(path: str) -> None:
    file = StateFile(path)
    while True:
        file.change(
            lambda state: replace(state, operator=with_pause(state.operator, "a" * 5000, paused=True))
        )
        file.change(
            lambda state: replace(state, operator=with_pause(state.operator, "a" * 5000, paused=False))
        )


@pytest.mark.timeout(20)
def test_a_writer_that_is_killed_leaves_a_whole_file(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(8):
        writer = context.Process(target=write_for_ever, args=(str(path),))
        writer.start()
        time.sleep(0.05)
        writer.kill()
        writer.join()
        state, problems = StateFile(str(path)).read()
        assert problems == []
        assert state.operator.paused in (frozenset(), frozenset({"a" * 5000}))
