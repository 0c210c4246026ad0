"""The client of the API server without a server: its credential."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from scaler.config.settings import KubernetesSettings
from scaler.kube.api import KubeApi
from scaler.kube.wire import credentials


def test_a_pod_reads_the_token_that_replaced_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text(name)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(credentials, "_SERVICE_ACCOUNT", tmp_path)
    client = KubeApi(KubernetesSettings())
    first = client._token()
    assert "bearer token" in first.values()
    (tmp_path / "token").write_text("another")
    assert client._has_other_token(first)
    assert "bearer another" in client._token().values()
    assert client._has_other_token(first), "another thread's request had the old one too"
    assert not client._has_other_token(client._token())
    client.close()
