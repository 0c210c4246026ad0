"""A process in another runtime: one JSON object per line as a request, one as the response."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from lab.deadline import wait_until
from lab.process import ChildProcess, DiedError
from lab.programs import find_program


class DriverError(RuntimeError):
    """The library reported an error; the message is its own."""


def connection_of(url: str | None, cluster: Sequence[str]) -> dict[str, Any]:
    """A driver's connection settings: {"host", "port", ...}, or {"nodes": [...]} for a cluster."""
    if cluster:
        nodes = [address.rsplit(":", 1) for address in cluster]
        return {"nodes": [{"host": host, "port": int(port)} for host, port in nodes]}
    if url is None:
        raise ValueError("a URL or the addresses of a cluster are required")
    parts = urlsplit(url)
    if parts.scheme != "redis":
        raise ValueError(f"the drivers do not support {parts.scheme}")
    named = {
        "username": parts.username or None,
        "password": unquote(parts.password) if parts.password else None,
    }
    database = parts.path.removeprefix("/")
    return {"host": parts.hostname, "port": parts.port or 6379, "db": int(database or 0)} | {
        key: text for key, text in named.items() if text
    }


class Driver:
    """Queues and workers of one BullMQ library, in a process of its own.

    Every library has the same verbs; each raises DriverError with the library's message, or TimeoutError.
    """

    def __init__(self, command: Sequence[str], *, name: str, settings: Mapping[str, Any]) -> None:
        program = find_program(command[0])
        self._directory = TemporaryDirectory(prefix="oxherd-driver-")
        environ = os.environ | {"NODE_NO_WARNINGS": "1"}
        log = Path(self._directory.name) / "log"
        self.process = ChildProcess(
            [program, *command[1:], json.dumps(settings)],
            name=name,
            log=log,
            environ=environ,
            piped=True,
        )
        self._replies: SimpleQueue[bytes] = SimpleQueue()
        self._lock = Lock()
        self._reader = Thread(target=self._read, name=f"{name} replies", daemon=True)
        self._reader.start()

    def call(self, verb: str, *, seconds: float = 20.0, **arguments: Any) -> Any:
        """Send a request and wait for the response."""
        with self._lock:
            self.process.check()
            self.process.stdin.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
            try:
                line = self._replies.get(timeout=seconds)
            except Empty:
                tail = self.process.tail()
                raise TimeoutError(
                    f"{self.process.name}: no response to {verb} in {seconds:g} s\n{tail}"
                ) from None
        if not line:
            self.process.wait()
            self.process.check()
        reply = json.loads(line)
        if "error" in reply:
            raise DriverError(f"{self.process.name}: {verb}: {reply['error']}")
        return reply["value"]

    def queue(self, queue: str, method: str, *arguments: Any) -> Any:
        """Call a method of the library's Queue; its result, a job as {"id": ...}."""
        return self.call("queue", queue=queue, method=method, arguments=arguments)

    def job(self, queue: str, job: str, method: str, *arguments: Any) -> None:
        """Call a method of the library's Job, by its id."""
        self.call("job", queue=queue, id=job, method=method, arguments=arguments)

    def add(self, queue: str, name: str = "job", data: object = None, **opts: Any) -> str:
        """Add a job with BullMQ's options (delay, priority, attempts, backoff, jobId ...); its id."""
        job: dict[str, str] = self.queue(queue, "add", name, {} if data is None else data, opts)
        return job["id"]

    def add_bulk(self, queue: str, count: int, *, name: str = "job", **opts: Any) -> None:
        """Add `count` jobs with the same options at once."""
        self.queue(queue, "addBulk", [{"name": name, "data": {"n": n}, "opts": opts} for n in range(count)])

    def counts(self, queue: str) -> dict[str, int]:
        """The result of the library's getJobCounts() for all its states."""
        counts: dict[str, int] = self.queue(queue, "getJobCounts")
        return counts

    def wait_for_counts(
        self, queue: str, expected: Mapping[str, int], *, seconds: float = 15.0
    ) -> dict[str, int]:
        """Wait until getJobCounts() has these values; the counts of all states."""

        def reached() -> dict[str, int] | None:
            counts = self.counts(queue)
            return counts if expected.items() <= counts.items() else None

        counts = wait_until(reached, what=f"{queue} has {dict(expected)}", seconds=seconds)
        assert counts is not None
        return counts

    def pause(self, queue: str) -> None:
        self.queue(queue, "pause")

    def resume(self, queue: str) -> None:
        self.queue(queue, "resume")

    def drain(self, queue: str) -> None:
        """Remove all waiting and delayed jobs."""
        self.queue(queue, "drain", True)

    def obliterate(self, queue: str) -> None:
        """Remove the queue and all its jobs, whatever their state."""
        self.queue(queue, "obliterate", {"force": True})

    def set_global_concurrency(self, queue: str, limit: int) -> None:
        """v5.9 and later, and Python."""
        self.queue(queue, "setGlobalConcurrency", limit)

    def upsert_scheduler(self, queue: str, scheduler: str, **repeat: Any) -> None:
        """v5.16 and later, and Python: `every=1000` (ms) or `pattern="* * * * *"`."""
        self.queue(queue, "upsertJobScheduler", scheduler, repeat)

    def add_flow(self, flow: Mapping[str, Any]) -> None:
        """A tree {name, queueName, data, children: [...]} for FlowProducer.add."""
        self.call("flow", flow=flow)

    def start_worker(
        self,
        queue: str,
        *,
        concurrency: int = 1,
        name: str | None = None,
        behaviour: Mapping[str, Any] | None = None,
        **opts: Any,
    ) -> int:
        """Start a worker, wait until it is connected, and return its id.

        `behaviour` is what its handler does with each job: {"ms": 20} takes 20 ms, {"fail": True} throws
        (after `ms`), {"fail_first": 2} throws in the first two attempts of a job, {"hold": True} keeps the
        job active until release() or stop_worker(). `opts` are BullMQ's options.
        """
        options = opts | {"concurrency": concurrency} | ({} if name is None else {"name": name})
        worker: int = self.call("start_worker", queue=queue, behaviour=behaviour or {}, opts=options)
        return worker

    def release(self, worker: int) -> int:
        """Release the jobs that the worker holds; their number. Jobs that it takes later are held again."""
        released: int = self.call("release", worker=worker)
        return released

    def tally(self, worker: int) -> dict[str, int]:
        """How often the handler was started, returned and threw, counted by the worker."""
        tally: dict[str, int] = self.call("tally", worker=worker)
        return tally

    def durations(self, worker: int) -> dict[str, list[float]]:
        """Milliseconds by the worker's clock, one entry per attempt: `wait` from when the job was added to
        when it was taken, `run` of the handler."""
        durations: dict[str, list[float]] = self.call("durations", worker=worker)
        return durations

    def stop_worker(self, worker: int, *, force: bool = False) -> None:
        """Close it after its active jobs, held jobs released; with `force` at once: its jobs stay active."""
        self.call("stop_worker", worker=worker, force=force)

    def close(self) -> None:
        """Close workers and queues and stop the process."""
        if self.process.is_running() and not self.process.suspended:
            with suppress(DriverError, DiedError, TimeoutError):  # the process is stopped in any case
                self.call("close", seconds=5)
        self.process.stop()
        self._reader.join(timeout=5)
        self.process.close_pipes()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._replies.put(line)
        self._replies.put(b"")
