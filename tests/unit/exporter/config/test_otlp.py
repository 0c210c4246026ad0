"""The settings of the push."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter import configuration
from exporter.config.otlp import OtlpSettings
from exporter.configuration import all_secrets, exporter_exposures, read_exporter_settings
from service.config.load import ConfigError

URL = "http://collector:4318"


def error_of(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        read_exporter_settings(environ)
    return str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (URL, f"{URL}/v1/metrics"),
        (f"{URL}/", f"{URL}/v1/metrics"),
        (f"{URL}/v1/metrics", f"{URL}/v1/metrics"),
        ("https://prometheus/api/v1/otlp/v1/metrics", "https://prometheus/api/v1/otlp/v1/metrics"),
    ],
)
def test_a_url_without_a_path_gets_that_of_the_specification(endpoint: str, url: str) -> None:
    assert OtlpSettings(endpoint=endpoint).url == url


def test_nothing_is_pushed_without_an_endpoint() -> None:
    assert OtlpSettings().url is None
    assert read_exporter_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}).model.otlp.endpoint is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318",
        "grpc://a:4317",
        "http://",
        "http://u:hunter2@a",
        "http://a?key=hunter2",
        "http://a:b",
    ],
)
def test_an_invalid_url(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        OtlpSettings(endpoint=endpoint)
    assert "hunter2" not in error_of({"OTLP_ENDPOINT": endpoint})


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"header_files": {"Host": "/f"}},
        {"headers": {"X-Key": "a"}, "header_files": {"x-key": "/f"}},
        {"authorization": "Bearer a", "headers": {"Authorization": "b"}},
        {"authorization": "Bearer a\nb"},
        {"attributes": {"service.name": "a"}},
        {"attributes": {"a": ""}},
        {"attributes": {"__name__": "a"}},
        {"tls": {"cert_file": "/f"}},
        {"interval_seconds": 0.5},
        {"timeout_seconds": 61},
    ],
)
def test_invalid_settings(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OtlpSettings.model_validate({"endpoint": URL, **given})


def test_the_token_alone_is_a_secret_too() -> None:
    model = read_exporter_settings({"OTLP_ENDPOINT": URL, "OTLP_AUTHORIZATION": "Bearer hunter2"}).model
    assert all_secrets(model) == {"Bearer hunter2", "hunter2"}


def test_the_authorization_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("Bearer hunter2\n")
    model = read_exporter_settings({"OTLP_ENDPOINT": URL, "OTLP_AUTHORIZATION_FILE": str(file)}).model
    assert model.otlp.authorization_file == str(file)
    assert all_secrets(model) == {"Bearer hunter2", "hunter2"}
    file.unlink()
    environ = {"OTLP_ENDPOINT": URL, "OTLP_AUTHORIZATION_FILE": str(file)}
    assert error_of(environ).startswith(f"OTLP_AUTHORIZATION_FILE={file} (environment): cannot be read")


def test_a_file_of_a_header_has_to_be_there(tmp_path: Path) -> None:
    config = tmp_path / "oxherd.yaml"
    config.write_text(f"otlp:\n  endpoint: {URL}\n  header_files: {{X-Key: {tmp_path}/key}}\n")
    told = error_of({"EXPORTER_CONFIG": str(config)})
    assert told.startswith(f"otlp.header_files.X-Key={tmp_path}/key ({config}, line 3): cannot be read")


@pytest.mark.parametrize("setting", ["ca_file: FILE", "cert_file: FILE\n    key_file: FILE"])
def test_a_certificate_that_is_none(tmp_path: Path, setting: str) -> None:
    file, config = tmp_path / "file", tmp_path / "oxherd.yaml"
    file.write_text("no certificate")
    text = setting.replace("FILE", str(file))
    config.write_text(f"otlp:\n  endpoint: {URL}\n  tls:\n    {text}\n")
    told = error_of({"EXPORTER_CONFIG": str(config)})
    assert told.startswith(f"otlp.tls.{setting.partition(':')[0]}={file}")
    assert told.endswith("is not a PEM file that fits")


def test_an_installation_without_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
        return find_spec(name)

    monkeypatch.setattr(configuration, "find_spec", find)
    assert error_of({"OTLP_ENDPOINT": URL}).endswith(
        "module opentelemetry.proto is missing: install oxherd[otlp]"
    )
    assert read_exporter_settings({}).model.otlp.endpoint is None


def test_a_token_that_is_sent_in_the_clear_is_told() -> None:
    environ = {"OTLP_ENDPOINT": f"{URL}/a-secret-path", "OTLP_AUTHORIZATION": "Bearer hunter2"}
    (told,) = exporter_exposures(read_exporter_settings(environ), environ)
    assert told.event == "secret sent without TLS"
    assert told.facts == {"url": URL, "secret": "OTLP_AUTHORIZATION"}
    secure = environ | {"OTLP_ENDPOINT": "https://collector:4318"}
    assert exporter_exposures(read_exporter_settings(secure), secure) == []
