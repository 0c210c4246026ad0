from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.host.cgroup import FILES, Limits, group_paths, limits, tightest

V1_UNLIMITED = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("0::/\n", {"": "/"}),
        ("0::/system.slice/oxherd.service\n", {"": "/system.slice/oxherd.service"}),
        (
            "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
            {"memory": "/docker/abc", "cpu": "/docker/abc", "cpuacct": "/docker/abc", "": "/"},
        ),
        ("0::/with:colon\n", {"": "/with:colon"}),
        ("nonsense\n", {}),
        ("", {}),
    ],
)
def test_group_paths(text: str, paths: dict[str, str]) -> None:
    assert group_paths(text) == paths


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Limits()),
        ({"memory.max": "max\n", "cpu.max": "max 100000\n", "memory.current": "5\n"}, Limits(None, 5, None)),
        (
            {
                "memory.max": "1000\n",
                "memory.current": "700\n",
                "memory.stat": "anon 1\ninactive_file 200\n",
                "cpu.max": "50000 100000\n",
            },
            Limits(1000, 500, 0.5),
        ),
        (
            {
                "memory.limit_in_bytes": "1000\n",
                "memory.usage_in_bytes": "700\n",
                "memory.stat": "inactive_file 1\ntotal_inactive_file 300\n",
                "cpu.cfs_quota_us": "150000\n",
                "cpu.cfs_period_us": "100000\n",
            },
            Limits(1000, 400, 1.5),
        ),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, Limits()),
        ({"cpu.max": "100000 0\n"}, Limits()),
        ({"memory.current": "100\n", "memory.stat": "inactive_file 300\n"}, Limits(None, 0, None)),
        ({"memory.current": "100\n", "memory.stat": "inactive_file \u00b2\nodd\n"}, Limits(None, 100, None)),
    ],
)
def test_limits(files: dict[str, str], expected: Limits) -> None:
    assert limits(files) == expected


def test_the_tightest_of_nested_groups_holds_with_its_own_use() -> None:
    inner, outer = Limits(500, 100, None), Limits(300, 250, 2.0)
    assert tightest([inner, outer, Limits()]) == Limits(300, 250, 2.0)
    assert tightest([]) == Limits()


@pytest.mark.parametrize("digits", [25, 400, 5000])
def test_numbers_that_no_kernel_writes_are_none(digits: int) -> None:
    files = dict.fromkeys(FILES, "9" * digits) | {"cpu.max": f"{'9' * digits} 100000"}
    assert limits(files) == Limits()


@given(st.dictionaries(st.sampled_from(FILES), st.text(max_size=30)))
def test_odd_texts_are_no_limits_and_no_errors(files: dict[str, str]) -> None:
    container = limits(files)
    assert container.memory is None or container.memory >= 0
    assert container.cpus is None or container.cpus > 0
