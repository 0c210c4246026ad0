from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaler.commands.override import set_automatic, set_manual, set_paused
from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.state.commands import CommandError, find_target
from scaler.state.file_store import FileStore
from service.config.load import Loaded

TEXT = """
targets:
  - {name: mailer, queues: [mail, "mail-*"], max_workers: 8, processes: {command: [x]}}
  - {name: mail-out, queues: [outbox], processes: {command: [x]}}
  - {name: rest, prefix: other, queues: ["*-slow"], processes: {command: [x]}}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded[ScalerSettings]:
    return load_scaler_settings(f"state_file: {tmp_path}/state.json\n{TEXT}", {}, file="s.yml")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("mailer", "mailer"),
        ("mail", "mailer"),
        ("mail-7", "mailer"),
        ("mail-out", "mail-out"),
        ("outbox", "mail-out"),
    ],
)
def test_a_target_goes_by_its_name_or_its_queue(
    loaded: Loaded[ScalerSettings], name: str, target: str
) -> None:
    assert find_target(loaded.model, name).name == target


def test_an_unknown_or_ambiguous_name_is_an_error(loaded: Loaded[ScalerSettings]) -> None:
    with pytest.raises(
        CommandError, match="there is no target or queue 'video'; targets: mailer, mail-out, rest"
    ):
        find_target(loaded.model, "video")
    with pytest.raises(CommandError, match="is served by mailer, rest: name one of them"):
        find_target(loaded.model, "mail-slow")


def test_settings_without_targets_are_an_error_of_their_own() -> None:
    with pytest.raises(CommandError, match="the settings have no targets: name their file"):
        find_target(load_scaler_settings("", {}, file="s.yml").model, "mail")


def test_a_queue_goes_by_its_name_without_the_tag_of_a_cluster(tmp_path: Path) -> None:
    text = """
targets:
  - {name: one, prefix: app, queues: ["{mail}", "{video-*}"], processes: {command: [x]}}
  - {name: two, prefix: shop, queues: ["{mail}", orders], processes: {command: [x]}}
"""
    settings = load_scaler_settings(f"state_file: {tmp_path}/state.json\n{text}", {}, file="s.yml").model
    for name, target in (("orders", "two"), ("video-7", "one"), ("shop:mail", "two"), ("app:{mail}", "one")):
        assert find_target(settings, name).name == target
    for name in ("mail", "{mail}"):
        with pytest.raises(CommandError, match="is served by one, two: name one of them"):
            find_target(settings, name)


def test_commands_are_written_to_the_file_that_the_scaler_reads(loaded: Loaded[ScalerSettings]) -> None:
    [mailer, *_] = loaded.model.targets
    file = FileStore(loaded.model.state_file or "")
    message = set_manual(loaded, mailer, 8, reason=" a sale ", by="ann", seconds=5400)
    assert message.startswith("mailer: 8 workers for 1 h 30 min, until ")
    override = file.read()[0].operator.overrides["mailer"]
    assert (override.workers, override.reason, override.by) == (8, "a sale", "ann")
    assert override.until == override.at + 5400
    assert set_paused(loaded, mailer) == "mailer: workers stay as they are until `scaling auto`"
    assert file.read()[0].operator.paused == {"mailer"}
    set_manual(loaded, mailer, 3, reason="calm", by="ann", seconds=None)
    assert file.read()[0].operator.paused == frozenset()  # an override ends a pause
    assert set_automatic(loaded, mailer) == "mailer: scaled by its metrics again"
    assert set_automatic(loaded, mailer) == "mailer: was scaled by its metrics already"
    assert file.read()[0].operator.overrides == {}


def test_a_file_that_may_be_another_one_for_the_scaler_is_named(
    loaded: Loaded[ScalerSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [mailer, *_] = loaded.model.targets
    relative = replace(loaded, model=loaded.model.model_copy(update={"state_file": "state.json"}))
    where = f"written to {tmp_path}/state.json: state_file is relative to the folder of each process"
    for message in (
        set_manual(relative, mailer, 8, reason="a sale", by="ann", seconds=None),
        set_paused(relative, mailer),
        set_automatic(relative, mailer),
    ):
        assert message.splitlines()[1:] == [where]


@pytest.mark.parametrize(
    ("settings", "of_target", "notice"),
    [
        ({}, {"enabled": False}, "; it has no effect while mailer is not scaled: enabled is false for it"),
        ({"enabled": False}, {}, "; it has no effect while scaling is switched off"),
        ({"dry_run": True}, {}, "; it has no effect in a dry run"),
        ({}, {}, ""),
    ],
)
def test_an_override_without_effect_says_so(
    loaded: Loaded[ScalerSettings], settings: dict[str, Any], of_target: dict[str, Any], notice: str
) -> None:
    mailer, *others = loaded.model.targets
    mailer = mailer.model_copy(update=of_target)
    given = loaded.model.model_copy(update={**settings, "targets": (mailer, *others)})
    message = set_manual(replace(loaded, model=given), mailer, 4, reason="x", by="ann", seconds=None)
    assert message == f"mailer: 4 workers until `scaling auto`{notice}"


@pytest.mark.parametrize(("workers", "reason"), [(9, "x"), (1, "x"), (4, "  ")])
def test_an_invalid_command_is_refused_and_nothing_is_written(
    loaded: Loaded[ScalerSettings], workers: int, reason: str
) -> None:
    [mailer, *_] = loaded.model.targets
    with pytest.raises(CommandError):
        set_manual(loaded, mailer, workers, reason=reason, by="ann", seconds=None)
    assert not Path(loaded.model.state_file or "").exists()


def test_without_a_state_file_commands_cannot_reach_the_scaler() -> None:
    loaded = load_scaler_settings(TEXT, {}, file="s.yml")
    with pytest.raises(CommandError, match="SCALER_STATE_FILE"):
        set_paused(loaded, loaded.model.targets[0])
