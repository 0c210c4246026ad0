from __future__ import annotations

import logging
from pathlib import Path

import pytest

from scaler.state.file_store import FileStore
from scaler.state.live import LiveState


def test_a_file_that_cannot_be_saved_is_one_line_and_is_not_tried_at_every_step(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    caplog.set_level(logging.INFO)
    tried: list[float] = []
    file, update = tmp_path / "state.json", FileStore.update

    def counted(store: FileStore, change: object) -> object:
        tried.append(1)
        return update(store, change)  # type: ignore[arg-type]

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
