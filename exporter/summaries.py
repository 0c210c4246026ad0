"""Texts that page and commands share: the names of states, and the result of each source as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from exporter.derived import totals
from exporter.views import View, job_counts
from service.i18n import Translator
from service.units import count, printable, size

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
"""Message ids."""

_CLUSTER_SLOTS: Final = "16,384"
_NAMED: Final = 3


def issue_count(health: View, translator: Translator) -> str:
    """The number of issues, as text."""
    number = len(health["issues"])
    if not number:
        return translator.translate("issues.none")
    return translator.translate("issues.count", count=number)


def node_state(node: View) -> str:
    """A key of NODE_STATES."""
    if not node["up"]:
        return "down"
    return "up" if node["healthy"] else "unhealthy"


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
    if searched.get("ended_at") is not None:
        keys, prefixes = count(searched["keys"]), searched["prefixes"]
        if prefixes:
            named = ", ".join(map(printable, prefixes))
            parts.append(translator.translate("summary.searched_prefixes", keys=keys, prefixes=named))
        else:
            parts.append(translator.translate("summary.searched", keys=keys))
    return ", ".join(parts)


def search_lines(state: View, translator: Translator) -> list[str]:
    """The candidates that were found, and are no queues or cannot be read; a sentence for each kind."""
    searched = state.get("search") or {}
    lines = []
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
