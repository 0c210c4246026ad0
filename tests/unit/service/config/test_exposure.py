from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.config.environment import EXPORTER_VARIABLES
from exporter.config.validation import load_exporter_settings
from scaler.config.validation import load_scaler_settings
from service.config.exposure import (
    is_own_machine,
    named_secret_files,
    readable_by_others,
    sent_without_tls,
)
from service.config.files import mode_for_others
from service.config.load import Given, secret_in_file

KEY = "a-key-of-these-tests"


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user reaches; those of pytest are closed."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_what_every_user_can_read(folder: Path) -> None:
    file, link = folder / "secret", folder / "link"
    file.touch()
    link.symlink_to(file)
    for mode, shown in ((0o644, "0644"), (0o604, "0604"), (0o640, None), (0o600, None), (0o660, None)):
        file.chmod(mode)
        assert mode_for_others(str(file)) == mode_for_others(str(link)) == shown
    file.chmod(0o644)
    folder.chmod(0o754)
    assert mode_for_others(str(file)) is None, "the folder is closed to them"
    assert mode_for_others(str(folder / "missing")) is None
    assert mode_for_others("a\0b") is None


def test_each_file_is_told_once(folder: Path) -> None:
    file = folder / "secret"
    file.touch()
    file.chmod(0o644)
    (told,) = readable_by_others({"A_FILE": str(file), "a.file": str(file), "b.file": None})
    assert (told.event, told.setting, told.facts["mode"]) == ("secret readable by others", "A_FILE", "0644")
    assert str(told) == f"A_FILE: every user of this machine can read {file} (mode 0644): chmod o-rwx"


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("redis: {url: 'redis://:hunter2@h'}", "redis.url"),
        ("redis: {url: 'redis://h'}", None),
        ("redis: {password: hunter2}", "redis.password"),
        (f"api: {{read_key: {KEY}}}", "api.read_key"),
        ("redis: {password_file: /p}\nlisten: ':9'", None),
    ],
)
def test_a_secret_in_the_settings_file(text: str, setting: str | None) -> None:
    loaded = load_exporter_settings(text, {}, file="x.yml")
    assert secret_in_file(loaded) == setting
    expected = {setting: "x.yml"} if setting else {}
    assert named_secret_files(loaded, {}, EXPORTER_VARIABLES) == expected


def test_a_secret_of_a_worker_in_the_settings_file() -> None:
    text = "targets:\n- name: a\n  queues: [a]\n  processes: {command: [w], environment: {TOKEN: hunter2}}\n"
    found = secret_in_file(load_scaler_settings(text, {}))
    assert found is not None
    assert found.startswith("targets[0].processes.environment")
    assert secret_in_file(load_scaler_settings(text.replace("{TOKEN: hunter2}", "{}"), {})) is None


def test_files_of_variables() -> None:
    environ = {"REDIS_PASSWORD_FILE": " /p ", "CRON_API_KEY_FILE": "", "REDIS_TLS_CA_FILE": "/ca"}
    loaded = load_exporter_settings("", {})
    assert named_secret_files(loaded, environ, EXPORTER_VARIABLES) == {"REDIS_PASSWORD_FILE": "/p"}


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.5", False),
        ("metrics.example", False),
    ],
)
def test_addresses_that_only_this_machine_reaches(host: str, *, own: bool) -> None:
    assert is_own_machine(host) is own


def test_a_key_and_passwords_are_one_warning() -> None:
    given = {"api.key": Given("CRON_API_KEY", KEY)}
    loaded = load_exporter_settings("web_config_file: w.yml\n", given)
    (told,) = sent_without_tls(loaded, "::", users=True)
    assert (told.event, told.setting) == ("secret without TLS", "CRON_API_KEY")
    assert dict(told.facts) == {"listen": "0.0.0.0:9877"}
    (told,) = sent_without_tls(load_exporter_settings("", {}), "::", users=True)
    assert told.setting == "web_config_file"
    assert list(sent_without_tls(load_exporter_settings("", {}), "::", users=False)) == []
    assert list(sent_without_tls(loaded, "::1", users=True)) == []
