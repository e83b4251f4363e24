"""Rows as they arrive: handler classes for `query_ex` and its kin.

A handler class derives from one of the classes here and overrides `on_rows`, `on_done` and
`on_error`; `txcouchbase.row_streams` has the iterators for ``async for``.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

from couchbase.analytics import AnalyticsMetaData
from couchbase.n1ql import QueryMetaData
from couchbase.search import SearchFacetResult, SearchMetaData, SearchRow
from couchbase.views import ViewMetaData, ViewRow
from twisted.logger import Logger

from txcouchbase.row_requests import RowRequest, SearchRequest, ViewRequest
from txcouchbase.row_streams import RowStream, SearchStream, ViewStream
from txcouchbase.workers.stream import RowOperation

__all__ = [
    "AsyncAnalyticsRequest",
    "AsyncN1QLRequest",
    "AsyncQueryRequest",
    "AsyncRows",
    "AsyncSearchRequest",
    "AsyncViewBase",
    "Delivery",
    "RowStream",
    "SearchStream",
    "ViewStream",
]

_log = Logger()

Row = TypeVar("Row")
Meta = TypeVar("Meta")


class AsyncRows(Generic[Row, Meta]):
    """What the handler classes have in common.

    `on_rows` is called any number of times, then exactly one of `on_done` and `on_error`, never
    from inside the call that made the handler. An exception that `on_rows` or the decoding of a
    row raises stops the stream and goes to `on_error`; one that `on_done` or `on_error` raises
    is logged.
    """

    _delivery: Delivery | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._delivery = Delivery(self, args, kwargs)

    def on_rows(self, rows: list[Row]) -> None:
        """Rows arrived, at most 1,000 at a time; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__} has no on_rows")

    def on_done(self) -> None:
        """All rows were there, or `stop` was called."""

    def on_error(self, error: Exception) -> None:
        """No more rows come. It is logged unless this is overridden."""
        _log.error(
            "{handler} got an error and has no on_error: {error!r}",
            handler=type(self).__name__,
            error=error,
        )

    def pause(self) -> None:
        """Call `on_rows` no more until `resume`.

        The worker goes on until a bounded number of rows wait here (256 KiB).
        """
        _delivery_of(self).pause()

    def resume(self) -> None:
        """End a pause. Rows come on a later turn."""
        _delivery_of(self).resume()

    def stop(self) -> None:
        """No more rows: the worker forgets the query, and `on_done` is called on a later turn."""
        _delivery_of(self).stop()

    def metadata(self) -> Meta | None:
        """The SDK's metadata, None before `on_done` and after `stop`."""
        request = _delivery_of(self).request
        return request.metadata() if request is not None else None


class AsyncQueryRequest(AsyncRows[Any, QueryMetaData]):
    """Base of handler classes for `query_ex`. Takes the arguments of `query`."""

    def __init__(self, statement: str, *options: Any, **kwargs: Any) -> None:
        super().__init__(statement, *options, **kwargs)


AsyncN1QLRequest = AsyncQueryRequest


class AsyncAnalyticsRequest(AsyncRows[Any, AnalyticsMetaData]):
    """Base of handler classes for `analytics_query_ex`. Takes the arguments of
    `analytics_query`."""

    def __init__(self, statement: str, *options: Any, **kwargs: Any) -> None:
        super().__init__(statement, *options, **kwargs)


class AsyncSearchRequest(AsyncRows[SearchRow, SearchMetaData]):
    """Base of handler classes for `search_query_ex` and `search_ex`. Takes the arguments of
    `search_query` or `search`."""

    def __init__(self, index: str, query: Any, *options: Any, **kwargs: Any) -> None:
        super().__init__(index, query, *options, **kwargs)

    def facets(self) -> dict[str, SearchFacetResult] | None:
        """The facets by name, None before `on_done` and where none were asked for."""
        request = _delivery_of(self).request
        return request.facets() if isinstance(request, SearchRequest) else None


class AsyncViewBase(AsyncRows[ViewRow, ViewMetaData]):
    """Base of handler classes for `view_query_ex`. Takes the arguments of `view_query`."""

    def __init__(self, design_doc: str, view_name: str, *options: Any, **kwargs: Any) -> None:
        super().__init__(design_doc, view_name, *options, **kwargs)

    @property
    def total_rows(self) -> int | None:
        """The rows of the whole view, None before `on_done` and for a view that reduces."""
        request = _delivery_of(self).request
        return request.total_rows() if isinstance(request, ViewRequest) else None

    @property
    def indexed_rows(self) -> int | None:
        """Another name of `total_rows`."""
        return self.total_rows


def _delivery_of(handler: AsyncRows[Any, Any]) -> Delivery:
    delivery = handler._delivery
    if delivery is None:
        raise RuntimeError(
            f"{type(handler).__name__}.__init__ must call the __init__ of its base class"
        )
    return delivery


class Delivery:
    """Brings rows to one handler: one chunk per turn of the reactor.

    Attributes:
        arguments: What the base class's constructor was given.
        request: The query, once it was made of these.
        operation: Its operation, once it was made.
    """

    def __init__(
        self, handler: AsyncRows[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.arguments = (args, kwargs)
        self.request: RowRequest[Any, Any] | None = None
        self.operation: RowOperation | None = None
        self._handler = handler
        self._reactor: Any = None
        self._chunks: deque[tuple[list[bytes], int]] = deque()
        self._outcome: dict[str, Any] | Exception | None = None
        self._paused = False
        self._due = False
        self._over = False

    @staticmethod
    def of(handler: AsyncRows[Any, Any]) -> Delivery:
        """That of a handler.

        Raises:
            RuntimeError: The constructor of the handler's class did not call its base's.
        """
        return _delivery_of(handler)

    def begin(self, request: RowRequest[Any, Any], operation: RowOperation, reactor: Any) -> None:
        """Start the query. What the pool refuses with goes to the handler on a later turn."""
        self.request = request
        self.operation = operation
        self._reactor = reactor
        if self._outcome is not None:
            # Its constructor has stopped it.
            self._later()
            return
        try:
            operation.start()
        except Exception as error:  # whatever the pool refuses with is the handler's answer
            self._outcome = error
            self._later()

    def pause(self) -> None:
        """As the handler's method."""
        self._paused = True

    def resume(self) -> None:
        """As the handler's method."""
        self._paused = False
        self._later()

    def stop(self) -> None:
        """As the handler's method."""
        if self._over:
            return
        self._chunks.clear()
        self._outcome = {}
        self._paused = False
        if self.operation is not None:
            self.operation.stop()
        self._later()

    # -- from the operation ---------------------------------------------------------------

    def rows_arrived(self, rows: list[bytes], size: int) -> None:
        """Rows."""
        self._chunks.append((rows, size))
        self._step_unless_due()

    def rows_ended(self, result: dict[str, Any]) -> None:
        """All rows were there."""
        assert self.request is not None
        self.request.end(result)
        self._outcome = result
        self._step_unless_due()

    def rows_failed(self, error: Exception) -> None:
        """No more rows come."""
        self._outcome = error
        self._step_unless_due()

    def is_idle(self, now: float) -> bool:
        """Whether the handler does not want the rows that are there."""
        return self._paused

    # -- to the handler -------------------------------------------------------------------

    def _later(self) -> None:
        if not self._due and self._reactor is not None:
            self._due = True
            self._reactor.callLater(0, self._step_when_due)

    def _step_when_due(self) -> None:
        self._due = False
        self._step()

    def _step_unless_due(self) -> None:
        if not self._due:
            self._step()

    def _step(self) -> None:
        """Deliver one chunk, or the outcome when all are delivered."""
        if self._paused or self._over:
            return
        if self._chunks:
            self._deliver(*self._chunks.popleft())
            if self._chunks or self._outcome is not None:
                self._later()
        elif self._outcome is not None:
            self._finish(self._outcome)

    def _deliver(self, rows: list[bytes], size: int) -> None:
        assert self.request is not None and self.operation is not None
        try:
            self._handler.on_rows([self.request.decode(row) for row in rows])
        except Exception as error:  # the application's own code
            self.stop()
            self._outcome = error
        else:
            self.operation.pay(size)

    def _finish(self, outcome: dict[str, Any] | Exception) -> None:
        self._over = True
        try:
            if isinstance(outcome, Exception):
                self._handler.on_error(outcome)
            else:
                self._handler.on_done()
        except Exception:  # the application's own code
            _log.failure("{handler} failed at its end", handler=type(self._handler).__name__)
