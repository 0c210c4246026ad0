"""Causes of the conditions of the host, of the exporter's process, of its clock and of what it probes."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final
from unittest import mock
from uuid import uuid4

from exporter.host.collect import collect_process
from lab.collector import Collector
from lab.ports import free_port
from service.clock import Deadline
from tests.support.judgement.cause import Cause, Servers, World

_PORT: Final = free_port()
_COLLECTOR: Final = free_port()
_ROOM_BYTES: Final = 256 << 20
_BEHIND: Final = 120.0
_STATE: Final = Path(gettempdir()) / f"oxherd-judgement-{uuid4().hex}" / "state"


def _listen(servers: Servers) -> None:
    servers.kept_by("port").enter_context(socket.create_server(("127.0.0.1", _PORT)))


def _refuse(servers: Servers) -> None:
    servers.kept_by("port").close()


def _pretend(**host: float) -> Callable[[Servers], object]:
    def act(servers: Servers) -> None:
        for name, value in host.items():
            setattr(servers.host, name, value)

    return act


def _memory_limit() -> Mapping[str, Any]:
    """What the process may grow by; its group's limit counts where it has one."""
    process = collect_process(Deadline.after(5))
    allowed = process.resident + _ROOM_BYTES
    if process.limit:
        return {"health": {"thresholds": {"process_memory_ratio": allowed / process.limit}}}
    return {"health": {"thresholds": {"process_memory_ratio": 1.0, "process_memory_bytes": allowed}}}


def _take_memory(servers: Servers) -> None:
    """The exporter runs in this process."""
    taken = [bytearray(b"x") * (2 * _ROOM_BYTES)]
    servers.kept_by("memory").callback(taken.clear)


def _free_memory(servers: Servers) -> None:
    servers.kept_by("memory").close()


def _set_clock_back(servers: Servers) -> None:
    """The exporter's; that of Redis stays as it is."""
    real = time.time

    def behind() -> float:
        return real() - _BEHIND

    servers.kept_by("clock").enter_context(mock.patch("time.time", behind))


def _set_clock_right(servers: Servers) -> None:
    servers.kept_by("clock").close()


def _collect(servers: Servers) -> None:
    """An OTLP endpoint that takes what is pushed."""
    servers.kept_by("collector").enter_context(Collector(port=_COLLECTOR))


def _collect_nothing(servers: Servers) -> None:
    servers.kept_by("collector").close()


def _hide_proc(servers: Servers) -> None:
    """As where /proc is not mounted."""
    empty = servers.kept.enter_context(TemporaryDirectory(prefix="oxherd-proc-"))
    servers.kept.enter_context(mock.patch("psutil.PROCFS_PATH", empty))


def _state_folder(servers: Servers) -> None:
    """A write that failed is tried again soon."""
    _STATE.parent.mkdir(parents=True)
    servers.undo.callback(shutil.rmtree, _STATE.parent, ignore_errors=True)
    servers.undo.enter_context(mock.patch("exporter.bullmq.streams.state_file._RETRY_SECONDS", 1.0))
    servers.jobs.add("mail")


def _move_state_folder(servers: Servers) -> None:
    """As a volume that is not mounted any more."""
    _STATE.parent.rename(_STATE.parent.with_suffix(".away"))
    servers.jobs.add("mail")


def _move_state_folder_back(servers: Servers) -> None:
    del servers
    _STATE.parent.with_suffix(".away").rename(_STATE.parent)


WORLDS: Final = (
    World(
        "the exporter and its host",
        (
            Cause(
                "an endpoint does not answer",
                "probe_failing",
                _refuse,
                _listen,
                prepare=_listen,
                settings={
                    "probes": [{"name": "shop", "url": f"tcp://127.0.0.1:{_PORT}", "interval_seconds": 1}]
                },
            ),
            Cause(
                "the OTLP endpoint does not answer",
                "otlp_push_failing",
                _collect_nothing,
                _collect,
                prepare=_collect,
                settings={"otlp": {"endpoint": f"http://127.0.0.1:{_COLLECTOR}", "interval_seconds": 2}},
            ),
            Cause(
                "the host is loaded",
                "host_load_high",
                _pretend(load_per_core=3.0),
                _pretend(load_per_core=0.1),
            ),
            Cause(
                "the host's memory is taken",
                "host_memory_low",
                _pretend(available=0.05),
                _pretend(available=0.5),
            ),
            Cause(
                "the exporter takes memory",
                "process_memory_high",
                _take_memory,
                _free_memory,
                settings=_memory_limit,
            ),
            Cause("the exporter's clock is set back", "clock_offset_high", _set_clock_back, _set_clock_right),
        ),
    ),
    World.of(
        Cause(
            "the folder of the state file is gone",
            "state_not_written",
            _move_state_folder,
            _move_state_folder_back,
            prepare=_state_folder,
            settings={"bullmq": {"state_file": str(_STATE)}},
        )
    ),
    World.of(Cause("/proc is hidden", "source_unreadable", _hide_proc, lambda servers: servers.kept.close())),
)
