from __future__ import annotations

from statistics import fmean

import pytest

from bench.trial.scenarios import SCENARIOS, Disturbance, Scenario, arrivals, takeable

BURST = Scenario("burst", "", 4.0, 1.0, (Disturbance("rate", 100, 200, 5.0),), seconds=400, lead=100)


def test_the_same_seed_gives_the_same_jobs_and_another_one_others() -> None:
    assert arrivals(BURST, seed=1) == arrivals(BURST, seed=1)
    assert arrivals(BURST, seed=1) != arrivals(BURST, seed=2)


def test_jobs_come_at_the_rate_of_their_time() -> None:
    jobs = [job for seed in range(20) for job in arrivals(BURST, seed)]
    within = {
        span: sum(span[0] <= job.at < span[1] for job in jobs) / (20 * (span[1] - span[0]))
        for span in ((-100, 100), (100, 200), (200, 400))
    }
    assert within == {
        (-100, 100): pytest.approx(4, rel=0.05),
        (100, 200): pytest.approx(20, rel=0.05),
        (200, 400): pytest.approx(4, rel=0.05),
    }
    assert fmean(job.factor for job in jobs) == pytest.approx(1, rel=0.02)
    assert -100 <= min(job.at for job in jobs) < max(job.at for job in jobs) < 400


def test_a_job_can_be_taken_when_it_comes() -> None:
    assert takeable([1.0, 1.0, 2.0], ()) == [1.0, 1.0, 2.0]


def test_no_job_can_be_taken_in_a_pause() -> None:
    pause = (Disturbance("pause", 10, 20),)
    assert takeable([9.0, 10.0, 19.9, 20.0, 21.0], pause) == [9.0, 20.0, 20.0, 20.0, 21.0]


def test_a_limit_lets_so_many_start_in_a_second_and_all_that_wait_when_it_ends() -> None:
    limit = (Disturbance("limit", 10, 12, 2.0),)
    added = [9.9, 10.0, 10.1, 10.2, 10.3, 10.4, 12.5]
    assert takeable(added, limit) == pytest.approx([9.9, 10.0, 10.9, 11.0, 11.9, 12.0, 12.5])


def test_a_limit_that_fewer_jobs_need_changes_nothing() -> None:
    assert takeable([10.0, 10.6, 11.2], (Disturbance("limit", 0, 60, 2.0),)) == [10.0, 10.6, 11.2]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_disturbance_ends_while_jobs_still_come(scenario: Scenario) -> None:
    assert all(0 < one.begin < one.end < scenario.seconds for one in scenario.disturbances)
