"""Several Prometheus servers, of which one answers without what is asked, or with what is old."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.prometheus import Prometheus, start_prometheus
from scaler.model import QueueSample
from scaler.prometheus.promql import DEFAULT_QUERIES
from service.clock import now
from tests.support.exposition import exposing
from tests.support.observers import ObserverOf, mail, observe

pytestmark = pytest.mark.timeout(120)


def counts(queue: str, waiting: int, *, age: float | None = None) -> str:
    stamp = "" if age is None else f" {(now() - age) * 1000:.0f}"
    states = {"waiting": waiting, "prioritized": 0, "active": 1}
    return "".join(
        f'bullmq_job_count{{prefix="bull",queue="{queue}",state="{state}"}} {count}{stamp}\n'
        for state, count in states.items()
    )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def scraping(stack: ExitStack, text: str) -> Prometheus:
    """A Prometheus that has scraped this text."""
    address = stack.enter_context(exposing(text))
    prometheus = stack.enter_context(
        start_prometheus(
            "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
            f"    static_configs: [{{targets: ['{address}']}}]\n"
        )
    )
    prometheus.wait_for("bullmq_job_count")
    return prometheus


def test_a_server_without_the_queue_makes_way_for_one_that_has_it(
    stack: ExitStack, observer: ObserverOf
) -> None:
    without, having = scraping(stack, counts("video", 3)), scraping(stack, counts("mail", 7))
    under_test = observer(without.url, having.url)
    for _ in range(3):
        result = observe(under_test)
        assert result.url == having.url
    sample = mail(under_test)
    assert isinstance(sample, QueueSample)
    assert sample.waiting == 7


def test_a_server_that_scrapes_nothing_makes_way_for_a_pattern_too(
    stack: ExitStack, observer: ObserverOf
) -> None:
    empty = stack.enter_context(start_prometheus("scrape_configs: []"))
    empty.wait()
    having = scraping(stack, counts("mail", 7))
    assert observe(observer(empty.url, having.url, queues={DEFAULT_QUERIES: []})).url == having.url


def test_a_server_that_is_clearly_staler_makes_way(stack: ExitStack, observer: ObserverOf) -> None:
    stale, fresh = scraping(stack, counts("mail", 5, age=100)), scraping(stack, counts("mail", 7))
    under_test = observer(stale.url, fresh.url)
    assert observe(under_test).url == fresh.url
    assert observe(observer(fresh.url, stale.url)).url == fresh.url


def test_where_no_server_is_better_the_first_ones_figures_are_reported(
    stack: ExitStack, observer: ObserverOf
) -> None:
    first, second = (scraping(stack, counts("mail", number, age=100)) for number in (5, 6))
    under_test = observer(first.url, second.url)
    for _ in range(3):
        sample = mail(under_test)
        assert isinstance(sample, QueueSample)
        assert (sample.waiting, now() - sample.at > 90) == (5, True)
    assert under_test.requests == 4  # the comparison is not repeated in each step


def test_a_server_is_not_left_for_one_that_has_less(stack: ExitStack, observer: ObserverOf) -> None:
    first, second = scraping(stack, counts("mail", 5)), scraping(stack, counts("video", 6))
    under_test = observer(first.url, second.url)
    observe(under_test)
    assert under_test.requests == 1
