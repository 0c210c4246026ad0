from __future__ import annotations

from pathlib import Path

import pytest

from bench.ratios import MOST, Ratios, committed, costlier, keep, table


def test_half_more_than_committed_fails() -> None:
    before = {"idle": 2.0, "changing": 3.0}
    assert costlier({"idle": 2.0 * MOST, "changing": 2.9}, before) == []
    [sentence] = costlier({"idle": 3.01, "changing": 3.0}, before)
    assert sentence == "idle: 3.01, 1.50 times the 2.00 that is committed"


def test_a_figure_that_is_new_is_compared_with_nothing() -> None:
    assert costlier({"new": 100.0}, {"idle": 2.0}) == []
    assert "-" in table({"new": 100.0}, {}).splitlines()[-1]


@pytest.mark.parametrize("measured", [{"idle": 1.2345}, {"other": 0.5}])
def test_what_was_not_measured_stays(tmp_path: Path, measured: Ratios) -> None:
    file = tmp_path / "ratios.json"
    keep({"idle": 2.0}, file)
    keep(measured, file)
    assert committed(file) == {"idle": 2.0} | {
        name: float(f"{ratio:.3g}") for name, ratio in measured.items()
    }


def test_every_committed_ratio_is_of_a_benchmark() -> None:
    ratios = committed()
    assert ratios, "there is something to compare with"
    assert {name.partition(",")[0] for name in ratios} <= {"quick", "cost", "peers"}
    assert all(ratio > 0 for ratio in ratios.values())
