"""Looks for inputs that are refused by an exception that nobody expects: `python -m tests.fuzz [TARGET ...]`.

Inputs are made of those in tests/fuzz/corpus; the same seed gives the same ones. What a target fails on is
written to .lab/fuzz, and `--replay FILE TARGET` gives it that again. Mended, it belongs into the corpus.
SIGINT and SIGTERM end a run; it says how far it came, and with which `--from N` another one goes on.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import process_time

from tests.fuzz.search import BLOCK, Finding, Search, Target
from tests.fuzz.targets import TARGETS

_FOUND = Path(".lab") / "fuzz"
_TOLD = 10 * BLOCK  # so often a run says how far it is


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code is 1 if a target failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", dest="begin", type=_block, default=0, metavar="N", help="go on at input N")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give the target this input only")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown or (options.replay and len(options.targets) != 1):
        parser.error(f"there is no target {unknown[0]}" if unknown else "--replay needs one TARGET")
    targets = [TARGETS[name] for name in options.targets or TARGETS]
    logging.disable()  # what is left out of an input is logged, a million times here
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _replay(targets[0], options.replay) if options.replay else _search(targets, options)
    finally:
        signal.signal(signal.SIGTERM, before)
        logging.disable(logging.NOTSET)


def _block(text: str) -> int:
    """The number of an input, that of the begin of its block."""
    return int(text) // BLOCK * BLOCK


def _replay(target: Target, file: Path) -> int:
    value = target.form.decoded(file.read_bytes())
    error = target.failure(value)
    print(Finding(target, value, error).text if error else "accepted, or refused as it should be")
    return int(error is not None)


def _search(targets: Sequence[Target], options: argparse.Namespace) -> int:
    failed = False
    for target in targets:
        began, search = process_time(), Search(target, options.seed)
        search.run(options.inputs, options.begin, partial(_tell, target.name))
        _report(search, process_time() - began)
        failed |= bool(search.findings)
        if search.interrupted:
            print(f"interrupted; the rest of {target.name}: --seed {options.seed} --from {search.end}")
            return 130
    return int(failed)


def _tell(name: str, number: int) -> None:
    if number % _TOLD == 0:
        print(f"{name}: at {number}", file=sys.stderr, flush=True)


def _report(search: Search, seconds: float) -> None:
    taken = search.taken / max(1, search.inputs)
    print(
        f"{search.target.name}: {search.inputs} inputs, {taken:.0%} of them taken, "
        f"in {seconds:.0f} s of CPU, {len(search.findings)} findings"
    )
    for finding in search.findings.values():
        print(f"\n{finding.times} times, {finding.keep(_FOUND)}\n{finding.text}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
