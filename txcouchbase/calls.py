"""Calls of the SDK's blocking methods in a worker, as Deferreds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException
from twisted.internet.defer import Deferred

from txcouchbase.amp import objects
from txcouchbase.amp.operations import OPERATIONS, OperationKind
from txcouchbase.workers.operation import Operation

if TYPE_CHECKING:
    from txcouchbase.workers.keyspace import Keyspace
    from txcouchbase.workers.lane import Lane
    from txcouchbase.workers.pool import WorkerPool

__all__ = ["Caller", "encode_arguments"]

_OF_MANAGER = OPERATIONS["call"].code
_NO_ARGUMENTS = objects.encode(((), {}))


def encode_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The arguments of a call as they are now.

    Raises:
        InvalidArgumentException: There is something in them that cannot be sent to a worker.
    """
    try:
        return objects.encode((args, kwargs))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentException(str(error)) from None


class _CallOperation(Operation):
    """A call that ends in a Deferred."""

    __slots__ = ("_pool", "deferred")

    def start(self, pool: WorkerPool, lane: Lane | None) -> Deferred[Any]:
        """Hand the call over."""
        self._pool = pool
        self.deferred: Deferred[Any] = Deferred(self._cancelled)
        try:
            pool.submit(self, lane)
        except Exception as error:  # whatever the pool refuses with is the caller's answer
            self.deferred.errback(error)
        return self.deferred

    def _cancelled(self, deferred: Deferred[Any]) -> None:
        self._pool.cancel(self)

    def succeed(self, result: dict[str, Any]) -> None:
        """Fire the Deferred with what the method returned, or with the binding's map of it."""
        value: Any = result
        try:
            if result.keys() == {"value"}:
                value = objects.decode(result["value"])
        except ValueError as error:
            self.deferred.errback(error)
        else:
            self.deferred.callback(value)

    def fail(self, error: Exception) -> None:
        """Fire the Deferred with an exception."""
        self.deferred.errback(error)


class Caller:
    """Calls methods of one cluster, bucket, scope or collection of the SDK in a worker.

    Args:
        pool: The workers.
        keyspace: Whose methods.
        default_timeout: From the call to the answer, if the caller names none (seconds).

    Attributes:
        default_timeout: The same.
    """

    def __init__(self, pool: WorkerPool, keyspace: Keyspace, default_timeout: float) -> None:
        self._pool = pool
        self._keyspace = keyspace
        self.default_timeout = default_timeout

    def call(
        self,
        kind: OperationKind,
        arguments: bytes = _NO_ARGUMENTS,
        timeout: float | None = None,
        lane: Lane | None = None,
    ) -> Deferred[Any]:
        """Call a method.

        Args:
            kind: Which.
            arguments: What `encode_arguments` made of them.
            timeout: From the call to the answer (seconds), None for the default.
            lane: The worker; by default the pool chooses.

        Returns:
            A Deferred of what the method returns; of a Result it is the binding's map.
        """
        operation = _CallOperation(
            kind,
            self._keyspace,
            None,
            arguments,
            0,
            {"method": kind.name} if kind.code == _OF_MANAGER else None,
            timeout,
            self.default_timeout,
        )
        return operation.start(self._pool, lane)
