from __future__ import annotations

from pathlib import Path

import pytest

from lab.tls import make_certificates
from scaler.config.validation import load_scaler_settings
from scaler.configuration import read_scaler_settings, scaler_exposures
from service.config import exposure
from service.config.load import ConfigError

TLS = "tls: {cert_file: a, key_file: b}"


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_scaler_settings(text, {}, file="s.yml")
    return str(caught.value)


def test_nobody_is_answered_by_default() -> None:
    assert load_scaler_settings("", {}).model.external_metrics.listen is None


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            "{listen: nowhere, " + TLS + "}",
            "external_metrics.listen=nowhere (s.yml, line 1): should be host",
        ),
        (
            "{listen: ':9880'}",
            "needs external_metrics.tls.cert_file and key_file: the API server asks by",
        ),
        ("{listen: ':9878', " + TLS + "}", "has the port of listen, 0.0.0.0:9878: it needs another one"),
        ("{" + TLS + "}", "external_metrics.tls.cert_file=a (s.yml, line 1): needs external_metrics.listen"),
        ("{listen: ':9880', tls: {cert_file: a}}", "cert_file and key_file have to be set together"),
        ("{listen: ':9880', tls: {client_ca_file: a}}", "client_ca_file"),
    ],
)
def test_what_cannot_be_used_is_named(settings: str, error: str) -> None:
    assert error in refused(f"external_metrics: {settings}")


def test_each_engine_has_a_port_of_its_own() -> None:
    both = "{keda: {listen: ':9880'}, external_metrics: {listen: ':9880', " + TLS + "}}"
    assert "has the port of keda.listen, :9880: it needs another one" in refused(both)
    free = both.replace("':9880'", "':0'")
    assert load_scaler_settings(free, {}).model.external_metrics.listen == ":0"


def test_processes_are_no_workload_of_an_hpa() -> None:
    targets = "targets: [{name: mail, queues: [mail], processes: {command: [node]}}]"
    text = "{external_metrics: {listen: ':9880', " + TLS + "}, " + targets + "}"
    assert "targets have processes: an HPA sets the replicas of workloads" in refused(text)


def test_certificates_are_read_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_certificates(tmp_path)
    file = tmp_path / "scaler.yml"
    file.write_text("{}")
    environ = {
        "SCALER_EXTERNAL_METRICS_LISTEN": ":9880",
        "SCALER_EXTERNAL_METRICS_CERT_FILE": str(files.server_certificate),
        "SCALER_EXTERNAL_METRICS_KEY_FILE": str(files.client_key),
    }
    with pytest.raises(ConfigError, match="is no PEM file of a certificate that the key is of"):
        read_scaler_settings(environ, config=str(file))
    environ["SCALER_EXTERNAL_METRICS_KEY_FILE"] = str(files.server_key)
    loaded = read_scaler_settings(environ, config=str(file))
    files.server_key.chmod(0o644)
    monkeypatch.setattr(exposure, "mode_for_others", lambda path: f"{Path(path).stat().st_mode & 0o777:04o}")
    told = {found.setting: found for found in scaler_exposures(loaded, {})}
    assert told["external_metrics.tls.key_file"].event == "secret readable by others"
