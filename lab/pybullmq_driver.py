"""Drives PyPI's bullmq for lab/driver.py: a JSON object per line on stdin, a response on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import bullmq
from redis.asyncio.cluster import ClusterNode, RedisCluster

Arguments: TypeAlias = dict[str, Any]

_CLOSE_SECONDS: Final = 8.0


class SimulatedFailureError(Exception):
    """Raised by a worker whose behaviour is to fail."""


@dataclass(slots=True)
class Worker:
    """A worker and the jobs that it holds."""

    behaviour: Arguments
    held: list[asyncio.Event] = field(default_factory=list)
    bullmq: Any = None
    failures: Counter[str] = field(default_factory=Counter)
    durations: dict[str, list[float]] = field(default_factory=lambda: {"wait": [], "run": []})
    tally: dict[str, int] = field(default_factory=lambda: {"started": 0, "returned": 0, "threw": 0})

    async def process(self, job: Any, _token: str) -> None:
        began = time.perf_counter()
        self.durations["wait"].append(job.processedOn - job.timestamp)
        try:
            await self._process(job)
        finally:
            self.durations["run"].append((time.perf_counter() - began) * 1000)

    async def _process(self, job: Any) -> None:
        self.tally["started"] += 1
        if self.behaviour.get("hold"):
            held = asyncio.Event()
            self.held.append(held)
            await held.wait()
        await asyncio.sleep(self.behaviour.get("ms", 0) / 1000)
        if self.behaviour.get("fail") or self.failures[job.id] < self.behaviour.get("fail_first", 0):
            self.failures[job.id] += 1
            self.tally["threw"] += 1
            raise SimulatedFailureError(job.data.get("reason", "asked to fail"))
        self.tally["returned"] += 1

    def release(self) -> int:
        released = len(self.held)
        for held in self.held:
            held.set()
        self.held.clear()
        return released


class Verbs:
    """The verbs that lab/driver.py may call."""

    def __init__(self, settings: Arguments) -> None:
        self._prefix = settings["prefix"]
        self._address = settings["connection"]
        self._queues: dict[str, Any] = {}
        self._workers: list[Worker] = []

    async def queue(self, *, queue: str, method: str, arguments: list[Any]) -> object:
        if queue not in self._queues:
            self._queues[queue] = bullmq.Queue(queue, self._options())
        result = await getattr(self._queues[queue], method)(*arguments)
        return [_plain(item) for item in result] if isinstance(result, list) else _plain(result)

    async def job(self, *, queue: str, id: str, method: str, arguments: list[Any]) -> None:  # noqa: A002
        job = await bullmq.Job.fromId(self._queues[queue], id)
        await getattr(job, method)(*arguments)

    async def flow(self, *, flow: Arguments) -> None:
        producer = bullmq.FlowProducer(self._connection(), {"prefix": self._prefix})
        await producer.add(flow)
        await producer.close()

    async def start_worker(self, *, queue: str, behaviour: Arguments, opts: Arguments) -> int:
        worker = Worker(behaviour)
        worker.bullmq = bullmq.Worker(queue, worker.process, self._options() | opts)
        worker.bullmq.on("error", lambda error, *_: print(error, file=sys.stderr))
        self._workers.append(worker)
        return len(self._workers)

    async def tally(self, *, worker: int) -> dict[str, int]:
        return self._workers[worker - 1].tally

    async def durations(self, *, worker: int) -> dict[str, list[float]]:
        return self._workers[worker - 1].durations

    async def release(self, *, worker: int) -> int:
        return self._workers[worker - 1].release()

    async def stop_worker(self, *, worker: int, force: bool) -> None:
        if not force:
            self._workers[worker - 1].release()
        closing = self._workers[worker - 1].bullmq
        try:
            await asyncio.wait_for(closing.close(force=force), _CLOSE_SECONDS)
        except TimeoutError:  # observed once: it never returned
            await closing.close(force=True)

    async def close(self) -> None:
        for worker in self._workers:
            await worker.bullmq.close(force=True)
        for queue in self._queues.values():
            await queue.close()

    def _options(self) -> Arguments:
        return {"prefix": self._prefix, "connection": self._connection()}

    def _connection(self) -> object:
        """A separate connection for each use, since a worker blocks on its connection."""
        if "nodes" not in self._address:
            return self._address
        nodes = [ClusterNode(node["host"], node["port"]) for node in self._address["nodes"]]
        return RedisCluster(startup_nodes=nodes, decode_responses=True)


def _plain(result: object) -> object:
    """A job as {"id": ...}, any other value unchanged."""
    return {"id": result.id} if isinstance(result, bullmq.Job) else result


async def serve_requests(settings: Arguments) -> None:
    verbs = Verbs(settings)
    requests = asyncio.StreamReader(limit=2**26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    while line := await requests.readline():
        request = json.loads(line)
        try:
            response = {"value": await getattr(verbs, request.pop("verb"))(**request)}
        except Exception as error:  # noqa: BLE001 - any error of the library is the response
            response = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(response), flush=True)


if __name__ == "__main__":
    asyncio.run(serve_requests(json.loads(sys.argv[1])))
