"""`Feeder`: the keys of a multi operation on their way into a pool.

A multi operation is admitted as one, whatever the number of its keys. A window of its operations
is in the pool, the other keys wait here: the pool's limit on operations is for those that were
fed, and others find room beside them. An operation that somebody calls on a key that waits here
makes this key go first, so that the order on a key holds.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from txcouchbase.amp.operations import OperationKind
    from txcouchbase.workers.dispatcher import Dispatcher
    from txcouchbase.workers.keyspace import Keyspace
    from txcouchbase.workers.operation import Operation

__all__ = ["Feeder"]


class Feeder:
    """Operations of one kind on many keys. Facades derive from it.

    Args:
        kind: What is known of the operations.
        keyspace: Where they go.
        keys: The keys, one for each operation.
        size: What they count for against limits on bytes.
        timeout: From the call to the last answer (seconds), None if the caller named none.
        default_timeout: The same if the caller named none; counts from the first connection.
    """

    def __init__(
        self,
        kind: OperationKind,
        keyspace: Keyspace,
        keys: Iterable[str],
        size: int,
        timeout: float | None,
        default_timeout: float,
    ) -> None:
        self.kind = kind
        self.keyspace = keyspace
        self.size = size
        self._unfed: OrderedDict[str, int] = OrderedDict(Counter(keys))
        self._fed: set[Operation] = set()
        self._timeout = timeout
        self._default_timeout = default_timeout
        self._started = 0.0
        self._deadline: float | None = None
        self._window = 1
        self._feeding = False
        self._room: Deferred[None] | None = None
        self._ended = False
        self.pool: Dispatcher

    def operation(self, key: str) -> Operation:
        """The operation on a key; it calls `left` when it has its outcome."""
        raise NotImplementedError

    def dropped(self, key: str, error: Exception) -> None:
        """A key has failed without an operation."""
        raise NotImplementedError

    def finished(self) -> None:
        """Every key has its outcome. Called once, unless it was cancelled."""
        raise NotImplementedError

    def feed_into(self, pool: Dispatcher) -> None:
        """Start.

        Raises:
            PoolClosed, PoolOverloaded, WorkerStartFailed: As `Dispatcher.submit`.
        """
        config = pool.config
        wanted = 2 * config.batch_max_ops * config.max_workers
        self._window = max(1, min(wanted, config.max_pending // 2))
        self.pool = pool
        self._started = pool.now()
        if self._timeout is not None:
            self._deadline = self._started + self._timeout
        pool.admit(self)
        self._feed()

    def cancel(self) -> None:
        """Nobody wants the answers any more."""
        self._ended = True
        self._unfed.clear()
        self._all_fed()
        for operation in self._fed:
            self.pool.cancel(operation)
        self._fed.clear()

    def left(self, operation: Operation) -> None:
        """An operation has its outcome."""
        self._fed.discard(operation)
        if not self._feeding:
            self._feed()

    def let_first(self, key: str) -> None:
        """Somebody calls an operation on this key: if it waits here, it goes first."""
        if key in self._unfed:
            feeding, self._feeding = self._feeding, True
            self._feed_key(key)
            self._feeding = feeding

    def expire(self, now: float) -> None:
        """End the keys that wait when their time is over."""
        if self._unfed and self._deadline is not None and self._deadline <= now:
            self.fail(self.keyspace.target.timed_out(self.kind.name))

    def fail(self, error: Exception) -> None:
        """No more keys can be fed."""
        for key in self._unfed:
            self.dropped(key, error)
        self._unfed.clear()
        if not self._feeding:
            self._feed()

    def _feed(self) -> None:
        self._feeding = True
        self.expire(self.pool.now())
        while self._unfed and len(self._fed) < self._window:
            if not self.pool.has_room:
                self._wait_for_room()
                break
            self._feed_key(next(iter(self._unfed)))
        self._feeding = False
        if not self._unfed:
            self._all_fed()
            if not self._fed and not self._ended:
                self._ended = True
                self.finished()

    def _feed_key(self, key: str) -> None:
        now = self.pool.now()
        if self._deadline is None and self.keyspace.target.ever_connected:
            self._deadline = now + self._default_timeout
        for _ in range(self._unfed.pop(key)):
            operation = self.operation(key)
            timeout = operation.timeout
            if timeout is not None:
                operation.timeout = timeout = self._started + timeout - now
            if self._deadline is not None:
                rest = self._deadline - now
                operation.timeout = rest if timeout is None else min(timeout, rest)
            self._fed.add(operation)
            try:
                self.pool.submit(operation, feeder=self)
            except Exception as error:  # whatever the pool refuses with is the caller's answer
                operation.fail(error)
                self.fail(error)

    def _wait_for_room(self) -> None:
        # Whatever of its own leaves the pool makes it look again.
        if not self._fed and self._room is None:
            self._room = self.pool.when_room()
            self._room.addCallbacks(self._room_came, self._no_room_comes)

    def _room_came(self, _: Any) -> None:
        self._room = None
        self._feed()

    def _no_room_comes(self, failure: Failure) -> None:
        self._room = None
        if not failure.check(CancelledError):
            self.fail(failure.value)  # type: ignore[arg-type]

    def _all_fed(self) -> None:
        self.pool.forget(self)
        if self._room is not None:
            self._room.cancel()
