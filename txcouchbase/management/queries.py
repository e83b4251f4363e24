"""`QueryIndexManager`, `CollectionQueryIndexManager`: indexes of the query service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    UnAmbiguousTimeoutException,
    WatchQueryIndexTimeoutException,
)
from couchbase.management import queries as sdk
from couchbase.management.options import (
    BuildDeferredQueryIndexOptions,
    CreatePrimaryQueryIndexOptions,
    CreateQueryIndexOptions,
    DropPrimaryQueryIndexOptions,
    DropQueryIndexOptions,
    GetAllQueryIndexOptions,
    WatchQueryIndexOptions,
)
from couchbase.management.queries import QueryIndex
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txcouchbase.management.manager import Manager

__all__ = ["CollectionQueryIndexManager", "QueryIndexManager"]


class QueryIndexManager(Manager):
    """The indexes of the query service, of any bucket or collection."""

    _accessor = "query_indexes"
    _sdk = sdk.QueryIndexManager

    def create_index(
        self,
        bucket_name: str,
        index_name: str,
        keys: Sequence[str],
        *options: CreateQueryIndexOptions,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Create an index on keys of a bucket or collection.

        Options: `ignore_if_exists`, `deferred`, `num_replicas`, `condition`, `scope_name`,
        `collection_name`.

        Errors: QueryIndexAlreadyExistsException.
        """
        return self._call("create_index", bucket_name, index_name, keys, *options, **kwargs)

    def create_primary_index(
        self, bucket_name: str, *options: CreatePrimaryQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Create the primary index of a bucket or collection.

        Options: `index_name`, `ignore_if_exists`, `deferred`, `num_replicas`, `scope_name`,
        `collection_name`.

        Errors: QueryIndexAlreadyExistsException.
        """
        return self._call("create_primary_index", bucket_name, *options, **kwargs)

    def drop_index(
        self, bucket_name: str, index_name: str, *options: DropQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove an index of a bucket or collection.

        Options: `ignore_if_not_exists`, `scope_name`, `collection_name`.

        Errors: QueryIndexNotFoundException.
        """
        return self._call("drop_index", bucket_name, index_name, *options, **kwargs)

    def drop_primary_index(
        self, bucket_name: str, *options: DropPrimaryQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove the primary index of a bucket or collection.

        Options: `index_name`, `ignore_if_not_exists`, `scope_name`, `collection_name`.

        Errors: QueryIndexNotFoundException.
        """
        return self._call("drop_primary_index", bucket_name, *options, **kwargs)

    def get_all_indexes(
        self, bucket_name: str, *options: GetAllQueryIndexOptions, **kwargs: Any
    ) -> Deferred[list[QueryIndex]]:
        """Fetch the indexes of a bucket or collection. Options: `scope_name`, `collection_name`."""
        return self._call("get_all_indexes", bucket_name, *options, **kwargs)

    def build_deferred_indexes(
        self, bucket_name: str, *options: BuildDeferredQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Build the indexes that were created with `deferred`.

        Options: `scope_name`, `collection_name`.
        """
        return self._call("build_deferred_indexes", bucket_name, *options, **kwargs)

    def watch_indexes(
        self,
        bucket_name: str,
        index_names: Sequence[str],
        *options: WatchQueryIndexOptions,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Fires when indexes are ready to use.

        Options: `timeout`, which must be given, `watch_primary`, `scope_name`, `collection_name`.

        Errors: QueryIndexNotFoundException; WatchQueryIndexTimeoutException when the time is over.
        """
        watch = self._call("watch_indexes", bucket_name, index_names, *options, **kwargs)
        return watch.addErrback(_watched_in_vain)


class CollectionQueryIndexManager(Manager):
    """The indexes of the query service on one collection."""

    _accessor = "query_indexes"
    _sdk = sdk.CollectionQueryIndexManager

    def create_index(
        self, index_name: str, keys: Sequence[str], *options: CreateQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Create an index on keys of the collection.

        Options: `ignore_if_exists`, `deferred`, `num_replicas`, `condition`.

        Errors: QueryIndexAlreadyExistsException.
        """
        return self._call("create_index", index_name, keys, *options, **kwargs)

    def create_primary_index(
        self, *options: CreatePrimaryQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Create the primary index of the collection.

        Options: `index_name`, `ignore_if_exists`, `deferred`, `num_replicas`.

        Errors: QueryIndexAlreadyExistsException.
        """
        return self._call("create_primary_index", *options, **kwargs)

    def drop_index(
        self, index_name: str, *options: DropQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove an index of the collection. Options: `ignore_if_not_exists`.

        Errors: QueryIndexNotFoundException.
        """
        return self._call("drop_index", index_name, *options, **kwargs)

    def drop_primary_index(
        self, *options: DropPrimaryQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove the primary index of the collection.

        Options: `index_name`, `ignore_if_not_exists`.

        Errors: QueryIndexNotFoundException.
        """
        return self._call("drop_primary_index", *options, **kwargs)

    def get_all_indexes(
        self, *options: GetAllQueryIndexOptions, **kwargs: Any
    ) -> Deferred[list[QueryIndex]]:
        """Fetch the indexes of the collection."""
        return self._call("get_all_indexes", *options, **kwargs)

    def build_deferred_indexes(
        self, *options: BuildDeferredQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Build the indexes that were created with `deferred`."""
        return self._call("build_deferred_indexes", *options, **kwargs)

    def watch_indexes(
        self, index_names: Sequence[str], *options: WatchQueryIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Fires when indexes are ready to use.

        Options: `timeout`, which must be given, `watch_primary`.

        Errors: QueryIndexNotFoundException; WatchQueryIndexTimeoutException when the time is over.
        """
        watch = self._call("watch_indexes", index_names, *options, **kwargs)
        return watch.addErrback(_watched_in_vain)


def _watched_in_vain(failure: Failure) -> None:
    """The SDK's exception for it, wherever on the way the time was over."""
    failure.trap(AmbiguousTimeoutException, UnAmbiguousTimeoutException)
    raise WatchQueryIndexTimeoutException(
        "Failed to find all indexes online within the alloted time."
    ) from failure.value
