"""`TxCollection`: key-value operations as Deferreds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException
from couchbase.result import (
    ExistsResult,
    GetResult,
    LookupInResult,
    MutateInResult,
    MutationResult,
)
from twisted.internet.defer import Deferred

from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.binary_collection import TxBinaryCollection
from txcouchbase.keyvalue import (
    KeyValueOperation,
    Options,
    lookup_specs,
    read_mutate_in,
    read_options,
    read_projection,
)

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

    from txcouchbase.scope import TxScope

__all__ = ["Collection", "TxCollection"]

_GET = OPERATIONS["get"]
_UPSERT = OPERATIONS["upsert"]


class TxCollection:
    """A collection. Operations on one key happen in the order of their calls.

    Every method takes the SDK's options block of its name, or the block's fields as keywords,
    and returns a Deferred of the SDK's Result. An operation that fails errbacks with the SDK's
    exception, or with one of `txcouchbase.exceptions` when a worker or the pool is the reason;
    an argument that is wrong raises at once, as in the SDK. `timeout` (a `timedelta`) runs from
    the call to the answer; the default is the cluster's `kv_timeout` (2.5 seconds), and for a
    mutation with a durability level 10 seconds.

    Args:
        scope: The scope, as `TxScope.collection` does.
        name: The name of the collection.
    """

    def __init__(self, scope: TxScope, name: str) -> None:
        if isinstance(scope, str):
            raise InvalidArgumentException(
                "a collection is made by its scope or bucket, or as (scope, name), "
                "not from a connection string"
            )
        self._scope = scope
        self._name = name
        self._keyspace = scope._bucket._session.keyspace(scope.name, name)
        settings = scope._bucket._cluster._settings
        self._transcoder = settings.transcoder
        self._timeout = settings.kv_timeout
        pool = scope._bucket._cluster.pool
        self._submit = pool.submit
        self._cancel = pool.cancel

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._name

    @staticmethod
    def default_name() -> str:
        """The name of the default collection."""
        return "_default"

    def binary(self) -> TxBinaryCollection:
        """Operations on counters and on binary values."""
        return TxBinaryCollection(self)

    # -- reading --------------------------------------------------------------------------

    def get(self, key: str, *opts: GetOptions, **kwargs: Any) -> Deferred[GetResult]:
        """Fetch a document.

        Errors: DocumentNotFoundException and the SDK's other exceptions.
        """
        if opts or kwargs:
            options = self._options(opts, kwargs)
            read_projection(options)
            return self._start(options.operation(_GET, self._keyspace, key))
        operation = KeyValueOperation(_GET, self._keyspace, key, None, 0, None, None, self._timeout)
        operation.transcoder = self._transcoder
        return operation.start(self._submit, self._cancel)

    def exists(self, key: str, *opts: ExistsOptions, **kwargs: Any) -> Deferred[ExistsResult]:
        """Tell whether a document exists; a missing one is no error."""
        return self._simple("exists", key, opts, kwargs)

    def get_and_touch(
        self, key: str, expiry: timedelta, *opts: GetAndTouchOptions, **kwargs: Any
    ) -> Deferred[GetResult]:
        """Fetch a document and set its expiry."""
        return self._simple("get_and_touch", key, opts, {**kwargs, "expiry": expiry})

    def get_and_lock(
        self, key: str, lock_time: timedelta, *opts: GetAndLockOptions, **kwargs: Any
    ) -> Deferred[GetResult]:
        """Fetch a document and lock it: until `unlock` or `lock_time` only its CAS may change it.

        Errors: DocumentLockedException once the time is up in which the SDK tries again.
        """
        return self._simple("get_and_lock", key, opts, {**kwargs, "lock_time": lock_time})

    def lookup_in(
        self, key: str, spec: Iterable[Spec], *opts: LookupInOptions, **kwargs: Any
    ) -> Deferred[LookupInResult]:
        """Fetch parts of a document."""
        options = self._options(opts, kwargs)
        options.wire["specs"] = lookup_specs(spec)
        return self._start(options.operation(OPERATIONS["lookup_in"], self._keyspace, key))

    # -- writing --------------------------------------------------------------------------

    def upsert(
        self, key: str, value: Any, *opts: UpsertOptions, **kwargs: Any
    ) -> Deferred[MutationResult]:
        """Store a document, whether it exists or not. The value is encoded at once."""
        if opts or kwargs:
            return self._store("upsert", key, value, self._options(opts, kwargs))
        data, flags = self._transcoder.encode_value(value)
        operation = KeyValueOperation(
            _UPSERT, self._keyspace, key, data, flags, None, None, self._timeout
        )
        operation.transcoder = self._transcoder
        return operation.start(self._submit, self._cancel)

    def insert(
        self, key: str, value: Any, *opts: InsertOptions, **kwargs: Any
    ) -> Deferred[MutationResult]:
        """Store a new document.

        Errors: DocumentExistsException.
        """
        return self._store("insert", key, value, self._options(opts, kwargs))

    def replace(
        self, key: str, value: Any, *opts: ReplaceOptions, **kwargs: Any
    ) -> Deferred[MutationResult]:
        """Store a document that exists.

        Errors: DocumentNotFoundException; CasMismatchException if `cas` was given.
        """
        options = self._options(opts, kwargs)
        if options.wire.get("expiry") and options.wire.get("preserve_expiry") is True:
            raise InvalidArgumentException(
                "The expiry and preserve_expiry options cannot both be set for replace operations."
            )
        return self._store("replace", key, value, options)

    def remove(self, key: str, *opts: RemoveOptions, **kwargs: Any) -> Deferred[MutationResult]:
        """Remove a document.

        Errors: DocumentNotFoundException; CasMismatchException if `cas` was given.
        """
        return self._simple("remove", key, opts, kwargs)

    def touch(
        self, key: str, expiry: timedelta, *opts: TouchOptions, **kwargs: Any
    ) -> Deferred[MutationResult]:
        """Set the expiry of a document; zero means that it stays."""
        return self._simple("touch", key, opts, {**kwargs, "expiry": expiry})

    def unlock(self, key: str, cas: int, *opts: UnlockOptions, **kwargs: Any) -> Deferred[None]:
        """Unlock a document with the CAS that `get_and_lock` gave.

        Errors: DocumentNotLockedException, CasMismatchException.
        """
        return self._simple("unlock", key, opts, {**kwargs, "cas": cas})

    def mutate_in(
        self, key: str, spec: Iterable[Spec], *opts: MutateInOptions, **kwargs: Any
    ) -> Deferred[MutateInResult]:
        """Change parts of a document, all or none of them."""
        options = self._options(opts, kwargs)
        read_mutate_in(options, spec)
        operation = options.operation(OPERATIONS["mutate_in"], self._keyspace, key)
        operation.transcoder = self._transcoder
        return self._start(operation)

    # -- how ------------------------------------------------------------------------------

    def _options(self, opts: tuple[Any, ...], kwargs: dict[str, Any]) -> Options:
        return read_options(opts, kwargs, self._transcoder, self._timeout)

    def _simple(
        self, name: str, key: str, opts: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Deferred[Any]:
        options = self._options(opts, kwargs)
        return self._start(options.operation(OPERATIONS[name], self._keyspace, key))

    def _store(self, name: str, key: str, value: Any, options: Options) -> Deferred[Any]:
        data, flags = options.transcoder.encode_value(value)
        return self._start(options.operation(OPERATIONS[name], self._keyspace, key, data, flags))

    def _start(self, operation: KeyValueOperation) -> Deferred[Any]:
        return operation.start(self._submit, self._cancel)


Collection = TxCollection
