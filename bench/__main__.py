"""`python -m bench`: every benchmark of cost; the exit code is 1 if a bound is exceeded.

A bound is one of a benchmark's own, or half more than the ratio that is committed (`bench/ratios.json`).
`--quick` takes less than a minute; `--write` keeps the ratios of this run instead of comparing them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Final

from bench import conditions, cost, events, page, peers, quick, scrape, search, step
from bench.ratios import Ratios, committed, costlier, keep, table

_ALL: Final[Mapping[str, Callable[[Ratios], int]]] = {
    "scrape": lambda _: scrape.main(),
    "cost": cost.main,
    "peers": peers.main,
    "events": lambda _: events.main(),
    "page": lambda _: page.main(),
    "conditions": lambda _: conditions.main(),
    "search": lambda _: search.main(),
    "step": lambda _: step.main(),
    "quick": quick.main,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--quick", action="store_true", help="the least that shows a change, in a minute")
    parser.add_argument("--write", action="store_true", help="keep the ratios of this run")
    parser.add_argument("names", nargs="*", choices=[*_ALL, []], help="all of them unless named")
    options = parser.parse_args()
    names = ["quick"] if options.quick else options.names or list(_ALL)
    ratios: Ratios = {}
    exceeded = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if _ALL[name](ratios):
            exceeded.append(f"{name}: a bound of its own")
    if options.write:
        keep(ratios)
    elif ratios:
        before = committed()
        if options.quick and costlier(ratios, before):
            print("\nonce more: much other load may add half to one of them")
            again: Ratios = {}
            quick.main(again)
            ratios = {name: min(ratio, again[name]) for name, ratio in ratios.items()}
        print("\n" + table(ratios, before))
        exceeded += costlier(ratios, before)
    for sentence in exceeded:
        print(f"exceeded: {sentence}")
    return int(bool(exceeded))


if __name__ == "__main__":
    sys.exit(main())
