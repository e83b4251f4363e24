"""`Target`: what the workers of a pool are to be connected to, and who waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from couchbase.exceptions import (
    AuthenticationException,
    BucketNotFoundException,
    InvalidArgumentException,
)
from twisted.internet.defer import Deferred, DeferredList

from txcouchbase.amp.errors import decode_error, timeout_error
from txcouchbase.exceptions import PoolClosed
from txcouchbase.workers.own_copy import own_copy
from txcouchbase.workers.waiting import Waiters

if TYPE_CHECKING:
    from twisted.internet.base import DelayedCall
    from twisted.python.failure import Failure

    from txcouchbase.workers.lane import Lane
    from txcouchbase.workers.operation import Operation

__all__ = ["DEFINITE", "Target", "TargetOwner"]

DEFINITE = (AuthenticationException, BucketNotFoundException, InvalidArgumentException)
"""Refusals that another attempt would meet again: not retried before somebody asks."""

_RETRY_FIRST, _RETRY_LONGEST = 0.25, 10.0
"""Delays between attempts to connect (seconds)."""


class TargetOwner(Protocol):
    """What a session needs of its pool.

    Attributes:
        reactor: The reactor that it uses.
    """

    @property
    def reactor(self) -> Any:
        """The reactor that it uses."""

    def ready_lanes(self) -> list[Lane]:
        """The lanes whose worker is ready."""

    def now(self) -> float:
        """The reactor's clock (seconds)."""

    def later(self, delay: float, function: Callable[..., Any], *args: Any) -> DelayedCall:
        """Call a function after so many seconds, unless the pool ends before."""

    def cancel_call(self, call: DelayedCall) -> None:
        """Do not make this call, unless it was made already."""

    def dispatch_waiting(self, target: Target) -> None:
        """Send what waited for a connection, as far as it can be sent."""

    def fail_waiting(self, target: Target, operations: deque[Operation], error: Exception) -> None:
        """Fail what waited for a connection."""

    def order_number(self, place: tuple[str, str, str, str]) -> int:
        """The number under which this keyspace's keys are ordered, the same for all clusters
        with this connection string."""


class Target:
    """Something that every worker connects to.

    Attributes:
        lanes: Those whose worker is connected.
        waiting: Operations that wait for the first of them, in their order.
        ever_connected: Whether a worker has ever been connected.
        pending: Its operations that wait or are in flight.
        closed: Whether it takes no more operations.
        ended: Whether its closing has ended.
    """

    def __init__(self, owner: TargetOwner) -> None:
        self._owner = owner
        self._attempts: set[Lane] = set()
        self._retries: dict[Lane, DelayedCall] = {}
        # The lanes that have failed since those who wait were told so.
        self._failed: set[Lane] = set()
        # The lanes that were told that there is no such bucket.
        self._missing: set[Lane] = set()
        self._failures = 0
        self._failed_at = 0.0
        self._refusal: Exception | None = None
        self._asked: DelayedCall | None = None
        self._waiters = Waiters()
        self._next_waiters = Waiters()
        self._idle_waiters = Waiters()
        self._end_waiters = Waiters()
        self.pending = 0
        self.lanes: list[Lane] = []
        self.waiting: deque[Operation] = deque()
        self.ever_connected = False
        self.closed = False
        self.ended = False

    # -- for those who need it ------------------------------------------------------------

    @property
    def refused(self) -> bool:
        """Whether no worker is connected, and the last attempt has failed."""
        return bool(self._failures) and not self.lanes

    @property
    def last_refusal(self) -> Exception | None:
        """Why the last attempt has failed, None once a worker is connected."""
        return self._refusal if not self.lanes else None

    def could_serve(self, lane: Lane) -> bool:
        """Whether it is connected on a lane, or would be if it were there at all."""
        return lane in self.lanes or lane in self._missing

    def closed_error(self) -> PoolClosed:
        """The exception for who uses it although it is closed."""
        return PoolClosed("the cluster or bucket is closed: make a new one")

    def timed_out(self, name: str) -> Exception:
        """The exception for an operation that has waited too long for a connection, with what is
        known about why there is none."""
        message = f"{name} timed out before it was sent to a worker"
        refusal = self.last_refusal
        if refusal is None:
            return timeout_error(message)
        message += f"; the last attempt to connect failed: {refusal}"
        error = timeout_error(message)
        error.__cause__ = own_copy(refusal)
        return error

    def when_connected(self) -> Deferred[None]:
        """Fires when a worker is connected, or fails with the reason when none can be."""
        if self.lanes:
            self._owner.later(0, self._waiters.release_present)
        else:
            self._ask_or_fail(self._waiters)
        return self._waiters.wait()

    def when_next_connected(self) -> Deferred[None]:
        """Fires when one more worker is connected, or fails as `when_connected` does."""
        self._ask_or_fail(self._next_waiters)
        return self._next_waiters.wait()

    def _ask_or_fail(self, waiters: Waiters) -> None:
        if self.closed:
            self._owner.reactor.callLater(0, waiters.fail, self.closed_error())
        else:
            self.ask()

    def ask(self) -> None:
        """Somebody needs the connection: try again if nobody is trying.

        An attempt on a server that cannot be reached takes its time, so that the next one may
        follow; what is refused is refused at once, and waits longer each time.
        """
        if self.lanes or self._attempts or self._asked is not None:
            return
        delay = 0.0
        if self._failures:
            pause = self._delay() if isinstance(self._refusal, DEFINITE) else _RETRY_FIRST
            delay = max(0.0, self._failed_at + pause - self._owner.now())
        self._asked = self._owner.later(delay, self._start_asked)

    def _start_asked(self) -> None:
        self._asked = None
        for lane in self._owner.ready_lanes():
            self.start_on(lane)

    # -- attempts -------------------------------------------------------------------------

    def try_again(self) -> None:
        """What made attempts fail is over: try again at once."""
        self._failures = 0
        self._cancel_retries()
        self._start_asked()

    def _cancel_retries(self) -> None:
        for lane in list(self._retries):
            self._cancel_retry(lane)
        if self._asked is not None:
            self._owner.cancel_call(self._asked)
            self._asked = None

    def _cancel_retry(self, lane: Lane) -> None:
        retry = self._retries.pop(lane, None)
        if retry is not None:
            self._owner.cancel_call(retry)

    def start_on(self, lane: Lane) -> None:
        """Connect the worker of a lane, unless it is connected or connecting."""
        self._cancel_retry(lane)
        if lane in self._attempts or lane in self.lanes or self.closed:
            return
        self._attempts.add(lane)
        attempt = self._open(lane)
        attempt.addCallbacks(
            self._answered, self._interrupted, callbackArgs=(lane,), errbackArgs=(lane,)
        )

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        raise NotImplementedError

    def _answered(self, response: dict[str, bytes], lane: Lane) -> None:
        if lane not in self._attempts:
            if self.closed and not response["error"]:
                self._close_on(lane)  # nobody else knows that it was opened after all
            return
        self._attempts.remove(lane)
        if response["error"]:
            self._refused(lane, decode_error(response["error"]))
            return
        self._failures = 0
        self._refusal = None
        self._failed.clear()
        self.lanes.append(lane)
        self._missing.discard(lane)
        self.ever_connected = True
        self._connected(lane)
        self._retry_others()
        self._waiters.release_present()
        self._next_waiters.release_present()
        self._owner.dispatch_waiting(self)

    def _interrupted(self, failure: Failure, lane: Lane) -> None:
        # The worker has ended: its successor gets everything replayed.
        self._attempts.discard(lane)

    def _connected(self, lane: Lane) -> None:
        """More to do once a lane is connected."""

    def _retry_others(self) -> None:
        """What one worker is granted now, the others may be granted too: those that were refused
        before, for a reason that seemed to be for all."""
        for lane in self._owner.ready_lanes():
            if not (lane in self.lanes or lane in self._attempts or lane in self._retries):
                self._retry_on(lane)

    def _retry_on(self, lane: Lane) -> None:
        self._retries[lane] = self._owner.later(self._delay(), self.start_on, lane)

    def _refused(self, lane: Lane, error: Exception) -> None:
        self._refusal = error
        self._count_failure()
        definite = isinstance(error, DEFINITE)
        if (not definite or self.lanes) and not self.closed:
            self._retry_on(lane)
        self._failed.add(lane)
        if isinstance(error, BucketNotFoundException):
            self._missing.add(lane)
        if self.lanes:
            self._next_waiters.fail(error)  # all else has the workers that are connected
        elif definite or self._attempts <= self._failed:
            # Workers that try at different times would else always have one that still tries.
            self._failed.clear()
            self.fail(error)

    def _count_failure(self) -> None:
        # All workers try at about the same time: together they have failed once.
        now = self._owner.now()
        if not self._failures or now >= self._failed_at + self._delay():
            self._failures += 1
            self._failed_at = now

    def _delay(self) -> float:
        return min(_RETRY_FIRST * 2.0 ** max(0, min(self._failures - 1, 16)), _RETRY_LONGEST)

    def fail(self, error: Exception) -> None:
        """Nobody can be connected now: fail whoever waits."""
        # All are taken before the first hears of it: what they call then waits for the next
        # attempt.
        taken = [(target, *target._take_waiting()) for target in self._parts()]
        for target, waiters, operations in taken:
            for each in waiters:
                each.fail(error)
            self._owner.fail_waiting(target, operations, error)

    def _parts(self) -> list[Target]:
        """What cannot be connected if this cannot be."""
        return [self]

    def _take_waiting(self) -> tuple[list[Waiters], deque[Operation]]:
        operations, self.waiting = self.waiting, deque()
        return [self._waiters.take(), self._next_waiters.take()], operations

    def lane_lost(self, lane: Lane) -> None:
        """The worker of a lane has ended."""
        self._attempts.discard(lane)
        self._failed.discard(lane)
        self._missing.discard(lane)
        self._cancel_retry(lane)
        if lane in self.lanes:
            self.lanes.remove(lane)

    # -- its operations, and its end ------------------------------------------------------

    def operation_left(self) -> None:
        """One of its operations no longer counts."""
        self.pending -= 1
        if not self.pending and self._idle_waiters:
            self._owner.later(0, self._release_idle_waiters)

    def when_idle(self) -> Deferred[None]:
        """Fires when it has no operation left, on a later turn."""
        self._owner.later(0, self._release_idle_waiters)
        return self._idle_waiters.wait()

    def _release_idle_waiters(self) -> None:
        self._idle_waiters.release(lambda: not self.pending)

    def disconnect(self) -> Deferred[Any]:
        """Tell the workers to disconnect; fires when they have."""
        lanes, self.lanes = self.lanes, []
        return DeferredList([self._close_on(lane) for lane in lanes])

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        """Tell one worker to disconnect; fires when it has, or has ended."""
        raise NotImplementedError

    def when_ended(self) -> Deferred[None]:
        """Fires when its closing has ended, on a later turn."""
        if self.ended:
            self._owner.reactor.callLater(0, self._end_waiters.release_present)
        return self._end_waiters.wait()

    def end(self) -> None:
        """Its closing has ended."""
        self.ended = True
        self._end_waiters.release_present()

    def close(self, error: Exception) -> None:
        """Take no more operations; fail those that wait for a connection."""
        self.closed = True
        self._cancel_retries()
        self._attempts.clear()
        self.fail(error)
