"""What clusters and buckets have in common: connection events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.result import PingResult
from twisted.internet.defer import Deferred

from txcouchbase.amp.operations import OPERATIONS, OperationKind
from txcouchbase.results import raw_result
from txcouchbase.workers.operation import Operation
from txcouchbase.workers.session import Keyspace, Target

if TYPE_CHECKING:
    from txcouchbase.workers.pool import WorkerPool

__all__ = ["ClusterOperation", "TxRawClientMixin", "ping"]


class TxRawClientMixin:
    """Connection events of a cluster or bucket."""

    _target: Target

    def on_connect(self) -> Deferred[None]:
        """A new Deferred each time, which fires once a worker is connected.

        It errbacks with the SDK's exception if none can be: a refused login or an unknown
        bucket at once, an unreachable server when the SDK's `bootstrap_timeout` is over.
        """
        return self._target.when_connected()

    @property
    def connected(self) -> bool:
        """Whether a worker has been connected; still true after `close()`."""
        return self._target.ever_connected


class ClusterOperation(Operation):
    """An operation that is not about a key; its Deferred fires with the binding's map.

    A Deferred without a canceller ignores the one answer that comes after it was cancelled.
    """

    __slots__ = ("deferred",)

    def __init__(
        self,
        kind: OperationKind,
        keyspace: Keyspace,
        options: dict[str, Any],
        timeout: float,
    ) -> None:
        super().__init__(kind, keyspace, None, None, 0, options, timeout)
        self.deferred: Deferred[dict[str, Any]] = Deferred()

    def succeed(self, result: dict[str, Any]) -> None:
        """Fire the Deferred with the map."""
        self.deferred.callback(result)

    def fail(self, error: Exception) -> None:
        """Fire the Deferred with an exception."""
        self.deferred.errback(error)


def _ping_result(raw: dict[str, Any]) -> PingResult:
    return PingResult(raw_result(raw))


def ping(
    pool: WorkerPool, keyspace: Keyspace, options: dict[str, Any], timeout: float
) -> Deferred[PingResult]:
    """Ping services through one worker; the Deferred fires with the SDK's `PingResult`."""
    operation = ClusterOperation(OPERATIONS["ping"], keyspace, options, timeout)
    try:
        pool.submit(operation)
    except Exception as error:  # whatever the pool refuses with is the caller's answer
        operation.deferred.errback(error)
    return operation.deferred.addCallback(_ping_result)
