"""The file descriptors that the workers of this machine take."""

from __future__ import annotations

import pytest

from scaler.config.settings import ScalerSettings
from scaler.targets.descriptors import descriptors, possible_shortage, shortage


def settings(
    targets: int, least: int, most: int, together: int | None = None, **others: object
) -> ScalerSettings:
    return ScalerSettings.model_validate(
        {
            **others,
            "defaults": {"min_workers": least, "max_workers": most},
            "max_total_workers": together,
            "targets": [
                {"name": f"t{n}", "queues": [f"q{n}"], "processes": {"command": ["x"]}}
                for n in range(targets)
            ],
        }
    )


@pytest.mark.parametrize(
    ("targets", "least", "most", "together", "expected"),
    [
        (10, 2, 5, None, (64 + 30 + 40, 20, 64 + 30 + 100, 50)),
        (10, 0, 5, None, (64, 0, 64 + 30 + 100, 50)),
        (10, 2, 5, 30, (64 + 30 + 40, 20, 64 + 30 + 60, 30)),
        (10, 2, 5, 4, (64 + 12 + 8, 4, 64 + 12 + 8, 4)),
        (0, 2, 5, None, (64, 0, 64, 0)),
    ],
)
def test_a_target_with_workers_takes_three_and_each_worker_two(
    targets: int, least: int, most: int, together: int | None, expected: tuple[int, int, int, int]
) -> None:
    assert descriptors(settings(targets, least, most, together)) == expected


def test_pods_take_none() -> None:
    pods = [{"name": "t", "queues": ["q"], "kubernetes": {"name": "w"}}]
    assert descriptors(ScalerSettings.model_validate({"targets": pods})) == (64, 0, 64, 0)


def test_a_shortage_has_the_numbers_the_settings_and_the_limit() -> None:
    many = settings(1000, 2, 10)
    assert shortage(many, 7320) is None
    assert shortage(many, 7319) == (
        "1000 targets with 2000 workers at least (min_workers) need 7064 file descriptors, and the limit of "
        "this process is 7319 (RLIMIT_NOFILE), of which 256 are for HTTP: raise it, as by `ulimit -n` or "
        "LimitNOFILE, or set fewer workers"
    )
    assert possible_shortage(many, 23320) is None
    possible = possible_shortage(many, 7320)
    assert possible is not None
    assert "10000 workers at most (max_workers, max_total_workers) need 23064" in possible


def test_keda_takes_an_eighth_at_most_where_it_is_answered() -> None:
    asked = settings(1000, 2, 10, keda={"listen": "127.0.0.1:9879"})
    assert shortage(asked, 7320 + 256) is None
    short = shortage(asked, 7319 + 256)
    assert short is not None
    assert (
        "the limit of this process is 7575 (RLIMIT_NOFILE), of which 256 are for HTTP and 256 for KEDA"
        in short
    )
    assert [asked.keda.most_connections(limit) for limit in (4, 64, 1024, 10**6)] == [1, 8, 128, 256]
    assert settings(1, 1, 1).keda.most_connections(1024) == 0
