"""`python -m bench.memory`: the sampled memory of 1,000,000 jobs, beside a walk over all of their keys.

The jobs are as hard to sample as they get: old ones large and new ones small, one of a hundred 200 times as
large as the others, sizes of a long tail, logs and children at some. Redis' time is what the server's clock
says between the first and the last command of each request, what INFO commandstats counts, and the CPU of the
process, less what it uses at rest; each as a share of the time that the survey took.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from bench.queues import connected, exchange
from bench.watched import cpu_seconds
from exporter.bullmq.discover import Discovery
from exporter.bullmq.keys import OWN_KEYS
from exporter.bullmq.memory.watch import MemoryWatch
from exporter.config.bullmq import BullMQSettings
from exporter.config.memory import MemorySettings
from exporter.config.redis import RedisSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import pack
from exporter.snapshot.memory import MEMORY_STATES
from exporter.snapshot.queues import MeasuredMemory, QueueId
from lab.redis import RedisServer, start_redis
from service.clock import Deadline

JOBS: Final = 1_000_000
WITHIN: Final = 0.1
"""How far an estimate may be from the walk."""
MOST_RATIO: Final = 0.01
"""Share of Redis' time."""
LEAST_SHARE: Final = 0.01
"""Of all memory, below which a state alone is not compared: it is in its queue."""
_BATCH: Final = 2000
_REST_SECONDS: Final = 10.0
_PREFIX: Final = "bull"

Figures = Counter[tuple[str, str]]
"""Bytes by queue and state."""


Draw = random.Random


class _Jobs(NamedTuple):
    """Jobs of one state of one queue: which share of all; bytes of data, by how new a job is (0 to 1)."""

    queue: str
    key: str
    state: str
    share: float
    data: Callable[[float, Draw], float]
    logs: float = 0.0  # how many have some
    children: int = 0


def _old_large(new: float, _: Draw) -> float:
    return 4000 if new < 0.5 else 200


def _rarely_large(_: float, draw: Draw) -> float:
    return 60_000 if draw.random() < 0.01 else 300


def _long_tail(_: float, draw: Draw) -> float:
    return min(draw.lognormvariate(5.5, 1.5), 200_000)


def _two_kinds(_: float, draw: Draw) -> float:
    return draw.choice((100, 3000))


def _any(_: float, draw: Draw) -> float:
    return draw.randrange(2000)


def _new_large(new: float, _: Draw) -> float:
    return 100 if new < 0.9 else 20_000


WORLD: Final = (
    _Jobs("mail", "completed", "completed", 0.5, _old_large),
    _Jobs("video", "failed", "failed", 0.1, _rarely_large, logs=0.1),
    _Jobs("orders", "wait", "waiting", 0.2, _long_tail),
    _Jobs("reports", "delayed", "delayed", 0.1, _two_kinds),
    _Jobs("flows", "waiting-children", "waiting-children", 0.02, _any, children=10),
    _Jobs("flows", "prioritized", "prioritized", 0.05, _any),
    _Jobs("flows", "completed", "completed", 0.0299, _new_large),
    _Jobs("flows", "active", "active", 0.0001, _long_tail),
)


def commands(jobs: int, draw: random.Random) -> Iterator[bytes]:
    """The world with so many jobs, in BullMQ's layout."""
    for queue in sorted({each.queue for each in WORLD}):
        base = f"{_PREFIX}:{queue}:"
        yield pack("HSET", base + "meta", "opts.maxLenEvents", 10_000, "version", "bullmq:6.7.0")
        yield pack("SET", base + "id", jobs)
        for number in range(2000):
            yield pack("XADD", base + "events", "*", "event", "added", "jobId", number, "name", "job")
    for each in WORLD:
        base, number = f"{_PREFIX}:{each.queue}:", int(jobs * each.share)
        for index in range(number):
            job = f"{each.state[0]}{each.state[-1]}{index}"
            data = "x" * int(each.data(index / number, draw))
            yield pack(
                *("HSET", base + job, "name", "job", "data", data, "opts", '{"attempts":3}', "timestamp"),
                *(1_700_000_000_000 + index, "delay", 0, "priority", 0, "processedOn", 1, "finishedOn", 2),
                *("returnvalue", "null", "atm", 1, "ats", 1),
            )
            if each.logs and draw.random() < each.logs:
                yield pack("RPUSH", f"{base}{job}:logs", *("a line of a log " * 5 for _ in range(20)))
            if each.children:
                yield pack("SADD", f"{base}{job}:dependencies", *(f"{base}{n}" for n in range(each.children)))
            if each.key in ("wait", "active"):
                yield pack("LPUSH", base + each.key, job)
            else:
                yield pack("ZADD", base + each.key, 1_700_000_000_000 + index, job)


def fill_world(server: RedisServer, jobs: int, seed: int = 1) -> None:
    with connected(server.port) as connection:
        packed = commands(jobs, random.Random(seed))
        while batch := list(islice(packed, _BATCH)):
            exchange(connection, b"".join(batch), len(batch))


def walk(server: RedisServer) -> Figures:
    """MEMORY USAGE with SAMPLES 0 of every key of the server, by queue and state."""
    figures: Figures = Counter()
    with connected(server.port) as connection:
        cursor = b"0"
        while True:
            (reply,) = exchange(connection, pack("SCAN", cursor, "COUNT", 1000), 1)
            assert isinstance(reply, list)
            cursor, keys = reply
            usages = [pack("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys]
            if usages:
                sizes = exchange(connection, b"".join(usages), len(usages))
                for key, size in zip(keys, sizes, strict=True):
                    assert isinstance(size, int)
                    figures[_owner(key.decode())] += size
            if cursor == b"0":
                return figures


_BY_START: Final = {each.state[0] + each.state[-1]: each.state for each in WORLD}
_BY_KEY: Final = {each.key: each.state for each in WORLD} | {"events": "events"}


def _owner(key: str) -> tuple[str, str]:
    _, queue, rest = key.split(":", 2)
    if rest in OWN_KEYS:
        return queue, "other"
    return queue, _BY_KEY.get(rest) or _BY_START[rest[:2]]


class Surveyed(NamedTuple):
    """A survey: what it says, how long it took, and Redis' seconds in it by three measures."""

    memory: MeasuredMemory
    seconds: float
    by_clock: float
    by_commands: float
    by_cpu: float

    @property
    def ratio(self) -> float:
        """The largest share of Redis' time of the three."""
        return max(self.by_clock, self.by_commands, self.by_cpu) / self.seconds

    def figures(self) -> Figures:
        return Counter(
            {
                (queue.name, state): round(measured.states[state].bytes)
                for queue, measured in self.memory.queues.items()
                for state in MEMORY_STATES
                if state in measured.states
            }
        )


def survey(server: RedisServer, settings: MemorySettings, rest: float = _REST_SECONDS) -> Surveyed:
    """One survey of all queues by the exporter's own code, with its pauses, in this process."""
    deployment = Deployment(RedisSettings.model_validate({"url": server.url}))
    try:
        discovery = Discovery(deployment, BullMQSettings())
        discovery.discover_once(Deadline.after(60))
        watch = MemoryWatch(deployment, discovery, settings, first_after=0.0)
        idle, began = cpu_seconds(server.process.pid), time.monotonic()
        time.sleep(rest)
        at_rest = (cpu_seconds(server.process.pid) - idle) / (time.monotonic() - began) if rest else 0.0
        server.cli("config", "resetstat")
        cpu, began = cpu_seconds(server.process.pid), time.monotonic()
        time.sleep(watch.step())
        while watch.going_on:
            time.sleep(watch.step())
        seconds = time.monotonic() - began
        cpu = cpu_seconds(server.process.pid) - cpu - at_rest * seconds
        return Surveyed(watch.memory(), seconds, watch.redis_seconds, command_seconds(server), max(0.0, cpu))
    finally:
        deployment.close()


def command_seconds(server: RedisServer) -> float:
    """Seconds of all commands but CONFIG since the last CONFIG RESETSTAT (INFO commandstats)."""
    rows = [row for row in server.cli("info", "commandstats").splitlines() if row.startswith("cmdstat_")]
    return sum(float(row.partition("usec=")[2].split(",")[0]) for row in rows if "config" not in row) / 1e6


def off(truth: Figures, surveyed: Surveyed) -> list[tuple[str, str, float, float, float]]:
    """Queue, state, bytes of the walk, bytes of the survey and the relative difference; "" is all states of a
    queue, or all queues."""
    found = surveyed.figures()
    whole = float(sum(truth.values()))
    rows = [("", "", whole, float(sum(found.values())))]
    rows += [(queue, "", _of(truth, queue), _of(found, queue)) for queue in sorted({key[0] for key in truth})]
    rows += [
        (*key, float(size), float(found[key]))
        for key, size in sorted(truth.items())
        if size > LEAST_SHARE * whole
    ]
    return [(queue, state, size, here, here / size - 1) for queue, state, size, here in rows]


def _of(figures: Figures, queue: str) -> float:
    return float(sum(size for key, size in figures.items() if key[0] == queue))


def _error(memory: MeasuredMemory, queue: str, state: str) -> float:
    """The standard error in bytes that the survey gives for a row of `off`."""
    if not queue:
        return float(sum(each.error**2 for each in memory.queues.values()) ** 0.5)
    measured = memory.queues[QueueId(_PREFIX, queue)]
    return next((one.error for name, one in measured.states.items() if name == state), measured.error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--surveys", type=int, default=3)
    parser.add_argument("--samples", type=int, default=MemorySettings().samples)
    parser.add_argument("--ratio", type=float, default=MemorySettings().redis_ratio)
    options = parser.parse_args()
    settings = MemorySettings(samples=options.samples, redis_ratio=options.ratio)
    worst = 0.0
    share = 0.0
    with start_redis() as server:
        began = time.monotonic()
        fill_world(server, options.jobs)
        print(f"filled with {options.jobs:,} jobs in {time.monotonic() - began:.0f} s", flush=True)
        cpu, began = cpu_seconds(server.process.pid), time.monotonic()
        truth = walk(server)
        took = time.monotonic() - began
        print(f"walk: {took:.0f} s, {cpu_seconds(server.process.pid) - cpu:.1f} s of Redis", flush=True)
        for _ in range(options.surveys):
            surveyed = survey(server, settings)
            measured = sum(
                state.samples for queue in surveyed.memory.queues.values() for state in queue.states.values()
            )
            print(
                f"survey: {surveyed.seconds:.0f} s, {measured:,} jobs measured; Redis "
                f"{surveyed.by_clock:.3f} s by its clock, {surveyed.by_commands:.3f} s by commandstats, "
                f"{surveyed.by_cpu:.3f} s of CPU: at most {surveyed.ratio:.2%}"
            )
            for queue, state, size, here, difference in off(truth, surveyed):
                error = _error(surveyed.memory, queue, state) / here if here else 0.0
                print(
                    f"  {queue or 'all':8} {state or 'all':16} {size / 1e6:9.1f} MB  {here / 1e6:9.1f} MB "
                    f"{difference:+7.2%}  (standard error {error:.2%})",
                    flush=True,
                )
                worst = max(worst, abs(difference))
            share = max(share, surveyed.ratio)
    good = worst <= WITHIN and share <= MOST_RATIO
    print(f"at most {worst:.1%} off, {share:.2%} of Redis' time: {'good' if good else 'TOO MUCH'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
