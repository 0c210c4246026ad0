from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.environment import exporter_environment
from exporter.config.validation import load_exporter_settings
from exporter.configuration import all_secrets, preflight_error, read_exporter_settings
from service.config.load import ConfigError


def test_file_environment_and_command_line(tmp_path: Path) -> None:
    file, secret = tmp_path / "oxherd.yaml", tmp_path / "secret"
    file.write_text("listen: ':1'\nbullmq:\n  prefixes: [a]\n")
    secret.write_text("hunter2\n")
    environ = {"EXPORTER_CONFIG": str(file), "REDIS_PASSWORD_FILE": str(secret), "BULLMQ_PREFIXES": "b"}
    model = read_exporter_settings(environ, listen=":2").model
    assert (model.listen, model.bullmq.prefixes) == (":2", ("b",))
    assert all_secrets(model) == {"hunter2"}
    other = tmp_path / "other.yaml"
    other.write_text("listen: ':3'\n")
    assert read_exporter_settings(environ, config=str(other)).model.listen == ":3"


def test_the_password_in_a_url_is_a_secret_too() -> None:
    model = read_exporter_settings({"REDIS_URL": "redis://:hunter%232@h"}).model
    assert all_secrets(model) == {"redis://:hunter%232@h", "hunter#2"}


@pytest.mark.parametrize("name", ["REDIS_TLS_CA_FILE", "EXPORTER_CONFIG", "REDIS_SENTINEL_PASSWORD_FILE"])
def test_a_missing_file(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_exporter_settings({name: "/nowhere"})
    assert str(caught.value) == f"{name}=/nowhere (environment): cannot be read: no such file or directory"


@pytest.mark.parametrize(
    ("environ", "kind", "setting"),
    [
        ({}, "auth", "REDIS_PASSWORD (not set)"),
        ({"REDIS_PASSWORD": "hunter2"}, "auth", "REDIS_PASSWORD (environment)"),
        ({"REDIS_URL": "redis://:hunter2@h:1"}, "auth", "REDIS_URL (environment)"),
        ({"REDIS_URL": "redis://h:1"}, "auth", "REDIS_PASSWORD (not set)"),
        ({"REDIS_SENTINELS": "h:1"}, "auth", "REDIS_SENTINEL_PASSWORD (not set)"),
        ({"REDIS_SENTINELS": "i:1"}, "auth", "REDIS_PASSWORD (not set)"),
        ({}, "protocol", "REDIS_URL (not set)"),
        ({"REDIS_URL": "redis://h:1"}, "protocol", "REDIS_URL (environment)"),
        ({"REDIS_CLUSTER_HOST_3": "h:1"}, "protocol", "REDIS_CLUSTER_HOST_3 (environment)"),
        ({"REDIS_SENTINELS": "h:1"}, "protocol", "REDIS_SENTINELS (environment)"),
        ({"REDIS_TLS": "1"}, "tls", "REDIS_TLS (environment)"),
        ({"REDIS_URL": "rediss://h:1"}, "tls", "REDIS_URL (environment)"),
    ],
)
def test_what_redis_refuses_names_the_setting(environ: dict[str, str], kind: str, setting: str) -> None:
    assert str(preflight_error(read_exporter_settings(environ), "h:1", kind, "why")) == f"{setting}: h:1: why"


def test_a_certificate_names_the_bundle() -> None:
    loaded = load_exporter_settings(
        "", exporter_environment({"REDIS_TLS": "1", "REDIS_TLS_CA_FILE": "/ca.pem"})
    )
    assert preflight_error(loaded, "h:1", "tls", "the server's certificate: x").setting == "REDIS_TLS_CA_FILE"


@pytest.mark.parametrize(
    ("names", "setting"),
    [
        (["REDIS_TLS_CA_FILE"], "REDIS_TLS_CA_FILE"),
        (["REDIS_TLS_CERT_FILE", "REDIS_TLS_KEY_FILE"], "REDIS_TLS_CERT_FILE"),
    ],
)
def test_a_file_that_is_not_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], setting: str
) -> None:
    monkeypatch.chdir(tmp_path)  # an absolute path may be too long to be shown whole
    Path("file.pem").write_text("hunter2")
    with pytest.raises(ConfigError) as caught:
        read_exporter_settings(dict.fromkeys(names, "file.pem"))
    assert str(caught.value) == f"{setting}=file.pem (environment): not a PEM file of that kind"


def test_secrets_in_files_that_the_settings_file_names(tmp_path: Path) -> None:
    for name, text in (("password", "hunter2\n"), ("sentinel", "hunter3"), ("url", "redis://:p@h:1\n")):
        (tmp_path / name).write_text(text)
    config = tmp_path / "oxherd.yaml"
    config.write_text(
        f"redis:\n  url_file: {tmp_path}/url\n  password_file: {tmp_path}/password\n"
        f"  sentinel_password_file: {tmp_path}/sentinel\n"
    )
    loaded = read_exporter_settings({}, config=str(config))
    assert all_secrets(loaded.model) == {"hunter2", "hunter3", "redis://:p@h:1", "p"}
    assert loaded.model.redis.password_file == f"{tmp_path}/password"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "password: a\n  password_file: /nowhere",
            "redis.password_file=/nowhere ({file}, line 3): redis.password is set too: keep one of them",
        ),
        (
            "password_file: /nowhere",
            "redis.password_file=/nowhere ({file}, line 2): cannot be read: no such file or directory",
        ),
        ("url_file: {url}", "redis.url_file"),
    ],
)
def test_files_of_the_settings_file_that_cannot_be_used(tmp_path: Path, settings: str, message: str) -> None:
    file, url = tmp_path / "oxherd.yaml", tmp_path / "url"
    url.write_text("http://secret")
    file.write_text(f"redis:\n  {settings.format(url=url)}\n")
    with pytest.raises(ConfigError) as caught:
        read_exporter_settings({}, config=str(file))
    assert str(caught.value).startswith(message.format(file=file))
    assert "secret" not in str(caught.value)
