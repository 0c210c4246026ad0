"""A search for queues under any prefix, compared with a SCAN for `bull:*:meta` alone, in Redis' own time.

Both go through the same keys in turn: those of many queues and of other applications, some of which look like
a queue's. `python -m bench.search`
"""

from __future__ import annotations

import statistics
import sys
from typing import Final

from exporter.bullmq.discover import Discovery
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.redis.deployment import Deployment
from lab.redis import RedisServer, start_redis
from service.clock import Deadline

QUEUES: Final = 200
ROUNDS: Final = 5
MAX_RATIO: Final = 2.0
_KEYS: Final = """
for i = 1, 200000 do redis.call('set', 'session:' .. redis.sha1hex(tostring(i)), i) end
for i = 1, 50000 do redis.call('set', 'app:message:' .. i, i) end
for i = 1, 20000 do redis.call('set', 'app:images:' .. redis.sha1hex(tostring(i)), i) end
for i = 1, 1000 do redis.call('set', 'app:user:' .. i .. ':id', i) end
for i = 1, tonumber(ARGV[1]) do
  local base = 'bull:queue-' .. i .. ':'
  redis.call('hset', base .. 'meta', 'opts.maxLenEvents', 10000, 'version', 'bullmq:6.7.0')
  redis.call('set', base .. 'id', 1)
  redis.call('lpush', base .. 'wait', 1)
  redis.call('xadd', base .. 'events', '*', 'event', 'added', 'jobId', 1)
  for job = 1, 100 do redis.call('hset', base .. job, 'name', 'job', 'timestamp', 1) end
end
"""


def spent(server: RedisServer) -> dict[str, float]:
    """Milliseconds of Redis for each command since the last reset."""
    rows = {
        name: row for name, row in server.facts("info", "commandstats").items() if name.startswith("cmdstat_")
    }
    return {
        name.removeprefix("cmdstat_"): float(row.partition("usec=")[2].partition(",")[0]) / 1000
        for name, row in rows.items()
    }


def narrow(server: RedisServer) -> float:
    """A whole SCAN with the pattern of one prefix and one key; milliseconds of Redis."""
    server.cli("config", "resetstat")
    cursor = "0"
    while True:
        cursor = server.cli("scan", cursor, "match", "bull:*:meta", "count", 1000).split("\n")[0]
        if cursor == "0":
            return spent(server)["scan"]


def search(server: RedisServer, discovery: Discovery) -> dict[str, float]:
    """A whole search; milliseconds of Redis for each command."""
    server.cli("config", "resetstat")
    discovery.discover_once(Deadline.after(60))
    return spent(server)


def main() -> int:
    with start_redis() as server:
        server.cli("eval", _KEYS, 0, QUEUES, seconds=60)
        deployment = Deployment(RedisSettings.model_validate({"url": server.url}))
        first, later, floors = [], [], []
        for _ in range(ROUNDS):
            floors.append(narrow(server))
            discovery = Discovery(deployment, BullMQSettings())
            first.append(search(server, discovery))
            later.append(search(server, discovery))
            if len(discovery.known().queues) != QUEUES:
                raise RuntimeError(f"{len(discovery.known().queues)} queues were found, not {QUEUES}")
        deployment.close()
    floor = statistics.median(floors)
    print(f"search through {server_keys()} keys with {QUEUES} queues, ms of Redis, median of {ROUNDS}")
    print(f"  SCAN for bull:*:meta alone        {floor:8.1f}")
    ratio = 0.0
    for name, rounds in (("the first search", first), ("each later search", later)):
        total = statistics.median(sum(each.values()) for each in rounds)
        scan = statistics.median(each["scan"] for each in rounds)
        ratio = total / floor
        print(f"  {name:<32}  {total:8.1f}  of which SCAN {scan:.1f}; {ratio:.2f} of the SCAN alone")
    print(f"  bound for each later search: {MAX_RATIO:g}")
    return int(ratio > MAX_RATIO)


def server_keys() -> str:
    return f"{271_000 + QUEUES * 104:,}"


if __name__ == "__main__":
    sys.exit(main())
