"""`python -m bench.score.exporter start ...`: load, memory and clock are pretended.

They stand in `host.json` beside the configuration: a bench can neither fill a machine nor load it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from exporter import cli
from exporter.host import collect
from exporter.host.collect import collect_host
from exporter.snapshot.host import HostState
from service.clock import Deadline

_FILE = Path(sys.argv[sys.argv.index("--config") + 1]).parent / "host.json"


_real_time, _AHEAD = time.time, [0.0]


def _time() -> float:
    return _real_time() + _AHEAD[0]


def _collect(deadline: Deadline) -> HostState:
    state, pretended = collect_host(deadline), json.loads(_FILE.read_text())
    _AHEAD[0] = pretended["clock"]
    return replace(
        state,
        load=(pretended["load_per_core"] * state.machine_cores,) * 3,
        memory_available=int(pretended["available"] * state.memory_total),
    )


if __name__ == "__main__":
    collect.collect_host, time.time = _collect, _time
    cli.main()
