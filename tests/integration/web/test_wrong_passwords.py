"""Guessing the password of a user of the web configuration slows down nothing but guessing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import httpx
import pytest
import yaml

from service.web.server import WebServer
from service.web.web_config import WebConfig
from tests.support.asgi import App
from tests.support.attackers import attack

pytestmark = [pytest.mark.fault, pytest.mark.timeout(60)]  # up to 8 s alone

PASSWORD = "a-password-of-tests"


@contextmanager
def serving(folder: Path, cost: int) -> Iterator[WebServer]:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(cost)).decode()
    path = folder / "web.yml"
    path.write_text(yaml.safe_dump({"basic_auth_users": {"ann": hashed}}))
    server = WebServer(App(), "127.0.0.1", 0, WebConfig(str(path)))
    server.start()
    try:
        yield server
    finally:
        assert server.stop()


def test_a_known_password_never_waits_behind_wrong_ones(tmp_path: Path) -> None:
    with serving(tmp_path, 10) as server, httpx.Client(auth=("ann", PASSWORD), timeout=30) as scraper:
        url = f"http://{server.address}"
        assert scraper.get(url).status_code == 200
        with attack(url, "passwords", 100):
            until, longest, answers = time.monotonic() + 5, 0.0, 0
            while time.monotonic() < until:
                begun = time.monotonic()
                assert scraper.get(url).status_code == 200
                longest, answers = max(longest, time.monotonic() - begun), answers + 1
                time.sleep(0.05)
        assert longest < 1
        assert server.traffic.refused["throttled"] > 0


def test_wrong_passwords_are_limited_by_address(tmp_path: Path) -> None:
    with serving(tmp_path, 4) as server, httpx.Client(base_url=f"http://{server.address}") as client:
        assert client.get("/", auth=("ann", PASSWORD)).status_code == 200
        statuses = [client.get("/", auth=("ann", f"guess-{number}")).status_code for number in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        refused = client.get("/", auth=("eve", "guess"))
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert client.get("/", auth=("ann", PASSWORD)).status_code == 200
        assert server.traffic.refused["password"] == 10
        assert server.traffic.refused["throttled"] == 3
