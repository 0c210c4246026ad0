"""Secrets that others may get to know: real processes say so, once, at their start."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer
from lab.tls import Certificates
from tests.support.system import FULL, PATH, running

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user reaches; those of pytest are closed."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def secret(folder: Path, name: str, mode: int, text: str = FULL) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def warnings(program: str, environ: Mapping[str, str]) -> list[str]:
    """What it has warned of when it listens: the event and its facts."""
    process = subprocess.Popen(
        [sys.executable, "-m", program, "start"],
        env={"PATH": "/usr/bin:/bin", "REDIS_URL": f"redis://127.0.0.1:{free_port()}", **environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if "event=listening" in line:
                break
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    told = [line.partition("level=warning event=")[2].strip() for line in lines if "level=warning" in line]
    assert not any(FULL in line for line in lines)
    return [line.replace(" logger=service.lifecycle", "") for line in told if "secret" in line]


@pytest.mark.fault
@pytest.mark.parametrize("program", ["exporter", "scaler"])
def test_a_secret_file_that_every_user_reads_is_told_once(folder: Path, program: str) -> None:
    key, closed = (
        secret(folder, "key", 0o644),
        secret(folder, "read-key", 0o640, "another-key-of-these-tests"),
    )
    listen = {"EXPORTER_LISTEN": "127.0.0.1:0", "SCALER_LISTEN": "127.0.0.1:0"}
    files = {"CRON_API_KEY_FILE": key, "CRON_API_READ_KEY_FILE": closed}
    assert warnings(program, listen | files) == [
        f'"secret readable by others" setting=CRON_API_KEY_FILE file={key} mode=0644'
    ]
    folder.chmod(0o750)
    assert warnings(program, listen | files) == [], "the folder is closed to others"


@pytest.mark.fault
@pytest.mark.parametrize("program", ["exporter", "scaler"])
def test_a_settings_file_with_a_secret_that_every_user_reads_is_told(folder: Path, program: str) -> None:
    variable = f"{program.upper()}_CONFIG"
    plain = secret(folder, "plain.yml", 0o644, yaml.safe_dump({"listen": "127.0.0.1:0"}))
    assert warnings(program, {variable: plain}) == []
    text = yaml.safe_dump({"listen": "127.0.0.1:0", "api": {"key": FULL}})
    config = secret(folder, "config.yml", 0o644, text)
    expected = [f'"secret readable by others" setting=api.key file={config} mode=0644']
    assert warnings(program, {variable: config}) == expected


@pytest.mark.fault
@pytest.mark.parametrize("program", ["exporter", "scaler"])
def test_a_key_without_tls_is_told_where_other_machines_reach_it(
    folder: Path, certificates: Certificates, program: str
) -> None:
    prefix = program.upper()
    for listen, told in (
        ("0.0.0.0:0", True),
        ("[::]:0", True),
        ("127.0.0.1:0", False),
        ("localhost:0", False),
    ):
        found = warnings(program, {f"{prefix}_LISTEN": listen, "CRON_API_KEY": FULL})
        quoted = f'"secret without TLS" setting=CRON_API_KEY listen={listen}'
        assert found == ([quoted] if told else []), listen
    assert warnings(program, {f"{prefix}_LISTEN": "0.0.0.0:0"}) == []
    tls = {
        "cert_file": str(certificates.server_certificate),
        "key_file": secret(folder, "tls.key", 0o600, certificates.server_key.read_text()),
    }
    web = secret(folder, "web.yml", 0o644, yaml.safe_dump({"tls_server_config": tls}))
    settings = {f"{prefix}_LISTEN": "0.0.0.0:0", "CRON_API_KEY": FULL, f"{prefix}_WEB_CONFIG": web}
    assert warnings(program, settings) == []


@pytest.mark.fault
def test_a_secret_that_is_sent_without_tls_to_another_machine_is_told(folder: Path) -> None:
    key = {"CRON_API_KEY": FULL, "EXPORTER_LISTEN": "127.0.0.1:0", "SCALER_LISTEN": "127.0.0.1:0"}
    for url, told in (
        ("http://scaler.example:9878", True),
        ("http://192.0.2.7:9878", True),
        ("https://scaler.example:9878", False),
        ("http://127.0.0.1:9878", False),
        ("http://localhost:9878", False),
        ("http://[::1]:9878", False),
    ):
        found = warnings("exporter", {**key, "SCALER_URL": url})
        line = f'"secret sent without TLS" setting=SCALER_URL url={url} secret=CRON_API_KEY'
        assert found == ([line] if told else []), url
    token = secret(folder, "token", 0o600, "a-token-of-these-tests")
    probe = {
        "name": "shop",
        "url": "http://192.0.2.7:80/a?token=of-a-query",
        "header_files": {"Authorization": token},
    }
    of_exporter = secret(folder, "exporter.yml", 0o644, yaml.safe_dump({"probes": [probe]}))
    assert warnings("exporter", {"EXPORTER_LISTEN": "127.0.0.1:0", "EXPORTER_CONFIG": of_exporter}) == [
        (
            '"secret sent without TLS" setting=probes[0].url url=http://192.0.2.7:80 '
            "secret=header_files.Authorization"
        )
    ]
    prometheus = {"urls": ["http://192.0.2.7:9090"], "bearer_token_file": token}
    settings = {"prometheus": prometheus, "exporter_url": "http://192.0.2.8:9877"}
    of_scaler = secret(folder, "scaler.yml", 0o644, yaml.safe_dump(settings))
    assert warnings("scaler", {**key, "SCALER_CONFIG": of_scaler}) == [
        '"secret sent without TLS" setting=exporter_url url=http://192.0.2.8:9877 secret=CRON_API_KEY',
        (
            '"secret sent without TLS" setting=prometheus.urls url=http://192.0.2.7:9090 '
            "secret=prometheus.bearer_token"
        ),
    ]


@pytest.mark.fault
@pytest.mark.parametrize("program", ["exporter", "scaler"])
def test_a_process_that_is_aborted_prints_no_key(program: str) -> None:
    listen = {"EXPORTER_LISTEN": "127.0.0.1:0", "SCALER_LISTEN": "127.0.0.1:0"}
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", program, "start"],
        env={"PATH": "/usr/bin:/bin", "CRON_API_KEY": FULL, **listen},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "event=listening" in line:
            break
    process.send_signal(signal.SIGABRT)
    rest, _ = process.communicate(timeout=30)
    assert "Fatal Python error: Aborted" in rest
    assert FULL not in "".join(lines) + rest


class _Neighbour(ThreadingHTTPServer):
    """Redirects each request to `to`, or answers; what it was sent is kept."""

    daemon_threads = True

    def __init__(self, to: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.to = to
        self.asked: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: _Neighbour

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(dict(self.headers))
        self.send_response(302 if self.server.to else 200)
        self.send_header("Location", self.server.to + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815  # the name that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.mark.fault
def test_a_scaler_that_redirects_gets_no_key_for_another_host(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    other = _Neighbour()
    scaler = _Neighbour(to=other.url.replace("127.0.0.1", "localhost"))
    settings = {"redis": {"url": redis_server.url}}
    try:
        with running(
            tmp_path, "monitor", {"CRON_API_KEY": FULL, "SCALER_URL": scaler.url}, settings
        ) as exporter:
            wait_until(lambda: scaler.asked, what="it is polled in the background", seconds=30)
            answer = exporter.client.get(PATH, params={"action": "scaling_status"})
            assert answer.status_code >= 400
            order = exporter.post("stop_autoscaling")
            assert order.status_code >= 400
        assert len(scaler.asked) >= 3
        assert any(FULL in str(asked) for asked in scaler.asked)
        assert other.asked == []
    finally:
        for server in (scaler, other):
            server.shutdown()
            server.server_close()


def test_a_check_of_the_settings_tells_too(folder: Path) -> None:
    key = secret(folder, "key", 0o604)
    for program, name in (("exporter", "monitor"), ("scaler", "scaling")):
        done = subprocess.run(
            [sys.executable, "-m", program, "start", "--check-config"],
            env={"PATH": "/usr/bin:/bin", "CRON_API_KEY_FILE": key},
            capture_output=True,
            text=True,
            check=True,
        )
        port = 9877 if program == "exporter" else 9878
        readable = f"CRON_API_KEY_FILE: every user of this machine can read {key} (mode 0604): chmod o-rwx"
        reached = f"as 0.0.0.0:{port} is reached from other machines and web_config_file sets no TLS"
        assert done.stderr.splitlines()[:2] == [
            f"{name}: warning: {readable}",
            f"{name}: warning: CRON_API_KEY: is sent unencrypted over the network, {reached}",
        ]
