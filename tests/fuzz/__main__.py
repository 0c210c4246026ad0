"""Looks for inputs that are refused by an exception that nobody expects: `python -m tests.fuzz [TARGET ...]`.

Inputs are made of those in tests/fuzz/corpus; the same seed gives the same ones. What a target fails on is
written to .lab/fuzz, and `--replay FILE TARGET` gives it that again. Mended, it belongs into the corpus.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time

from tests.fuzz.search import Finding, Search, Target
from tests.fuzz.targets import TARGETS

_FOUND = Path(".lab") / "fuzz"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code is 1 if a target failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give the target this input only")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown or (options.replay and len(options.targets) != 1):
        parser.error(f"there is no target {unknown[0]}" if unknown else "--replay needs one TARGET")
    targets = [TARGETS[name] for name in options.targets or TARGETS]
    logging.disable()  # what is left out of an input is logged, a million times here
    try:
        return _replay(targets[0], options.replay) if options.replay else _search(targets, options)
    finally:
        logging.disable(logging.NOTSET)


def _replay(target: Target, file: Path) -> int:
    value = target.form.decoded(file.read_bytes())
    error = target.failure(value)
    print(Finding(target, value, error).text if error else "accepted, or refused as it should be")
    return int(error is not None)


def _search(targets: Sequence[Target], options: argparse.Namespace) -> int:
    failed = False
    for target in targets:
        began, search = process_time(), Search(target, options.seed)
        search.run(options.inputs)
        seconds = process_time() - began
        found = len(search.findings)
        print(f"{target.name}: {search.inputs} inputs in {seconds:.0f} s of CPU, {found} findings")
        for finding in search.findings.values():
            print(f"\n{finding.times} times, {finding.keep(_FOUND)}\n{finding.text}")
        sys.stdout.flush()
        failed |= bool(search.findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
