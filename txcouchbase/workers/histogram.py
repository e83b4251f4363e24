"""Histograms with buckets at powers of two: cheap to add to, and exact enough to act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PER_SECOND", "Histogram", "Sizes", "Times"]

PER_SECOND = 1e6
"""What times are counted in (per second): microseconds."""

_BUCKETS = 64
"""More than any clock can show: the last bound is 2**63 microseconds."""


@dataclass(frozen=True)
class Histogram:
    """How often values were how large, as of one moment.

    Attributes:
        bounds: The upper bound of each bucket, 1, 2, 4, 8 and so on of the unit: no value of a
            bucket is above it, and none, save in the first one, below half of it.
        counts: The values in each bucket; those after the last one are empty.
        count: All values.
        mean: Their mean, 0.0 if there are none.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    mean: float

    def quantile(self, q: float) -> float:
        """A value that a share of all values does not exceed.

        It is the upper bound of a bucket, so up to twice as much as the true one.

        Args:
            q: The share, from 0.0 to 1.0; 0.99 for the 99th percentile.

        Returns:
            The bound, 0.0 if there are no values.

        Raises:
            ValueError: `q` is no share.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile is from 0.0 to 1.0, not {q!r}")
        wanted = q * self.count
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return bound
        return 0.0

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "bounds": list(self.bounds),
            "counts": list(self.counts),
            "count": self.count,
            "mean": self.mean,
        }


class _Growing:
    """What is counted in buckets, so far.

    Attributes:
        counts: The values in each bucket.
        total: Their sum.
    """

    __slots__ = ("counts", "total")

    _per_unit = 1.0

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self.total = 0.0

    def snapshot(self) -> Histogram:
        """It as of now."""
        counts = self.counts
        last = max((index for index, count in enumerate(counts) if count), default=-1)
        kept = range(last + 1)
        count = sum(counts)
        return Histogram(
            bounds=tuple(2.0**index / self._per_unit for index in kept),
            counts=tuple(counts[index] for index in kept),
            count=count,
            mean=self.total / count if count else 0.0,
        )


class Times(_Growing):
    """Times (seconds)."""

    __slots__ = ()

    _per_unit = PER_SECOND

    def add(self, seconds: float, count: int = 1) -> None:
        """Count one, or so many that are alike."""
        # A clock that was set back makes negative ones: they count by their size.
        self.counts[int(seconds * PER_SECOND).bit_length()] += count
        self.total += seconds * count


class Sizes(_Growing):
    """Whole numbers from 1."""

    __slots__ = ()

    def add(self, size: int) -> None:
        """Count one."""
        self.counts[(size - 1).bit_length()] += 1
        self.total += size
