"""A program whose clock is set while it runs: `python -m tests.support.clock_of FILE PACKAGE ARGUMENTS`.

FILE has the seconds that are added to the wall clock, as for the whole process where an operator sets that of
the machine. The monotonic clock goes on, as the kernel's does.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    file, package, *arguments = sys.argv[1:]
    real, real_ns = time.time, time.time_ns

    def offset() -> float:
        return float(Path(file).read_text() or 0)

    time.time = lambda: real() + offset()
    time.time_ns = lambda: real_ns() + int(offset() * 1e9)
    sys.argv = [package, *arguments]
    runpy.run_module(package, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
