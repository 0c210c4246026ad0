from __future__ import annotations

from typing import Any

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.step import dump_memory, initial_memory
from scaler.state.learned import Learned, dump_learned, load_learned

MEMORY = initial_memory(PolicySettings())


def test_what_is_written_is_read_again() -> None:
    learned = Learned(MEMORY, (1.5, 30.25), 4, ((1800.0, 7.0), (1810.0, 1.0)))
    assert load_learned(dump_learned(learned)) == (learned, [])
    assert load_learned(dump_learned(Learned())) == (Learned(), [])


def test_a_file_of_an_earlier_version_has_no_start_times() -> None:
    assert load_learned(dump_memory(MEMORY)) == (Learned(MEMORY), [])
    assert load_learned({}) == (Learned(), [])


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"start_times": 3}, "start_times: should be a list of seconds"),
        ({"start_times": ["soon"]}, "start_times: should be a list of seconds"),
        ({"start_times": [-1.0]}, "start_times: should be a list of seconds"),
        ({"start_times": [float("nan")]}, "start_times: should be a list of seconds"),
        ({"stalled": 3}, "stalled: should be a list of times and numbers of jobs"),
        ({"stalled": [[1.0]]}, "stalled: should be a list of times and numbers of jobs"),
        ({"stalled": [[1.0, float("nan")]]}, "stalled: should be a list of times and numbers of jobs"),
        ({"stalled": [[1.0, -2]]}, "stalled: should be a list of times and numbers of jobs"),
        ({"stalled": [["soon", 2]]}, "stalled: should be a list of times and numbers of jobs"),
        ({"workers": "many"}, "workers: should be a number of workers, or null"),
        ({"workers": True}, "workers: should be a number of workers, or null"),
        ({"policy": "magic"}, "there is no policy 'magic'"),
    ],
)
def test_an_invalid_part_is_named_and_the_others_apply(part: dict[str, Any], problem: str) -> None:
    learned, problems = load_learned(dump_learned(Learned(MEMORY, (1.5,), 4)) | part)
    assert problems == [problem]
    assert learned == Learned(
        None if "policy" in part else MEMORY,
        () if "start_times" in part else (1.5,),
        None if "workers" in part else 4,
    )


def test_only_the_last_start_times_are_kept() -> None:
    times = tuple(float(number) for number in range(150))
    assert load_learned(dump_learned(Learned(MEMORY, times)))[0].start_times == times[-20:]
