"""The methods with rows: of clusters and scopes, and of buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from couchbase.analytics import AnalyticsMetaData
from couchbase.n1ql import QueryMetaData
from twisted.internet.defer import Deferred

from txcouchbase.batched import (
    BatchedAnalyticsResult,
    BatchedQueryResult,
    BatchedSearchResult,
    BatchedViewResult,
    Collector,
)
from txcouchbase.row_requests import (
    AnalyticsRequest,
    QueryRequest,
    RowRequest,
    SearchRequest,
    ViewRequest,
)
from txcouchbase.row_streams import ReadAhead, RowStream, SearchStream, ViewStream
from txcouchbase.rows import (
    AsyncAnalyticsRequest,
    AsyncQueryRequest,
    AsyncRows,
    AsyncSearchRequest,
    AsyncViewBase,
    Delivery,
)
from txcouchbase.settings import FacadeSettings
from txcouchbase.workers.stream import RowConsumer, RowOperation

if TYPE_CHECKING:
    from couchbase.options import SearchOptions, ViewOptions
    from couchbase.search import SearchQuery
    from couchbase.search import SearchRequest as SDKSearchRequest

    from txcouchbase.workers.keyspace import Keyspace
    from txcouchbase.workers.pool import WorkerPool

__all__ = ["RowMethods", "RowPlace", "ViewMethods"]

Result = TypeVar("Result")
Stream = TypeVar("Stream", bound="RowStream[Any, Any]")
Query = TypeVar("Query", bound=AsyncQueryRequest)
Analytics = TypeVar("Analytics", bound=AsyncAnalyticsRequest)
Search = TypeVar("Search", bound=AsyncSearchRequest)
View = TypeVar("View", bound=AsyncViewBase)
Handler = TypeVar("Handler", bound=AsyncRows[Any, Any])


class RowPlace:
    """Where queries go, and the three ways in which their rows come.

    Args:
        pool: The pool.
        keyspace: Of the cluster or the scope.
        settings: Of the cluster.
        builder: The SDK's, for requests to this place.
    """

    def __init__(
        self, pool: WorkerPool, keyspace: Keyspace, settings: FacadeSettings, builder: Any
    ) -> None:
        self._pool = pool
        self._keyspace = keyspace
        self._settings = settings
        self._builder = builder

    def _operation(self, request: RowRequest[Any, Any], consumer: RowConsumer) -> RowOperation:
        operation = RowOperation(
            self._pool,
            request.kind,
            self._keyspace,
            request.wire,
            request.only_reads,
            request.timeout,
            request.default_timeout,
            consumer,
        )
        operation.retry_ambiguous = request.retry_ambiguous
        return operation

    def collect(
        self, request_class: Any, result_class: type[Result], *args: Any, **kwargs: Any
    ) -> Deferred[Result]:
        """All rows at once."""
        request = request_class(self._settings, self._builder, args, kwargs)
        collector: Collector[Result] = Collector(request, result_class)
        operation = collector.operation = self._operation(request, collector)
        try:
            operation.start()
        except Exception as error:  # whatever the pool refuses with is the caller's answer
            collector.deferred.errback(error)
        return collector.deferred

    def stream(
        self, request_class: Any, stream_class: type[Stream], *args: Any, **kwargs: Any
    ) -> Stream:
        """Rows for ``async for``."""
        request = request_class(self._settings, self._builder, args, kwargs)
        ahead = ReadAhead(request, self._pool.reactor)
        ahead.operation = self._operation(request, ahead)
        ahead.begin()
        return stream_class(request, ahead)

    def handle(
        self,
        request_class: Any,
        base: type[AsyncRows[Any, Any]],
        handler_class: type[Handler],
        *args: Any,
        **kwargs: Any,
    ) -> Handler:
        """Rows for a handler."""
        if not isinstance(handler_class, type) or not issubclass(handler_class, base):
            raise TypeError(f"a subclass of {base.__name__} is needed, not {handler_class!r}")
        handler: Handler = handler_class(*args, **kwargs)
        delivery = Delivery.of(handler)
        request = request_class(self._settings, self._builder, *delivery.arguments)
        delivery.begin(request, self._operation(request, delivery), self._pool.reactor)
        return handler


class RowMethods:
    """Queries, analytics and searches of a cluster or a scope.

    A bad argument raises at once; everything else is told by the Deferred, the handler or the
    iterator. The default timeouts are the cluster's, 75 seconds unless its options say
    otherwise; they end with the first rows, after which the reader takes the time that it takes.

    When a worker dies, a query of which no rows have arrived is sent once more if it only reads:
    searches, and queries with ``read_only=True``. Others fail with `WorkerLost`, unless the call
    says ``retry_ambiguous=True``: then they are sent once more, too, never twice, within their
    time, although their changes may have been made before. It is a keyword beside the options,
    and also one of the constructors of handlers; a named parameter that is called so has to be
    among the `named_parameters`.
    """

    @property
    def _row_place(self) -> RowPlace:
        raise NotImplementedError

    # -- queries --------------------------------------------------------------------------

    def query(
        self, statement: str, *options: Any, retry_ambiguous: bool = False, **kwargs: Any
    ) -> Deferred[BatchedQueryResult]:
        """Run a query; fires when all rows are there. Cancelling the Deferred stops it.

        Args:
            statement: In SQL++.
            options: `QueryOptions`, or positional parameters.
            retry_ambiguous: Whether to send it once more if its worker dies before any rows
                arrived, although it may have had effects.
            kwargs: Options by name; what is none is a named parameter.

        Errors: The SDK's exceptions.
        """
        return self._row_place.collect(
            QueryRequest,
            BatchedQueryResult,
            statement,
            *options,
            retry_ambiguous=retry_ambiguous,
            **kwargs,
        )

    def query_ex(self, cls: type[Query], *args: Any, **kwargs: Any) -> Query:
        """Run a query whose rows go to a handler.

        Args:
            cls: A subclass of `AsyncQueryRequest`.
            args: Its constructor's arguments.
            kwargs: Its constructor's arguments.

        Returns:
            The instance, at once.
        """
        return self._row_place.handle(QueryRequest, AsyncQueryRequest, cls, *args, **kwargs)

    def query_stream(
        self, statement: str, *options: Any, retry_ambiguous: bool = False, **kwargs: Any
    ) -> RowStream[Any, QueryMetaData]:
        """Run a query whose rows come with ``async for``. Takes what `query` takes."""
        return self._row_place.stream(
            QueryRequest, RowStream, statement, *options, retry_ambiguous=retry_ambiguous, **kwargs
        )

    # -- analytics ------------------------------------------------------------------------

    def analytics_query(
        self, statement: str, *options: Any, retry_ambiguous: bool = False, **kwargs: Any
    ) -> Deferred[BatchedAnalyticsResult]:
        """Run a query of analytics; as `query`, with `AnalyticsOptions`."""
        return self._row_place.collect(
            AnalyticsRequest,
            BatchedAnalyticsResult,
            statement,
            *options,
            retry_ambiguous=retry_ambiguous,
            **kwargs,
        )

    def analytics_query_ex(self, cls: type[Analytics], *args: Any, **kwargs: Any) -> Analytics:
        """As `query_ex`, with a subclass of `AsyncAnalyticsRequest`."""
        return self._row_place.handle(AnalyticsRequest, AsyncAnalyticsRequest, cls, *args, **kwargs)

    def analytics_stream(
        self, statement: str, *options: Any, retry_ambiguous: bool = False, **kwargs: Any
    ) -> RowStream[Any, AnalyticsMetaData]:
        """As `query_stream`, with `AnalyticsOptions`."""
        return self._row_place.stream(
            AnalyticsRequest,
            RowStream,
            statement,
            *options,
            retry_ambiguous=retry_ambiguous,
            **kwargs,
        )

    # -- search ---------------------------------------------------------------------------

    def search_query(
        self, index: str, query: SearchQuery, *options: SearchOptions, **kwargs: Any
    ) -> Deferred[BatchedSearchResult]:
        """Search; fires when all rows are there. Cancelling the Deferred stops it."""
        return self._row_place.collect(
            SearchRequest, BatchedSearchResult, index, query, *options, **kwargs
        )

    def search(
        self, index: str, request: SDKSearchRequest, *options: SearchOptions, **kwargs: Any
    ) -> Deferred[BatchedSearchResult]:
        """Search, also by vectors; as `search_query`, with a `SearchRequest`."""
        return self._row_place.collect(
            SearchRequest, BatchedSearchResult, index, request, *options, **kwargs
        )

    def search_query_ex(self, cls: type[Search], *args: Any, **kwargs: Any) -> Search:
        """As `query_ex`, with a subclass of `AsyncSearchRequest`."""
        return self._row_place.handle(SearchRequest, AsyncSearchRequest, cls, *args, **kwargs)

    def search_ex(self, cls: type[Search], *args: Any, **kwargs: Any) -> Search:
        """As `search_query_ex`, for `search`."""
        return self._row_place.handle(SearchRequest, AsyncSearchRequest, cls, *args, **kwargs)

    def search_stream(
        self,
        index: str,
        query: SearchQuery | SDKSearchRequest,
        *options: SearchOptions,
        **kwargs: Any,
    ) -> SearchStream:
        """As `query_stream`, for `search_query` and `search`."""
        return self._row_place.stream(SearchRequest, SearchStream, index, query, *options, **kwargs)


class ViewMethods:
    """Queries of the views of a bucket; `RowMethods` says more."""

    @property
    def _row_place(self) -> RowPlace:
        raise NotImplementedError

    def view_query(
        self, design_doc: str, view_name: str, *options: ViewOptions, **kwargs: Any
    ) -> Deferred[BatchedViewResult]:
        """Query a view; fires when all rows are there. Cancelling the Deferred stops it."""
        return self._row_place.collect(
            ViewRequest, BatchedViewResult, design_doc, view_name, *options, **kwargs
        )

    def view_query_ex(self, viewcls: type[View], *args: Any, **kwargs: Any) -> View:
        """As `TxRawCluster.query_ex`, with a subclass of `AsyncViewBase`."""
        return self._row_place.handle(ViewRequest, AsyncViewBase, viewcls, *args, **kwargs)

    def view_stream(
        self, design_doc: str, view_name: str, *options: ViewOptions, **kwargs: Any
    ) -> ViewStream:
        """As `TxRawCluster.query_stream`, for `view_query`."""
        return self._row_place.stream(
            ViewRequest, ViewStream, design_doc, view_name, *options, **kwargs
        )
