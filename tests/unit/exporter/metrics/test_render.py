"""prometheus_client is the oracle: the same families must come out the same, line for line."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest as library_text
from prometheus_client.openmetrics.exposition import generate_latest as library_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.assessment import Assessment
from exporter.health import Health
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, Sample
from exporter.metrics.render import Renderer
from exporter.snapshot.histogram import Histogram
from exporter.snapshot.whole import Snapshot
from service.web.text_format import format_number
from tests.support import metric_families

NOTHING = Assessment(Snapshot(0.0), Health(100.0, "healthy", ()))
HELP = 'What it is, in "bytes", with a \\ and a\nnew line.'


def family(
    samples: Iterable[Sample], labels: tuple[str, ...] = ("queue", "kind"), *, total: bool = False
) -> Family:
    entry = list(samples)
    name = "a_thing_total" if total else "a_thing"
    return Family(name, "counter" if total else "gauge", HELP, labels, lambda _: entry)


class _Library(Collector):
    def __init__(self, families: Iterable[AnyFamily]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            if isinstance(family, HistogramFamily):
                yield library_histogram(family)
                continue
            library_class = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = library_class(family.name, family.help, labels=family.labels)
            for labels, value in family.read(NOTHING):
                metric.add_metric(labels, value)
            yield metric


def library_histogram(family: HistogramFamily) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, histogram in family.read(NOTHING):
        bounds = (*histogram.bounds, math.inf)
        names = [floatToGoString(bound) for bound in bounds]  # type: ignore[no-untyped-call]
        metric.add_metric(
            labels, list(zip(names, accumulate(histogram.counts), strict=True)), histogram.total
        )
    return metric


def oracle(*families: AnyFamily) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Library(families))
    return registry


def both(*families: AnyFamily) -> tuple[str, str]:
    renderer = Renderer(families)
    return renderer.text(NOTHING).decode(), renderer.openmetrics(NOTHING).decode()


text = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, 1, 999_999, 1_000_000, 1e6, 123456.5, 1e21, 1e22, 0.1, -0.0, math.inf, -math.inf]),
)
rows = st.dictionaries(st.tuples(text, text), values, min_size=1, max_size=6)


@given(rows, st.booleans())
def test_equals_the_library_line_for_line(rows: dict[tuple[str, str], float], total: bool) -> None:  # noqa: FBT001
    example = family(rows.items(), total=total)
    text, openmetrics = both(example)
    assert text == library_text(oracle(example)).decode()
    assert openmetrics + "# EOF\n" == library_openmetrics(oracle(example)).decode()  # type: ignore[no-untyped-call]


@given(st.lists(rows, min_size=2, max_size=3))
def test_what_is_kept_between_scrapes_changes_nothing(scrapes: list[dict[tuple[str, str], float]]) -> None:
    now: list[Sample] = []
    renderer = Renderer([Family("a_thing", "gauge", HELP, ("queue", "kind"), lambda _: iter(now))])
    for rows in (*scrapes, scrapes[-1], dict(reversed(scrapes[-1].items()))):
        now[:] = rows.items()
        expected = library_text(oracle(family(now)))
        assert renderer.text(NOTHING) == expected
        assert renderer.text(NOTHING) == expected


@given(rows)
def test_parses_back_to_what_went_in(rows: dict[tuple[str, str], float]) -> None:
    text, openmetrics = both(family(rows.items()))
    for parse, body in ((parse_text, text), (parse_openmetrics, openmetrics + "# EOF\n")):
        (metric,) = parse(body)
        values_by_labels = {
            (sample.labels["queue"], sample.labels["kind"]): sample.value for sample in metric.samples
        }
        assert values_by_labels.keys() == rows.keys()
        for labels, value in rows.items():
            assert values_by_labels[labels] == float(value) or math.isnan(value)


@given(values)
def test_a_number_reads_back(value: float) -> None:
    assert float(format_number(value)) == float(value) or math.isnan(value)


def test_a_family_of_which_nothing_is_known_is_not_there() -> None:
    assert both(family([])) == ("", "")


def test_without_labels() -> None:
    text, _ = both(family([((), 3)], labels=()))
    assert text.splitlines()[-1] == "a_thing 3.0"


def test_of_two_samples_with_the_same_labels_one_is_served() -> None:
    text, _ = both(family([(("a", "x"), 1), (("b", "x"), 2), (("a", "x"), 3)]))
    assert text.splitlines()[2:] == [
        'a_thing{kind="x",queue="a"} 3.0',
        'a_thing{kind="x",queue="b"} 2.0',
    ]


def test_names_that_are_no_utf8_stay_apart() -> None:
    text, _ = both(family([(("\udcff", "x"), 1), (("\udcfe", "x"), 2)]))
    assert text.splitlines()[2:] == [
        'a_thing{kind="x",queue="\\\\xff"} 1.0',
        'a_thing{kind="x",queue="\\\\xfe"} 2.0',
    ]


def test_unused_labels_are_forgotten() -> None:
    now: list[Sample] = [(("a", "x"), 1)]
    renderer = Renderer([Family("a_thing", "gauge", HELP, ("queue", "kind"), lambda _: now)])
    renderer.text(NOTHING)
    now[:] = [((f"q{number}", "x"), 1) for number in range(100)]
    renderer.text(NOTHING)
    now[:] = [(("b", "x"), 1)]
    renderer.text(NOTHING)
    assert list(renderer._lines._heads["a_thing"]) == [("b", "x")]


def test_labels_that_do_not_fit_the_family_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        both(family([(("a",), 1)]))


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    bounds = draw(st.sets(st.floats(1e-9, 1e9), max_size=4))
    counts = st.lists(st.integers(0, 10**12), min_size=len(bounds) + 1, max_size=len(bounds) + 1)
    return Histogram(tuple(sorted(bounds)), tuple(draw(counts)), draw(st.floats(0, 1e15)))


def histogram_family(samples: Iterable[tuple[tuple[str, ...], Histogram]]) -> HistogramFamily:
    entry = list(samples)
    return HistogramFamily("a_thing_seconds", HELP, ("queue", "kind"), lambda _: entry)


@given(st.dictionaries(st.tuples(text, text), histograms(), min_size=1, max_size=4))
def test_histograms_equal_the_library_line_for_line(rows: dict[tuple[str, str], Histogram]) -> None:
    example = histogram_family(rows.items())
    text, openmetrics = both(example)
    assert text == library_text(oracle(example)).decode()
    assert openmetrics + "# EOF\n" == library_openmetrics(oracle(example)).decode()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("name", "labels"), [("a_thing", ()), ("A_seconds", ()), ("a_seconds", ("le",))])
def test_a_histogram_is_of_seconds_and_has_no_label_le(name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="invalid name"):
        HistogramFamily(name, HELP, labels, lambda _: ())


durations_by_label = st.dictionaries(
    text,
    st.tuples(st.lists(st.integers(0, 1 << 50), min_size=4, max_size=4), st.floats(0, 1e9)),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(rows, st.booleans(), durations_by_label)
def test_protobuf_has_each_sample_of_the_text_with_its_type(
    rows: dict[tuple[str, str], float],
    total: bool,  # noqa: FBT001
    durations: dict[str, tuple[list[int], float]],
) -> None:
    measured = [
        ((labels,), Histogram((0.5, 1.0, 1e6), tuple(counts), seconds))
        for labels, (counts, seconds) in durations.items()
    ]
    families: list[AnyFamily] = [
        family(rows.items(), total=total),
        family([], ("a",)),
        HistogramFamily("a_seconds", HELP, ("le_not",), lambda _: measured),
    ]
    renderer = Renderer(families)
    body = renderer.body(NOTHING, "protobuf")
    read = metric_families.samples(body.plain())
    parsed = list(parse_text(renderer.text(NOTHING).decode()))
    text_samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in parsed
        for sample in metric.samples
    }
    assert read.keys() == text_samples.keys()
    for key, value in read.items():
        assert value == pytest.approx(text_samples[key], rel=1e-12, nan_ok=True)
    total_or_not = {metric.name + "_total" * (metric.type == "counter"): metric.type for metric in parsed}
    assert metric_families.kinds(body.plain()) == total_or_not
    assert [each.help for each in metric_families.decoded(body.plain())] == [HELP, HELP]
    assert gzip.decompress(body.gzip()) == body.plain()
