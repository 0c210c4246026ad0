from __future__ import annotations

from pathlib import Path

import pytest

from lab.tls import make_certificates
from scaler import configuration
from scaler.config.validation import load_scaler_settings
from scaler.configuration import read_scaler_settings, scaler_exposures
from service.config import exposure
from service.config.load import ConfigError


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_scaler_settings(text, {}, file="s.yml")
    return str(caught.value)


def test_keda_is_not_answered_by_default() -> None:
    assert load_scaler_settings("", {}).model.keda.listen is None


@pytest.mark.parametrize(
    ("keda", "error"),
    [
        ("{listen: 9879}", "keda.listen"),
        ("{listen: nowhere}", "keda.listen=nowhere (s.yml, line 1): should be host:port"),
        ("{listen: '0.0.0.0:99999'}", "the port should be a number from 0 to 65535"),
        ("{listen: ':9878'}", "has the port of listen, 0.0.0.0:9878: it needs another one"),
        ("{tls: {cert_file: a, key_file: b}}", "keda.tls.cert_file=a (s.yml, line 1): needs keda.listen"),
        ("{listen: ':9879', tls: {cert_file: a}}", "cert_file and key_file have to be set together"),
        ("{listen: ':9879', tls: {key_file: a}}", "cert_file and key_file have to be set together"),
        ("{listen: ':9879', tls: {client_ca_file: a}}", "client_ca_file needs cert_file and key_file"),
        ("{address: ':9879'}", "keda.address"),
    ],
)
def test_what_cannot_be_used_is_named(keda: str, error: str) -> None:
    assert error in refused(f"keda: {keda}")


def test_ports_that_the_system_chooses_do_not_collide() -> None:
    assert load_scaler_settings("{listen: ':0', keda: {listen: ':0'}}", {}).model.keda.listen == ":0"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """With the names of certificates that exist."""
    files = make_certificates(tmp_path)
    file = tmp_path / "scaler.yml"
    tls = (
        f"{{cert_file: {files.server_certificate}, key_file: {files.server_key}, client_ca_file: {files.ca}}}"
    )
    file.write_text(f"keda: {{listen: ':9879', tls: {tls}}}")
    return file


def error_of(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_scaler_settings({}, config=str(file))
    return str(caught.value)


def test_certificates_are_read_before_the_start(settings: Path) -> None:
    folder = settings.parent
    assert read_scaler_settings({}, config=str(settings)).model.keda.tls.cert_file
    (folder / "ca.crt").write_text("no certificate")
    assert "keda.tls.client_ca_file" in (error := error_of(settings))
    assert error.endswith("is no PEM file of certificates")
    (folder / "server.key").write_bytes((folder / "client.key").read_bytes())
    assert error_of(settings).endswith("is no PEM file of a certificate that the key is of")
    (folder / "server.key").unlink()
    assert "keda.tls.key_file" in (error := error_of(settings))
    assert error.endswith("cannot be read: no such file or directory")


def test_an_installation_without_grpc_is_told(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "find_spec", lambda name: None if name == "grpc" else name)
    assert error_of(settings).endswith("module grpc is missing: install oxherd[keda]")


def test_a_key_that_every_user_can_read_is_told(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of pytest are closed to them, so the mode of the file alone is looked at."""
    monkeypatch.setattr(exposure, "mode_for_others", lambda path: f"{Path(path).stat().st_mode & 0o777:04o}")
    loaded = read_scaler_settings({}, config=str(settings))
    told = {found.setting: found for found in scaler_exposures(loaded, {})}["keda.tls.key_file"]
    assert told.event == "secret readable by others"
    assert told.facts["file"] == str(settings.parent / "server.key")
