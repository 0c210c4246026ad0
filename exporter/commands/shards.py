"""The views of all shards of the queues as one view. Pure.

What is there once is the first shard's; queues, problems and issues are those of all; the score is the
lowest, as the alert on it has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from exporter.memory.merge import merge_memory
from exporter.views import NO_MONITORING, View

_STATES: Final = ("failed", "partial", "ok", "off")  # the worst first


class NotShardsError(Exception):
    """The views are not those of different shards of one division; the text says why."""


def merge_shards(views: Mapping[str, View], failures: Mapping[str, str]) -> View:
    """One view of those that came from these URLs; `failures` has the URLs without one, and why.

    Raises NotShardsError.
    """
    watched = {url: view for url, view in views.items() if view["health"] is not None}
    without = dict(failures) | dict.fromkeys(views.keys() - watched.keys(), NO_MONITORING)
    shards = _numbers(views)
    if not watched:
        return next(iter(views.values()))
    parts = [watched[url] for url in sorted(watched, key=lambda url: shards[url][0])]
    _, count = next(iter(shards.values()))
    there = {shards[url][0] for url in watched}
    missing = [why if url in why else f"{url}: {why}" for url, why in sorted(without.items())]
    if len(there) < count and len(missing) < count - len(there):
        absent = sorted(set(range(1, count + 1)) - there)
        missing.append(f"no URL of shard {', '.join(map(str, absent))} is given")
    first = parts[0] if parts[0]["shard"]["number"] == 1 else None
    merged = dict(first or parts[0])
    if first is None:
        merged |= {"redis": None, "host": None, "probes": None}
    return merged | {
        "shard": {
            "number": None,
            "shards": count,
            "there": len(there),
            "missing": missing,
            "urls": [*views, *failures],
        },
        "taken_at": min(part["taken_at"] for part in parts),
        "background": [
            {**task, "name": f"{task['name']} of shard {part['shard']['number']}"}
            for part in parts
            for task in part["background"]
        ],
        "health": _health(parts),
        "sources": _sources(parts),
        "memory": merge_memory([part.get("memory") for part in parts]),
        "queues": _queues([part["queues"] for part in parts if part["queues"] is not None]),
    }


def _numbers(views: Mapping[str, View]) -> dict[str, tuple[int, int]]:
    """The shard of each URL and of how many it is one."""
    shards: dict[str, tuple[int, int]] = {}
    for url, view in views.items():
        shard = view.get("shard")
        if not shard:
            raise NotShardsError(f"the exporter at {url} watches all queues: it is no shard")
        number, count = shard["number"], shard["shards"]
        for other, (same, shards_there) in shards.items():
            if count != shards_there:
                raise NotShardsError(f"{other} is of {shards_there} shards, and {url} of {count}")
            if number == same:
                raise NotShardsError(f"{other} and {url} are both shard {number} of {count}")
        shards[url] = number, count
    return shards


def _health(parts: Sequence[View]) -> dict[str, Any]:
    """An issue that several shards have is one, with what it affects in all of them and the texts of the one
    that is affected most."""
    issues: dict[tuple[str, str], dict[str, Any]] = {}
    open_ones: dict[str, float] = {}
    for part in parts:
        for issue in part["health"]["issues"]:
            key = issue["name"], issue["source"]
            before = issues.get(key)
            affected = sorted(
                [*issue["affected"], *(before["affected"] if before else ())],
                key=lambda one: one["value"],
                reverse=True,
            )
            texts = issue if before is None or _worst(issue) > _worst(before) else before
            issues[key] = {**texts, "affected": affected}
        for known in part["health"]["not_known_yet"]:
            seconds = known["known_in_seconds"]
            open_ones[known["name"]] = max(seconds, open_ones.get(known["name"], 0.0))
    there = {name for name, _ in issues}
    lowest = min(parts, key=lambda part: part["health"]["score"])["health"]
    return {
        "score": lowest["score"],
        "status": lowest["status"],
        "issues": sorted(issues.values(), key=lambda issue: -issue["penalty"]),
        "not_known_yet": [
            {"name": name, "known_in_seconds": seconds}
            for name, seconds in sorted(open_ones.items())
            if name not in there
        ],
    }


def _worst(issue: View) -> float:
    return max((one["value"] for one in issue["affected"]), default=0.0)


def _sources(parts: Sequence[View]) -> list[dict[str, Any]]:
    """Each source in its worst state, and what the shards say of it; one that only the first reads is its."""
    merged = []
    for source in parts[0]["sources"]:
        name = source["name"]
        each = [
            (part["shard"]["number"], own) for part in parts for own in part["sources"] if own["name"] == name
        ]
        read = [(number, own) for number, own in each if own["state"] != "off"] or each
        worst = min((own["state"] for _, own in read), key=_STATES.index)
        reasons = [
            f"shard {number}: {own['why']}" for number, own in read if own["why"] and own["state"] == worst
        ]
        if worst == "off":
            reasons = [source["why"]]
        seconds = [own["seconds"] for _, own in read if own["seconds"] is not None]
        merged.append(
            {"name": name, "state": worst, "why": "; ".join(reasons), "seconds": max(seconds, default=None)}
        )
    return merged


def _queues(parts: Sequence[View]) -> dict[str, Any] | None:
    if not parts:
        return None
    ends = [part["search"]["ended_at"] for part in parts]
    return {
        "up": all(part["up"] for part in parts),
        "discovered": all(part["discovered"] for part in parts),
        "problems": list(dict.fromkeys(problem for part in parts for problem in part["problems"])),
        "unread": _by_name(part["unread"] for part in parts),
        "search": {
            **parts[0]["search"],
            "ended_at": None if None in ends else min(ends),
            "passed_over": _by_name(part["search"]["passed_over"] for part in parts),
            "refused": _by_name(part["search"]["refused"] for part in parts),
            "left_out": _left_out(parts),
        },
        "queues": _by_name(part["queues"] for part in parts),
    }


def _left_out(parts: Sequence[View]) -> list[dict[str, Any]]:
    """What no shard has room for; each has its own maximum."""
    merged: dict[str, dict[str, Any]] = {}
    for part in parts:
        for left in part["search"].get("left_out") or ():  # an exporter of another version has none
            before = merged.get(left["reason"])
            merged[left["reason"]] = {
                **left,
                "count": left["count"] + (before["count"] if before else 0),
                "at_least": left["at_least"] or bool(before and before["at_least"]),
                "first": (before or left)["first"],
            }
    return list(merged.values())


def _by_name(lists: Iterable[Sequence[View]]) -> list[View]:
    return sorted((one for views in lists for one in views), key=lambda one: (one["prefix"], one["name"]))
