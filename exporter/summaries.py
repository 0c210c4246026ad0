"""Texts that page and commands share: the names of states, and the result of each source as one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from exporter.conditions.schedulers import scheduler_subject
from exporter.derived import totals
from exporter.snapshot.queues import QueueId
from exporter.views import SCHEDULER_CONDITIONS, View, job_counts
from service.i18n import Translator
from service.units import count, duration, percent, printable, size

STATUSES: Final[Mapping[str, str]] = {
    "healthy": "status.healthy",
    "warning": "status.warning",
    "critical": "status.critical",
}
SOURCE_STATES: Final[Mapping[str, str]] = {
    "ok": "source.ok",
    "partial": "source.partial",
    "failed": "source.failed",
    "off": "source.off",
}
NODE_STATES: Final[Mapping[str, str]] = {
    "up": "node.up",
    "unhealthy": "node.unhealthy",
    "down": "node.down",
}
ENDPOINT_STATES: Final[Mapping[str, str]] = {
    "ok": "endpoint.ok",
    "failing": "endpoint.failing",
    "not_checked": "endpoint.not_checked",
}
"""Message ids."""
COLUMN_CONDITIONS: Final[Mapping[str, Sequence[str]]] = {
    "workers": ("queue_standing_still", "queue_without_workers"),
    "failed": ("failed_jobs_high", "failures_rising"),
    "errors": ("failures_rising",),
    "delayed": ("delayed_overdue",),
    "oldest": ("queue_wait_high",),
    "longest": ("active_too_long",),
    "waiting_children": ("waiting_children_long",),
    "paused": ("paused_long",),
}
"""The conditions that a figure or a mark of a queue shows: it has a colour while one of them is there."""

_CLUSTER_SLOTS: Final = "16,384"
_NAMED: Final = 3
_MOST_LATE: Final = 5


class Figure(NamedTuple):
    """A figure of a node: its title as a message id, and its text, "" where it is not known."""

    title: str
    text: Callable[[View], str]


def _ratio(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def _limit(amount: float | None) -> str:
    """maxmemory, of which 0 is no limit."""
    return "∞" if amount == 0 else size(amount)


def _per_second(amount: float | None) -> str:
    return "" if amount is None else f"{size(amount)}/s"


def _links(node: View) -> str:
    """Of a cluster node to the others; of another replica to its master."""
    links, up = node["cluster_links"], node["master_link_up"]
    if links is not None:
        return f"{links['up']}/{links['known']}"
    return "" if up is None else f"{int(up)}/1"


NODE_FIGURES: Final[Mapping[str, Figure]] = {
    "max": Figure("figure.max", lambda node: _limit(node["memory_max_bytes"])),
    "peak": Figure("figure.peak", lambda node: size(node["memory_peak_bytes"])),
    "rss": Figure("figure.rss", lambda node: size(node["memory_rss_bytes"])),
    "fragmentation": Figure("figure.fragmentation", lambda node: _ratio(node["fragmentation_ratio"])),
    "blocked": Figure("figure.blocked", lambda node: count(node["blocked_clients"])),
    "keys": Figure("figure.keys", lambda node: count(node["keys"])),
    "expired": Figure("figure.expired", lambda node: count(node["expired_keys"])),
    "evicted": Figure("figure.evicted", lambda node: count(node["evicted_keys"])),
    "input": Figure("figure.input", lambda node: _per_second(node["input_bytes_per_second"])),
    "output": Figure("figure.output", lambda node: _per_second(node["output_bytes_per_second"])),
    "slots": Figure("figure.slots", lambda node: count(node["slots"])),
    "links": Figure("figure.links", _links),
    "uptime": Figure("figure.uptime", lambda node: duration(node["uptime_seconds"])),
}
"""What page and commands show of each node beside its role and state."""


def empty_figures(nodes: Iterable[View]) -> frozenset[str]:
    """Those of NODE_FIGURES that no node has, as slots and links outside a cluster."""
    listed = list(nodes)
    return frozenset(
        name for name, figure in NODE_FIGURES.items() if not any(figure.text(node) for node in listed)
    )


def issue_count(health: View, translator: Translator) -> str:
    """The number of issues, as text."""
    number = len(health["issues"])
    if not number:
        return translator.translate("issues.none")
    return translator.translate("issues.count", count=number)


def not_known_line(health: View, translator: Translator) -> str:
    """The conditions that may be there or not, and for how long; "" without one."""
    open_ones = health.get("not_known_yet") or ()  # an exporter of another version has none
    each = [
        translator.translate(
            "issues.known_in", condition=printable(one["name"]), time=duration(one["known_in_seconds"])
        )
        for one in open_ones
    ]
    if not each:
        return ""
    return translator.translate("issues.not_known_yet", count=len(each), conditions=", ".join(each))


def node_state(node: View) -> str:
    """A key of NODE_STATES."""
    if not node["up"]:
        return "down"
    return "up" if node["healthy"] and not node["why"] else "unhealthy"


def endpoint_state(probe: View) -> str:
    """A key of ENDPOINT_STATES."""
    if not probe["known"]:
        return "not_checked"
    return "ok" if probe["well"] else "failing"


def source_line(view: View, source: View, translator: Translator) -> str:
    """The reason why the source could not be read, in English, and the result as far as it could be read."""
    result = {
        "redis": redis_line(view["redis"], translator),
        "bullmq": queues_line(view["queues"], translator),
        "host": host_line(view["host"], translator),
        "process": process_line(view["process"], translator),
        "probes": probes_line(view["probes"], translator),
    }.get(source["name"], "")
    why = "" if source["state"] == "off" else printable(source["why"])  # the state says it, in any language
    return "; ".join(filter(None, [why, result]))


def shard_line(view: View, translator: Translator) -> str:
    """Which part of the queues the view has; empty where it has all."""
    shard = view.get("shard")
    if not shard:
        return ""
    if shard["number"] is not None:
        return translator.translate("shard.one", number=shard["number"], shards=shard["shards"])
    missing = shard["missing"]
    if not missing:
        return translator.translate("shard.all", shards=shard["shards"])
    named = "; ".join(printable(text) for text in missing)
    return translator.translate("shard.missing", there=shard["there"], shards=shard["shards"], missing=named)


def redis_line(state: View | None, translator: Translator) -> str:
    if state is None:
        return ""
    translate, nodes, sentinel = translator.translate, state["nodes"], state["sentinel"]
    up = sum(node["up"] for node in nodes)
    parts = [translate("summary.nodes", mode=state["mode"], up=up, count=len(nodes))]
    if state["slots_covered"] is not None:
        covered = count(state["slots_covered"])
        parts.append(translate("summary.slots", covered=covered, total=_CLUSTER_SLOTS))
    if sentinel:
        master = printable(sentinel["master"])
        parts.append(translate("summary.sentinels", count=sentinel["sentinels"], master=master))
    if state["failovers"]:
        parts.append(translate("summary.failovers", count=int(sum(state["failovers"].values()))))
    return ", ".join(parts)


def queues_line(state: View | None, translator: Translator) -> str:
    if state is None:
        return ""
    queues = state["queues"]
    parts = [translator.translate("summary.queues", count=len(queues) + len(state["unread"]))]
    if queues:
        jobs = totals(job_counts(queue) for queue in queues)
        waiting, active, failed = count(jobs.waiting), count(jobs.active), count(jobs.failed)
        parts.append(translator.translate("summary.jobs", waiting=waiting, active=active, failed=failed))
    searched = state.get("search") or {}
    if left_out := sum(left["count"] for left in searched.get("left_out") or ()):
        parts.append(translator.translate("summary.left_out", number=count(left_out)))
    if searched.get("ended_at") is not None:
        keys, prefixes = count(searched["keys"]), searched["prefixes"]
        if prefixes:
            named = ", ".join(map(printable, prefixes))
            parts.append(translator.translate("summary.searched_prefixes", keys=keys, prefixes=named))
        else:
            parts.append(translator.translate("summary.searched", keys=keys))
    return ", ".join(parts)


def has_several_prefixes(state: View) -> bool:
    """Whether a queue is named with its prefix."""
    return len({queue["prefix"] for queue in (*state["queues"], *state["unread"])}) > 1


def queue_conditions(health: View) -> dict[tuple[str, str], dict[str, str]]:
    """The conditions of each queue, by prefix and name, with their severities."""
    conditions: dict[tuple[str, str], dict[str, str]] = {}
    for issue in health["issues"]:
        for affected in issue["affected"]:
            if affected["queue"] is not None:
                of_queue = conditions.setdefault((affected["prefix"], affected["queue"]), {})
                of_queue[issue["name"]] = issue["severity"]
    return conditions


def pause_mark(queue: View) -> str:
    """The message id of what lets no job of the queue start: a pause, or a global concurrency of 0; "" where
    nothing does."""
    if queue["paused"]:
        return "queue.paused"
    limit = queue["concurrency_limit"]
    return "queue.paused_by_concurrency" if limit is not None and limit <= 0 else ""


def cell_level(conditions: Mapping[str, str], column: str) -> str:
    """How a figure of a queue with these conditions is marked: "critical", "warning", or "" for not."""
    severities = {conditions[name] for name in COLUMN_CONDITIONS.get(column, ()) if name in conditions}
    if not severities:
        return ""
    return "critical" if "critical" in severities else "warning"


def scheduler_lines(view: View, translator: Translator) -> list[str]:
    """The schedulers that health judges to be late or to have no next job, and how many more; a line each."""
    state = view["queues"]
    prefixed = has_several_prefixes(state)
    judged = [
        (name, affected)
        for name in SCHEDULER_CONDITIONS
        for issue in view["health"]["issues"]
        if issue["name"] == name
        for affected in issue["affected"]
    ]
    lines = []
    for name, affected in judged[:_MOST_LATE]:
        queue = QueueId(affected["prefix"], affected["queue"])
        scheduler = affected["subject"].removeprefix(scheduler_subject(queue, ""))
        shown = f"{':'.join(queue) if prefixed else queue.name}: {scheduler}"
        ago = _last_run_ago(state, queue, scheduler)
        lines.append(_scheduler_line(name, printable(shown), affected["value"], ago, translator))
    if len(judged) > _MOST_LATE:
        lines.append(translator.translate("schedulers.more", count=len(judged) - _MOST_LATE))
    return lines


def _scheduler_line(condition: str, scheduler: str, seconds: float, ago: str, translator: Translator) -> str:
    if condition == "scheduler_without_next":
        text = translator.translate("schedulers.gone", scheduler=scheduler)
    else:
        text = translator.translate("schedulers.late", scheduler=scheduler, late=duration(seconds))
    return f"{text} {translator.translate('schedulers.last', ago=ago)}" if ago else text


def _last_run_ago(state: View, queue: QueueId, scheduler: str) -> str:
    """How long ago it last ran, by the node's clock, which is known of one whose run is due."""
    for each in state["queues"]:
        if (each["prefix"], each["name"]) == queue:
            for known in (each["job_schedulers"] or {}).get("schedulers", ()):
                if known["id"] == scheduler and known["lateness"] and known["last_run"] is not None:
                    return duration(known["next_run"] + known["lateness"] - known["last_run"])
    return ""


def search_lines(state: View, translator: Translator) -> list[str]:
    """The candidates that were found, and have no place, are no queues or cannot be read; a sentence for each
    kind."""
    searched = state.get("search") or {}
    lines = []
    prefixes = searched.get("prefixes")
    if prefixes and searched.get("ended_at") is not None and not (state["queues"] or state["unread"]):
        named = ", ".join(printable(prefix) for prefix in prefixes)
        lines.append(
            translator.translate("search.none_under_prefixes", prefixes=named, setting="BULLMQ_PREFIXES")
        )
    if left_out := searched.get("left_out"):
        first = [queue for left in left_out for queue in left["first"]][:_NAMED]
        named = ", ".join(f"{printable(queue['prefix'])}:{printable(queue['name'])}" for queue in first)
        number = count(sum(left["count"] for left in left_out))
        lines.append(
            translator.translate(
                "search.left_out", number=number, most=count(searched["most_queues"]), queues=f"{named}, ..."
            )
        )
    refused, passed_over = searched.get("refused") or [], searched.get("passed_over") or []
    if refused:
        named = _candidates(refused)
        lines.append(translator.translate("search.refused", count=len(refused), candidates=named))
    if passed_over:
        named = _candidates(passed_over)
        lines.append(translator.translate("search.passed_over", count=len(passed_over), candidates=named))
    return lines


def _candidates(candidates: Sequence[View]) -> str:
    first = [
        f"{printable(each['prefix'])}:{printable(each['name'])} ({printable(each['why'])})"
        for each in candidates[:_NAMED]
    ]
    return ", ".join(first) + (", ..." if len(candidates) > _NAMED else "")


def host_line(host: View | None, translator: Translator) -> str:
    if host is None:
        return ""
    return translator.translate(
        "summary.host",
        load=f"{host['load'][0]:.2f}",
        count=host["machine_cores"],
        available=size(host["memory_available_bytes"]),
        total=size(host["memory_total_bytes"]),
    )


def host_rows(host: View, translator: Translator) -> list[tuple[str, str]]:
    """The figures of the host, each with its name; a part that could not be read has no row."""
    translate, rates = translator.translate, host["rates"] or {"cpu": {}, "disks": [], "networks": []}
    shares = sorted(rates["cpu"].items(), key=lambda item: -item[1])
    modes = ", ".join(f"{mode} {percent(share)}" for mode, share in shares if share >= _SHOWN_SHARE)
    load = " ".join(f"{number:.2f}" for number in host["load"])
    rows = [
        (translate("host.cpu"), f"{percent(host['cpu_usage'])} ({modes})") if modes else ("", ""),
        (translate("host.load"), translate("host.load_text", load=load, count=host["machine_cores"])),
        (
            translate("host.memory"),
            translate(
                "host.memory_text",
                used=size(host["memory_used_bytes"]),
                available=size(host["memory_available_bytes"]),
                total=size(host["memory_total_bytes"]),
            ),
        ),
    ]
    for filesystem in host["filesystems"]:
        available, total = filesystem["available_bytes"], filesystem["total_bytes"]
        text = translate("host.space_text", available=size(available), total=size(total))
        rows.append((translate("host.space", name=printable(filesystem["mountpoint"])), text))
    for disk in rates["disks"]:
        text = translate(
            "host.disk_text",
            read=_per_second(disk["read_bytes_per_second"]),
            written=_per_second(disk["written_bytes_per_second"]),
            busy=percent(disk["busy"]) or "?",
        )
        rows.append((translate("host.disk", name=printable(disk["device"])), text))
    for network in rates["networks"]:
        text = translate(
            "host.network_text",
            received=_per_second(network["received_bytes_per_second"]),
            transmitted=_per_second(network["transmitted_bytes_per_second"]),
        )
        rows.append((translate("host.network", name=printable(network["device"])), text))
    rows.append((translate("host.uptime"), duration(host["uptime_seconds"])))
    return [(name, text) for name, text in rows if name]


_SHOWN_SHARE: Final = 0.0005  # of a mode of the CPU: below, it would be 0 %


def process_line(process: View | None, translator: Translator) -> str:
    if process is None:
        return ""
    resident, limit = size(process["resident_bytes"]), process["limit_bytes"]
    if limit:
        return translator.translate("summary.process_limited", resident=resident, limit=size(limit))
    return translator.translate("summary.process", resident=resident)


def probes_line(probes: list[View] | None, translator: Translator) -> str:
    if not probes:
        return ""
    known = [probe for probe in probes if probe["known"]]
    passing = sum(probe["well"] for probe in known)
    parts = [translator.translate("summary.probes", passing=passing, count=len(probes))]
    if len(known) < len(probes):
        parts.append(translator.translate("summary.probes_unknown", number=len(probes) - len(known)))
    return ", ".join(parts)
