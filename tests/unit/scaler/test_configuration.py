from __future__ import annotations

import logging
from pathlib import Path

import pytest

from scaler.configuration import Reloader, read_scaler_settings
from service.config.load import ConfigError

GOOD = """
interval_seconds: {interval}
targets:
  - {{name: mailer, queues: [mail], max_workers: {most}, processes: {{command: [x]}}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scaler.yml"
    path.write_text(GOOD.format(interval=5, most=8))
    return path


def reloader_of(file: Path) -> Reloader:
    return Reloader(read_scaler_settings({}, config=str(file)), {}, config=str(file))


def test_a_changed_file_is_taken_over(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reloader = reloader_of(file)
    assert not reloader.reload()
    file.write_text(GOOD.format(interval=7, most=9))
    assert reloader.reload()
    assert not reloader.reload()
    assert (reloader.current.interval_seconds, reloader.current.targets[0].max_workers) == (7, 9)
    [record] = caplog.records
    assert vars(record)["changed"] == "interval_seconds, targets.mailer"


@pytest.mark.parametrize("text", ["interval_seconds: often\n", "{", None])
def test_an_invalid_file_is_logged_once_and_the_previous_settings_stay(
    file: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    reloader = reloader_of(file)
    before = reloader.current
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    assert not reloader.reload()
    assert not reloader.reload()
    assert reloader.current is before
    assert [record.message for record in caplog.records] == [
        "changed settings refused, previous settings stay"
    ]
    file.write_text(GOOD.format(interval=6, most=8))
    assert reloader.reload()


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "interval_seconds: 7\n", "interval_seconds: 7\ntargets: []\n"]
)
def test_a_file_that_has_no_targets_any_more_is_refused(
    file: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    reloader = reloader_of(file)
    before = reloader.current
    file.write_text(text)
    assert not reloader.reload()
    assert not reloader.reload()
    assert reloader.current is before
    [record] = caplog.records
    assert record.message == "changed settings refused, previous settings stay"
    assert vars(record)["error"].startswith("settings: targets is empty now; the former ones go on")
    file.write_text(GOOD.format(interval=6, most=8))
    assert reloader.reload()


def test_the_first_targets_may_come_later(file: Path) -> None:
    file.write_text("interval_seconds: 7\n")
    reloader = reloader_of(file)
    file.write_text("interval_seconds: 8\n")
    assert reloader.reload()
    file.write_text(GOOD.format(interval=6, most=8))
    assert reloader.reload()


def test_settings_that_need_a_restart_are_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    reloader = reloader_of(file)
    file.write_text("listen: :1\n" + GOOD.format(interval=5, most=8))
    reloader.reload()
    assert [vars(record).get("settings") for record in caplog.records if "restart" in record.message] == [
        "listen"
    ]


def test_the_command_line_overrides_the_environment(file: Path) -> None:
    loaded = read_scaler_settings(
        {"SCALER_CONFIG": "nowhere", "SCALER_LISTEN": ":2"}, config=str(file), listen=":3", dry_run=True
    )
    assert (loaded.model.listen, loaded.model.dry_run) == (":3", True)


def test_files_that_cannot_be_read_name_their_setting(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SCALER_CONFIG=nowhere \(environment\): cannot be read"):
        read_scaler_settings({"SCALER_CONFIG": "nowhere"})
    file.write_text(f"prometheus: {{username: a, password_file: {tmp_path}/none}}\n")
    with pytest.raises(ConfigError, match=r"prometheus.password_file=.*cannot be read"):
        read_scaler_settings({}, config=str(file))
    with pytest.raises(ConfigError, match=r"PROMETHEUS_PASSWORD_FILE"):
        read_scaler_settings({"PROMETHEUS_PASSWORD_FILE": "nowhere"})
