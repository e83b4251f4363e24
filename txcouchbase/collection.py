"""`TxCollection` and `TxRawCollection`: key-value operations.

They are written once, in `KeyValueMethods`. What they return is up to the class of operations
that a form uses; the raw form names the methods again for type checkers only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.result import (
    ExistsResult,
    GetResult,
    LookupInResult,
    MutateInResult,
    MutationResult,
)
from twisted.internet.defer import Deferred

from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.base_collection import BaseCollection
from txcouchbase.binary_collection import TxBinaryCollection, TxRawBinaryCollection
from txcouchbase.client import TxDeferredClientMixin, raw
from txcouchbase.compositions import Composition, as_deferred
from txcouchbase.datastructures import (
    CouchbaseList,
    CouchbaseMap,
    CouchbaseQueue,
    CouchbaseSet,
    TxRawCouchbaseList,
    TxRawCouchbaseMap,
    TxRawCouchbaseQueue,
    TxRawCouchbaseSet,
)
from txcouchbase.multi import MultiMethods
from txcouchbase.replica_methods import ReplicaMethods
from txcouchbase.scans import ScanMethods
from txcouchbase.structure_methods import StructureMethods

if TYPE_CHECKING:
    from couchbase.options import (
        ExistsOptions,
        GetAndLockOptions,
        GetAndTouchOptions,
        GetOptions,
        InsertOptions,
        LookupInOptions,
        MutateInOptions,
        RemoveOptions,
        ReplaceOptions,
        TouchOptions,
        UnlockOptions,
        UpsertOptions,
    )
    from couchbase.subdocument import Spec

__all__ = ["Collection", "KeyValueMethods", "TxCollection", "TxRawCollection"]

_GET = OPERATIONS["get"]
_UPSERT = OPERATIONS["upsert"]


class KeyValueMethods(BaseCollection):
    """The key-value methods. Operations on one key happen in the order of their calls.

    Every method takes the SDK's options block of its name, or the block's fields as keywords,
    and `quiet` (see `TxRawClientMixin`). It gives the SDK's Result, later. An operation that
    fails gives the SDK's exception, or one of `txcouchbase.exceptions` when a worker or the
    pool is the reason; an argument that is wrong raises at once, as in the SDK. `timeout` (a
    `timedelta`) runs from the call to the answer; the default is the cluster's `kv_timeout`
    (2.5 seconds), and for a mutation with a durability level 10 seconds.

    What only reads is sent once more if its worker dies. An operation that changes something
    then fails with `WorkerLost`, unless the call says `retry_ambiguous=True`: then it is sent
    once more, never twice, within its time. It may have been applied before, so use it for
    what may be done twice. An `insert` that was applied fails with DocumentExistsException the
    second time, a `remove` with DocumentNotFoundException, what was given a `cas` (and `unlock`)
    finds another one, `get_and_lock` waits for its own lock; a counter is counted twice, a value
    appended twice. It is no option of the SDK's blocks. If the second worker dies, too, or time
    is over before there is one, the error says that it is ambiguous.
    """

    # -- reading --------------------------------------------------------------------------

    def get(self, /, key: str, *opts: GetOptions, **kwargs: Any) -> Deferred[GetResult]:
        """Fetch a document.

        Errors: DocumentNotFoundException and the SDK's other exceptions.
        """
        if opts or kwargs:
            return self._start("get", key, opts, kwargs)
        operation = self._operation(_GET, self._keyspace, key, None, 0, None, None, self._timeout)
        operation.transcoder = self._transcoder
        operation.quiet = self.quiet
        return operation.start(self._pool)

    def exists(self, /, key: str, *opts: ExistsOptions, **kwargs: Any) -> Deferred[ExistsResult]:
        """Tell whether a document exists; a missing one is no error."""
        return self._start("exists", key, opts, kwargs)

    def get_and_touch(
        self,
        /,
        key: str,
        expiry: timedelta,
        *opts: GetAndTouchOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[GetResult]:
        """Fetch a document and set its expiry."""
        return self._start(
            "get_and_touch", key, opts, {**kwargs, "expiry": expiry}, retry_ambiguous
        )

    def get_and_lock(
        self,
        /,
        key: str,
        lock_time: timedelta,
        *opts: GetAndLockOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[GetResult]:
        """Fetch a document and lock it: until `unlock` or `lock_time` only its CAS may change it.

        Errors: DocumentLockedException once the time is up in which the SDK tries again.
        """
        return self._start(
            "get_and_lock", key, opts, {**kwargs, "lock_time": lock_time}, retry_ambiguous
        )

    def lookup_in(
        self, /, key: str, spec: Iterable[Spec], *opts: LookupInOptions, **kwargs: Any
    ) -> Deferred[LookupInResult]:
        """Fetch parts of a document."""
        return self._start("lookup_in", key, opts, {**kwargs, "specs": list(spec)})

    # -- writing --------------------------------------------------------------------------

    def upsert(
        self,
        /,
        key: str,
        value: Any,
        *opts: UpsertOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MutationResult]:
        """Store a document, whether it exists or not. The value is encoded at once."""
        if opts or kwargs or retry_ambiguous is not False:
            return self._start("upsert", key, opts, kwargs, retry_ambiguous, value)
        data, flags = self._transcoder.encode_value(value)
        operation = self._operation(
            _UPSERT, self._keyspace, key, data, flags, None, None, self._timeout
        )
        operation.transcoder = self._transcoder
        operation.quiet = self.quiet
        return operation.start(self._pool)

    def insert(
        self,
        /,
        key: str,
        value: Any,
        *opts: InsertOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MutationResult]:
        """Store a new document.

        Errors: DocumentExistsException.
        """
        return self._start("insert", key, opts, kwargs, retry_ambiguous, value)

    def replace(
        self,
        /,
        key: str,
        value: Any,
        *opts: ReplaceOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MutationResult]:
        """Store a document that exists.

        Errors: DocumentNotFoundException; CasMismatchException if `cas` was given.
        """
        return self._start("replace", key, opts, kwargs, retry_ambiguous, value)

    def remove(
        self, /, key: str, *opts: RemoveOptions, retry_ambiguous: bool = False, **kwargs: Any
    ) -> Deferred[MutationResult]:
        """Remove a document.

        Errors: DocumentNotFoundException; CasMismatchException if `cas` was given.
        """
        return self._start("remove", key, opts, kwargs, retry_ambiguous)

    def touch(
        self,
        /,
        key: str,
        expiry: timedelta,
        *opts: TouchOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MutationResult]:
        """Set the expiry of a document; zero means that it stays."""
        return self._start("touch", key, opts, {**kwargs, "expiry": expiry}, retry_ambiguous)

    def unlock(
        self,
        /,
        key: str,
        cas: int,
        *opts: UnlockOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Unlock a document with the CAS that `get_and_lock` gave.

        Errors: DocumentNotLockedException, CasMismatchException.
        """
        return self._start("unlock", key, opts, {**kwargs, "cas": cas}, retry_ambiguous)

    def mutate_in(
        self,
        /,
        key: str,
        spec: Iterable[Spec],
        *opts: MutateInOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MutateInResult]:
        """Change parts of a document, all or none of them."""
        return self._start("mutate_in", key, opts, {**kwargs, "specs": list(spec)}, retry_ambiguous)


class TxRawCollection(ScanMethods):
    """The methods of `KeyValueMethods`, `ReplicaMethods`, `MultiMethods` and `StructureMethods`;
    each returns an `AsyncResult`."""

    get = raw(KeyValueMethods.get)
    exists = raw(KeyValueMethods.exists)
    get_and_touch = raw(KeyValueMethods.get_and_touch)
    get_and_lock = raw(KeyValueMethods.get_and_lock)
    lookup_in = raw(KeyValueMethods.lookup_in)
    get_any_replica = raw(ReplicaMethods.get_any_replica)
    get_all_replicas = raw(ReplicaMethods.get_all_replicas)
    lookup_in_any_replica = raw(ReplicaMethods.lookup_in_any_replica)
    lookup_in_all_replicas = raw(ReplicaMethods.lookup_in_all_replicas)
    upsert = raw(KeyValueMethods.upsert)
    insert = raw(KeyValueMethods.insert)
    replace = raw(KeyValueMethods.replace)
    remove = raw(KeyValueMethods.remove)
    touch = raw(KeyValueMethods.touch)
    unlock = raw(KeyValueMethods.unlock)
    mutate_in = raw(KeyValueMethods.mutate_in)
    get_multi = raw(MultiMethods.get_multi)
    exists_multi = raw(MultiMethods.exists_multi)
    get_and_lock_multi = raw(MultiMethods.get_and_lock_multi)
    lock_multi = raw(MultiMethods.lock_multi)
    get_any_replica_multi = raw(MultiMethods.get_any_replica_multi)
    get_all_replicas_multi = raw(MultiMethods.get_all_replicas_multi)
    upsert_multi = raw(MultiMethods.upsert_multi)
    insert_multi = raw(MultiMethods.insert_multi)
    replace_multi = raw(MultiMethods.replace_multi)
    remove_multi = raw(MultiMethods.remove_multi)
    touch_multi = raw(MultiMethods.touch_multi)
    unlock_multi = raw(MultiMethods.unlock_multi)
    list_append = raw(StructureMethods.list_append)
    list_prepend = raw(StructureMethods.list_prepend)
    list_set = raw(StructureMethods.list_set)
    list_get = raw(StructureMethods.list_get)
    list_remove = raw(StructureMethods.list_remove)
    list_size = raw(StructureMethods.list_size)
    map_add = raw(StructureMethods.map_add)
    map_get = raw(StructureMethods.map_get)
    map_remove = raw(StructureMethods.map_remove)
    map_size = raw(StructureMethods.map_size)
    set_add = raw(StructureMethods.set_add)
    set_remove = raw(StructureMethods.set_remove)
    set_contains = raw(StructureMethods.set_contains)
    set_size = raw(StructureMethods.set_size)
    queue_push = raw(StructureMethods.queue_push)
    queue_pop = raw(StructureMethods.queue_pop)
    queue_size = raw(StructureMethods.queue_size)

    def binary(self) -> TxRawBinaryCollection:
        """Operations on counters and on binary values."""
        return TxRawBinaryCollection(self)

    def couchbase_list(self, key: str) -> TxRawCouchbaseList:
        """The document of that key as a list."""
        return TxRawCouchbaseList(key, self)

    def couchbase_map(self, key: str) -> TxRawCouchbaseMap:
        """The document of that key as a map."""
        return TxRawCouchbaseMap(key, self)

    def couchbase_queue(self, key: str) -> TxRawCouchbaseQueue:
        """The document of that key as a queue."""
        return TxRawCouchbaseQueue(key, self)

    def couchbase_set(self, key: str) -> TxRawCouchbaseSet:
        """The document of that key as a set."""
        return TxRawCouchbaseSet(key, self)


# The two forms differ in what their methods return, on purpose.
class TxCollection(  # type: ignore[misc]
    TxDeferredClientMixin,
    KeyValueMethods,
    ReplicaMethods,
    MultiMethods,
    StructureMethods,
    TxRawCollection,
):
    """The methods of `KeyValueMethods`, `ReplicaMethods`, `MultiMethods` and `StructureMethods`;
    each returns a Deferred."""

    _composition: Composition = staticmethod(as_deferred)

    def binary(self) -> TxBinaryCollection:
        """Operations on counters and on binary values."""
        return TxBinaryCollection(self)

    def couchbase_list(self, key: str) -> CouchbaseList:
        """The document of that key as a list."""
        return CouchbaseList(key, self)

    def couchbase_map(self, key: str) -> CouchbaseMap:
        """The document of that key as a map."""
        return CouchbaseMap(key, self)

    def couchbase_queue(self, key: str) -> CouchbaseQueue:
        """The document of that key as a queue."""
        return CouchbaseQueue(key, self)

    def couchbase_set(self, key: str) -> CouchbaseSet:
        """The document of that key as a set."""
        return CouchbaseSet(key, self)


Collection = TxCollection
