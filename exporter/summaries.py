"""What each source found, as one line for a person; the page and the commands share them."""

from __future__ import annotations

from exporter.derived import totals
from exporter.views import View, job_counts
from service.units import count, size


def source_line(view: View, source: View) -> str:
    """Why the source could not be read, and what it found as far as it could."""
    found = {
        "redis": redis_line(view["redis"]),
        "bullmq": queues_line(view["queues"]),
        "host": host_line(view["host"]),
        "process": process_line(view["process"]),
        "probes": probes_line(view["probes"]),
    }.get(source["name"], "")
    return "; ".join(filter(None, [printable(source["why"]), found]))


def redis_line(state: View | None) -> str:
    if state is None:
        return ""
    nodes = state["nodes"]
    line = f"{state['mode']}, {sum(node['up'] for node in nodes)} of {len(nodes)} nodes up"
    if state["slots_covered"] is not None:
        line += f", {count(state['slots_covered'])} of 16,384 slots covered"
    if state["sentinel"]:
        line += f", {state['sentinel']['sentinels']} sentinels watch {printable(state['sentinel']['master'])}"
    return line


def queues_line(state: View | None) -> str:
    if state is None:
        return ""
    jobs = totals(job_counts(queue) for queue in state["queues"])
    sums = f"{count(jobs.waiting)} waiting, {count(jobs.active)} active, {count(jobs.failed)} failed"
    number = len(state["queues"]) + len(state["unread"])
    return f"{number} queue{'' if number == 1 else 's'}" + (f", {sums}" if state["queues"] else "")


def host_line(host: View | None) -> str:
    if host is None:
        return ""
    free = host["memory_available_bytes"]
    return (
        f"load {host['load'][0]:.2f} on {host['machine_cores']} cores, "
        f"{size(free)} of {size(host['memory_total_bytes'])} memory available"
    )


def process_line(process: View | None) -> str:
    if process is None:
        return ""
    limit = process["limit_bytes"]
    return f"{size(process['resident_bytes'])} resident" + (f" of {size(limit)}" if limit else "")


def probes_line(probes: list[View] | None) -> str:
    if not probes:
        return ""
    known = [one for one in probes if one["known"]]
    well = sum(one["well"] for one in known)
    line = f"{well} of {len(probes)} endpoints answer as they should"
    if len(known) < len(probes):
        line += f", {len(probes) - len(known)} not asked yet"
    return line


def printable(text: str) -> str:
    """Without what would steer the terminal: names of queues come from outside."""
    return (
        text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    )
