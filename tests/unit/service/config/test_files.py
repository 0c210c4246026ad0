from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from service.config.files import check_readable, read_text, with_secret_files
from service.config.load import ConfigError
from service.threads import start_thread

NAMES = ["REDIS_PASSWORD"]


def test_the_file_of_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for content, secret in {
        "pw": "pw",
        "pw\n": "pw",
        "pw\r\n": "pw",
        "pw\n\n": "pw\n",
        " p w ": " p w ",
    }.items():
        file.write_bytes(content.encode())
        assert with_secret_files({"REDIS_PASSWORD_FILE": str(file)}, NAMES)["REDIS_PASSWORD"] == secret
    assert (
        with_secret_files({"REDIS_PASSWORD_FILE": "", "REDIS_PASSWORD": "x"}, NAMES)["REDIS_PASSWORD"] == "x"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"\xff", "is not UTF-8 text"),
        (b"x" * (1 << 21), "1 MiB"),
    ],
)
def test_a_file_that_holds_no_secret(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=why) as caught:
        with_secret_files({"REDIS_PASSWORD_FILE": str(file)}, NAMES)
    assert caught.value.setting == "REDIS_PASSWORD_FILE"


def test_both_are_one_too_many(tmp_path: Path) -> None:
    environ = {"REDIS_PASSWORD_FILE": str(tmp_path), "REDIS_PASSWORD": "hunter2"}
    with pytest.raises(ConfigError, match="REDIS_PASSWORD is set too") as caught:
        with_secret_files(environ, NAMES)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "why"),
    [("missing", "no such file or directory"), (".", "it is a directory"), ("a\0b", "not a path")],
)
def test_what_cannot_be_read(tmp_path: Path, path: str, why: str) -> None:
    named = str(tmp_path / path)
    with pytest.raises(ConfigError, match=why) as caught:
        read_text(named, "--config", "command line")
    assert (caught.value.setting, caught.value.source) == ("--config", "command line")
    with pytest.raises(ConfigError, match=why):
        check_readable(named, "REDIS_TLS_CA_FILE", "environment")


def test_what_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("\N{ZERO WIDTH NO-BREAK SPACE}a: 1\n", encoding="utf-8")
    assert read_text(str(file), "--config") == "a: 1\n"
    check_readable(str(file), "REDIS_TLS_CA_FILE", "environment")


@pytest.mark.fault
def test_a_pipe_is_read_and_one_that_nobody_writes_to_or_ends_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--config <(...)` is one."""
    reading, writing = os.pipe()

    def write() -> None:
        for _ in range(10):
            os.write(writing, b"x" * 10_000)
        os.close(writing)

    start_thread(write, "writes")
    assert read_text(f"/dev/fd/{reading}", "A_FILE") == "x" * 100_000
    os.close(reading)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    check_readable(str(fifo), "A_FILE", "environment")
    monkeypatch.setattr("service.config.files._PIPE_SECONDS", 0.2)
    with pytest.raises(ConfigError, match="cannot be read: it does not end"):
        read_text(str(fifo), "A_FILE")
    kept = os.open(fifo, os.O_RDWR)
    with pytest.raises(ConfigError, match="cannot be read: it does not end"):
        read_text(str(fifo), "A_FILE")
    os.close(kept)


@pytest.mark.fault
def test_a_device_that_never_ends_is_too_large() -> None:
    with pytest.raises(ConfigError, match="is larger than 1 MiB"):
        read_text("/dev/zero", "A_FILE")


@pytest.mark.fault
def test_a_pipe_is_read_beside_a_thousand_connections() -> None:
    """Its descriptor is above 1,023, the highest that select knows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    reading, writing = os.pipe()
    os.write(writing, b"pw")
    os.close(writing)
    taken = [os.dup(reading) for _ in range(1100)]
    try:
        assert read_text(f"/dev/fd/{reading}", "A_FILE") == "pw"
    finally:
        for descriptor in (reading, *taken):
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
