"""`TxScope` and `TxRawScope`: a scope of a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.logic.scope_req_builder import ScopeRequestBuilder

from txcouchbase.calls import Caller
from txcouchbase.client import (
    REQUIRED,
    TxDeferredClientMixin,
    TxRawClientMixin,
    require_parent,
)
from txcouchbase.collection import TxCollection, TxRawCollection
from txcouchbase.management.eventing import ScopeEventingFunctionManager
from txcouchbase.management.search import ScopeSearchIndexManager
from txcouchbase.row_methods import RowMethods, RowPlace

if TYPE_CHECKING:
    from txcouchbase.bucket import TxRawBucket

__all__ = ["Scope", "TxRawScope", "TxScope"]


class TxRawScope(RowMethods, TxRawClientMixin):
    """A scope of a bucket. Its connection events are the bucket's.

    Args:
        bucket: The bucket.
        name: The name of the scope.
        quiet: See `TxRawClientMixin`; the bucket's if None.

    Raises:
        InvalidArgumentException: It is not a bucket and a name: a connection string, for example.
    """

    def __init__(
        self,
        bucket: TxRawBucket = REQUIRED,
        name: str = REQUIRED,
        *,
        quiet: bool | None = None,
        **kwargs: Any,
    ) -> None:
        require_parent("scope", bucket, name, kwargs)
        self._bucket = bucket
        self._name = name
        self._pool = bucket._pool
        self._settings = bucket._settings
        self._target = bucket._target
        self.quiet = bucket.quiet if quiet is None else quiet

    @property
    def name(self) -> str:
        """The name of the scope."""
        return self._name

    @property
    def bucket_name(self) -> str:
        """The name of the bucket."""
        return self._bucket.name

    @staticmethod
    def default_name() -> str:
        """The name of the default scope."""
        return "_default"

    def collection(self, name: str) -> TxRawCollection:
        """A collection of this scope."""
        return TxRawCollection(self, name)

    def search_indexes(self) -> ScopeSearchIndexManager:
        """Manages the search indexes of the scope."""
        return ScopeSearchIndexManager(self._caller, self.bucket_name, self._name)

    def eventing_functions(self) -> ScopeEventingFunctionManager:
        """Manages the eventing functions of the scope."""
        return ScopeEventingFunctionManager(self._caller, self.bucket_name, self._name)

    @property
    def _row_place(self) -> RowPlace:
        keyspace = self._bucket._session.keyspace(self._name, "")
        builder = ScopeRequestBuilder(self.bucket_name, self._name)
        return RowPlace(self._pool, keyspace, self._settings, builder)

    @property
    def _caller(self) -> Caller:
        keyspace = self._bucket._session.keyspace(self._name, "")
        return Caller(self._pool, keyspace, self._settings.management_timeout)


class TxScope(TxDeferredClientMixin, TxRawScope):
    """A `TxRawScope` whose collections' methods return Deferreds."""

    def collection(self, name: str) -> TxCollection:
        """A collection of this scope."""
        return TxCollection(self, name)


Scope = TxScope
