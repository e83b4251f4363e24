"""Queries of the four services: their options in, their rows and metadata out.

Requests are encoded with the SDK's own builders, and rows of search and views are made by the
SDK's own code, so that both mean here what they mean there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec
from couchbase.analytics import AnalyticsMetaData
from couchbase.exceptions import InvalidArgumentException
from couchbase.logic.bucket_req_builder import BucketRequestBuilder
from couchbase.logic.cluster_req_builder import ClusterRequestBuilder
from couchbase.logic.scope_req_builder import ScopeRequestBuilder
from couchbase.n1ql import QueryMetaData
from couchbase.options import (
    AnalyticsOptions,
    QueryOptions,
    ScanOptions,
    SearchOptions,
    ViewOptions,
)
from couchbase.search import FullTextSearchRequest, SearchFacetResult, SearchMetaData, SearchRow
from couchbase.serializer import DefaultJsonSerializer, Serializer
from couchbase.views import ViewMetaData, ViewRow

from txcouchbase.amp import wire
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.arguments import RETRY, check_retry, retry_refused
from txcouchbase.results import raw_result
from txcouchbase.settings import FacadeSettings

__all__ = [
    "AnalyticsRequest",
    "QueryRequest",
    "RowRequest",
    "SearchRequest",
    "ViewRequest",
    "from_json",
    "refuse_retry",
]

Row = TypeVar("Row")
Meta = TypeVar("Meta")

StatementBuilder = ClusterRequestBuilder | ScopeRequestBuilder

_NO_SPAN: Any = None
"""In place of the SDK's tracing, of which nothing happens when a request is only built."""

_BLOCKS = (QueryOptions, AnalyticsOptions, SearchOptions, ViewOptions, ScanOptions)

_parse = msgspec.json.Decoder().decode


def from_json(row: bytes) -> Any:
    """Decode as `DefaultJsonSerializer` does, faster.

    Where both take a text they make the same of it; what the fast one refuses (NaN, numbers out
    of range, lone surrogates) is left to the other.
    """
    try:
        return _parse(row)
    except msgspec.MsgspecError:
        return DefaultJsonSerializer().deserialize(row)


class RowRequest(Generic[Row, Meta]):
    """One query.

    Attributes:
        kind: Its kind of operation.
        wire: The request, by the binding's names.
        only_reads: Whether it cannot change anything.
        retry_ambiguous: Whether the caller wants it sent once more although it may have had
            effects.
        timeout: The caller's (seconds), None for the default.
        default_timeout: The default (seconds).
        decode: Makes the row that the application sees; raises what the serializer does.
    """

    _name: str
    _ticks: float
    """What the SDK's builder counts timeouts in (per second)."""

    decode: Callable[[bytes], Row]

    def __init__(
        self,
        settings: FacadeSettings,
        request: dict[str, Any],
        only_reads: bool,
        retry_ambiguous: bool = False,
        default_timeout: float | None = None,
    ) -> None:
        timeout = request.pop("timeout", None)
        serializer: Serializer | None = request.pop("serializer", None)
        # Spans stay here: they mean nothing in another process.
        for span in ("span", "parent_span"):
            request.pop(span, None)
        self.kind = OPERATIONS[self._name]
        self.wire = request
        self.only_reads = only_reads
        self.retry_ambiguous = retry_ambiguous
        self.timeout: float | None = timeout / self._ticks if timeout is not None else None
        if default_timeout is None:
            default_timeout = settings.row_timeouts[self._name]
        self.default_timeout = default_timeout
        self._serializer = serializer or settings.serializer
        self._result: dict[str, Any] | None = None
        self._metadata: Meta | None = None

    def end(self, result: dict[str, Any]) -> None:
        """Take what the binding tells after the rows."""
        self._result = result

    def metadata(self) -> Meta | None:
        """The SDK's metadata, None before the end."""
        if self._metadata is None and self._result is not None:
            self._metadata = self._read_metadata(self._result)
        return self._metadata

    def _read_metadata(self, result: dict[str, Any]) -> Meta:
        raise NotImplementedError

    def _json_decoder(self) -> Callable[[bytes], Any]:
        if type(self._serializer) is DefaultJsonSerializer:
            return from_json
        return self._serializer.deserialize


class QueryRequest(RowRequest[Any, QueryMetaData]):
    """A query, built from the arguments of the SDK's `query`."""

    _name = "query"
    _ticks = 1e3

    def __init__(
        self, settings: FacadeSettings, builder: StatementBuilder, args: Any, kwargs: Any
    ) -> None:
        statement, *options = _statement(args)
        retry, kwargs = _without_retry(self._name, options, kwargs)
        built = builder.build_query_request(statement, _NO_SPAN, *options, **kwargs)
        request = built.n1ql_query.params
        super().__init__(settings, request, request.get("readonly") is True, retry)
        self.decode = self._json_decoder()

    def _read_metadata(self, result: dict[str, Any]) -> QueryMetaData:
        return QueryMetaData(result["metadata"])


class AnalyticsRequest(RowRequest[Any, AnalyticsMetaData]):
    """A query of analytics, built from the arguments of the SDK's `analytics_query`."""

    _name = "analytics_query"
    _ticks = 1e6

    def __init__(
        self, settings: FacadeSettings, builder: StatementBuilder, args: Any, kwargs: Any
    ) -> None:
        statement, *options = _statement(args)
        retry, kwargs = _without_retry(self._name, options, kwargs)
        built = builder.build_analytics_query_request(statement, _NO_SPAN, *options, **kwargs)
        request = built.analytics_query.params
        super().__init__(settings, request, request.get("readonly") is True, retry)
        self.decode = self._json_decoder()

    def _read_metadata(self, result: dict[str, Any]) -> AnalyticsMetaData:
        return AnalyticsMetaData(result["metadata"])


class SearchRequest(RowRequest[SearchRow, SearchMetaData]):
    """A search, built from the arguments of the SDK's `search` and `search_query`."""

    _name = "search_query"
    _ticks = 1e3

    def __init__(
        self, settings: FacadeSettings, builder: StatementBuilder, args: Any, kwargs: Any
    ) -> None:
        index, query, *options = args
        refuse_retry(self._name, options, kwargs)
        built: Any = builder.build_search_request(index, query, _NO_SPAN, *options, **kwargs)
        request = built.query_builder.as_encodable()
        if isinstance(builder, ScopeRequestBuilder):
            request["bucket_name"] = built.bucket_name
            request["scope_name"] = built.scope_name
        super().__init__(settings, request, only_reads=True)
        self._sdk = FullTextSearchRequest(None, request)

    def decode(self, row: bytes) -> SearchRow:
        """The row that the application sees."""
        found: SearchRow = self._sdk._deserialize_row(wire.decode(row))
        return found

    def facets(self) -> dict[str, SearchFacetResult] | None:
        """The facets by name, None before the end and where none were asked for."""
        self.metadata()
        facets: dict[str, SearchFacetResult] | None = self._sdk.result_facets()
        return facets

    def _read_metadata(self, result: dict[str, Any]) -> SearchMetaData:
        self._sdk._set_metadata(raw_result(result))
        metadata: SearchMetaData = self._sdk.metadata()
        return metadata


class ViewRequest(RowRequest[ViewRow, ViewMetaData]):
    """A query of a view, built from the arguments of the SDK's `view_query`."""

    _name = "view_query"
    _ticks = 1e6

    def __init__(
        self, settings: FacadeSettings, builder: BucketRequestBuilder, args: Any, kwargs: Any
    ) -> None:
        design_doc, view_name, *options = args
        refuse_retry(self._name, options, kwargs)
        built = builder.build_view_query_request(
            design_doc, view_name, _NO_SPAN, *options, **kwargs
        )
        request = built.view_query.as_encodable()
        if "scan_consistency" in request:
            # The SDK (4.6.3) gives it to its core under a name that the core does not look at.
            request["consistency"] = request.pop("scan_consistency")
        super().__init__(settings, request, only_reads=True)

    def decode(self, row: bytes) -> ViewRow:
        """The row that the application sees."""
        return ViewRow.from_json(wire.decode(row))

    def total_rows(self) -> int | None:
        """The rows of the whole view, None before the end and for views that reduce."""
        metadata = self.metadata()
        # The SDK annotates it with a class of its own, and returns a plain number.
        return cast("int | None", metadata.total_rows()) if metadata is not None else None

    def _read_metadata(self, result: dict[str, Any]) -> ViewMetaData:
        return ViewMetaData(result["metadata"])


def _statement(args: tuple[Any, ...]) -> tuple[Any, ...]:
    if not args or not isinstance(args[0], str) or not args[0]:
        raise InvalidArgumentException("the statement must be text")
    return args


def _without_retry(
    name: str, options: list[Any], kwargs: dict[str, Any]
) -> tuple[bool, dict[str, Any]]:
    """The caller's `retry_ambiguous`, and the other keywords, which are the SDK's."""
    others = dict(kwargs)
    retry = check_retry(others.pop(RETRY, False))
    refuse_retry(name, options, others)
    return retry, others


def refuse_retry(name: str, options: list[Any], kwargs: dict[str, Any]) -> None:
    """Refuse `retry_ambiguous` among the options of what only reads.

    Raises:
        InvalidArgumentException: It is there.
    """
    blocks = (block for block in options if isinstance(block, _BLOCKS))
    if any(RETRY in given for given in (kwargs, *blocks)):
        raise retry_refused(name)
