"""What is counted of all queues together."""

from __future__ import annotations

from exporter.bullmq.bull.channels import ChannelMessage
from exporter.bullmq.bull.follow import BullFollower
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import BullMQState, Changes, EventTotals, QueueId

ONE, OTHER = QueueId("bull", "one"), QueueId("bull", "other")


def test_totals_never_fall_when_a_queue_is_gone_or_begins_again() -> None:
    follower = BullFollower(Deployment(RedisSettings()), BullMQSettings(histograms="native"))

    def totals() -> EventTotals | None:
        follower._publish()
        return follower.extend(BullMQState((), event_totals=EventTotals(10, 1, 2))).event_totals

    assert totals() == (10, 1, 2)
    follower._update([ONE, OTHER])
    for queue, ms in ((ONE, 1000), (OTHER, 1001), (OTHER, 1002)):
        follower._queues[queue].jobs.feed(ChannelMessage(b"bull:q:", "active", b"1", 50), ms)
    assert totals() == (13, 1, 2)
    follower._update([OTHER])
    assert totals() == (13, 1, 2)
    follower._share([OTHER])
    assert totals() == (13, 1, 2)
    assert follower.extend(BullMQState(())).event_totals == (3, 0, 0)


def test_a_queue_whose_counters_end_has_changed() -> None:
    """Who goes on with what was known of the others would look for counters that are not there any more."""
    follower = BullFollower(Deployment(RedisSettings()), BullMQSettings())

    def changed() -> set[QueueId]:
        follower._publish()
        changes = follower.extend(BullMQState((), changes=Changes(1, {OTHER}))).changes
        return set(changes.queues) if changes else set()

    follower._update([ONE])
    assert changed() == {OTHER}
    follower._queues[ONE].seeded = True
    assert changed() == {ONE, OTHER}
    follower._update([])
    assert changed() == {ONE, OTHER}
    assert changed() == {OTHER}


def test_durations_are_counted_in_the_form_that_is_set() -> None:
    for form in ("classic", "native", "both"):
        settings = BullMQSettings.model_validate({"histograms": form})
        follower = BullFollower(Deployment(RedisSettings()), settings)
        follower._update([ONE])
        jobs = follower._queues[ONE].jobs
        for kind, ms in (("active", 1000), ("completed", 1500)):
            jobs.feed(ChannelMessage(b"bull:q:", kind, b"1", 50), ms)
        native = jobs.events().counters.native
        assert (native is not None) == (form != "classic")
        assert native is None or native.processing["completed"].buckets == [(-8, 1)]
