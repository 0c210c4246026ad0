"""Secrets of files that are replaced."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from exporter.address import parse_url
from exporter.config.redis import RedisSettings
from exporter.redis.connection.credentials import Credentials
from service.logs import configure


@pytest.mark.fault
def test_the_password_of_a_url_that_was_replaced_is_in_no_line_of_the_log(tmp_path: Path) -> None:
    file, log = tmp_path / "url", io.StringIO()
    url = "redis://:the-first-password@localhost:6379"
    file.write_text("redis://:the-second-password@localhost:6379")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure("info", "logfmt", secrets=["the-first-password"], stream=log)
    try:
        credentials = Credentials(RedisSettings(url=SecretStr(url), url_file=str(file)), parse_url(url))
        assert credentials.node()[1] == "the-second-password"
        logging.getLogger("a library").error("refused: the-second-password")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "refused" in log.getvalue()
    assert "second" not in log.getvalue()
