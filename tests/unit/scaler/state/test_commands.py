from __future__ import annotations

from pathlib import Path

import pytest

from scaler.commands.override import manual_message, set_automatic, set_manual, set_paused
from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.state.commands import CommandError, change_policy, find_target, set_enabled
from scaler.state.file_store import FileStore
from scaler.state.model import State
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
    assert set_paused(loaded, mailer) == "mailer: workers stay as they are until `scaling auto mailer`"
    assert file.read()[0].operator.paused == {"mailer"}
    calm = set_manual(loaded, mailer, 3, reason="calm", by="ann", seconds=None)
    assert calm == "mailer: 3 workers until `scaling auto mailer`"
    assert file.read()[0].operator.paused == frozenset()  # an override ends a pause
    assert set_automatic(loaded, mailer) == "mailer: scaled by its metrics again"
    assert set_automatic(loaded, mailer) == "mailer: was scaled by its metrics already"
    assert file.read()[0].operator.overrides == {}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, "; without effect now: `enabled` is false: no target is scaled"),
        ({"enabled": True}, ""),
        ({"enabled": False}, "; without effect now: scaling is stopped, until `start_autoscaling`"),
    ],
)
def test_an_override_while_nothing_is_scaled_says_so(
    tmp_path: Path, changed: dict[str, bool], why: str
) -> None:
    loaded = load_scaler_settings(f"enabled: false\nstate_file: {tmp_path}/s.json\n{TEXT}", {}, file="s.yml")
    if changed:
        FileStore(f"{tmp_path}/s.json").update(lambda state: set_enabled(state, enabled=changed["enabled"]))
    message = set_manual(loaded, loaded.model.targets[0], 3, reason="x", by="ann", seconds=None)
    assert message == f"mailer: 3 workers until `scaling auto mailer`{why}"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"enabled": True, "mode": "shadow"},
            "; without effect now: `mode` of mailer is shadow: its workers are not set by this scaler",
        ),
        ({}, "; without effect now: `enabled` of mailer is false: it is not scaled"),
        ({"enabled": True}, ""),
    ],
)
def test_an_override_of_a_target_that_is_not_enabled_says_so(
    tmp_path: Path, changed: dict[str, bool], why: str
) -> None:
    text = TEXT.replace("{name: mailer,", "{name: mailer, enabled: false,")
    loaded = load_scaler_settings(f"state_file: {tmp_path}/s.json\n{text}", {}, file="s.yml")
    mailer = loaded.model.targets[0]
    FileStore(f"{tmp_path}/s.json").update(lambda state: change_policy(state, loaded.model, mailer, changed))
    message = set_manual(loaded, mailer, 3, reason="x", by="ann", seconds=None)
    assert message == f"mailer: 3 workers until `scaling auto mailer`{why}"


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


def test_the_response_of_the_api_says_the_same() -> None:
    data = {
        "target": "mailer",
        "workers": 1,
        "reason": "x",
        "requestedBy": "ann",
        "since": 1.0,
        "until": None,
    }
    assert manual_message(data) == "mailer: 1 worker until `scaling auto mailer`"
    why = "`enabled` of mailer is false: it is not scaled"
    message = "mailer: 1 worker until `scaling auto mailer`; without effect now: "
    assert manual_message(data | {"withoutEffect": why}) == f"{message}{why}"


def test_the_number_of_worker_processes_cannot_be_advised(tmp_path: Path) -> None:
    loaded = load_scaler_settings(f"state_file: {tmp_path}/s.json\n{TEXT}", {}, file="s.yml")
    mailer, state = loaded.model.targets[0], State()
    with pytest.raises(CommandError, match=r"^mode: 'advise': its workers are processes of this scaler"):
        change_policy(state, loaded.model, mailer, {"mode": "advise"})
    changed = change_policy(state, loaded.model, mailer, {"mode": "shadow"})
    assert changed.operator.policies == {"mailer": {"mode": "shadow"}}
