"""Key-value operations, from the call to the SDK's Result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import DocumentNotFoundException, InvalidArgumentException
from couchbase.result import (
    CounterResult,
    ExistsResult,
    GetReplicaResult,
    GetResult,
    LookupInReplicaResult,
    LookupInResult,
    MutateInResult,
    MutationResult,
)
from couchbase.transcoder import Transcoder
from twisted.internet.defer import Deferred

from txcouchbase.amp.wire import OF_REPLICAS
from txcouchbase.results import AsyncResult, ReplicaResults, raw_result
from txcouchbase.workers.operation import Operation

if TYPE_CHECKING:
    from txcouchbase.workers.pool import WorkerPool

__all__ = ["RESULTS", "DeferredOperation", "KeyValueOperation", "RawOperation"]


class KeyValueOperation(Operation):
    """A key-value operation. What derives from it says who gets the Result.

    Attributes:
        pool: Where it was started.
        quiet: Whether a missing document is an unsuccessful Result instead of an error.
        transcoder: Decodes the value of the Result, None where there is none.
    """

    __slots__ = ("pool", "quiet", "transcoder")

    pool: WorkerPool
    quiet: bool
    transcoder: Transcoder | None

    def start(self, pool: WorkerPool) -> Deferred[Any]:
        """Hand the operation over; returns what its caller gets, for type checkers a Deferred."""
        raise NotImplementedError

    def submit(self, pool: WorkerPool) -> None:
        """Hand the operation over, or refuse it as the pool does."""
        if self.key is None:
            raise InvalidArgumentException(
                "bucket/scope/collection/key must be valid UTF-8 strings"
            )
        self.pool = pool
        try:
            pool.submit(self)
        except Exception as error:  # whatever the pool refuses with is the caller's answer
            self.refuse(error)

    def fail(self, error: Exception) -> None:
        """Deliver an exception, or the Result of a missing document."""
        if (
            self.quiet
            and isinstance(error, DocumentNotFoundException)
            and self.kind.name != "unlock"
        ):
            # Without a CAS, a value, and something to decode it: unsuccessful.
            self.transcoder = None
            self.succeed({})
        else:
            self.refuse(error)

    def refuse(self, error: Exception) -> None:
        """Deliver an exception."""
        raise NotImplementedError


class DeferredOperation(KeyValueOperation):
    """A key-value operation that ends in a Deferred."""

    __slots__ = ("deferred",)

    def start(self, pool: WorkerPool) -> Deferred[Any]:
        """Hand the operation over; the Deferred fires with its Result."""
        deferred: Deferred[Any] = Deferred(self._cancelled)
        self.deferred: Deferred[Any] | None = deferred
        self.submit(pool)
        return deferred

    def _cancelled(self, deferred: Deferred[Any]) -> None:
        self.deferred = None
        self.pool.cancel(self)

    def succeed(self, result: dict[str, Any]) -> None:
        """Fire the Deferred with the SDK's Result."""
        deferred, self.deferred = self.deferred, None
        if deferred is None:
            return
        try:
            built = RESULTS[self.kind.name](self.key, self.transcoder, result)
        except Exception as error:  # the caller has to hear of it, whatever it is
            deferred.errback(error)
        else:
            deferred.callback(built)

    def refuse(self, error: Exception) -> None:
        """Fire the Deferred with an exception."""
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.errback(error)


class RawOperation(KeyValueOperation):
    """A key-value operation that ends in an `AsyncResult`."""

    __slots__ = ("result",)

    def start(self, pool: WorkerPool) -> Any:
        """Hand the operation over; returns the `AsyncResult` that gets its Result."""
        result = self.result = AsyncResult[Any](self, pool.reactor)
        self.submit(pool)
        return result

    def cancel(self) -> None:
        """The caller no longer wants the answer."""
        self.pool.cancel(self)

    def succeed(self, result: dict[str, Any]) -> None:
        """Give the SDK's Result to the `AsyncResult`."""
        try:
            built = RESULTS[self.kind.name](self.key, self.transcoder, result)
        except Exception as error:  # the caller has to hear of it, whatever it is
            self.result.failed(error)
        else:
            self.result.succeeded(built)

    def refuse(self, error: Exception) -> None:
        """Give an exception to the `AsyncResult`."""
        self.result.failed(error)


_Raw = dict[str, Any]


def _get_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> GetResult:
    return GetResult(raw_result(raw), transcoder=transcoder, key=key)


def _mutation_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> MutationResult:
    return MutationResult(raw_result(raw), key=key)


def _exists_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> ExistsResult:
    return ExistsResult(raw_result(raw), key=key)


def _counter_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> CounterResult:
    return CounterResult(raw_result(raw), key=key)


def _lookup_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> LookupInResult:
    return LookupInResult(raw_result(raw), transcoder=transcoder, is_subdoc=True, key=key)


def _replica_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> GetReplicaResult:
    return GetReplicaResult(raw_result(raw), transcoder=transcoder, key=key)


def _replica_results(
    key: str, transcoder: Transcoder | None, raw: _Raw
) -> ReplicaResults[GetReplicaResult]:
    found = raw.get(OF_REPLICAS, ())
    return ReplicaResults(_replica_result(key, transcoder, result) for result in found)


def _replica_lookup_result(
    key: str, transcoder: Transcoder | None, raw: _Raw
) -> LookupInReplicaResult:
    return LookupInReplicaResult(raw_result(raw), transcoder=transcoder, is_subdoc=True, key=key)


def _replica_lookup_results(
    key: str, transcoder: Transcoder | None, raw: _Raw
) -> ReplicaResults[LookupInReplicaResult]:
    found = raw.get(OF_REPLICAS, ())
    return ReplicaResults(_replica_lookup_result(key, transcoder, result) for result in found)


def _mutate_in_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> MutateInResult:
    return MutateInResult(raw_result(raw), transcoder=transcoder, is_subdoc=True, key=key)


def _no_result(key: str, transcoder: Transcoder | None, raw: _Raw) -> None:
    return None


RESULTS: dict[str, Callable[[Any, Transcoder | None, _Raw], Any]] = {
    "get": _get_result,
    "get_and_lock": _get_result,
    "get_and_touch": _get_result,
    "exists": _exists_result,
    "lookup_in": _lookup_result,
    "get_any_replica": _replica_result,
    "get_all_replicas": _replica_results,
    "lookup_in_any_replica": _replica_lookup_result,
    "lookup_in_all_replicas": _replica_lookup_results,
    "mutate_in": _mutate_in_result,
    "insert": _mutation_result,
    "upsert": _mutation_result,
    "replace": _mutation_result,
    "remove": _mutation_result,
    "touch": _mutation_result,
    "append": _mutation_result,
    "prepend": _mutation_result,
    "increment": _counter_result,
    "decrement": _counter_result,
    "unlock": _no_result,
}
"""What makes the SDK's Result of a key, what decodes its value, and the binding's map."""
