"""Results with all their rows: the SDK's result classes, whose rows are decoded when they are
read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from couchbase.result import AnalyticsResult, QueryResult, SearchResult, ViewResult
from couchbase.search import SearchFacetResult
from twisted.internet.defer import Deferred

from txcouchbase.row_requests import (
    AnalyticsRequest,
    QueryRequest,
    RowRequest,
    SearchRequest,
    ViewRequest,
)
from txcouchbase.workers.stream import RowOperation

__all__ = [
    "BatchedAnalyticsResult",
    "BatchedQueryResult",
    "BatchedSearchResult",
    "BatchedViewResult",
    "Collector",
    "Rows",
]

Row = TypeVar("Row")
Result = TypeVar("Result")


class Rows(Sequence[Row]):
    """Rows that are decoded each time they are read, so that nothing is decoded in one go.

    Keep what is needed more than once. What the serializer raises comes from reading.
    """

    def __init__(self, request: RowRequest[Row, Any], rows: list[bytes]) -> None:
        self._request = request
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return map(self._request.decode, self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Rows[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Rows[Row]:
        if isinstance(index, slice):
            return Rows(self._request, self._rows[index])
        return self._request.decode(self._rows[index])

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


class _Batched:
    """What the four results have in common; the SDK's class gives `metadata`."""

    _rows: Rows[Any]

    def rows(self) -> Rows[Any]:
        """The rows: a sequence that decodes on access and may be iterated again."""
        return self._rows

    def execute(self) -> list[Any]:
        """The rows, all decoded."""
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __bool__(self) -> bool:
        return True

    def __aiter__(self) -> Any:
        raise TypeError("all rows are here: iterate with for; query_stream is for async for")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} rows>"


class BatchedQueryResult(_Batched, QueryResult):
    """A `couchbase.result.QueryResult` with all its rows."""

    def __init__(self, request: QueryRequest, rows: list[bytes]) -> None:
        super().__init__(request)
        self._rows = Rows(request, rows)


class BatchedAnalyticsResult(_Batched, AnalyticsResult):
    """A `couchbase.result.AnalyticsResult` with all its rows."""

    def __init__(self, request: AnalyticsRequest, rows: list[bytes]) -> None:
        super().__init__(request)
        self._rows = Rows(request, rows)


class BatchedSearchResult(_Batched, SearchResult):
    """A `couchbase.result.SearchResult` with all its rows."""

    def __init__(self, request: SearchRequest, rows: list[bytes]) -> None:
        super().__init__(request)
        self._rows = Rows(request, rows)

    def facets(self) -> dict[str, SearchFacetResult] | None:
        """The facets by name, None if none were asked for."""
        request: SearchRequest = self._request
        return request.facets()

    def result_rows(self) -> Rows[Any]:
        """The rows."""
        return self._rows


class BatchedViewResult(_Batched, ViewResult):
    """A `couchbase.result.ViewResult` with all its rows."""

    def __init__(self, request: ViewRequest, rows: list[bytes]) -> None:
        super().__init__(request)
        self._rows = Rows(request, rows)

    @property
    def total_rows(self) -> int | None:
        """The rows of the whole view, None for a view that reduces."""
        request: ViewRequest = self._request
        return request.total_rows()

    @property
    def indexed_rows(self) -> int | None:
        """Another name of `total_rows`."""
        return self.total_rows


class Collector(Generic[Result]):
    """Gathers all rows of one query for a Deferred.

    Args:
        request: The query.
        result_class: Made of the request and its rows.

    Attributes:
        operation: Its operation; to be set before it is started.
        deferred: Fires with the result. Cancelling it stops the stream.
    """

    operation: RowOperation

    def __init__(self, request: Any, result_class: type[Result]) -> None:
        self._request = request
        self._result_class = result_class
        self._rows: list[bytes] = []
        self.deferred: Deferred[Result] = Deferred(lambda _: self.operation.stop())

    def rows_arrived(self, rows: list[bytes], size: int) -> None:
        """Keep them, and ask for more."""
        self._rows += rows
        self.operation.pay(size)

    def rows_ended(self, result: dict[str, Any]) -> None:
        """Fire the Deferred."""
        self._request.end(result)
        made: Any = self._result_class
        self.deferred.callback(made(self._request, self._rows))

    def is_idle(self, now: float) -> bool:
        """It takes all rows as they come."""
        return False

    def rows_failed(self, error: Exception) -> None:
        """Fire the Deferred with an error."""
        self.deferred.errback(error)
