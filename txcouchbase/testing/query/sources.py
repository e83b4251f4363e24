"""Where rows come from: the terms of FROM, and what JOIN, NEST and UNNEST do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from txcouchbase.testing.query.execution import Evaluator, Execution, Row
from txcouchbase.testing.query.indexes import QueryIndex
from txcouchbase.testing.query.keyspaces import Keyspace
from txcouchbase.testing.query.pipeline import Batches, SortKey, chunked, sorted_rows
from txcouchbase.testing.query.values import MISSING, is_array

__all__ = [
    "Source",
    "array_source",
    "batches_source",
    "joined",
    "keys_source",
    "looked_up",
    "rows_source",
    "scan_operator",
    "scan_source",
]

SCAN = 4096
"""Keys of a bucket that are looked at in one step."""

WORK = 512
"""Pairs of rows that a join looks at in one step."""


@dataclass(frozen=True)
class Source:
    """The rows of a term, as values that are appended to the row around it.

    :param width: how many values.
    :param rows: takes the row around it.
    :param dependent: whether the rows depend on the row around it.
    """

    width: int
    rows: Callable[[Row], Iterator[list[Row]]]
    dependent: bool = True


def array_source(evaluate: Evaluator, execution: Execution) -> Source:
    """The elements of an array; a value that is none is an array of it alone."""

    def rows(row: Row) -> Iterator[list[Row]]:
        value = evaluate(row)
        if value is MISSING:
            return
        items = value if is_array(value) else [value]
        for chunk in chunked(items, execution.pace):
            yield [(item,) for item in chunk]

    return Source(1, rows)


def batches_source(batches: Callable[[Row], Batches]) -> Source:
    """The rows of a subquery."""

    def rows(row: Row) -> Iterator[list[Row]]:
        for batch in batches(row):
            yield [(value,) for value in batch]

    return Source(1, rows)


def rows_source(make: Callable[[], list[tuple[Any, Any]]], execution: Execution) -> Source:
    """Values with their metadata that are made at once."""

    def rows(row: Row) -> Iterator[list[Row]]:
        yield from chunked(make(), execution.pace)

    return Source(2, rows, dependent=False)


def scan_source(keyspace: Keyspace, execution: Execution) -> Source:
    """All documents of a keyspace, in the order of their keys."""

    def rows(row: Row) -> Iterator[list[Row]]:
        count = execution.sorted_rows
        keys = sorted_rows(
            keyspace.keys(SCAN), SortKey([(lambda key: key, False, None)]), execution, None
        )
        for chunk in keys:
            # Keys are sorted as rows are, but it is no sort of the statement's.
            execution.sorted_rows = count
            yield _documents(keyspace, chunk, execution)

    return Source(2, rows, dependent=False)


def _documents(keyspace: Keyspace, keys: list[str], execution: Execution) -> list[Row]:
    now = execution.state.seconds()
    found = [keyspace.find(key, now) for key in keys]
    return [document for document in found if document is not None]


def keys_source(keyspace: Keyspace, keys: Evaluator, execution: Execution) -> Source:
    """The documents of USE KEYS or ON KEYS."""

    def rows(row: Row) -> Iterator[list[Row]]:
        for chunk in chunked(_keys(keys(row)), execution.pace):
            yield _documents(keyspace, chunk, execution)

    return Source(2, rows)


def _keys(value: Any) -> list[str]:
    if type(value) is str:
        return [value]
    return [key for key in value if type(key) is str] if is_array(value) else []


def scan_operator(keyspace: Keyspace, alias: str, index: QueryIndex | None) -> dict[str, Any]:
    """How a keyspace is read, as EXPLAIN shows it.

    :param index: None where keys are given.
    """
    shown: dict[str, Any] = {
        "as": alias,
        "bucket": keyspace.bucket.name,
        "keyspace": keyspace.collection,
        "namespace": "default",
        "scope": keyspace.scope,
    }
    if index is None:
        return {"#operator": "KeyScan"} | shown
    shown |= {"index": index.name, "index_id": index.id, "using": "gsi"}
    return {"#operator": "PrimaryScan3" if index.primary else "IndexScan3"} | shown


def looked_up(source: Source, keep: Callable[[int], None]) -> Source:
    """A source that is read once, where it gives the same rows for every row around it.

    :param keep: is told how many rows are kept.
    """
    if source.dependent:
        return source
    kept: list[Row] = []
    complete = False

    def rows(row: Row) -> Iterator[list[Row]]:
        nonlocal complete
        if not complete:
            kept.clear()
            for batch in source.rows(row):
                kept.extend(batch)
                keep(len(batch))
                yield []
            complete = True
        for at in range(0, len(kept), WORK):
            yield kept[at : at + WORK]

    return Source(source.width, rows, dependent=False)


def _one_by_one(batches: Batches) -> Iterator[Row | None]:
    """The rows, with None for each empty batch."""
    for batch in batches:
        yield from batch or [None]


def joined(
    batches: Batches,
    source: Source,
    holds: Callable[[Row], bool] | None,
    outer: bool,
    nest: bool,
) -> Batches:
    """Each row with those of a source for which a condition holds.

    :param outer: whether a row without a match stays, with MISSING in the places of the source.
    :param nest: whether matches become one array.
    """
    absent = (MISSING,) * source.width
    for row in _one_by_one(batches):
        if row is None:
            yield []
            continue
        matched = False
        # ON KEYS without any key makes no array.
        array = holds is not None
        nested: list[Any] = []
        for batch in source.rows(row):
            array = True
            found = [(*row, *other) for other in batch]
            if holds is not None:
                found = [candidate for candidate in found if holds(candidate)]
            if nest:
                nested.extend([candidate[len(row)] for candidate in found])
                found = []
            matched = matched or bool(found)
            yield found
        if nest and (nested or outer):
            value = nested if array else MISSING
            yield [(*row, value, MISSING)[: len(row) + source.width]]
        elif outer and not matched and not nest:
            yield [(*row, *absent)]
