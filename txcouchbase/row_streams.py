"""Rows for ``async for``: iterators with a bounded read-ahead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar

from couchbase.search import SearchFacetResult, SearchMetaData, SearchRow
from couchbase.views import ViewMetaData, ViewRow
from twisted.internet.defer import Deferred

from txcouchbase.row_requests import RowRequest, SearchRequest, ViewRequest
from txcouchbase.workers.stream import RowOperation

__all__ = ["ReadAhead", "RowStream", "SearchStream", "ViewStream"]

Row = TypeVar("Row")
Meta = TypeVar("Meta")

_PATIENCE = 1.0
"""How long a reader may take for a row before it counts as gone when the pool is closed
(seconds)."""


class ReadAhead:
    """Chunks that wait for a reader. It does not know the reader's iterator, so that an iterator
    that nobody holds any more can be told from one that is slow.

    Args:
        request: The query.
        reactor: The reactor to use.

    Attributes:
        operation: Its operation; to be set before it is started.
        asked: Set by the reader whenever it asks for a row.
    """

    operation: RowOperation

    def __init__(self, request: RowRequest[Any, Any], reactor: Any) -> None:
        self._request = request
        self._reactor = reactor
        self._chunks: deque[tuple[list[bytes], int]] = deque()
        self._outcome: dict[str, Any] | Exception | None = None
        self._reader: Deferred[None] | None = None
        self.asked = False
        self._asked_at = -math.inf

    def begin(self) -> None:
        """Start the query. What the pool refuses with goes to the reader."""
        try:
            self.operation.start()
        except Exception as error:  # whatever the pool refuses with is the reader's answer
            self._outcome = error

    def wait(self) -> Deferred[None]:
        """Fires on a later turn, when there are rows or an outcome.

        Also when they are there already: so one turn of the reactor reads one chunk.
        """
        reader = self._reader = Deferred()
        if self._chunks or self._outcome is not None:
            self._reactor.callLater(0, self._wake, reader)
        return reader

    def next_chunk(self) -> tuple[list[bytes], int] | None:
        """The next chunk and its size, None when there are no more.

        Raises:
            The query's error, once.
        """
        if self._chunks:
            return self._chunks.popleft()
        outcome, self._outcome = self._outcome, {}
        if isinstance(outcome, Exception):
            raise outcome
        return None

    def stop(self) -> None:
        """Nobody reads any more."""
        self._chunks.clear()
        self._outcome = {}
        self.operation.stop()
        self._wake(self._reader)

    def stop_from_any_thread(self) -> None:
        """As `stop`, for garbage collection, which runs wherever it likes."""
        self._reactor.callFromThread(self.stop)

    def rows_arrived(self, rows: list[bytes], size: int) -> None:
        """Rows."""
        self._chunks.append((rows, size))
        self._wake(self._reader)

    def rows_ended(self, result: dict[str, Any]) -> None:
        """All rows were there."""
        self._request.end(result)
        self._outcome = result
        self._wake(self._reader)

    def rows_failed(self, error: Exception) -> None:
        """No more rows come."""
        self._outcome = error
        self._wake(self._reader)

    def is_idle(self, now: float) -> bool:
        """Whether nobody has asked for a row yet, or for some time."""
        if self.asked:
            self.asked = False
            self._asked_at = now
        return self._reader is None and now - self._asked_at >= _PATIENCE

    def _wake(self, reader: Deferred[None] | None) -> None:
        if reader is not None and reader is self._reader:
            self._reader = None
            if not reader.called:
                reader.callback(None)


class RowStream(AsyncIterator[Row], Generic[Row, Meta]):
    """The rows of one query, for one ``async for``.

    At most 256 KiB of rows, or one that is longer, wait here; the rest stays in the worker.
    Leaving the loop early stops the query in the worker as soon as nobody holds the iterator, or
    at `aclose`.
    """

    def __init__(self, request: RowRequest[Row, Meta], ahead: ReadAhead) -> None:
        self._request = request
        self._ahead = ahead
        self._rows: Iterator[bytes] = iter(())
        self._size = 0
        self._waiting = False
        self._over = False

    def __aiter__(self) -> RowStream[Row, Meta]:
        return self

    async def __anext__(self) -> Row:
        if self._waiting:
            raise RuntimeError("another task is waiting for a row of this stream")
        self._ahead.asked = True
        while not self._over:
            row = next(self._rows, None)
            if row is not None:
                return self._request.decode(row)
            await self._next_chunk()
        raise StopAsyncIteration

    async def _next_chunk(self) -> None:
        self._ahead.operation.pay(self._size)
        self._size = 0
        self._waiting = True
        try:
            await self._ahead.wait()
            chunk = self._ahead.next_chunk()
        except BaseException:
            # The query's error, or its reader was cancelled: as in a generator, it is over.
            await self.aclose()
            raise
        finally:
            self._waiting = False
        if chunk is None:
            self._over = True
        else:
            self._rows, self._size = iter(chunk[0]), chunk[1]

    async def aclose(self) -> None:
        """Stop the query, in the worker too. No more rows come."""
        self._stop()

    def _stop(self) -> None:
        if not self._over:
            self._over = True
            self._rows = iter(())
            self._ahead.stop()

    def __del__(self) -> None:
        if not self._over:
            self._ahead.stop_from_any_thread()

    def metadata(self) -> Meta | None:
        """The SDK's metadata, None before the last row was read."""
        return self._request.metadata() if self._over else None


class SearchStream(RowStream[SearchRow, SearchMetaData]):
    """The rows of a search."""

    _request: SearchRequest

    def facets(self) -> dict[str, SearchFacetResult] | None:
        """The facets by name, None before the end and where none were asked for."""
        return self._request.facets() if self._over else None


class ViewStream(RowStream[ViewRow, ViewMetaData]):
    """The rows of a view."""

    _request: ViewRequest

    @property
    def total_rows(self) -> int | None:
        """The rows of the whole view, None before the end and for a view that reduces."""
        return self._request.total_rows() if self._over else None

    @property
    def indexed_rows(self) -> int | None:
        """Another name of `total_rows`."""
        return self.total_rows
