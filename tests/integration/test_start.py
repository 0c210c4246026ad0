"""What a start does not need is not loaded: only when somebody asks for it."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx

from exporter.config.redis import RedisSettings
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.redis import RedisServer

LOADED = """
import json, sys
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
Exporter(ExporterSettings())
print(json.dumps(sorted(sys.modules)))
"""


def test_an_exporter_that_is_only_scraped_has_no_web_framework() -> None:
    printed = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    loaded = set(json.loads(printed.stdout))
    assert not loaded & {"fastapi", "redis", "exporter.api.models", "exporter.page", "rich", "kubernetes"}
    assert {"exporter.run", "hiredis"} <= loaded


def test_the_other_paths_are_there_when_somebody_asks(redis_server: RedisServer) -> None:
    exporter = Exporter(
        ExporterSettings(listen="127.0.0.1:0", redis=RedisSettings.model_validate({"url": redis_server.url}))
    )
    exporter.start()
    try:
        with httpx.Client(base_url=f"http://{exporter.address}", timeout=20) as client:
            assert client.get("/healthz").json() == {"status": "alive"}
            assert client.head("/metrics").status_code == 200
            assert not exporter._front.complete
            assert client.get("/").status_code == 200
            assert exporter._front.complete
            assert client.post("/metrics").status_code == 405
            assert client.get("/nowhere").status_code == 404
            paths = client.get("/openapi.json").json()["paths"]
            assert {"/metrics", "/healthz", "/readyz", "/status.json"} <= set(paths)
    finally:
        exporter.stop()
