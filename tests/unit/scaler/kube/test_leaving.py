"""How many pods may still be ending their jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.kube.leaving import LeavingPods
from scaler.kube.objects import Workload

MAIL = Workload(8, "1", "u", "app=mail", ready=8, grace_seconds=60.0)


def test_the_server_counts_them_where_it_can() -> None:
    leaving = LeavingPods()
    assert leaving.update(replace(MAIL, terminating=3), 0.0) == 3
    assert leaving.update(replace(MAIL, replicas=1, terminating=0), 1.0) == 0


@pytest.mark.parametrize("grace", [60.0, None])
def test_elsewhere_those_that_went_within_the_grace_period_may_be(grace: float | None) -> None:
    leaving, seconds = LeavingPods(), 30.0 if grace is None else grace
    mail = replace(MAIL, grace_seconds=grace)
    assert leaving.update(mail, 0.0) == 0
    assert leaving.update(replace(mail, replicas=5), 10.0) == 3
    assert leaving.update(replace(mail, replicas=9), 20.0) == 3
    assert leaving.update(replace(mail, replicas=7), 25.0) == 5
    assert leaving.update(replace(mail, replicas=7), 10.0 + seconds) == 5
    assert leaving.update(replace(mail, replicas=7), 11.0 + seconds) == 2
    assert leaving.update(replace(mail, replicas=7), 26.0 + seconds) == 0


def test_of_a_rollout_those_that_it_replaced() -> None:
    leaving = LeavingPods()
    counts = [leaving.update(replace(MAIL, outdated=old), at) for at, old in enumerate((0, 8, 6, 6, 3, 0))]
    assert counts == [0, 0, 2, 2, 5, 8]
    assert leaving.update(MAIL, 65.0) == 3


def test_another_workload_of_the_name_has_none_of_its_pods() -> None:
    leaving = LeavingPods()
    leaving.update(MAIL, 0.0)
    assert leaving.update(replace(MAIL, uid="v", replicas=1), 1.0) == 0
