"""API keys that are replaced in their files while the exporter and the scaler run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer
from tests.support.starving import started

pytestmark = [pytest.mark.fault, pytest.mark.timeout(60)]

OLD, NEW = "the-first-key-of-these-tests", "the-second-key-of-these-tests"
ACTION = {"exporter": "monitoring_status", "scaler": "scaling_status"}


@contextmanager
def listening(package: str, folder: Path, way: str, **settings: object) -> Iterator[str]:
    """Its URL. The key is in `key`, the one that may read in `read-key`."""
    listen = f"127.0.0.1:{free_port()}"
    files = {"key_file": str(folder / "key"), "read_key_file": str(folder / "read-key")}
    environ = {f"CRON_API_{name.upper()}": path for name, path in files.items()}
    given = dict(settings)
    if way == "settings":
        given["api"] = {**files, **dict(settings.get("api", {}))}  # type: ignore[call-overload]
    config = folder / f"{package}.yml"
    config.write_text(yaml.safe_dump({"listen": listen, **given}))
    arguments = (package, "start", "--config", str(config))
    log = folder / f"{package}.log"
    with started(*arguments, log=log, environ=environ if way == "variables" else {}, as_user=False):
        wait_until(lambda: "event=listening" in log.read_text(), what="it listens", seconds=20)
        yield f"http://{listen}"


def write(folder: Path, key: str, read_key: str) -> None:
    (folder / "key").write_text(f"{key}\n")
    (folder / "read-key").write_text(read_key)


def status(url: str, action: str, key: str) -> int:
    headers = {"x-api-key": key}
    return httpx.get(f"{url}/api/monitoring", params={"action": action}, headers=headers).status_code


@pytest.mark.parametrize("package", ["exporter", "scaler"])
@pytest.mark.parametrize("way", ["variables", "settings"])
def test_a_key_that_is_replaced_in_its_file_is_taken_and_the_old_one_refused(
    redis_server: RedisServer, tmp_path: Path, package: str, way: str
) -> None:
    write(tmp_path, OLD, f"read-{OLD}")
    settings: dict[str, object] = {"redis": {"url": redis_server.url}} if package == "exporter" else {}
    with listening(package, tmp_path, way, **settings) as url:
        action = ACTION[package]
        assert [status(url, action, key) for key in (OLD, f"read-{OLD}", NEW)] == [200, 200, 401]
        write(tmp_path, NEW, f"read-{NEW}")
        wait_until(lambda: status(url, action, NEW) == 200, what="the new one is taken", every=0.5)
        assert [status(url, action, key) for key in (f"read-{NEW}", OLD, f"read-{OLD}")] == [200, 401, 401]
        log = tmp_path / f"{package}.log"
        for bad in ("", "short"):  # half written
            (tmp_path / "key").write_text(bad)
            told = log.read_text().count("file not usable, last value stays") + 1
            wait_until(lambda told=told: _told(log) == told, what="it is told")  # type: ignore[misc]
            assert status(url, action, NEW) == 200
        assert log.read_text().count("file read again") == 2
        assert not any(key in log.read_text() for key in (OLD, NEW))


def _told(log: Path) -> int:
    return log.read_text().count("file not usable, last value stays")


def test_sessions_end_with_the_key_that_began_them(redis_server: RedisServer, tmp_path: Path) -> None:
    write(tmp_path, OLD, f"read-{OLD}")
    with (
        listening("exporter", tmp_path, "variables", redis={"url": redis_server.url}) as url,
        httpx.Client(base_url=url) as browser,
    ):
        browser.post("/sign-in", data={"key": OLD})
        assert browser.get("/status.json").status_code == 200
        write(tmp_path, NEW, f"read-{NEW}")
        wait_until(lambda: browser.get("/status.json").status_code == 401, what="it is signed out", every=0.5)


def test_what_one_process_asks_of_the_other_has_the_new_key(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    write(tmp_path, OLD, f"read-{OLD}")
    processes = {"command": ["sleep", "60"]}
    target = {"name": "key-of-the-scaler", "queues": ["mail"], "processes": processes, "min_workers": 0}
    with listening("scaler", tmp_path, "variables", targets=[target]) as scaler:
        api = {"api": {"scaler_url": scaler}}
        redis = {"redis": {"url": redis_server.url}}
        with (
            listening("exporter", tmp_path, "variables", **redis, **api) as url,
            httpx.Client(base_url=url, follow_redirects=True) as browser,
        ):
            write(tmp_path, NEW, f"read-{NEW}")
            wait_until(lambda: status(url, "scaling_status", NEW) == 200, what="it is forwarded", every=0.5)
            browser.post("/sign-in", data={"key": NEW})
            time.sleep(11)  # the scaler is polled every ten
            page = browser.get("/").text
            assert "key-of-the-scaler" in page
            assert "does not accept this key" not in page
