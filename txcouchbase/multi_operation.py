"""Multi operations: one operation on many keys, whose Results come together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from couchbase import options as sdk_options
from couchbase import result as sdk
from couchbase.exceptions import InvalidArgumentException
from couchbase.logic.validation import validate_bool
from twisted.internet.defer import Deferred

from txcouchbase.arguments import Options, block_of, encode_value, refuse_unknown
from txcouchbase.keyvalue import RESULTS, KeyValueOperation
from txcouchbase.multi_result import (
    MultiCounterResult,
    MultiExistsResult,
    MultiGetReplicaResult,
    MultiGetResult,
    MultiMutationResult,
    MultiUnlockResult,
)
from txcouchbase.results import AsyncResult
from txcouchbase.workers.feeder import Feeder
from txcouchbase.workers.operation import check_name

if TYPE_CHECKING:
    from txcouchbase.amp.operations import OperationKind
    from txcouchbase.workers.keyspace import Keyspace
    from txcouchbase.workers.operation import Operation
    from txcouchbase.workers.pool import WorkerPool

__all__ = [
    "DeferredMulti",
    "MultiOperation",
    "MultiRequest",
    "RawMulti",
]

_SHAPES: dict[str, tuple[Callable[[dict[str, Any], bool], Any], Any]] = {
    "get": (MultiGetResult, sdk_options.GetMultiOptions),
    "get_and_lock": (MultiGetResult, sdk_options.GetAndLockMultiOptions),
    "get_any_replica": (MultiGetReplicaResult, sdk_options.GetAnyReplicaMultiOptions),
    "get_all_replicas": (MultiGetReplicaResult, sdk_options.GetAllReplicasMultiOptions),
    "exists": (MultiExistsResult, sdk_options.ExistsMultiOptions),
    "insert": (MultiMutationResult, sdk_options.InsertMultiOptions),
    "upsert": (MultiMutationResult, sdk_options.UpsertMultiOptions),
    "replace": (MultiMutationResult, sdk_options.ReplaceMultiOptions),
    "remove": (MultiMutationResult, sdk_options.RemoveMultiOptions),
    "touch": (MultiMutationResult, sdk_options.TouchMultiOptions),
    "unlock": (MultiUnlockResult, sdk_options.UnlockMultiOptions),
    "append": (MultiMutationResult, sdk_options.AppendMultiOptions),
    "prepend": (MultiMutationResult, sdk_options.PrependMultiOptions),
    "increment": (MultiCounterResult, sdk_options.IncrementMultiOptions),
    "decrement": (MultiCounterResult, sdk_options.DecrementMultiOptions),
}
"""What becomes of the outcomes, and the SDK's options block."""

_TAKE_VALUES = ("insert", "upsert", "replace", "append", "prepend")


class MultiRequest:
    """What a caller asks of a multi operation.

    Args:
        read: Reads the options of an operation on one key.
        name: The operation on one key.
        keys: The caller's keys, or documents by key, or for `unlock` a CAS for each key.
        opts: At most one options block of the SDK.
        kwargs: Its fields as keywords, and `quiet`.
        fixed: Options that are the same for every key, and not the caller's.

    Attributes:
        keys: The keys in the caller's order; one that was given twice is there twice.
        values: The encoded values and their flags by key, None if the operation takes none.
        options: The options of most keys.
        per_key: The options of the others.
        return_exceptions: Whether errors are part of the result.

    Raises:
        InvalidArgumentException: Keys, documents or options are not as the SDK wants them.
        ValueError: A value cannot be encoded.
    """

    def __init__(
        self,
        read: Callable[[str, tuple[Any, ...], dict[str, Any]], Options],
        name: str,
        keys: Any,
        opts: tuple[Any, ...],
        kwargs: dict[str, Any],
        fixed: dict[str, Any],
    ) -> None:
        allowed = (*_SHAPES[name][1].get_valid_keys(), "quiet")
        given = {**block_of(f"{name}_multi", opts), **kwargs}
        blocks: Mapping[str, Any] = given.pop("per_key_options", None) or {}
        if not isinstance(blocks, Mapping):
            raise InvalidArgumentException("per_key_options must be a dict of options by key.")
        return_exceptions = given.pop("return_exceptions", None)
        _check_options(name, given, allowed)
        self.return_exceptions = return_exceptions is None or validate_bool(return_exceptions)
        for block in blocks.values():
            _check_options(name, block, allowed)
        given.update(fixed)
        if name == "unlock":
            cas = _read_cas(keys)
            blocks = {key: {"cas": cas[key], **blocks.get(key, {})} for key in cas}
            keys = cas
        self.options = read(name, (), given)
        self.per_key = {key: read(name, (), {**given, **block}) for key, block in blocks.items()}
        self.values: dict[str, tuple[bytes, int]] | None = None
        if name in _TAKE_VALUES:
            if not isinstance(keys, Mapping):
                raise InvalidArgumentException("Expected keys_and_docs to be a dict.")
            self.values = {
                key: encode_value(name, value, self.of(key).transcoder)
                for key, value in keys.items()
            }
        elif isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
            raise InvalidArgumentException("Expected keys to be a list.")
        self.keys = list(keys)
        for key in self.keys:
            check_name(key)

    def of(self, key: str) -> Options:
        """The options of a key."""
        return self.per_key.get(key, self.options)

    @property
    def size(self) -> int:
        """The bytes of all keys and values."""
        size = sum(map(len, self.keys))
        if self.values is not None:
            size += sum(len(value) for value, _ in self.values.values())
        return size

    @property
    def default_timeout(self) -> float:
        """For the whole (seconds)."""
        return max(options.default_timeout for options in (self.options, *self.per_key.values()))


def _check_options(name: str, given: Any, allowed: Collection[str]) -> None:
    if not isinstance(given, dict):
        raise InvalidArgumentException(
            f"the options of {name}_multi for a key must be a dict or an options block of the "
            f"SDK, not {type(given).__name__}"
        )
    refuse_unknown(f"{name}_multi", given, allowed)


def _read_cas(keys: Any) -> dict[str, int]:
    if isinstance(keys, (sdk.MultiGetResult, sdk.MultiMutationResult)):
        return {key: result.cas or 0 for key, result in keys.results.items()}
    if isinstance(keys, dict) and all(isinstance(cas, int) for cas in keys.values()):
        return keys
    raise InvalidArgumentException(
        "keys must be a MultiGetResult, a MultiMutationResult, or a dict of a CAS for each key"
    )


class PartOperation(KeyValueOperation):
    """One key's operation of a multi operation."""

    __slots__ = ("multi",)

    multi: MultiOperation

    def succeed(self, result: dict[str, Any]) -> None:
        """Hand in the SDK's Result."""
        try:
            outcome = RESULTS[self.kind.name](self.key, self.transcoder, result)
        except Exception as error:  # the caller has to hear of it, whatever it is
            self.fail(error)
        else:
            self.multi.handed_in(self, outcome)

    def fail(self, error: Exception) -> None:
        """Hand in an exception, or the Result of a missing document."""
        self.multi.all_ok = False
        super().fail(error)

    def refuse(self, error: Exception) -> None:
        """Hand in an exception."""
        self.multi.handed_in(self, error)


class MultiOperation(Feeder):
    """A multi operation. What derives from it says who gets the result.

    Attributes:
        all_ok: Whether no key has failed yet.
        retry_ambiguous: That of the operation on each key.
    """

    def __init__(self, kind: OperationKind, keyspace: Keyspace, request: MultiRequest) -> None:
        super().__init__(
            kind,
            keyspace,
            request.keys,
            request.size,
            request.options.timeout,
            request.default_timeout,
        )
        self.all_ok = True
        self.retry_ambiguous = False
        self._request = request
        self._outcomes: dict[str, Any] = dict.fromkeys(request.keys)

    def operation(self, key: str) -> Operation:
        """The operation on a key."""
        request = self._request
        data, flags = request.values.pop(key) if request.values is not None else (None, 0)
        operation = request.of(key).operation(
            PartOperation, self.kind, self.keyspace, key, data, flags
        )
        assert isinstance(operation, PartOperation)
        operation.multi = self
        operation.retry_ambiguous = self.retry_ambiguous
        return operation

    def handed_in(self, operation: Operation, outcome: Any) -> None:
        """A key has its outcome."""
        assert operation.key is not None
        self._outcomes[operation.key] = outcome
        self.left(operation)

    def dropped(self, key: str, error: Exception) -> None:
        """A key has failed without an operation."""
        self.all_ok = False
        self._outcomes[key] = error

    def finished(self) -> None:
        """Deliver the result, or the first error if the caller wants it so."""
        name = self.kind.name
        result = _SHAPES[name][0](self._outcomes, self.all_ok)
        if not self.all_ok and not self._request.return_exceptions:
            for key, outcome in self._outcomes.items():
                if isinstance(outcome, Exception):
                    error: Any = outcome
                    error.all_results = result
                    error.result = RESULTS[name](key, None, {})
                    self._refuse(error)
                    return
        self._deliver(result)

    def start(self, pool: WorkerPool) -> Deferred[Any]:
        """Hand the operation over; returns what its caller gets, for type checkers a Deferred."""
        raise NotImplementedError

    def _start(
        self, pool: WorkerPool, deliver: Callable[[Any], None], refuse: Callable[[Exception], None]
    ) -> None:
        self._deliver = deliver
        self._refuse = refuse
        try:
            self.feed_into(pool)
        except Exception as error:  # whatever the pool refuses with is the caller's answer
            refuse(error)


class DeferredMulti(MultiOperation):
    """A multi operation that ends in a Deferred."""

    def start(self, pool: WorkerPool) -> Deferred[Any]:
        """Hand the operation over; the Deferred fires with its result."""
        deferred: Deferred[Any] = Deferred(lambda _: self.cancel())
        self._start(pool, deferred.callback, deferred.errback)
        return deferred


class RawMulti(MultiOperation):
    """A multi operation that ends in an `AsyncResult`."""

    def start(self, pool: WorkerPool) -> Any:
        """Hand the operation over; returns the `AsyncResult` that gets its result."""
        result = AsyncResult[Any](self, pool.reactor)
        self._start(pool, result.succeeded, result.failed)
        return result
