from __future__ import annotations

from service.alive import is_alive, urls


def test_either_program_is_asked_where_it_would_listen() -> None:
    plain = ["http://127.0.0.1:9877/healthz", "http://127.0.0.1:9878/healthz"]
    assert urls({}) == [*plain, "https://127.0.0.1:9877/healthz", "https://127.0.0.1:9878/healthz"]
    assert urls({"EXPORTER_LISTEN": "[::1]:80", "SCALER_LISTEN": ""})[0] == "http://[::1]:80/healthz"


def test_nothing_there_is_not_alive() -> None:
    assert not is_alive("http://127.0.0.1:9/healthz")
