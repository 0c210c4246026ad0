from __future__ import annotations

import json
import logging
import multiprocessing
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.deadline import wait_until
from scaler.config.settings import PolicySettings
from scaler.decision.step import initial_memory
from scaler.model import Override
from scaler.state.file_store import FileStore
from scaler.state.learned import Learned
from scaler.state.live import LiveState
from scaler.state.model import State, StateError, to_json, with_override, with_pause, with_policy
from scaler.state.store import StoreError, Update

SALE = Override(5, "a sale", "ann", 100.0)


def with_sale(state: State) -> State:
    return replace(state, operator=with_override(state.operator, "mail", SALE))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a folder"):
        FileStore(str(tmp_path / "none" / "state.json"))


def test_it_is_replaced_for_its_owner_only(path: Path) -> None:
    file = FileStore(str(path))
    assert file.read() == (State(), [])
    file.update(with_sale)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file.read()[0].operator.overrides == {"mail": SALE}


def test_invalid_json_is_never_overwritten_by_a_change(path: Path) -> None:
    path.write_text("{")
    with pytest.raises(StateError):
        FileStore(str(path)).update(with_sale)
    assert path.read_text() == "{"


def test_a_running_scaler_takes_over_what_a_command_wrote(path: Path) -> None:
    state = LiveState(FileStore(str(path)))
    assert state.control("mail", 0.0).override is None
    FileStore(str(path)).update(with_sale)
    state.refresh()
    assert state.control("mail", 0.0).override == SALE
    state.close()


def test_a_command_given_while_the_scaler_saves_is_not_lost(path: Path) -> None:
    state = LiveState(FileStore(str(path)))
    FileStore(str(path)).update(with_sale)  # not read yet
    state.record_action("mail", 1.0, 2, 3, "burst")
    state.save(lambda: {"mail": Learned(initial_memory(PolicySettings()))})
    stored, problems = FileStore(str(path)).read()
    assert problems == []
    assert stored.operator.overrides == {"mail": SALE}
    assert [(action.old, action.new) for action in stored.actions] == [(2, 3)]
    assert state.control("mail", 0.0).override == SALE
    state.close()


class Interrupted(FileStore):
    """Another process writes a command as soon as a change is written."""

    def update(self, update: Callable[[State], State], *, gone: State | None = None) -> Update:
        result = super().update(update, gone=gone)
        FileStore(str(self.path)).update(with_sale)
        return result


def test_a_command_given_just_after_the_scaler_saved_is_read(path: Path) -> None:
    state = LiveState(Interrupted(str(path)))
    state.record_action("mail", 1.0, 2, 3, "burst")
    state.save(lambda: {"mail": Learned(initial_memory(PolicySettings()))})
    state.refresh()
    assert state.control("mail", 0.0).override == SALE
    state.close()


def test_an_update_returns_the_version_after_it(path: Path) -> None:
    file = FileStore(str(path))
    assert file.update(with_sale).version == file.version()
    assert file.update(with_sale).version == file.version(), "nothing changed"
    before = file.version()
    assert file.update(lambda _: State()).version == file.version() != before


def test_what_was_learned_is_there_after_a_restart(path: Path) -> None:
    first = LiveState(FileStore(str(path)))
    memory = Learned(initial_memory(PolicySettings()), (1.5, 2.25), 4)
    first.save(lambda: {"mail": memory}, at_once=True)
    first.close()
    second = LiveState(FileStore(str(path)))
    assert second.recall("mail") == memory
    assert second.recall("video") == Learned()
    second.close()


def test_learned_values_of_another_release_are_logged_and_dropped(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(
        to_json(State(learned={"mail": {"policy": "threshold", "learned": {"x": 1}, "guards": {}}}))
    )
    state = LiveState(FileStore(str(path)))
    assert state.recall("mail") == Learned()
    assert "learned state not usable" in caplog.text
    state.close()


def test_an_invalid_edit_is_logged_once_and_its_file_stays(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    FileStore(str(path)).update(with_sale)
    state = LiveState(FileStore(str(path)))
    path.write_text("not json")
    with caplog.at_level(logging.WARNING):
        state.refresh()
        state.refresh()
    assert caplog.text.count("state not readable") == 1
    assert state.control("mail", 0.0).override == SALE  # as it was last read
    state.record_action("mail", 1.0, 2, 3, "burst")
    state.save(dict)
    assert path.read_text() == "not json"
    state.close()


def test_an_invalid_part_is_not_lost_when_another_changes(path: Path) -> None:
    file = FileStore(str(path))
    file.update(with_sale)
    data = json.loads(path.read_text())
    data["overrides"]["video"] = {"workers": "many"}
    data["policies"] = ["none"]
    path.write_text(json.dumps(data))
    file.update(lambda state: replace(state, operator=with_override(state.operator, "text", SALE)))
    file.update(lambda state: replace(state, operator=with_override(state.operator, "mail", None)))
    data = json.loads(path.read_text())
    assert data["overrides"].keys() == {"video", "text"}
    assert data["policies"] == ["none"]
    with pytest.raises(StateError, match="policies: should be an object"):
        file.update(
            lambda state: replace(state, operator=with_policy(state.operator, "mail", {"max_workers": 4}))
        )


def test_an_edit_applies_part_by_part(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = LiveState(FileStore(str(path)))
    FileStore(str(path)).update(with_sale)
    data = json.loads(path.read_text())
    data["paused"] = ["video"]
    data["overrides"]["mail"]["workers"] = "x"
    path.write_text(json.dumps(data))
    state.refresh()
    assert state.control("video", 0.0).paused
    assert state.control("mail", 0.0).override is None
    assert any(getattr(record, "part", "").startswith("overrides.mail") for record in caplog.records)
    state.close()


def test_two_scalers_do_not_share_a_file(path: Path) -> None:
    first = LiveState(FileStore(str(path)))
    with pytest.raises(StoreError, match="another scaler"):
        LiveState(FileStore(str(path)))
    first.close()
    LiveState(FileStore(str(path))).close()


def write_for_ever(path: str) -> None:
    file = FileStore(path)
    while True:
        file.update(
            lambda state: replace(state, operator=with_pause(state.operator, "a" * 5000, paused=True))
        )
        file.update(
            lambda state: replace(state, operator=with_pause(state.operator, "a" * 5000, paused=False))
        )


@pytest.mark.fault
def test_a_writer_that_is_killed_leaves_a_whole_file(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(8):
        writer = context.Process(target=write_for_ever, args=(str(path),))
        before = path.stat().st_mtime_ns if path.exists() else 0
        writer.start()
        wait_until(lambda last=before: path.exists() and path.stat().st_mtime_ns > last, what="it writes")  # type: ignore[misc]
        writer.kill()
        writer.join()
        state, problems = FileStore(str(path)).read()
        assert problems == []
        assert state.operator.paused in (frozenset(), frozenset({"a" * 5000}))


def test_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")
    for use in (FileStore(str(path)).read, lambda: FileStore(str(path)).update(lambda state: state)):
        with pytest.raises(StateError) as caught:
            use()
        assert str(caught.value) == f"{path}: invalid JSON"
