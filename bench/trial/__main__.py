"""Real workers, a real Prometheus: `python -m bench.trial [--only NAME ...] [--write DIR] [--record DIR]`.

Each scenario takes about five minutes; they run one after another. `--write` draws a picture of each,
`--record` keeps what was recorded, and `--from` draws and sums up such recordings without running anything.
The exit code is 1 if a job was lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from bench.trial.picture import draw
from bench.trial.recording import COLUMNS, Recording, changes, row
from bench.trial.run import run
from bench.trial.scenarios import SCENARIOS, Plant

_RECORDING = TypeAdapter(Recording)


def main(arguments: Sequence[str] | None = None) -> int:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m bench.trial")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--write", type=Path, metavar="DIR", help="trial-NAME.svg")
    parser.add_argument("--record", type=Path, metavar="DIR", help="NAME.json")
    parser.add_argument("--from", type=Path, metavar="DIR", dest="recorded", help="instead of running")
    options = parser.parse_args(arguments)
    rows, lost = [], 0
    for recording in _recordings(options.only, options.recorded):
        name = recording.scenario.name
        rows.append(row(recording))
        lost += recording.lost
        print(f"{name}: {recording.lost} jobs lost, {recording.repeated} run twice")
        for before, after in changes(recording.looks):
            print(f"{after.at:6.0f} s  {before.requested:>2} -> {after.requested:<2} {after.sentence}")
        sys.stdout.flush()
        if options.record:
            options.record.mkdir(parents=True, exist_ok=True)
            (options.record / f"{name}.json").write_bytes(_RECORDING.dump_json(recording))
        if options.write:
            draw(recording, options.write / f"trial-{name}.svg")
    print()
    for cells in (COLUMNS, ["---", *["--:"] * (len(COLUMNS) - 1)], *rows):
        print(f"| {' | '.join(cells)} |")
    return int(lost > 0)


def _recordings(names: Sequence[str], recorded: Path | None) -> Iterator[Recording]:
    for scenario in SCENARIOS:
        if scenario.name not in names:
            continue
        if recorded is None:
            yield run(scenario, Plant())
        else:
            yield _RECORDING.validate_json((recorded / f"{scenario.name}.json").read_bytes())


if __name__ == "__main__":
    sys.exit(main())
