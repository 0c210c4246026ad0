"""The first topology, from the replies of the seeds. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from exporter.redis.info import decode_text, failed_reply, mode_of, parse_info, role_of
from exporter.redis.protocol import Reply, Request, pack_request
from exporter.redis.sentinel import SentinelView, merge_sentinel_views, parse_sentinel
from exporter.redis.topology import MOST_NODES, merge_cluster_views, parse_cluster_nodes, too_large
from exporter.snapshot.redis import Info, Mode, Topology, TopologyNode
from service.outcome import Failed, Ok, Outcome, UnreadableError

SeedReplies: TypeAlias = "Mapping[str, Outcome[list[Reply]]]"


class SeedsUnreadableError(UnreadableError):
    """No seed led to the deployment; `failures` has the reason for each seed."""

    def __init__(self, failures: Mapping[str, Failed]) -> None:
        self.failures = dict(failures)
        kinds = {failed.kind for failed in self.failures.values()}
        text = "; ".join(f"{address}: {failed.message}" for address, failed in self.failures.items())
        super().__init__(kinds.pop() if len(kinds) == 1 else "unreachable", text)


def find_request() -> Request:
    """The request to a seed. A server without cluster mode refuses the second command, at no cost."""
    return pack_request([("INFO",), ("CLUSTER", "NODES")])


def find_nodes(expected: Mode, replies: SeedReplies) -> Topology:
    """The cluster that any reply shows; else, unless the settings require a cluster, the server itself.

    Raises SeedsUnreadableError.
    """
    failures: dict[str, Failed] = {}
    views = {}
    servers: dict[str, Info] = {}
    for address, outcome in replies.items():
        if isinstance(outcome, Failed):
            failures[address] = outcome
            continue
        info, lines = outcome.value
        view = parse_cluster_nodes(lines) if isinstance(lines, bytes) else ()
        fields = parse_info(info) if isinstance(info, bytes) else Info({})
        if view:
            views[address] = view
        elif isinstance(lines, bytes) and too_large(lines):
            failures[address] = Failed("protocol", f"CLUSTER NODES has more than {MOST_NODES:,} nodes")
        elif mode_of(fields) == "sentinel":
            failures[address] = Failed(
                "error", "is a Sentinel: set REDIS_SENTINELS and REDIS_SENTINEL_MASTER"
            )
        elif not isinstance(info, bytes):
            failures[address] = failed_reply("INFO", info)
        elif mode_of(fields) == "cluster":
            failures[address] = failed_reply("CLUSTER NODES", lines)
        elif expected == "cluster":
            failures[address] = Failed("error", "is not a cluster node: set only REDIS_URL")
        else:
            servers[address] = fields
    if views:
        return merge_cluster_views(views)
    for address, fields in servers.items():
        return Topology("standalone", (TopologyNode(address, role_of(fields), ""),))
    raise SeedsUnreadableError(failures)


def find_sentinel_nodes(name: str, replies: SeedReplies) -> tuple[Mapping[str, SentinelView], Topology]:
    """The sentinels' views and the topology that they agree on. Raises SeedsUnreadableError."""
    views, failures = sentinel_views(replies)
    if not views:
        raise SeedsUnreadableError(failures)
    return views, merge_sentinel_views(name, views)[1]


def unknown_master(failed: Failed) -> bool:
    """Whether a sentinel replied that it does not know this master."""
    return "No such master" in failed.message


def with_masters(failed: Failed, reply: Reply) -> Failed:
    """The failure, with the names of the masters that the sentinel knows (the reply to SENTINEL MASTERS)."""
    rows = reply if isinstance(reply, list) else []
    names = [row[1] for row in rows if isinstance(row, list) and len(row) > 1 and row[0] == b"name"]
    known = ", ".join(sorted(decode_text(name) for name in names if isinstance(name, bytes))) or "none"
    return replace(failed, message=f"{failed.message} (it monitors: {known})")


def sentinel_views(replies: SeedReplies) -> tuple[dict[str, SentinelView], dict[str, Failed]]:
    """Each sentinel's view, or why it has none."""
    views: dict[str, SentinelView] = {}
    failures: dict[str, Failed] = {}
    for address, outcome in replies.items():
        view = parse_sentinel(outcome.value) if isinstance(outcome, Ok) else outcome
        if isinstance(view, SentinelView):
            views[address] = view
        else:
            failures[address] = view
    return views, failures
