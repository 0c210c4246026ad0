"""What others wrote is accepted or refused as intended, whatever it is; and the search for what is not.

`make fuzz` does the same with a million inputs of each kind.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from exporter.redis.protocol import ReplyError
from tests.fuzz import search
from tests.fuzz.__main__ import main
from tests.fuzz.inputs import JSON, REPLIES, TEXT
from tests.fuzz.mutation import Mutator
from tests.fuzz.search import Search, Target
from tests.fuzz.targets import TARGETS

_TAKEN = 0.1


@pytest.mark.fault
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_raises_what_nobody_expects(name: str) -> None:
    target = TARGETS[name]
    assert target.corpus()
    run = Search(target, seed=20)
    run.run(target.quick)
    assert not run.findings, "\n\n".join(finding.text for finding in run.findings.values())
    # Where nearly all are refused at the first look, nothing is said of what comes after it.
    assert run.taken / run.inputs > _TAKEN, f"{run.taken} of {run.inputs} were taken"


def planted(raw: bytes) -> None:
    if b"99999" in raw:
        raise KeyError("planted")
    if len(raw) > 50:
        raise ValueError("too long")


def test_what_raises_is_found_and_kept(tmp_path: Path) -> None:
    target = Target("planted", TEXT, planted, (ValueError,), seeds=("redis-7.2/cluster-info.txt",))
    run = Search(target, seed=1)
    run.run(300)
    (finding,) = run.findings.values()
    assert finding.times > 1
    assert isinstance(finding.error, KeyError)
    kept = finding.keep(tmp_path)
    assert isinstance(target.failure(target.form.decoded(kept.read_bytes())), KeyError)


@pytest.mark.parametrize("name", ["info", "queue", "prometheus"])
def test_a_seed_gives_the_same_inputs(name: str) -> None:
    target = TARGETS[name]

    def made() -> list[bytes]:
        corpus = list(target.corpus().values())
        return [target.form.encoded(value) for value, _ in Search(target, seed=3)._made(corpus, 0, 50)]

    assert made() == made()


def test_a_run_goes_on_where_another_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 40)

    def given(*runs: tuple[int, int]) -> list[bytes]:
        taken: list[bytes] = []
        target = Target("planted", TEXT, taken.append, seeds=("redis-7.2/cluster-info.txt",))
        for begin, inputs in runs:
            Search(target, seed=1).run(inputs, begin)
        return taken

    (whole, first, rest) = (given(run) for run in ((0, 100), (0, 40), (40, 60)))
    assert whole == first + rest[1:]  # each begins with the corpus
    assert len(set(whole)) > 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_says_how_far_it_came(number: int) -> None:
    # Whoever starts the tests in the background may ignore SIGINT for them, which is inherited.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "tests.fuzz", "time"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it has begun
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    said = re.search(r"time: (\d+) inputs.*\ninterrupted; the rest of time: --seed 1 --from (\d+)\n", out)
    assert said, out
    assert int(said[2]) <= int(said[1]) <= int(said[2]) + search.BLOCK + len(TARGETS["time"].corpus())
    assert process.returncode == 130


def test_an_input_that_does_not_end_is_kept_when_the_run_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "SLOW_SECONDS", 0.0)

    def interrupted(_: bytes) -> None:
        raise KeyboardInterrupt

    run = Search(Target("planted", TEXT, interrupted, seeds=("redis-7.2/cluster-info.txt",)), seed=1)
    run.run(10)
    (finding,) = run.findings.values()
    assert isinstance(finding.error, TimeoutError)
    assert (run.interrupted, run.inputs) == (True, 0)


def test_replies_are_kept_as_redis_sends_them() -> None:
    replies = [1, b"a\r\n", None, ReplyError("ERR no"), [b"", [None, -1]]]
    read = REPLIES.decoded(REPLIES.encoded(replies))
    assert str(read.pop(3)) == str(replies.pop(3))
    assert read == replies


def test_data_is_changed_and_not_in_place() -> None:
    data = {"a": [1, {"b": "c"}], "d": None}
    mutator = Mutator(Random(1))
    changed = [mutator.changed_data(data, data) for _ in range(200)]
    assert data == {"a": [1, {"b": "c"}], "d": None}
    assert sum(other != data for other in changed) > 150
    assert JSON.decoded(JSON.encoded(data)) == data


def depth(value: Any) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def test_what_is_changed_again_and_again_does_not_get_ever_deeper() -> None:
    mutator, value, deepest = Mutator(Random(2)), [[b"a"]], 0
    for _ in range(1000):
        value = mutator.changed_replies(value, [[[[[value]]]]])[:5] or [[b"a"]]
        deepest = max(deepest, depth(value))
    assert deepest == 9


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--inputs", "20", "accept", "url"], 0), (["nobody"], 2), (["--replay", "x"], 2)],
)
def test_the_command(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    if code:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == code
    else:
        assert main(arguments) == code
        assert "accept: " in capsys.readouterr().out
