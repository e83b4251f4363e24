"""`Dispatcher`: which operations a pool takes, and which lane each goes to."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred

from txcouchbase.exceptions import PoolClosed, PoolOverloaded
from txcouchbase.workers.delayed import DelayedCalls
from txcouchbase.workers.lane import Lane, LaneOwner
from txcouchbase.workers.own_copy import own_copy
from txcouchbase.workers.stats import Tally
from txcouchbase.workers.turns import Turns
from txcouchbase.workers.waiting import Waiters

if TYPE_CHECKING:
    from txcouchbase.workers.config import PoolConfig
    from txcouchbase.workers.feeder import Feeder
    from txcouchbase.workers.operation import Operation
    from txcouchbase.workers.target import Target

__all__ = ["Dispatcher"]

_TICK = 0.1
"""How often deadlines are looked at while operations are pending (seconds)."""


class Dispatcher(LaneOwner):
    """Admission and dispatch of operations; a pool derives from it.

    It is the base and not a part of a pool since `submit` and `operation_left` are on the way
    of every operation, where one more call would cost.

    Attributes:
        config: How the pool behaves.
        refusal: Why no operation is admitted now, None if they are.
        tally: What is counted as operations pass.
        turns: Of compositions on one key, by the key and what orders it (`Keyspace.order`).
    """

    def __init__(self, config: PoolConfig, reactor: Any) -> None:
        self.config = config
        self.refusal: Exception | None = None
        self.tally = Tally()
        self.turns = Turns()
        self._reactor = reactor
        self._calls = DelayedCalls(reactor)
        self._order_numbers: dict[tuple[str, str, str, str], int] = {}
        self._keys: dict[tuple[int, str], list[Any]] = {}
        # Those of `Target.waiting` by their keys, since clusters that share the pool share keys.
        self._waiting: dict[tuple[int, str], deque[Operation]] = {}
        self._feeders: list[Feeder] = []
        self._pending = 0
        self._pending_bytes = 0
        self._last_id = 0
        self._room_waiters = Waiters()
        self._idle_waiters = Waiters()
        self._tick: DelayedCall | None = None

    @property
    def reactor(self) -> Any:
        """The reactor that the pool uses."""
        return self._reactor

    def lanes(self) -> list[Lane]:
        """The lanes of all workers."""
        raise NotImplementedError

    def targets(self) -> Iterator[Target]:
        """What the workers are connected to."""
        raise NotImplementedError

    # -- from facades ---------------------------------------------------------------------

    def submit(
        self, operation: Operation, lane: Lane | None = None, feeder: Feeder | None = None
    ) -> None:
        """Admit an operation and send it on its way.

        Args:
            operation: It gets its number here, and its deadline as soon as it can be known.
            lane: The one to use; by default the pool chooses.
            feeder: Whose it is, if it is part of what was admitted as one.

        Raises:
            PoolClosed: The pool, the cluster or the bucket is closed.
            PoolOverloaded: The limits on pending operations or bytes are reached.
            WorkerStartFailed: The workers are in a crash loop.
        """
        target = operation.keyspace.target
        if self.refusal is not None:
            self.tally.refused += 1
            self._refuse()
        if target.closed:
            self.tally.refused += 1
            raise target.closed_error()
        if feeder is not None:
            feeder.size -= operation.size
            self._pending_bytes -= operation.size
        elif not self._has_room(operation.size):
            self.tally.refused += 1
            raise self._overloaded()
        if self._feeders:
            self._feed_before(operation, feeder)
        self._entered(operation)
        self._last_id += 1
        operation.id = self._last_id
        operation.admitted = now = self._reactor.seconds()
        if self._tick is None:
            self._tick = self._later_tick()
        timeout = operation.timeout
        if timeout is None and target.ever_connected:
            timeout = operation.default_timeout
        if timeout is not None:
            operation.deadline = now + timeout
        if lane is not None:
            operation.pinned = True
            self._dispatch(operation, lane)
        elif not target.lanes or not self._dispatch(operation):
            self._wait(operation)
            target.ask()

    def cancel(self, operation: Operation) -> None:
        """The caller no longer wants the answer, and was told so.

        What was not sent never will be; what was sent keeps its slot until it is answered.
        """
        if operation.settled:
            return
        operation.settled = True
        self.tally.cancelled += 1
        if not operation.sent:
            self.operation_left(operation)

    def admit(self, feeder: Feeder) -> None:
        """Admit the operations of a feeder as one; it submits them by and by.

        Raises:
            PoolClosed, PoolOverloaded, WorkerStartFailed: As `submit`.
        """
        if self.refusal is not None:
            self.tally.refused += 1
            self._refuse()
        if feeder.keyspace.target.closed:
            self.tally.refused += 1
            raise feeder.keyspace.target.closed_error()
        if not self._has_room(feeder.size):
            self.tally.refused += 1
            raise self._overloaded()
        self._pending_bytes += feeder.size
        self._feeders.append(feeder)

    def forget(self, feeder: Feeder) -> None:
        """The feeder has no more to submit."""
        if feeder in self._feeders:
            self._feeders.remove(feeder)
            self._pending_bytes -= feeder.size

    @property
    def has_room(self) -> bool:
        """Whether a feeder can submit one more operation."""
        return self._pending < self.config.max_pending

    def when_room(self) -> Deferred[None]:
        """Fires when an operation would be admitted again, on a later turn."""
        if self._has_room(0):
            self.later(0, self._release_room_waiters)
        return self._room_waiters.wait()

    # -- from sessions --------------------------------------------------------------------

    def now(self) -> float:
        """The reactor's clock (seconds)."""
        now: float = self._reactor.seconds()
        return now

    def later(self, delay: float, function: Callable[..., Any], *args: Any) -> DelayedCall:
        """Call a function after so many seconds, unless the pool ends before."""
        return self._calls.later(delay, function, *args)

    def cancel_call(self, call: DelayedCall) -> None:
        """Do not make this call, unless it was made already."""
        self._calls.cancel(call)

    def order_number(self, place: tuple[str, str, str, str]) -> int:
        """The number under which the keys of this place are ordered."""
        return self._order_numbers.setdefault(place, len(self._order_numbers) + 1)

    def dispatch_waiting(self, target: Target) -> None:
        """Send what waited for a connection, in its order, as far as it can be sent."""
        if not target.waiting or not target.lanes:
            return
        waiting, target.waiting = target.waiting, deque()
        for operation in waiting:
            if not operation.settled and not self._dispatch(operation):
                target.waiting.append(operation)

    def fail_waiting(self, target: Target, operations: deque[Operation], error: Exception) -> None:
        """Fail what waited for a connection."""
        if target.closed or not target.lanes:
            for feeder in list(self._feeders):
                if feeder.keyspace.target is target:
                    feeder.fail(own_copy(error))
        for operation in operations:
            self._fail_unsent(operation, own_copy(error))

    # -- from lanes -----------------------------------------------------------------------

    def operation_left(self, operation: Operation) -> None:
        """The operation no longer counts."""
        self._pending -= 1
        self._pending_bytes -= operation.size
        operation.keyspace.target.operation_left()
        ident = operation.ident
        if ident is not None:
            operation.ident = None
            entry = self._keys[ident]
            if entry[1] == 1:
                del self._keys[ident]
                if ident in self._waiting:
                    self.later(0, self._dispatch_key, ident)
            else:
                entry[1] -= 1
        elif self._waiting:
            self._waits_no_more(operation)
        if self._room_waiters and self._has_room(0):
            self.later(0, self._release_room_waiters)
        if not self._pending and self._idle_waiters:
            self.later(0, self._release_idle_waiters)

    # -- for pools ------------------------------------------------------------------------

    def _refuse(self) -> NoReturn:
        assert self.refusal is not None
        raise own_copy(self.refusal)

    def _overloaded(self) -> PoolOverloaded:
        return PoolOverloaded(
            f"{self._pending} operations with {self._pending_bytes} bytes are pending "
            f"(limits: max_pending={self.config.max_pending}, "
            f"max_pending_bytes={self.config.max_pending_bytes}); wait for when_room()"
        )

    def _feed_before(self, operation: Operation, feeder: Feeder | None) -> None:
        """Submit what was called on this key before and is still with a feeder."""
        key = operation.key
        if key is None:
            return
        for earlier in list(self._feeders):
            if earlier is feeder:
                return
            if earlier.keyspace.order == operation.keyspace.order:
                earlier.let_first(key)

    def _entered(self, operation: Operation) -> None:
        self._pending += 1
        self._pending_bytes += operation.size
        operation.keyspace.target.pending += 1

    def _has_room(self, size: int) -> bool:
        return self._pending < self.config.max_pending and (
            not self._pending or self._pending_bytes + size <= self.config.max_pending_bytes
        )

    def _dispatch(self, operation: Operation, lane: Lane | None = None) -> bool:
        """Queue an operation on a lane, or tell that it has to wait.

        It has to while another operation on its key waits that was called before, and while the
        lane that works on its key takes none for it: its worker drains, or is not connected to
        this cluster, and another one that shares the pool put the key there.
        """
        if operation.deadline is None and operation.default_timeout is not None:
            operation.deadline = self._reactor.seconds() + operation.default_timeout
        if lane is None:
            key = operation.key
            ident = (operation.keyspace.order, key) if key is not None else None
            waiting = self._waiting.get(ident) if self._waiting and ident is not None else None
            if waiting is not None and waiting[0] is not operation:
                return False
            entry = self._keys.get(ident) if ident is not None else None
            if entry is not None:
                lane = entry[0]
                if lane not in operation.keyspace.target.lanes:
                    return False
                entry[1] += 1
            else:
                lanes = operation.keyspace.target.lanes
                lane = lanes[0]
                for other in lanes:
                    if other.load < lane.load:
                        lane = other
                if ident is not None:
                    self._keys[ident] = [lane, 1]
            operation.ident = ident
            if waiting is not None:
                self._waits_no_more(operation)
        lane.submit(operation)
        return True

    def _dispatch_key(self, ident: tuple[int, str]) -> None:
        """Send what waits for its turn on a key, in its order, as far as it can be sent."""
        waiting = self._waiting.get(ident)
        while waiting:
            operation = waiting[0]
            target = operation.keyspace.target
            if not target.lanes or not self._dispatch(operation):
                return
            target.waiting.remove(operation)

    def _wait(self, operation: Operation) -> None:
        """Put an operation among those that wait, at its place in the order."""
        _enqueue(operation.keyspace.target.waiting, operation)
        if operation.key is not None:
            ident = (operation.keyspace.order, operation.key)
            _enqueue(self._waiting.setdefault(ident, deque()), operation)

    def _waits_no_more(self, operation: Operation) -> None:
        if operation.key is None:
            return
        ident = (operation.keyspace.order, operation.key)
        waiting = self._waiting.get(ident)
        if waiting is None or waiting[0] is not operation:
            return  # it goes when those before it have gone
        waiting.popleft()
        while waiting and waiting[0].settled:
            waiting.popleft()
        if not waiting:
            del self._waiting[ident]
        elif waiting[0].keyspace.target is not operation.keyspace.target:
            self.later(0, self._dispatch_key, ident)

    def _take_back(self, operations: list[Operation], closing: bool) -> None:
        """Submit again what the lane of an ended worker released, in its order."""
        refused = []
        for operation in operations:
            # Pending again, at its old place in the order.
            self._entered(operation)
            target = operation.keyspace.target
            if closing or target.closed:
                refused.append(operation)
            elif not target.lanes or not self._dispatch(operation):
                self._wait(operation)
                if operation.key is not None:
                    # Younger ones may have waited already, and been passed over for its sake.
                    self.later(0, self._dispatch_key, (operation.keyspace.order, operation.key))
        # Not before all have their places: what they call may submit and cancel operations.
        for operation in refused:
            closed = PoolClosed(f"closed before {operation.kind.name} was sent")
            self._fail_unsent(operation, closed)

    def _fail_unsent(self, operation: Operation, error: Exception) -> None:
        if not operation.settled:
            operation.settled = True
            self.operation_left(operation)
            self.tally.failed += 1
            operation.fail(operation.unsent(error))

    def _later_tick(self) -> DelayedCall:
        # In two steps, between which the reactor reads the answers that came while it was busy.
        return self.later(_TICK, self.later, 0, self._tick_passed)

    def _tick_passed(self) -> None:
        self._tick = self._later_tick() if self._pending else None
        now = self._reactor.seconds()
        closing = isinstance(self.refusal, PoolClosed)
        for lane in self.lanes():
            lane.expire(now)
            lane.end_unread(now, closing)
        for target in list(self.targets()):
            for operation in list(target.waiting):
                deadline = operation.deadline
                if deadline is not None and deadline <= now:
                    self._fail_unsent(operation, target.timed_out(operation.kind.name))
            target.waiting = deque(each for each in target.waiting if not each.settled)
            self.dispatch_waiting(target)
        for ident, waiting in self._waiting.items():
            if any(each.settled for each in waiting):
                self._waiting[ident] = deque(each for each in waiting if not each.settled)
        for feeder in list(self._feeders):
            feeder.expire(now)
        if self._idle_waiters:
            self._release_idle_waiters()

    def _when_idle(self) -> Deferred[None]:
        """Fires when nobody waits for an answer any more; some may still be owed."""
        self.later(0, self._release_idle_waiters)
        return self._idle_waiters.wait()

    def _release_room_waiters(self) -> None:
        self._room_waiters.release(lambda: self._has_room(0))

    def _release_idle_waiters(self) -> None:
        self._idle_waiters.release(lambda: not self._pending or not self._anybody_waits())

    def _anybody_waits(self) -> bool:
        return any(target.waiting for target in self.targets()) or any(
            lane.owes_answers for lane in self.lanes()
        )


def _enqueue(queue: deque[Operation], operation: Operation) -> None:
    # What a dead worker's lane released is older than what has waited meanwhile.
    if queue and queue[-1].id > operation.id:
        insort(queue, operation, key=lambda each: each.id)
    else:
        queue.append(operation)
