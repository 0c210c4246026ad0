"""What others wrote is accepted or refused as intended, whatever it is; and the search for what is not.

`make fuzz` does the same with a million inputs of each kind.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from exporter.redis.protocol import ReplyError
from tests.fuzz.__main__ import main
from tests.fuzz.inputs import JSON, REPLIES, TEXT
from tests.fuzz.mutation import Mutator
from tests.fuzz.search import Search, Target
from tests.fuzz.targets import TARGETS


@pytest.mark.fault
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_raises_what_nobody_expects(name: str) -> None:
    target = TARGETS[name]
    assert target.corpus()
    search = Search(target, seed=20)
    search.run(target.quick)
    assert not search.findings, "\n\n".join(finding.text for finding in search.findings.values())


def planted(raw: bytes) -> None:
    if b"99999" in raw:
        raise KeyError("planted")
    if len(raw) > 50:
        raise ValueError("too long")


def test_what_raises_is_found_and_kept(tmp_path: Path) -> None:
    target = Target("planted", TEXT, planted, (ValueError,), seeds=("redis-7.2/cluster-info.txt",))
    search = Search(target, seed=1)
    search.run(300)
    (finding,) = search.findings.values()
    assert finding.times > 1
    assert isinstance(finding.error, KeyError)
    kept = finding.keep(tmp_path)
    assert isinstance(target.failure(target.form.decoded(kept.read_bytes())), KeyError)


@pytest.mark.parametrize("name", ["info", "queue", "prometheus"])
def test_a_seed_gives_the_same_inputs(name: str) -> None:
    target = TARGETS[name]

    def made() -> list[bytes]:
        corpus = list(target.corpus().values())
        return [target.form.encoded(value) for value in Search(target, seed=3)._made(corpus, 50)]

    assert made() == made()


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
