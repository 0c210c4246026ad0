"""What is looked up in the points of a flow, compared with a walk over all of them."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import sqrt

from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.policies.flow import (
    Flow,
    FlowPoint,
    active_of,
    mean_busy,
    mean_rate,
    most_busy,
    none_ended,
    run_time,
    update_flow,
)
from scaler.model import QueueSample

GROWTH = st.one_of(st.just(0.0), st.floats(0, 3), st.integers(0, 90).map(float))
SECONDS = st.one_of(st.sampled_from([1.0, 5.0, 15.0, 60.0]), st.floats(0.5, 700))
SPANS = st.one_of(st.sampled_from([0.0, 5.0, 15.0, 30.0, 60.0, 120.0]), st.floats(0, 1000))


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    count = draw(st.integers(2, 40))
    columns = [draw(st.lists(GROWTH, min_size=count, max_size=count)) for _ in range(5)]
    times = accumulate(draw(st.lists(SECONDS, min_size=count, max_size=count)), initial=1.8e9)
    totals = zip(*map(accumulate, columns), strict=True)
    points = tuple(FlowPoint._make((at, *total, 1.0, 2.0)) for at, total in zip(times, totals, strict=False))
    return Flow(points, 0.0, None, None)


@given(flows(), SPANS, st.floats(0.01, 100))
def test_run_times_and_rates_are_those_of_a_walk(flow: Flow, span: float, known: float) -> None:
    last, proved, busy, ended = flow.last, 0.0, 0.0, 0.0
    for then in reversed(flow.points[:-1]):
        seconds, busy, ended = last.at - then.at, last.busy - then.busy, last.ended - then.ended
        proved = max(proved, min(seconds, (last.sure - then.sure) / (ended + 2 * sqrt(ended) + 1)))
        if ended >= 100 and seconds >= span:
            break
    mean = busy / ended if ended >= 1 else known
    assert run_time(flow, span, known) == (max(0.01, proved, mean), 1.0 / sqrt(max(1.0, ended)))

    least = float("inf")
    for then in reversed(flow.points[:-1]):
        seconds, came = last.at - then.at, last.came - then.came
        if seconds >= span or then is flow.points[0]:
            if came >= 4:
                least = min(least, came / seconds)
                break
            least = min(least, max(0.0, came - 1.0) / seconds)
    assert mean_rate(flow, span) == least


@given(flows(), SPANS)
def test_spans_begin_at_the_points_of_a_walk(flow: Flow, span: float) -> None:
    points, last = flow.points, flow.last
    then = next(point for point in points if point.at >= last.at - span)
    mean = last.active if then is last else (last.busy - then.busy) / (last.at - then.at)
    assert mean_busy(flow, span) == mean
    earlier = [point for point in points[:-1] if last.at - point.at >= span] or [points[0]]
    assert most_busy(flow, span) == max((last.busy - one.busy) / (last.at - one.at) for one in earlier)
    before = [point for point in points if point.at <= last.at - span]
    assert none_ended(flow, span) is bool(before and before[-1].ended == last.ended)
    assert active_of(flow, span) == [point.active for point in points if point.at > last.at - span]


@given(flows(), st.sampled_from([1.0, 5.0, 15.0]))
def test_points_are_left_out_as_by_a_walk(flow: Flow, seconds: float) -> None:
    at = flow.last.at + seconds
    sample = QueueSample(at, 1.0, 1.0, completed=0.0, failed=0.0)
    after = update_flow(flow, sample)
    assert after is not None
    recent = [point for point in flow.points if point.at >= at - 600] or [flow.last]
    kept = [*(point.at for point in recent), at]
    for index, (before, following) in enumerate(pairwise(kept[1:])):
        if before >= at - 60:
            break
        if following - kept[index] <= 15:
            del kept[index + 1]
            break
    assert [point.at for point in after.points] == kept
