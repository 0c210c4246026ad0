"""Real scalers as processes, and a fake Prometheus for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.ports import free_port


@dataclass
class ScalerProcess:
    """`scaling start`; `name` is the pod's name, which its requests carry."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self) -> dict[str, Any] | None:
        """/status.json; None while it is not available."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status.json", timeout=2) as response:
                data: dict[str, Any] = json.load(response)
                return data
        except OSError:
            return None

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as response:
            text: str = response.read().decode()
            return text

    def is_leader(self) -> bool:
        status = self.status()
        return bool(status and status.get("leading"))

    def stop(self) -> int:
        """Stop it as kubelet does; the exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(20)


def settings(kubeconfig: str, prometheus: str, **changed: Any) -> dict[str, Any]:
    """Settings with one target, `mail`, that follows its metrics without delay."""
    data: dict[str, Any] = {
        "interval_seconds": 1,
        "prometheus": {"urls": [prometheus]},
        "kubernetes": {"kubeconfig": kubeconfig, "lease_seconds": 3, "timeout_seconds": 1},
        "defaults": {
            "policy": "threshold",
            "cooldown_seconds": 0,
            "min_workers": 1,
            "max_workers": 8,
            "target_waiting_jobs": 5,
        },
        "targets": [{"name": "mail", "queues": ["mail"], "kubernetes": {"name": "mail"}}],
    }
    for key, value in changed.items():
        data[key] = data.get(key, {}) | value if isinstance(value, Mapping) else value
    return data


@contextmanager
def scaler(name: str, folder: Path, data: Mapping[str, Any]) -> Iterator[ScalerProcess]:
    """Run it until the block ends."""
    file, log = folder / f"{name}.yml", folder / f"{name}.log"
    file.write_text(yaml.safe_dump(dict(data)))
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "scaler",
        "start",
        "--config",
        str(file),
        "--listen",
        f"127.0.0.1:{port}",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=os.environ | {"POD_NAME": name}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield ScalerProcess(name, process, port, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(10)
