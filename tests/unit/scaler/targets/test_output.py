from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from scaler.targets import output
from scaler.targets.lines import MAX_LINE_BYTES
from scaler.targets.output import OutputLog, target_budget, written_bytes
from service import rate_limit
from service.logs import Formatter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(output, "monotonic", clock)
    monkeypatch.setattr(rate_limit, "monotonic", clock)
    return clock


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def fill(writer: int, data: bytes) -> None:
    try:
        os.write(writer, data)
    except BlockingIOError:
        return


def run(worker: OutputLog, writer: int, clock: Clock, data: bytes, seconds: float) -> None:
    """The worker prints this without end."""
    end = clock.now + seconds
    while clock.now < end:
        fill(writer, data)
        if worker.listening:
            worker.read()
        clock.now += 0.05
        worker.resume(clock.now)


def written(caplog: pytest.LogCaptureFixture, form: Any) -> int:
    formatter = Formatter(form)
    return sum(len(formatter.format(record).encode()) + 1 for record in caplog.records)


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize(
    "data",
    [b"y\n" * 30_000, b"\0" * 60_000, "\U0001f600".encode() * 15_000],
    ids=["short lines", "zero bytes", "emoji"],
)
def test_so_many_bytes_a_second_are_written(
    clock: Clock, pipe: tuple[int, int], caplog: pytest.LogCaptureFixture, data: bytes, form: str
) -> None:
    caplog.set_level(logging.INFO)
    reader, writer = pipe
    worker = OutputLog("mail-1", reader, target_budget())
    run(worker, writer, clock, data, seconds=30)
    most = output.WORKER_BURST_BYTES + 30 * output.WORKER_BYTES_PER_SECOND
    assert written(caplog, form) <= 1.5 * most
    lines = [len(record.line) for record in caplog.records if hasattr(record, "line")]
    assert max(lines) <= MAX_LINE_BYTES


def test_what_is_left_out_is_told_every_ten_seconds_and_at_the_end(
    clock: Clock, pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reader, writer = pipe
    worker = OutputLog("mail-1", reader, target_budget())
    run(worker, writer, clock, b"y\n" * 30_000, seconds=35)
    worker.end()
    told: list[Any] = [record for record in caplog.records if record.getMessage() == "worker output left out"]
    assert len(told) == 4
    assert all(record.bytes > 1_000_000 and record.levelno == logging.WARNING for record in told)
    after = len(caplog.records)
    fill(writer, b"last word\n")
    clock.now += 60
    worker.read()
    assert [record.line for record in caplog.records[after:]] == ["last word"]  # type: ignore[attr-defined]


def test_a_quiet_worker_is_heard_beside_a_loud_one(
    clock: Clock, pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    target = target_budget()
    loud = OutputLog("mail-1", pipe[0], target)
    reader, writer = os.pipe()
    try:
        quiet = OutputLog("mail-2", reader, target)
        run(loud, pipe[1], clock, b"y\n" * 30_000, seconds=20)
        os.write(writer, b"hello\n")
        os.set_blocking(reader, False)
        quiet.read()
    finally:
        os.close(reader)
        os.close(writer)
    facts = [vars(record) for record in caplog.records]
    assert [each["line"] for each in facts if each["worker"] == "mail-2"] == ["hello"]


def test_bytes_as_written() -> None:
    assert [written_bytes(text) for text in ("abc", "\0", '"', "\x9b")] == [3, 6, 2, 6]
