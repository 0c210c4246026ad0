"""PromQL of histograms that Prometheus may have in classic form, in native form, or in both.

Which one it has depends on the exporter's setting `bullmq.histograms` and on how Prometheus scrapes. A native
histogram is one series with the name of the metric; a classic one is series with _bucket, _sum and _count.
What asks for the form that is not there has no result: `or` takes the other. Where both are there classic
counts.
"""

from __future__ import annotations


def counted(metric: str, selector: str, function: str, window: str, by: str) -> str:
    """How many were observed: `function` is rate or increase, `by` the aggregation."""
    return (
        f"({by} ({function}({metric}_count{{{selector}}}[{window}]))\n"
        f"  or histogram_count({_native(metric, selector, function, window, by)}))"
    )


def counted_above(
    metric: str, selector: str, function: str, window: str, by: str, *, seconds: float, le: str
) -> str:
    """How many of them were above these seconds: by the classic bucket with this matcher of `le`, or between
    the bounds of a native one interpolated."""
    native = _native(metric, selector, function, window, by)
    # Of no observations there is no fraction: without the filter NaN would spoil each sum that it is in.
    return (
        f"({by} ({function}({metric}_count{{{selector}}}[{window}]))\n"
        f"  - {by} ({function}({metric}_bucket{{{selector}, {le}}}[{window}]))\n"
        f"  or (histogram_count({native}) > 0)\n"
        f"    * (1 - histogram_fraction(0, {seconds:g}, {native}))\n"
        f"  or histogram_count({native}))"
    )


def quantile(share: str, metric: str, selector: str, window: str, *labels: str) -> str:
    """The quantile of the rates, for each combination of these labels."""
    classic = f"sum by ({', '.join((*labels, 'le'))}) (rate({metric}_bucket{{{selector}}}[{window}]))"
    native = _native(metric, selector, "rate", window, f"sum by ({', '.join(labels)})" if labels else "sum")
    return f"histogram_quantile({share}, {classic}) or histogram_quantile({share}, {native})"


def heatmap(metric: str, selector: str, window: str) -> str:
    """The observations of each bucket: a series for each classic one, or one of native histograms."""
    return (
        f"sum by (le) (increase({metric}_bucket{{{selector}}}[{window}])) "
        f"or on () {_native(metric, selector, 'increase', window, 'sum')}"
    )


def _native(metric: str, selector: str, function: str, window: str, by: str) -> str:
    return f"{by} ({function}({metric}{{{selector}}}[{window}]))"
