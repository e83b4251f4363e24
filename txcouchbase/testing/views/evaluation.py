"""The rows of a view whose map function is one of Python. No I/O."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any

import msgspec

from txcouchbase.testing.kv.manifest import DEFAULT
from txcouchbase.testing.query.documents import DocumentMeta
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.keyspaces import Keyspace
from txcouchbase.testing.query.pipeline import Batches, SortKey, paged, sorted_rows
from txcouchbase.testing.query.sources import scan_source
from txcouchbase.testing.views.collation import collated
from txcouchbase.testing.views.parameters import NOTHING, ViewQuery
from txcouchbase.testing.views.reducing import reduced

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState
    from txcouchbase.testing.kv.bucket import Bucket

__all__ = ["Entry", "MapFailed", "MapFunction", "ViewRows"]

MapFunction = Callable[[Any, DocumentMeta], Iterable[tuple[Any, Any]] | None]
"""Takes a document's value and its metadata, gives pairs of key and value."""


class MapFailed(Exception):
    """A map function failed, or gave what is no row; the message says which."""


@dataclass(frozen=True)
class Entry:
    """One row of an index.

    :param place: what it is sorted by: the number of the key that it is for, the key, the
        document.
    :param row: as JSON.
    """

    place: tuple[int, tuple[Any, ...], tuple[Any, ...]]
    key: Any
    value: Any
    row: bytes


class ViewRows:
    """The rows of a query, as JSON.

    :param query: what is asked for.
    :param reduce: a built-in reduce function; None for the rows of the index.

    Attributes:
        total: How many rows the index has, once the first row is there.
    """

    def __init__(
        self,
        state: ClusterState,
        bucket: Bucket,
        function: MapFunction,
        query: ViewQuery,
        reduce: str | None,
    ) -> None:
        self._execution = Execution(state)
        # Views know no other collection.
        self._keyspace = Keyspace(bucket, DEFAULT, DEFAULT, 0)
        self._function = function
        self._query = query
        self._reduce = reduce
        self._bounds = _bounds(query)
        self._numbers = _numbers(query)
        self.total = 0

    def batches(self) -> Iterator[list[bytes]]:
        """The rows; an empty batch says "not yet".

        :raises MapFailed: as soon as a document is met with which the function fails.
        :raises ReduceFailed: for values that the reduce function does not take.
        """
        query, execution = self._query, self._execution
        order = _ByPlace(query.descending)
        entries = sorted_rows(self._entries(), order, execution, None)
        if self._reduce is None:
            rows: Batches = ([entry.row for entry in batch] for batch in entries)
        else:
            groups = reduced(entries, self._reduce, query.level)
            rows = ([msgspec.json.encode(group) for group in batch] for batch in groups)
        if query.limit == 0:
            # Who asks for no rows wants to know how many there are.
            rows = ([] for _ in rows)
        yield from execution.pace.steps(paged(rows, query.skip, query.limit or None))

    def _entries(self) -> Batches:
        for batch in scan_source(self._keyspace, self._execution).rows(()):
            yield [entry for value, meta in batch for entry in self._mapped(value, meta)]

    def _mapped(self, value: Any, meta: DocumentMeta) -> list[Entry]:
        """The rows of a document that are asked for."""
        if type(value) is bytes:
            # What is no JSON is text to map functions.
            value = b64encode(value).decode()
        try:
            pairs = self._function(value, meta) or ()
            return [entry for key, found in pairs for entry in self._emitted(meta.id, key, found)]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the test's own function raises is the answer
            raise MapFailed(
                f"the map function failed with the document {meta.id!r}:"
                f" {type(error).__name__}: {error}"
            ) from error

    def _emitted(self, document: str, key: Any, value: Any) -> Iterator[Entry]:
        """The rows of one pair."""
        self.total += 1
        place = (collated(key), (_AT, document))
        if all(holds(place, bound) for holds, bound in self._bounds):
            row = msgspec.json.encode({"id": document, "key": key, "value": value})
            for wanted, number in self._numbers:
                if wanted in (None, place[0]):
                    yield Entry((number, *place), key, value, row)


class _ByPlace(SortKey):
    """Entries in the order of their places."""

    def __init__(self, descending: bool) -> None:
        super().__init__([])
        self.reverse = descending

    def __call__(self, row: Any) -> tuple[Any, ...]:
        place: tuple[Any, ...] = row.place
        return place


def _numbers(query: ViewQuery) -> list[tuple[tuple[Any, ...] | None, int]]:
    """The keys that are asked for one by one, with numbers in whose order they come."""
    if query.keys is None:
        return [(None, 0)]
    sign = -1 if query.descending else 1
    return [(collated(key), sign * number) for number, key in enumerate(query.keys)]


_BEFORE_ALL, _AT, _AFTER_ALL = 0, 1, 2
"""Where a bound is among the documents that have its key."""

_Place = tuple[tuple[Any, ...], tuple[Any, ...]]


def _bounds(query: ViewQuery) -> list[tuple[Callable[[_Place, _Place], bool], _Place]]:
    """What must hold between a row's place and the ends of what is asked for."""
    start, end = query.start, query.end
    if query.key is not NOTHING:
        start = end = query.key
    begins, ends, ends_before = (le, ge, gt) if query.descending else (ge, le, lt)
    first, last = (_AFTER_ALL, _BEFORE_ALL) if query.descending else (_BEFORE_ALL, _AFTER_ALL)
    bounds: list[tuple[Callable[[_Place, _Place], bool], _Place]] = []
    if start is not NOTHING:
        bounds.append((begins, _bound(start, query.start_id, first)))
    if end is not NOTHING:
        holds, outer = (ends, last) if query.inclusive_end else (ends_before, first)
        bounds.append((holds, _bound(end, query.end_id, outer)))
    return bounds


def _bound(key: Any, document: str | None, outer: int) -> _Place:
    return collated(key), (outer,) if document is None else (_AT, document)
