"""From what seeds answered to the first topology. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from exporter.redis.info import failed_reply, mode_of, parse_info, role_of
from exporter.redis.protocol import Reply, Request, request
from exporter.redis.sentinel import SentinelView, agree_sentinels, parse_sentinel
from exporter.redis.topology import agree, parse_cluster_nodes
from exporter.snapshot import Info, Mode, Topology, TopologyNode
from service.outcome import Failed, Ok, Outcome, UnreadableError

SeedReplies: TypeAlias = "Mapping[str, Outcome[list[Reply]]]"


class SeedsUnreadableError(UnreadableError):
    """No seed led to the deployment; `failures` says why, seed by seed."""

    def __init__(self, failures: Mapping[str, Failed]) -> None:
        self.failures = dict(failures)
        kinds = {failed.kind for failed in self.failures.values()}
        text = "; ".join(f"{address}: {failed.message}" for address, failed in self.failures.items())
        super().__init__(kinds.pop() if len(kinds) == 1 else "unreachable", text)


def find_request() -> Request:
    """What a seed is asked. A server that is no cluster refuses the second, which costs nothing."""
    return request([("INFO",), ("CLUSTER", "NODES")])


def find_nodes(expected: Mode, answers: SeedReplies) -> Topology:
    """The cluster that any answer shows; else, where the settings do not insist on one, the server itself.

    Raises SeedsUnreadableError.
    """
    failures: dict[str, Failed] = {}
    views = {}
    servers: dict[str, Info] = {}
    for address, answer in answers.items():
        if isinstance(answer, Failed):
            failures[address] = answer
            continue
        info, lines = answer.value
        view = parse_cluster_nodes(lines) if isinstance(lines, bytes) else ()
        fields = parse_info(info) if isinstance(info, bytes) else Info({})
        if view:
            views[address] = view
        elif mode_of(fields) == "sentinel":
            failures[address] = Failed(
                "error", "is a Sentinel: set REDIS_SENTINELS and REDIS_SENTINEL_MASTER"
            )
        elif not isinstance(info, bytes):
            failures[address] = failed_reply("INFO", info)
        elif mode_of(fields) == "cluster":
            failures[address] = failed_reply("CLUSTER NODES", lines)
        elif expected == "cluster":
            failures[address] = Failed("error", "is not a node of a cluster: set REDIS_URL alone")
        else:
            servers[address] = fields
    if views:
        return agree(views)
    for address, fields in servers.items():
        return Topology("standalone", (TopologyNode(address, role_of(fields), ""),))
    raise SeedsUnreadableError(failures)


def find_sentinel_nodes(name: str, answers: SeedReplies) -> tuple[Mapping[str, SentinelView], Topology]:
    """The sentinels' views and the topology that they agree on. Raises SeedsUnreadableError."""
    views, failures = sentinel_views(answers)
    if not views:
        raise SeedsUnreadableError(failures)
    return views, agree_sentinels(name, views)[1]


def sentinel_views(answers: SeedReplies) -> tuple[dict[str, SentinelView], dict[str, Failed]]:
    """Each sentinel's view, or why it gave none."""
    views: dict[str, SentinelView] = {}
    failures: dict[str, Failed] = {}
    for address, answer in answers.items():
        found = parse_sentinel(answer.value) if isinstance(answer, Ok) else answer
        if isinstance(found, SentinelView):
            views[address] = found
        else:
            failures[address] = found
    return views, failures
