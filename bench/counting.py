"""What a scrape costs Redis: its CPU time and the commands, at queues that stand still and that move.

`--before DIR` compares with the exporter of another checkout, scraped in turn with this one on one Redis.
CPU time is that of the server's process while a scrape lasts, without what the same time costs otherwise.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.queues import PREFIX, exchange, fill, names
from bench.scrape import Scraper, exporter_of
from exporter.redis.protocol import pack
from lab.redis import RedisServer, start_redis

JOBS = 20
ROUNDS, WARM = 9, 3
PAUSE_SECONDS = 2.0
EVENTS = ("added", "waiting", "active", "completed")


def cpu_ms(pid: int) -> float:
    """CPU time of a process, by its clock (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2) * 1000


@dataclass
class Costs:
    """Of each scrape: ms of Redis' CPU and of the exporter's, and the commands."""

    redis: list[float] = field(default_factory=list)
    exporter: list[float] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)

    def row(self) -> str:
        medians = [statistics.median(values) for values in (self.commands, self.redis, self.exporter)]
        return "{:>10.0f}{:>10.1f}{:>12.1f}".format(*medians)


@dataclass
class Contender:
    name: str
    scraper: Scraper
    pid: int


class Bench:
    """Exporters on one Redis with queues, scraped in turn."""

    def __init__(self, server: RedisServer, queues: int, contenders: Sequence[Contender]) -> None:
        self._server = server
        self._names = names(queues)
        self._contenders = contenders
        self._connection = socket.create_connection((server.host, server.port), 60)
        self._pid = int(server.facts("info", "server")["process_id"])

    def run(self, moving: int, pause: float, rounds: int) -> dict[str, Costs]:
        """The costs where so many queues have a whole job between two scrapes."""
        costs = {contender.name: Costs() for contender in self._contenders}
        for number in range(rounds + WARM):
            for contender in self._contenders:
                self._move(moving)
                time.sleep(pause)
                cost = self._scrape(contender)
                if number >= WARM:
                    for values, value in zip(
                        (costs[contender.name].redis, costs[contender.name].exporter), cost[:2], strict=True
                    ):
                        values.append(value)
                    costs[contender.name].commands.append(int(cost[2]))
        return costs

    def _scrape(self, contender: Contender) -> tuple[float, float, float]:
        commands, redis, exporter = self._commands(), cpu_ms(self._pid), cpu_ms(contender.pid)
        started = time.monotonic()
        contender.scraper.scrape()
        lasted = time.monotonic() - started
        spent = cpu_ms(self._pid) - redis, cpu_ms(contender.pid) - exporter, self._commands() - commands - 1
        commands, redis, exporter = self._commands(), cpu_ms(self._pid), cpu_ms(contender.pid)
        time.sleep(lasted)
        otherwise = (
            cpu_ms(self._pid) - redis,
            cpu_ms(contender.pid) - exporter,
            self._commands() - commands - 1,
        )
        return spent[0] - otherwise[0], spent[1] - otherwise[1], spent[2] - otherwise[2]

    def _commands(self) -> int:
        (reply,) = exchange(self._connection, pack("INFO", "stats"), 1)
        assert isinstance(reply, bytes)
        return int(reply.partition(b"total_commands_processed:")[2].split()[0])

    def _move(self, queues: int) -> None:
        packed = [
            pack("XADD", f"{PREFIX}:{queue}:events", "MAXLEN", "~", 1000, "*", "event", event, "jobId", 1)
            for queue in self._names[:queues]
            for event in EVENTS
        ]
        exchange(self._connection, b"".join(packed), len(packed))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.counting", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout with its .venv, to compare with")
    parser.add_argument("--queues", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--pause", type=float, default=PAUSE_SECONDS)
    parser.add_argument("--empty", action="store_true", help="queues without a backlog")
    given = parser.parse_args(arguments)
    print(f"{'a scrape, medians':<34}{'commands':>10}{'Redis ms':>10}{'exporter ms':>12}")
    for queues in given.queues:
        _compare(queues, given)
    return 0


def _compare(queues: int, given: argparse.Namespace) -> None:
    with start_redis() as server, ExitStack() as undo:
        fill(server.port, queues=queues, jobs_per_queue=0 if given.empty else JOBS)
        checkouts = {"before": given.before, "now": None} if given.before else {"now": None}
        contenders = []
        for name, directory in checkouts.items():
            port, process = undo.enter_context(exporter_of(server.port, queues=queues, folder=directory))
            contenders.append(Contender(name, Scraper(port), process.pid))
        time.sleep(15)
        bench = Bench(server, queues, contenders)
        cases: dict[str, Callable[[], dict[str, Costs]]] = {
            "none moves": lambda: bench.run(0, given.pause, given.rounds),
            "5 % move": lambda: bench.run(queues // 20, given.pause, given.rounds),
            "all move": lambda: bench.run(queues, given.pause, given.rounds),
        }
        for case, run in cases.items():
            for name, costs in run().items():
                print(f"{f'{queues} queues, {case}: {name}':<34}{costs.row()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
