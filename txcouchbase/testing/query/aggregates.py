"""Aggregate functions: what they make of the values of a group.

Source: the SQL++ language reference, "Aggregate Functions".
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

from txcouchbase.testing.query.values import (
    MISSING,
    add,
    compare,
    divide,
    group_key,
    is_number,
    number,
    sort_key,
)

__all__ = ["AGGREGATES", "GATHERING", "Aggregate", "Distinct"]


class Aggregate:
    """Counts rows, and is the base of those that look at values."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        self.count += 1

    def result(self) -> Any:
        """What came out."""
        return self.count


class Count(Aggregate):
    """Counts values that are neither NULL nor MISSING."""

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        if value is not None and value is not MISSING:
            self.count += 1


class CountNumbers(Aggregate):
    """Counts numbers."""

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        if is_number(value):
            self.count += 1


class Sum(Aggregate):
    """Adds numbers; NULL if there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.total: Any = 0

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        if is_number(value):
            self.count += 1
            self.total = add(self.total, value)

    def result(self) -> Any:
        """What came out."""
        return self.total if self.count else None


class Average(Sum):
    """The mean of numbers; NULL if there are none."""

    def result(self) -> Any:
        """What came out."""
        return divide(self.total, self.count) if self.count else None


class Extreme(Aggregate):
    """The first or the last of the values that are neither NULL nor MISSING."""

    sign = 0

    def __init__(self) -> None:
        super().__init__()
        self.found: Any = None

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        if value is None or value is MISSING:
            return
        if self.found is None or compare(value, self.found) * self.sign > 0:
            self.found = value

    def result(self) -> Any:
        """What came out."""
        return self.found


class Minimum(Extreme):
    """The value that sorts first."""

    sign = -1


class Maximum(Extreme):
    """The value that sorts last."""

    sign = 1


class Gather(Aggregate):
    """Makes an array of all values but MISSING, in the order of collation; NULL if none."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Any] = []

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        if value is not MISSING:
            self.values.append(value)

    def result(self) -> Any:
        """What came out."""
        return sorted(self.values, key=sort_key) or None


class Median(Gather):
    """The middle one of numbers, or the mean of the two there; NULL if there are none."""

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        if is_number(value):
            self.values.append(value)

    def result(self) -> Any:
        """What came out."""
        if not self.values:
            return None
        ordered = sorted(self.values)
        middle = len(ordered) // 2
        if len(ordered) % 2:
            return ordered[middle]
        return divide(add(ordered[middle - 1], ordered[middle]), 2)


class Spread(Median):
    """Variance and standard deviation; NULL of no numbers.

    ``sample``: divide by one less than the count. ``alone``: the result of a single number.
    """

    sample = True
    alone: float | None = 0
    root = False

    def result(self) -> Any:
        """What came out."""
        count = len(self.values)
        if not count:
            return None
        if count == 1 and self.sample:
            return self.alone
        mean = sum(self.values) / count
        squares = sum([(value - mean) ** 2 for value in self.values])
        variance = squares / (count - 1 if self.sample else count)
        return number(sqrt(variance) if self.root else variance)


class SampleVariance(Spread):
    """As VARIANCE, but NULL of a single number."""

    alone = None


class PopulationVariance(Spread):
    """The variance of a whole population."""

    sample = False


class Deviation(Spread):
    """The square root of VARIANCE."""

    root = True


class SampleDeviation(Deviation):
    """As STDDEV, but NULL of a single number."""

    alone = None


class PopulationDeviation(Deviation):
    """The standard deviation of a whole population."""

    sample = False


class Distinct(Aggregate):
    """Hands each different value to another aggregate once."""

    def __init__(self, inner: Aggregate) -> None:
        super().__init__()
        self._inner = inner
        self._seen: set[Any] = set()

    def add(self, value: Any) -> None:
        """Take the value of one row."""
        key = group_key(value)
        if key not in self._seen:
            self._seen.add(key)
            self._inner.add(value)

    def result(self) -> Any:
        """What came out."""
        return self._inner.result()


AGGREGATES: dict[str, Callable[[], Aggregate]] = {
    "array_agg": Gather,
    "avg": Average,
    "count": Count,
    "countn": CountNumbers,
    "max": Maximum,
    "mean": Average,
    "median": Median,
    "min": Minimum,
    "stddev": Deviation,
    "stddev_pop": PopulationDeviation,
    "stddev_samp": SampleDeviation,
    "sum": Sum,
    "var_pop": PopulationVariance,
    "var_samp": SampleVariance,
    "variance": Spread,
    "variance_pop": PopulationVariance,
    "variance_samp": SampleVariance,
}
"""By their names in lower case."""

GATHERING = frozenset(name for name, make in AGGREGATES.items() if isinstance(make(), Gather))
"""Those that keep all values."""
