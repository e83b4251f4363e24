"""`MultiMethods`: one operation on many keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase import result as sdk
from twisted.internet.defer import Deferred

from txcouchbase.base_collection import BaseCollection
from txcouchbase.multi_result import (
    MultiExistsResult,
    MultiGetReplicaResult,
    MultiGetResult,
    MultiMutationResult,
    MultiUnlockResult,
)

if TYPE_CHECKING:
    from couchbase.options import (
        ExistsMultiOptions,
        GetAllReplicasMultiOptions,
        GetAndLockMultiOptions,
        GetAnyReplicaMultiOptions,
        GetMultiOptions,
        InsertMultiOptions,
        RemoveMultiOptions,
        ReplaceMultiOptions,
        TouchMultiOptions,
        UnlockMultiOptions,
        UpsertMultiOptions,
    )

__all__ = ["MultiMethods"]


class MultiMethods(BaseCollection):
    """One operation on many keys, spread over the workers.

    Every method takes the SDK's options block of its name, or the block's fields as keywords,
    and `quiet`; `per_key_options` says by key what differs for it, `timeout` is for the whole. It
    gives the SDK's `Multi*Result`, later, which is also a mapping from every key, in the order
    of the call, to its Result or its exception. With `return_exceptions=False` the first
    exception in this order is the error of the whole; its attribute `all_results` is the
    mapping, `result` the unsuccessful Result of its key. It is admitted as one, whatever the
    number of keys. To cancel it cancels all keys. `retry_ambiguous` is as for one key, and for
    all of them.
    """

    def get_multi(
        self, /, keys: Iterable[str], *opts: GetMultiOptions, **kwargs: Any
    ) -> Deferred[MultiGetResult]:
        """Fetch documents."""
        return self._start_multi("get", keys, opts, kwargs)

    def exists_multi(
        self, /, keys: Iterable[str], *opts: ExistsMultiOptions, **kwargs: Any
    ) -> Deferred[MultiExistsResult]:
        """Tell which documents exist."""
        return self._start_multi("exists", keys, opts, kwargs)

    def get_and_lock_multi(
        self,
        /,
        keys: Iterable[str],
        lock_time: timedelta,
        *opts: GetAndLockMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiGetResult]:
        """Fetch documents and lock them; see `get_and_lock`."""
        return self._start_multi(
            "get_and_lock", keys, opts, kwargs, retry_ambiguous, lock_time=lock_time
        )

    lock_multi = get_and_lock_multi

    def get_any_replica_multi(
        self, /, keys: Iterable[str], *opts: GetAnyReplicaMultiOptions, **kwargs: Any
    ) -> Deferred[MultiGetReplicaResult]:
        """Fetch each document from the copy that answers first; see `get_any_replica`."""
        return self._start_multi("get_any_replica", keys, opts, kwargs)

    def get_all_replicas_multi(
        self, /, keys: Iterable[str], *opts: GetAllReplicasMultiOptions, **kwargs: Any
    ) -> Deferred[MultiGetReplicaResult]:
        """Fetch all copies of each document: the Result of a key is a list of Results; see
        `get_all_replicas`."""
        return self._start_multi("get_all_replicas", keys, opts, kwargs)

    def upsert_multi(
        self,
        /,
        keys_and_docs: Mapping[str, Any],
        *opts: UpsertMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiMutationResult]:
        """Store documents, whether they exist or not. The values are encoded at once."""
        return self._start_multi("upsert", keys_and_docs, opts, kwargs, retry_ambiguous)

    def insert_multi(
        self,
        /,
        keys_and_docs: Mapping[str, Any],
        *opts: InsertMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiMutationResult]:
        """Store new documents."""
        return self._start_multi("insert", keys_and_docs, opts, kwargs, retry_ambiguous)

    def replace_multi(
        self,
        /,
        keys_and_docs: Mapping[str, Any],
        *opts: ReplaceMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiMutationResult]:
        """Store documents that exist."""
        return self._start_multi("replace", keys_and_docs, opts, kwargs, retry_ambiguous)

    def remove_multi(
        self,
        /,
        keys: Iterable[str],
        *opts: RemoveMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiMutationResult]:
        """Remove documents."""
        return self._start_multi("remove", keys, opts, kwargs, retry_ambiguous)

    def touch_multi(
        self,
        /,
        keys: Iterable[str],
        expiry: timedelta,
        *opts: TouchMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiMutationResult]:
        """Set the expiry of documents; zero means that they stay."""
        return self._start_multi("touch", keys, opts, kwargs, retry_ambiguous, expiry=expiry)

    def unlock_multi(
        self,
        /,
        keys: sdk.MultiGetResult | sdk.MultiMutationResult | dict[str, int],
        *opts: UnlockMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiUnlockResult]:
        """Unlock documents with the CAS of each, or with what `get_and_lock_multi` gave."""
        return self._start_multi("unlock", keys, opts, kwargs, retry_ambiguous)
