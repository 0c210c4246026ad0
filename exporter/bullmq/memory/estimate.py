"""From the sizes of some jobs to those of all: which ranks are sampled, the estimate and its error. Pure.

A list or a sorted set is divided into as many parts of the same length as jobs are sampled, and one job of
each part is drawn. Old and new jobs, which may be of very different sizes, so have their exact shares, and
what is left as error is how much neighbours differ (W. G. Cochran, Sampling Techniques, chapters 5 and 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, sqrt
from typing import Final, NamedTuple, TypeAlias

RandomNumber: TypeAlias = Callable[[], float]
"""A random number of at least 0 and below 1."""


class JobSample(NamedTuple):
    """A job's rank in its list or set, and its bytes; 0 for one that has no key any more."""

    rank: int
    bytes: float


class Estimate(NamedTuple):
    """Bytes of all, and the standard error of that."""

    total: float
    error: float


def strata(size: int, number: int, draw: RandomNumber) -> list[int]:
    """`number` ranks of `size`, ascending and each another one: one of each part; all, where `number` is not
    below `size`."""
    if number >= size:
        return list(range(size))
    ranks: list[int] = []
    for part in range(number):
        first, end = part * size // number, (part + 1) * size // number
        ranks.append(first + min(int(draw() * (end - first)), end - first - 1))
    return ranks


def estimate(size: int, passes: Sequence[Sequence[JobSample]]) -> Estimate:
    """The bytes of all `size` jobs. Each pass has samples by `strata`, in the order of their ranks, and
    counts by its number of samples. A pass that has all jobs is exact, and stands alone."""
    whole = [samples for samples in passes if len(samples) >= size]
    if whole:
        return Estimate(sum(sample.bytes for sample in whole[-1]), 0.0)
    number = sum(map(len, passes))
    if not number:
        return Estimate(0.0, 0.0)
    mean = sum(sample.bytes for samples in passes for sample in samples) / number
    variance = sum(len(samples) ** 2 * variance_of_mean(samples, size) for samples in passes) / number**2
    return Estimate(size * mean, size * sqrt(variance))


def variance_of_mean(samples: Sequence[JobSample], size: int) -> float:
    """By the differences of neighbours: what changes slowly from the first to the last is no error here."""
    number = len(samples)
    if number < 2:
        return samples[0].bytes ** 2 if samples else 0.0  # of one sample nothing is known
    squares = sum((after.bytes - before.bytes) ** 2 for before, after in pairwise(samples))
    return squares / (2 * (number - 1)) / number * max(0.0, 1 - number / size)


def older_than(size: int, kept: int, passes: Sequence[Sequence[JobSample]]) -> float | None:
    """Bytes of all but the last `kept` of `size` jobs; None without a sample among them."""
    end = size - kept
    older = [sample.bytes for samples in passes for sample in samples if sample.rank < end]
    return sum(older) / len(older) * end if older else None


# --- how many samples ------------------------------------------------------------------------------------

_PILOT: Final = (2, 256)
TARGET: Final = 0.02
"""Standard error / bytes that is aimed at, of each state and of a node as a whole."""
_SMALL: Final = 0.02  # share of a node below which the error of a state matters less than that of the node

_MOST_TIMES: Final = 1e6  # that an error is above its target, and not infinite


def first_numbers(sizes: Sequence[int], most: int) -> list[int]:
    """How many jobs of each state to sample first, of `most` in all: half by their numbers of jobs, as a
    state of many jobs may have a few large ones; and some of each state, however small it is, at least two:
    of very many states these may be more than `most`."""
    if not sizes:
        return []
    least = min(_PILOT[1], max(_PILOT[0], most // (4 * len(sizes))))
    jobs = sum(sizes) or 1
    return [min(size, max(least, int(most / 2 * size / jobs))) for size in sizes]


def further_numbers(
    estimates: Sequence[Estimate], sizes: Sequence[int], sampled: Sequence[int], left: int
) -> list[int]:
    """How many more to sample of each, of `left` in all: as many as bring its error down to the target."""
    node = sum(each.total for each in estimates)
    wanted: list[int] = []
    for each, size, number in zip(estimates, sizes, sampled, strict=True):
        allowed = TARGET * max(each.total, _SMALL * node)
        if not number or number >= size or each.error <= allowed or allowed <= 0:
            wanted.append(0)
            continue
        # The error falls with the square root; what would be nearly all may as well be all.
        needed = ceil(number * min(each.error / allowed, _MOST_TIMES) ** 2)
        wanted.append(size if needed >= size / 2 else needed - number)
    whole, left = sum(wanted), max(0, left)
    if whole <= left:
        return wanted
    return [0 if number == 0 else int(number * left / whole) for number in wanted]
