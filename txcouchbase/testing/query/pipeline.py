"""The steps of a pipeline. Each takes batches of rows and gives batches of rows.

An empty batch says that a step has worked and has nothing to show yet, so that whoever drives the
pipeline can let others run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

from txcouchbase.testing.query.execution import Evaluator, Execution, Pace, Row
from txcouchbase.testing.query.values import MISSING, group_key, is_array, sort_key

__all__ = [
    "Batches",
    "SortKey",
    "chunked",
    "distinct",
    "extended",
    "filtered",
    "merged",
    "paged",
    "sorted_rows",
    "unnested",
]

T = TypeVar("T")
Batches = Iterator[list[Any]]

RUN = 4096
"""Rows that are sorted in one go; more are merged."""


def chunked(items: Iterable[T], pace: Pace) -> Iterator[list[T]]:
    """Items in batches as large as the pace says."""
    iterator = iter(items)
    while True:
        batch = list(islice(iterator, pace.size))
        if not batch:
            return
        yield batch


def filtered(batches: Batches, holds: Callable[[Row], bool]) -> Batches:
    """The rows for which a condition holds."""
    for batch in batches:
        yield [row for row in batch if holds(row)]


def extended(batches: Batches, evaluators: list[Evaluator]) -> Batches:
    """Rows with further values, each of which may use those before it."""
    for batch in batches:
        longer = []
        for row in batch:
            for evaluate in evaluators:
                row = (*row, evaluate(row))
            longer.append(row)
        yield longer


def unnested(batches: Batches, evaluate: Evaluator, outer: bool, pace: Pace) -> Batches:
    """A row for each element of an array.

    :param outer: whether a row without elements stays, with MISSING in their place.
    """
    for batch in batches:
        found: list[Row] = []
        for row in batch:
            items = evaluate(row)
            if not is_array(items) or not items:
                if outer:
                    found.append((*row, MISSING))
                continue
            at = 0
            while at < len(items):
                part = items[at : at + pace.size]
                at += pace.size
                found.extend([(*row, item) for item in part])
                if len(found) >= pace.size:
                    yield found
                    found = []
        yield found


def distinct(
    batches: Batches, key: Callable[[Any], Hashable], keep: Callable[[int], None]
) -> Batches:
    """The first of all rows whose keys are the same.

    :param keep: is told how many keys are kept.
    """
    seen: set[Hashable] = set()
    for batch in batches:
        fresh = []
        for row in batch:
            identity = key(row)
            if identity not in seen:
                seen.add(identity)
                fresh.append(row)
        keep(len(fresh))
        yield fresh


def paged(batches: Batches, offset: int, limit: int | None) -> Batches:
    """Some rows of all: those after an offset, up to a limit."""
    if limit == 0:
        return
    for batch in batches:
        if offset:
            skipped = min(offset, len(batch))
            batch = batch[skipped:]
            offset -= skipped
        if limit is not None:
            batch = batch[:limit]
            limit -= len(batch)
        yield batch
        if limit == 0:
            return


def merged(
    kind: str, every: bool, left: Batches, right: Batches, keep: Callable[[int], None]
) -> Batches:
    """What UNION, INTERSECT and EXCEPT make of two queries' rows.

    :param every: whether ALL was said: rows that come more than once do so.
    :param keep: is told how many rows are kept.
    """
    if kind == "union":
        both = _one_after_the_other(left, right)
        yield from both if every else distinct(both, group_key, keep)
        return
    counts: dict[Hashable, int] = {}
    for batch in right:
        for row in batch:
            key = group_key(row)
            counts[key] = counts.get(key, 0) + 1
        keep(len(batch))
        yield []
    rows = left if every else distinct(left, group_key, keep)
    for batch in rows:
        kept = []
        for row in batch:
            key = group_key(row)
            matches = counts.get(key, 0)
            if matches and every:
                counts[key] = matches - 1
            if (matches > 0) is (kind == "intersect"):
                kept.append(row)
        yield kept


def _one_after_the_other(left: Batches, right: Batches) -> Batches:
    yield from left
    yield from right


# Sorting.


class SortKey:
    """The key of a row under ORDER BY.

    :param terms: for each term its evaluator, whether it is descending, and whether NULL and
        MISSING come last; None where that follows from the direction.
    """

    def __init__(self, terms: list[tuple[Evaluator, bool, bool | None]]) -> None:
        self.reverse = all(descending for _, descending, _ in terms)
        self._terms = [
            # Both directions at once need keys that compare the other way.
            (evaluate, descending and not self.reverse, (last, descending))
            for evaluate, descending, last in terms
        ]

    def __call__(self, row: Any) -> tuple[Any, ...]:
        parts: list[Any] = []
        for evaluate, inverted, (last, descending) in self._terms:
            value = evaluate(row)
            key = sort_key(value)
            if last is not None and last is not descending:
                key = ((value is None or value is MISSING), key)
            parts.append(_Inverted(key) if inverted else key)
        return tuple(parts)


class _Inverted:
    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _Inverted) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Inverted) and other.key == self.key


def sorted_rows(
    batches: Batches, key: SortKey, execution: Execution, wanted: int | None
) -> Batches:
    """Rows in order: runs are sorted while rows come in, and merged when all are there.

    :param wanted: how many rows are needed at most; None for all.
    """
    first = itemgetter(0)
    runs: list[list[Any]] = []
    run: list[Any] = []
    for batch in batches:
        run.extend([(key(row), row) for row in batch])
        execution.sorted_rows += len(batch)
        if wanted is None or wanted > RUN:
            execution.keep(len(batch))
        if len(run) >= RUN:
            run.sort(key=first, reverse=key.reverse)
            runs.append(run[:wanted])
            run = []
            if wanted is not None and wanted <= RUN:
                rows = heapq.merge(*runs, key=first, reverse=key.reverse)
                runs = [list(islice(rows, wanted))]
        yield []
    run.sort(key=first, reverse=key.reverse)
    runs.append(run)
    ordered = heapq.merge(*map(_released, runs), key=first, reverse=key.reverse)
    for chunk in chunked(ordered, execution.pace):
        yield [row for _, row in chunk]


def _released(items: list[T]) -> Iterator[T]:
    """Items that are let go one by one: many at once are a long step."""
    items.reverse()
    while items:
        yield items.pop()
