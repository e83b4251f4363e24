"""`BaseCollection`: what the methods of collections stand on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from couchbase.result import GetResult
from twisted.internet.defer import Deferred

from txcouchbase.amp.jobs import collection_of_job
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.arguments import Options, check_retry, encode_value, read_options
from txcouchbase.calls import Caller
from txcouchbase.client import REQUIRED, TxRawClientMixin, require_parent
from txcouchbase.compositions import Composition, as_async_result
from txcouchbase.jobs import map_documents
from txcouchbase.keyvalue import DeferredOperation, KeyValueOperation
from txcouchbase.management.queries import CollectionQueryIndexManager
from txcouchbase.multi_operation import MultiRequest

if TYPE_CHECKING:
    from txcouchbase.bucket import TxRawBucket
    from txcouchbase.scope import TxRawScope

__all__ = ["BaseCollection"]

T = TypeVar("T")


class BaseCollection(TxRawClientMixin):
    """What key-value methods stand on.

    Args:
        parent: The scope, or the bucket for a collection of its default scope.
        name: The name of the collection.
        quiet: See `TxRawClientMixin`; the parent's if None.

    Raises:
        InvalidArgumentException: It is not a scope and a name: a connection string, for example.
    """

    _composition: Composition = staticmethod(as_async_result)

    def __init__(
        self,
        parent: TxRawScope | TxRawBucket = REQUIRED,
        name: str = REQUIRED,
        *,
        quiet: bool | None = None,
        **kwargs: Any,
    ) -> None:
        require_parent("collection", parent, name, kwargs)
        scope = parent.default_scope() if hasattr(parent, "default_scope") else parent
        self._scope = scope
        self._name = name
        self._pool = scope._pool
        self._settings = scope._settings
        self._target = scope._target
        self.quiet = parent.quiet if quiet is None else quiet
        self._keyspace = scope._bucket._session.keyspace(scope.name, name)
        self._transcoder = scope._settings.transcoder
        self._timeout = scope._settings.kv_timeout

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._name

    @staticmethod
    def default_name() -> str:
        """The name of the default collection."""
        return "_default"

    def query_indexes(self) -> CollectionQueryIndexManager:
        """Manages the indexes of the query service on the collection."""
        caller = Caller(self._pool, self._keyspace, self._settings.management_timeout)
        names = (self._scope.bucket_name, self._scope.name, self._name)
        return CollectionQueryIndexManager(caller, *names)

    def map_multi(
        self,
        keys: Iterable[str],
        function: Callable[[str, GetResult], Any],
        *,
        timeout: float | timedelta | None = None,
        return_exceptions: bool = True,
    ) -> Deferred[dict[str, Any]]:
        """Fetch documents in the job workers, and call a function with each there.

        Only what the function returns comes back: ``{key: function(key, result)}`` in the order
        of the keys, each once. The documents are spread over the job workers in pieces. They
        are outside the order of operations on a key.

        Args:
            keys: Which documents.
            function: Called with the key and the SDK's `GetResult`; see `WorkerPool.run` for
                what it can be.
            timeout: From the call to the answer (seconds or timedelta), None for no limit.
            return_exceptions: True: a key that failed has its exception as its value; what ends
                a job, such as `WorkerLost`, is that of each key in its piece. False: the first
                one in the order of the keys is the error of the whole, with the map as its
                `all_results`.

        Raises:
            InvalidArgumentException: The function, a key or the timeout cannot be used.
        """
        return map_documents(
            self._pool,
            self._scope._bucket._session.cluster,
            self._place,
            self._transcoder,
            keys,
            function,
            timeout,
            return_exceptions,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # An argument of a job: there it is the SDK's own collection, of the connected cluster.
        return collection_of_job, (self._scope._bucket._session.cluster.id, *self._place)

    @property
    def _place(self) -> tuple[str, str, str]:
        return self._scope.bucket_name, self._scope.name, self._name

    def _start(
        self,
        name: str,
        key: str,
        opts: tuple[Any, ...],
        kwargs: dict[str, Any],
        retry_ambiguous: bool = False,
        *value: Any,
        form: type[KeyValueOperation] | None = None,
    ) -> Deferred[Any]:
        """Start the operation of that name, with the document's value if it has one, in the form
        of the collection or in another one."""
        operation = self._made(name, key, opts, kwargs, *value, form=form)
        if retry_ambiguous is not False:
            operation.retry_ambiguous = check_retry(retry_ambiguous)
        return operation.start(self._pool)

    def _made(
        self,
        name: str,
        key: str,
        opts: tuple[Any, ...],
        kwargs: dict[str, Any],
        *value: Any,
        form: type[KeyValueOperation] | None = None,
    ) -> KeyValueOperation:
        """The operation of that name, not started yet."""
        options = self._options(name, opts, kwargs)
        data, flags = encode_value(name, value[0], options.transcoder) if value else (None, 0)
        kind = OPERATIONS[name]
        return options.operation(form or self._operation, kind, self._keyspace, key, data, flags)

    def _step(self, name: str, key: str, options: dict[str, Any], *value: Any) -> KeyValueOperation:
        """An operation that is part of a composition, not started yet."""
        options["quiet"] = False
        return self._made(name, key, (), options, *value, form=DeferredOperation)

    def _compose(self, name: str, steps: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Run a composition; it is delivered in the form of the collection."""
        composed: Deferred[T] = self._composition(name, steps, self._pool.reactor)
        return composed

    def _options(self, name: str, opts: tuple[Any, ...], kwargs: dict[str, Any]) -> Options:
        return read_options(name, opts, kwargs, self._transcoder, self._timeout, self.quiet)

    def _start_multi(
        self,
        name: str,
        keys: Any,
        opts: tuple[Any, ...],
        kwargs: dict[str, Any],
        retry_ambiguous: bool = False,
        **fixed: Any,
    ) -> Deferred[Any]:
        """Start the operation of that name on many keys.

        Args:
            name: The operation on one of them.
            keys: As the caller gave them: documents by key, a CAS for each key, or keys.
            opts: The caller's options block, if any.
            kwargs: The caller's keywords.
            retry_ambiguous: The caller's, for every key.
            fixed: What is the same for every key.
        """
        request = MultiRequest(self._options, name, keys, opts, kwargs, fixed)
        operation = self._multi_operation(OPERATIONS[name], self._keyspace, request)
        operation.retry_ambiguous = check_retry(retry_ambiguous)
        return operation.start(self._pool)
