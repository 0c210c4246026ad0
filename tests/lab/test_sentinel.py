"""The lab's Sentinels report their master and promote a replica."""

from __future__ import annotations

from lab.sentinel import SentinelSet


def test_a_replica_takes_over_from_a_master_that_hangs(fresh_sentinel_set: SentinelSet) -> None:
    before = fresh_sentinel_set.master()
    assert before is fresh_sentinel_set.servers[0]
    before.suspend()
    after = fresh_sentinel_set.wait_for_new_master(before)
    assert after in fresh_sentinel_set.servers[1:]
