"""Runs the demo: starts all parts, performs actions, reports nodes that end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NoReturn

import click

from deploy.demo.actions import ACTIONS
from deploy.demo.commands import action_table
from deploy.demo.control import ControlServer
from deploy.demo.parts import PARTS, Demo, Part, wait_for_series
from deploy.demo.ports import Ports
from deploy.demo.requests import Requests
from deploy.demo.terminal import TypedLines, event, say


def run_demo(demo: Demo) -> None:
    """Start, print the addresses, perform actions; returns on a signal, raises when a part fails."""
    began = time.monotonic()
    with ExitStack() as undo:
        undo.callback(say, "everything is stopped")
        try:
            start_parts(demo, undo)
            requests = Requests(demo)
            undo.enter_context(ControlServer(demo.home, requests.submit))
            undo.enter_context(TypedLines(requests.enqueue))
            say(f"everything is up after {time.monotonic() - began:.0f} s; logs are in {demo.home}")
            click.echo(introduction(demo))
            watch(demo, requests)
        except KeyboardInterrupt:
            say("stopping")


def start_parts(demo: Demo, undo: ExitStack) -> None:
    """Start all parts and wait until Prometheus has their series; `undo` stops them in reverse order."""
    for part in PARTS:
        say(" ".join(["starting", part.name, part.where(demo.ports)]).rstrip())
        part.start(demo, undo)
    say("waiting until Prometheus has the score, every node and every queue")
    wait_for_series(demo)


def watch(demo: Demo, requests: Requests) -> NoReturn:
    """Perform actions until a signal; raises DiedError when a vital process ends."""
    reported: set[str] = set()
    while True:
        demo.check()
        ended = ended_nodes(demo)
        for address in sorted(ended - reported):
            event("ended", f"Redis {address}; the demo continues without it")
        # A node that an action ended was reported by the action.
        reported = ended_nodes(demo) if requests.serve(seconds=0.5) else ended


def ended_nodes(demo: Demo) -> set[str]:
    return {node.address for node in demo.cluster.nodes if not node.process.is_running()}


def introduction(demo: Demo) -> str:
    page = f"http://localhost:{demo.ports.exporter}"
    return f"""
{parts_table(PARTS, demo.ports)}

Times of alerts and notifications are divided by {demo.divisor:g}: a minute takes {60 / demo.divisor:.2g} s.
Only their texts still name the real times.

Look, in another terminal:
  .venv/bin/monitor health --url {page}
  .venv/bin/monitor queues --watch --url {page}
  .venv/bin/monitor doctor --config {demo.home}/exporter.yml
  .venv/bin/scaling status --watch --url http://localhost:{demo.ports.scaler}
  curl -s {page}/metrics | grep -E '^(oxherd_health_score|redis_up.node|bullmq_job_count)'

Break it: type one of these here, or .venv/bin/python -m deploy.demo break kill-node elsewhere.
{action_table(ACTIONS)}
  help shows this list, Ctrl-C stops everything and removes it
"""


def parts_table(parts: Sequence[Part], ports: Ports) -> str:
    """A line for each part: its name, its address, and what it serves."""
    names = max(len(part.name) for part in parts)
    wheres = max(len(part.where(ports)) for part in parts)
    return "\n".join(f"  {part.name:<{names}}  {part.where(ports):<{wheres}}  {part.what}" for part in parts)
