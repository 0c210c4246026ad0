"""Thousands of targets of processes, and a limit of file descriptors."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import pytest

from lab.deadline import wait_until
from scaler.config.settings import ProcessSettings
from scaler.model import Applied, NotApplied
from scaler.targets.process import ProcessTarget
from service.clock import Deadline

pytestmark = pytest.mark.timeout(60)


def opened() -> set[tuple[int, str]]:
    """The descriptors of this process, and what each is of; what other tests left may end at any time."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            found.add((int(link.name), str(link.readlink())))
    return found


@contextmanager
def limited(count: int) -> Iterator[None]:
    """With room for so many more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {number for number, _ in opened()}
    free = (number for number in range(soft) if number not in taken)
    limit = next(islice(free, count, None))  # of the numbers below it, so many are free
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_targets_without_a_worker_take_no_descriptor() -> None:
    before = opened()
    command = ProcessSettings(command=("sleep", "60"), grace_seconds=5)
    targets = [ProcessTarget(f"t{n}", command) for n in range(10_000)]
    assert opened() <= before
    assert targets[0].scale(0, 1, Deadline.after(1)) == Applied(1)
    wait_until(lambda: len(opened() - before) == 5, what="those of a target and of a worker")
    for target in targets:
        target.close()
    assert opened() <= before


def test_a_target_for_which_there_are_no_more_says_so() -> None:
    target = ProcessTarget("mail", ProcessSettings(command=("sleep", "60")))
    with limited(1):
        result = target.scale(0, 1, Deadline.after(1))
    assert isinstance(result, NotApplied)
    assert (result.kind, "Too many open files" in result.message) == ("invalid", True)
    assert target.scale(0, 1, Deadline.after(1)) == Applied(1)
    target.close()


@pytest.mark.parametrize(("limit", "refused"), [(256, True), (1024, False)])
def test_a_scaler_whose_least_workers_do_not_fit_is_refused(
    tmp_path: Path, limit: int, *, refused: bool
) -> None:
    targets = [
        {"name": f"t{n}", "queues": [f"q{n}"], "processes": {"command": ["sleep", "60"]}} for n in range(50)
    ]
    config = tmp_path / "scaler.yml"
    prometheus = {"urls": ["http://127.0.0.1:9"]}
    config.write_text(
        json.dumps({"listen": "127.0.0.1:0", "prometheus": prometheus, "targets": targets})  # JSON is YAML
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SCAL", "LOG_"))}
    start = f"ulimit -n {limit}; exec {sys.executable} -m scaler start --config {config}"
    lines: list[str] = []
    with subprocess.Popen(
        ["sh", "-c", start], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            lines.append(line)
            if "file descriptors" in line:
                break
        if not refused:
            program.terminate()
        program.stdout.read()
        code = program.wait(30)
    assert (code == 2) is refused
    kind = "100 workers at least (min_workers) need 414" if refused else "500 workers at most"
    assert kind in lines[-1]
    assert ("targets (" in lines[-1]) is refused
    assert f"the limit of this process is {limit} (RLIMIT_NOFILE)" in lines[-1]
