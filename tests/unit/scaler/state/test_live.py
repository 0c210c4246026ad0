from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from scaler.model import Control, Override
from scaler.state import live
from scaler.state.file_store import FileStore
from scaler.state.learned import Learned
from scaler.state.live import LiveState
from scaler.state.model import OperatorState, State, to_json, with_override, with_pause
from scaler.state.store import StoreError


def test_a_file_that_cannot_be_saved_is_one_line_and_is_not_tried_at_every_step(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    caplog.set_level(logging.INFO)
    tried: list[float] = []
    file, update = tmp_path / "state.json", FileStore.update

    def counted(store: FileStore, change: object, *, gone: State | None = None) -> object:
        tried.append(1)
        return update(store, change, gone=gone)  # type: ignore[arg-type]

    monkeypatch.setattr(FileStore, "update", counted)
    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    state.save(dict)
    file.write_text("{ by hand")
    for step in range(20):
        state.refresh()
        state.record_action("mail", float(step), 1, 2, "queue")
        state.save(dict)
    assert [record.message for record in caplog.records].count("state not saved") == 1
    assert len(tried) == 2
    file.unlink()
    state.refresh()
    state.save(dict)
    assert caplog.records[-1].message == "state saved again"
    assert len(FileStore(str(file)).read()[0].actions) == 20


@pytest.mark.fault
def test_what_a_restart_needs_at_once_is_not_saved_a_minute_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Who is killed lacks ten seconds of it; what changes in each step is not written in each."""
    times = [1000.0]
    written: list[float] = []

    def learned() -> dict[str, Learned]:
        written.append(times[-1])
        return {}

    monkeypatch.setattr(live, "monotonic", lambda: times[-1])
    state = LiveState(FileStore(str(tmp_path / "state.json")))
    request.addfinalizer(state.close)
    for step in range(30):
        times.append(1000.0 + 5 * step)
        state.save(learned, soon=step in {1, 2, 3, 14})
    assert written == [1000.0, 1010.0, 1020.0, 1070.0, 1130.0]


SALE = Override(4, "a sale", "ann", 100.0)
STORED = to_json(
    State(with_pause(with_override(OperatorState(), "mail", SALE), "video", paused=True), {"mail": {"x": 1}})
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    path.write_text(STORED)
    return path


@pytest.mark.fault
@pytest.mark.parametrize(
    "text",
    [
        STORED[:100],
        "",
        "\x00" * 50,
        "[1]",
        STORED.replace("oxherd scaler 1", "oxherd scaler 2"),
        STORED.replace("oxherd scaler 1", "oxherd scaler 0"),
        STORED.replace('"format"', '"form"'),
        STORED.replace('"paused": [', '"paused": [1,'),
    ],
    ids=["torn", "empty", "binary", "a list", "newer", "older", "no format", "a part"],
)
def test_orders_that_cannot_be_read_at_a_start_are_not_taken_for_none(
    file: Path, text: str, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    file.write_text(text)
    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    for _ in range(3):
        state.refresh()
    assert state.why_held.endswith("`scaling state discard`")
    assert state.readable is False
    messages = [record.message for record in caplog.records]
    assert messages.count("state not usable, nothing is scaled") == 1
    if not state.loaded:
        state.save(dict, at_once=True)
        assert file.read_text() == text, "nothing is written over it"
    file.write_text(STORED)
    state.refresh()
    assert (state.loaded, state.why_held, state.readable) == (True, "", True)
    assert state.control("mail", 0.0) == Control(override=SALE)
    assert state.control("video", 0.0).paused


@pytest.mark.fault
@pytest.mark.parametrize("text", ["{", STORED.replace('"paused": [', '"paused": [1,')], ids=["all", "a part"])
def test_a_file_that_is_removed_while_it_cannot_be_read_is_no_order(
    file: Path, text: str, request: pytest.FixtureRequest
) -> None:
    file.write_text(text)
    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    file.unlink()
    state.refresh()
    assert (state.loaded, state.why_held, state.operator) == (True, "", OperatorState())


@pytest.mark.fault
def test_orders_stay_in_force_when_their_file_is_deleted(
    file: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    state.record_action("mail", 1.0, 2, 3, "burst")
    file.unlink()
    state.refresh()
    [gone] = [record for record in caplog.records if record.message == "state gone, written again"]
    assert vars(gone)["orders"] == "mail: 4 workers, video: paused"
    assert state.control("mail", 0.0).override == SALE
    state.save(dict)
    stored, problems = FileStore(str(file)).read()
    assert (stored.operator, problems) == (state.operator, [])
    assert [(action.old, action.new) for action in stored.actions] == [(2, 3)]
    state.refresh()
    assert len(caplog.records) == 1


@pytest.mark.fault
def test_a_command_after_the_file_was_deleted_keeps_the_other_orders(
    file: Path, request: pytest.FixtureRequest
) -> None:
    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    file.unlink()
    state.update(lambda before: replace(before, operator=with_pause(before.operator, "text", paused=True)))
    operator = FileStore(str(file)).read()[0].operator
    assert operator.paused == {"video", "text"}
    assert operator.overrides == {"mail": SALE}


@pytest.mark.fault
def test_what_can_be_read_is_kept_when_the_rest_is_discarded(file: Path) -> None:
    text = STORED.replace("oxherd scaler 1", "oxherd scaler 2")
    file.write_text(text)
    discarded = FileStore(str(file)).discard()
    assert discarded is not None
    assert Path(discarded.kept_as).read_text() == text
    assert FileStore(str(file)).read() == (discarded.kept, [])
    assert discarded.kept.operator.overrides == {"mail": SALE}
    assert discarded.kept.operator.paused == {"video"}
    assert FileStore(str(file)).discard() is None, "all of it can be read"


@pytest.mark.fault
def test_an_invalid_order_is_discarded_alone(file: Path, request: pytest.FixtureRequest) -> None:
    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    file.write_text(STORED.replace('"workers": 4', '"workers": "many"'))
    state.refresh()
    assert state.control("mail", 0.0).paused
    assert (state.readable, state.why_held) == (False, "")
    assert FileStore(str(file)).discard() is not None
    state.refresh()
    assert state.control("mail", 0.0) == Control()
    assert state.control("video", 0.0).paused
    assert state.readable


@pytest.mark.fault
@pytest.mark.timeout(10)
def test_a_fifo_as_state_file_is_refused_at_a_start_and_changes_no_order_later(
    file: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    file.unlink()
    os.mkfifo(file)
    state.refresh()
    state.refresh()
    assert [record.message for record in caplog.records] == ["state not readable"]
    assert state.control("mail", 0.0).override == SALE
    state.close()
    with pytest.raises(StoreError, match="not a regular file"):
        LiveState(FileStore(str(file)))
    file.unlink()
    file.write_text(STORED)
    state.refresh()
    assert state.readable


def test_a_file_that_may_be_read_again_is_read_although_it_did_not_change(
    file: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def refused(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    state = LiveState(FileStore(str(file)))
    request.addfinalizer(state.close)
    file.write_text(STORED.replace('"workers": 4', '"workers": 7'))
    monkeypatch.setattr("scaler.state.file_store.read_regular_file", refused)
    state.refresh()
    assert not state.readable
    monkeypatch.undo()
    state.refresh()
    assert state.readable
    override = state.control("mail", 0.0).override
    assert override is not None
    assert override.workers == 7
