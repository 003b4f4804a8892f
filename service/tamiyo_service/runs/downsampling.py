"""Long lines made short without losing what is seen of them.

A line is cut into buckets of equal width, and of each remain the first, the lowest, the highest and the last
measurement. Drawn at one pixel a bucket, that is the same picture as the whole line: M4, Jugel, Jerzak,
Hackenbroich and Markl, "M4: A Visualization-Oriented Time Series Data Aggregation", PVLDB 7(10), 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KEPT_OF_A_BUCKET: Final = 4


def kept(epochs: Sequence[int], values: Sequence[float], points: int) -> list[int]:
    """Indices of what is kept of a line, in order: all of them where the line is no longer than `points`.

    Args:
        epochs: rising.
        values: finite, one for each epoch.
        points: how many may remain, at least 4.
    """
    if len(epochs) <= points:
        return list(range(len(epochs)))
    buckets = points // KEPT_OF_A_BUCKET
    width = (epochs[-1] - epochs[0] + 1) / buckets
    chosen: list[int] = []
    start = 0
    for bucket in range(buckets):
        end = epochs[0] + (bucket + 1) * width if bucket < buckets - 1 else epochs[-1] + 1
        stop = start
        while stop < len(epochs) and epochs[stop] < end:
            stop += 1
        if stop > start:
            chosen += _extremes(values, range(start, stop))
        start = stop
    return chosen


def _extremes(values: Sequence[float], bucket: range) -> list[int]:
    lowest, highest = min(bucket, key=values.__getitem__), max(bucket, key=values.__getitem__)
    return sorted({bucket[0], lowest, highest, bucket[-1]})
