"""Both APIs against their descriptions by schemathesis, and by what no client sends: both continue to serve,
and no secret is in their output."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import yaml

from tests.support.system import FULL, PASSWORD, PATH, READ, Program, System

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def programs(system: System) -> dict[str, Program]:
    return {"exporter": system.exporter, "scaler": system.scaler}


def serves(program: Program) -> None:
    assert program.process.poll() is None
    assert program.client.get("/healthz").json() == {"status": "alive"}
    assert program.client.get("/metrics").status_code == 200


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["exporter", "scaler"])
@pytest.mark.parametrize("phases", ["examples,coverage", "fuzzing"])
def test_schemathesis_finds_nothing(system: System, name: str, phases: str, tmp_path: Path) -> None:
    program = programs(system)[name]
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{program.url}/openapi.json",
        f"--header=X-API-Key: {FULL}",
        f"--phases={phases}",
        f"--checks={CHECKS}",
        "--max-examples=60",
        "--warnings=off",
        "--suppress-health-check=all",
        "--seed=7",
        "--generation-database=none",
        "--request-timeout=15",
    ]
    completed = subprocess.run(
        command, capture_output=True, text=True, timeout=170, check=False, cwd=tmp_path, env=dict(os.environ)
    )
    assert completed.returncode == 0, completed.stdout[-6000:] + completed.stderr[-2000:]
    assert "No issues found" in completed.stdout
    serves(program)


@pytest.mark.parametrize("name", ["exporter", "scaler"])
def test_what_no_client_sends(system: System, name: str) -> None:
    program = programs(system)[name]
    rng = random.Random(11)
    shapes: list[Any] = [
        None,
        True,
        -1,
        1e308,
        10**400,
        "",
        "\u0000",
        "x" * 5000,
        [],
        {},
        [[[]]],
        {"action": {}},
        "../../etc/passwd",
        "<script>",
        "${jndi:x}",
    ]
    actions = [
        "start_monitoring",
        "manual_scale",
        "update_scaling_config",
        "reset_scaling_config",
        "start_autoscaling",
        "x",
    ]
    keys = ["queueName", "targetWorkers", "reason", "intervalMinutes", "maxWorkers", "apiKey", "action", "é"]
    for _ in range(300):
        body = {"action": rng.choice(actions)} | {rng.choice(keys): rng.choice(shapes) for _ in range(3)}
        raw = json.dumps(body).encode()
        if rng.random() < 0.3:
            cut = rng.randrange(len(raw))
            raw = raw[:cut] + bytes([rng.randrange(256)]) + raw[cut + 1 :]
        answer = program.client.post(PATH, content=raw)
        assert answer.status_code in {200, 400, 401, 403, 502, 503}, (raw, answer.text)
        assert set(answer.json()) in ({"success", "data", "timestamp"}, {"success", "error"})
        if answer.status_code in {502, 503}:
            assert name == "exporter", "the other process's refusal"
    serves(program)


@pytest.mark.parametrize("name", ["exporter", "scaler"])
def test_invalid_forms(system: System, name: str) -> None:
    """The sign-in of the page takes a form, which may be anything."""
    program = programs(system)[name]
    bodies = (b"", b"&" * 4000, b"key=&" * 500, b"key=\xff%ff%00", b"{", b"k" * 5000, b"=" * 4000)
    with httpx.Client(base_url=program.url) as client:
        statuses = {client.post("/sign-in", content=body).status_code for body in bodies}
    assert statuses <= ({401, 413} if name == "exporter" else {404})
    serves(program)


@pytest.mark.fault
@pytest.mark.parametrize("name", ["exporter", "scaler"])
def test_half_a_surrogate_pair_is_no_key_and_no_text(system: System, name: str) -> None:
    """JSON can escape what is no character: it reaches all that takes a text for one."""
    program = programs(system)[name]
    before = program.log.read_text().count("Traceback")
    for raw in (
        b'{"apiKey": "\\ud800"}',
        b'{"apiKey": "\\udfff", "action": "manual_scale"}',
        b'{"action": "\\ud800"}',
        b'{"action": "manual_scale", "queueName": "mail\\udc00", "targetWorkers": 1}',
        b'{"\\ud834": 1}',
    ):
        assert httpx.post(program.url + PATH, content=raw).status_code == 401
        assert program.client.post(PATH, content=raw).status_code == 400
    pair = b'{"action": "manual_scale", "queueName": "\\ud834\\udd1e", "targetWorkers": 1}'
    assert program.client.post(PATH, content=pair).status_code in {400, 404, 503}
    assert program.log.read_text().count("Traceback") == before
    serves(program)


ODD: list[bytes] = [
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n",
    b"GET /" + b"%2e%2e/" * 300 + b"etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics/../status.json HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //status.json HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /status.json%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://elsewhere.invalid/status.json HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT localhost:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /status.json HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /status.json HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /status.json HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"\x00" * 1000,
    b"[" * 60_000,
]


@pytest.mark.fault
@pytest.mark.parametrize("name", ["exporter", "scaler"])
def test_oversized_and_odd_requests_get_nothing(system: System, name: str) -> None:
    program = programs(system)[name]
    address = urlsplit(program.url)
    before = program.log.read_text().count("Traceback")
    for raw in ODD:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=15) as connection:
            received = b""
            try:
                connection.sendall(raw)
                received = connection.recv(1000)
            except OSError:  # it was closed in the middle
                pass
            status = received.partition(b" ")[2][:3]
            assert status in (b"", b"400", b"401", b"404", b"405"), (raw[:60], received)
    for raw in (b"[" * 60_000, b'{"a":' * 10_000, b"1" * 60_000, b'{"action": 1' + b"0" * 50_000 + b"}"):
        assert httpx.post(program.url + PATH, content=raw).status_code == 401
        assert program.client.post(PATH, content=raw).status_code == 400
    assert program.log.read_text().count("Traceback") == before
    serves(program)


@pytest.mark.parametrize("name", ["exporter", "scaler"])
def test_invalid_requests(system: System, name: str) -> None:
    program = programs(system)[name]
    address = urlsplit(program.url)
    for raw in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST /api/monitoring HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{",
        b"POST /api/monitoring HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"b" * 300_000 + b"\r\n\r\n",
    ):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1000)
            except OSError:
                pass
    huge = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    huge.request("POST", PATH, body=b"{" + b" " * (60 << 10) + b"}" * 8192, headers={"X-API-Key": FULL})
    assert huge.getresponse().status == 413
    huge.close()
    odd = program.client.get(PATH, headers={"authorization": b"Bearer \xff\xfe"})  # type: ignore[arg-type]
    assert odd.status_code == (200 if name == "exporter" else 400)
    serves(program)


def test_no_secret_is_in_the_output(system: System) -> None:
    """After all of the above: logs, errors, the description, the process list; a key was in URLs too."""
    for program in programs(system).values():
        httpx.get(f"{program.url}{PATH}?apiKey={FULL}&action=nonsense")
        httpx.get(f"{program.url}/nothing?apiKey={FULL}")
        texts = [program.log.read_text()]
        texts += [program.client.get(path).text for path in ("/", "/metrics", "/openapi.json", "/docs")]
        texts += [program.client.get("/status.json").text, program.client.get(PATH).text]
        process = psutil.Process(program.process.pid)
        texts += [" ".join(member.cmdline()) for member in (process, *process.children(recursive=True))]
        for secret in (FULL, READ, PASSWORD):
            assert not any(secret in text for text in texts)


def test_keys_are_hidden_in_the_printed_settings_and_in_errors(tmp_path: Path) -> None:
    config = tmp_path / "exporter.yml"
    config.write_text(yaml.safe_dump({"api": {"key": FULL}}))
    command = [sys.executable, "-m", "exporter", "start", "--config", str(config)]
    completed = subprocess.run([*command, "--print-config"], capture_output=True, text=True, check=False)
    assert completed.returncode == 0
    assert FULL not in completed.stdout + completed.stderr
    for key, why in (("hunter2", "shorter than 12"), ("your-secure-api-key", "key of an example")):
        config.write_text(yaml.safe_dump({"api": {"key": key}}))
        completed = subprocess.run([*command, "--check-config"], capture_output=True, text=True, check=False)
        assert completed.returncode == 2
        assert why in completed.stderr
        assert "api.key" in completed.stderr
        assert key not in completed.stderr
