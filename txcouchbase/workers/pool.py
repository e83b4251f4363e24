"""`WorkerPool`: worker processes, and the way of operations to them.

facade ── submit ──▶ admission ──▶ [waits for a connection] ──▶ lane of its key, or the
                                                                 least loaded one
worker ends ──▶ brain says what follows; what was queued or only reads goes to other lanes
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator
from random import Random
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import UnAmbiguousTimeoutException
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

import txcouchbase
from txcouchbase.amp import wire
from txcouchbase.amp.commands import Configure, Heartbeat, Stop
from txcouchbase.amp.errors import decode_error
from txcouchbase.exceptions import (
    PoolClosed,
    PoolOverloaded,
    WorkerStartFailed,
)
from txcouchbase.workers.brain import (
    CloseBreaker,
    Instruction,
    Kill,
    OpenBreaker,
    PoolBrain,
    Spawn,
    WorkerState,
)
from txcouchbase.workers.config import PoolConfig
from txcouchbase.workers.lane import Lane, LaneOwner, timed_out
from txcouchbase.workers.operation import Operation
from txcouchbase.workers.session import BucketSession, ClusterSession, Target
from txcouchbase.workers.view import WorkerView
from txcouchbase.workers.waiting import Waiters

if TYPE_CHECKING:
    from txcouchbase.workers.process import Exit, WorkerStarter

__all__ = ["WorkerPool"]

_log = Logger()

_TICK = 0.1
"""How often deadlines are looked at while operations are pending (seconds)."""


class WorkerPool(LaneOwner):
    """A pool of worker processes that clusters may share.

    It is started by its first cluster or by `start`; making one starts nothing.

    Args:
        config: How it behaves; `PoolConfig()` if None.
        reactor: The reactor to use; the installed one, at the time of the call, if None.

    Attributes:
        config: How it behaves.
    """

    def __init__(self, config: PoolConfig | None = None, reactor: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor
        if config is not None and not isinstance(config, PoolConfig):
            raise TypeError(f"config must be a PoolConfig, not {type(config).__name__}")
        self.config = config if config is not None else PoolConfig()
        self._reactor = reactor
        self._brain = PoolBrain(self.config, Random())
        self._starter: WorkerStarter | None = None
        self._lanes: dict[int, Lane] = {}
        self._sessions: list[ClusterSession] = []
        self._order_numbers: dict[tuple[str, str, str, str], int] = {}
        self._keys: dict[tuple[int, str], list[Any]] = {}
        self._pending = 0
        self._pending_bytes = 0
        self._last_id = 0
        self._room_waiters = Waiters()
        self._idle_waiters = Waiters()
        self._gone_waiters = Waiters()
        self._calls: set[DelayedCall] = set()
        self._tick: DelayedCall | None = None
        self._started = False
        self._closing: Deferred[None] | None = None
        self._closed_waiters = Waiters()
        self._refusal: Exception | None = None
        self._last_stderr = ""
        self._shutdown_trigger: Any = None

    # -- what an application uses ---------------------------------------------------------

    @property
    def reactor(self) -> Any:
        """The reactor that the pool uses."""
        return self._reactor

    @property
    def workers(self) -> list[WorkerView]:
        """The workers that are there now."""
        return [WorkerView(lane, self._brain) for lane in self._lanes.values()]

    def start(self) -> None:
        """Start the workers once the reactor runs. A second call does nothing.

        Raises:
            PoolClosed: The pool is closed.
        """
        if self._closing is not None:
            raise PoolClosed("the pool is closed: make a new one")
        if self._started:
            return
        self._started = True
        self._shutdown_trigger = self._reactor.addSystemEventTrigger(
            "before", "shutdown", self._reactor_stops
        )
        self._reactor.callWhenRunning(self.later, 0, self._start)

    def when_room(self) -> Deferred[None]:
        """Fires when an operation would be admitted again, on a later turn."""
        if self._has_room(0):
            self.later(0, self._release_room_waiters)
        return self._room_waiters.wait()

    def close(self) -> Deferred[None]:
        """End all workers, in the end by force.

        Operations that wait for a connection fail with `PoolClosed`; those on a worker get
        `drain_timeout` to end. Fires when the last process is gone. Idempotent.
        """
        if self._closing is None:
            self._closing = self._close()
            self._closing.addBoth(self._closed)
        return succeed(None) if self._closing.called else self._closed_waiters.wait()

    # -- from facades ---------------------------------------------------------------------

    def open_session(self, settings: wire.ClusterSettings) -> ClusterSession:
        """Connect all workers, present and future, to a cluster; starts the pool.

        Raises:
            PoolClosed: The pool is closed.
        """
        self.start()
        session = ClusterSession(self, settings)
        self._sessions.append(session)
        for lane in self.ready_lanes():
            session.start_on(lane)
        return session

    @inlineCallbacks
    def close_session(self, session: ClusterSession) -> Generator[Deferred[Any], Any, None]:
        """Disconnect all workers from a cluster.

        Its operations on workers get `drain_timeout` to end. Idempotent.
        """
        if session not in self._sessions:
            return
        session.close(PoolClosed("the cluster is closed: make a new one"))
        yield self._bounded(session.when_all_idle(), self.config.drain_timeout)
        yield self._bounded(session.disconnect(), self.config.drain_timeout)
        if session in self._sessions:
            self._sessions.remove(session)

    @inlineCallbacks
    def close_bucket(self, session: BucketSession) -> Generator[Deferred[Any], Any, None]:
        """Close a bucket in all workers, after its operations or `drain_timeout`. Idempotent."""
        if session.closed:
            return
        cluster = session.cluster
        cluster.buckets.pop(session.name, None)
        session.close(PoolClosed(f"the bucket {session.name} is closed: open it again"))
        yield self._bounded(session.when_idle(), self.config.drain_timeout)
        yield self._bounded(session.disconnect(), self.config.drain_timeout)

    @inlineCallbacks
    def when_connected(
        self, session: ClusterSession, workers: int
    ) -> Generator[Deferred[Any], Any, list[Lane]]:
        """Fires with the connected lanes when there are so many of them."""
        while True:
            targets = (session, *session.buckets.values())
            lacking = [target for target in targets if len(target.lanes) < workers]
            if not lacking:
                return list(session.lanes)
            yield lacking[0].when_next_connected()

    def within(self, deferred: Deferred[Any], timeout: float, name: str) -> Deferred[Any]:
        """The same Deferred, cancelled with the SDK's exception when the time is over."""

        def late(result: Any, timeout: float) -> Any:
            raise UnAmbiguousTimeoutException(f"{name} was not done within {timeout} seconds")

        deferred.addTimeout(timeout, self._reactor, late)
        return deferred

    def submit(self, operation: Operation, lane: Lane | None = None) -> None:
        """Admit an operation and send it on its way.

        Args:
            operation: It gets its number here, and its deadline as soon as it can be known.
            lane: The one to use; by default the pool chooses.

        Raises:
            PoolClosed: The pool, the cluster or the bucket is closed.
            PoolOverloaded: The limits on pending operations or bytes are reached.
            WorkerStartFailed: The workers are in a crash loop.
        """
        target = operation.keyspace.target
        if self._refusal is not None:
            raise self._refusal
        if target.closed:
            raise PoolClosed("the cluster or bucket is closed: make a new one")
        if not self._has_room(operation.size):
            raise PoolOverloaded(
                f"{self._pending} operations with {self._pending_bytes} bytes are pending "
                f"(limits: max_pending={self.config.max_pending}, "
                f"max_pending_bytes={self.config.max_pending_bytes}); wait for when_room()"
            )
        self._entered(operation)
        self._last_id += 1
        operation.id = self._last_id
        operation.ident = (
            (operation.keyspace.order, operation.key) if operation.key is not None else None
        )
        if self._tick is None:
            self._tick = self.later(_TICK, self._check_deadlines)
        timeout = operation.timeout
        if timeout is None and target.ever_connected:
            timeout = operation.default_timeout
        if timeout is not None:
            operation.deadline = self._reactor.seconds() + timeout
        if lane is not None:
            operation.pinned = True
            self._dispatch(operation, lane)
        elif target.waiting or not target.lanes or not self._dispatch(operation):
            target.waiting.append(operation)
            self.dispatch_waiting(target)
            target.ask()

    def cancel(self, operation: Operation) -> None:
        """The caller no longer wants the answer, and was told so.

        What was not sent never will be; what was sent keeps its slot until it is answered.
        """
        if operation.settled:
            return
        operation.settled = True
        if not operation.sent:
            self.operation_left(operation)

    def order_number(self, place: tuple[str, str, str, str]) -> int:
        """The number under which the keys of this place are ordered."""
        return self._order_numbers.setdefault(place, len(self._order_numbers) + 1)

    # -- from sessions --------------------------------------------------------------------

    def ready_lanes(self) -> list[Lane]:
        """The lanes whose worker is ready."""
        states = self._brain.states
        return [
            lane
            for generation, lane in self._lanes.items()
            if states.get(generation) is WorkerState.READY
        ]

    def now(self) -> float:
        """The reactor's clock (seconds)."""
        now: float = self._reactor.seconds()
        return now

    def later(self, delay: float, function: Callable[..., Any], *args: Any) -> DelayedCall:
        """Call a function after so many seconds, unless the pool ends before."""

        def run() -> None:
            self._calls.discard(call)
            function(*args)

        call: DelayedCall = self._reactor.callLater(delay, run)
        self._calls.add(call)
        return call

    def dispatch_waiting(self, target: Target) -> None:
        """Send what waited for a connection, in its order, as far as it can be sent."""
        if not target.waiting or not target.lanes:
            return
        waiting, target.waiting = target.waiting, deque()
        held = set()
        for operation in waiting:
            if operation.settled:
                continue
            if operation.ident in held or not self._dispatch(operation):
                held.add(operation.ident)
                target.waiting.append(operation)

    def fail_waiting(self, operations: deque[Operation], error: Exception) -> None:
        """Fail what waited for a connection."""
        for operation in operations:
            self._fail_unsent(operation, error)

    # -- from lanes -----------------------------------------------------------------------

    def operation_left(self, operation: Operation) -> None:
        """The operation no longer counts."""
        self._pending -= 1
        self._pending_bytes -= operation.size
        operation.keyspace.target.operation_left()
        ident = operation.ident
        if ident is not None and ident in self._keys:
            entry = self._keys[ident]
            if entry[1] == 1:
                del self._keys[ident]
            else:
                entry[1] -= 1
        if self._room_waiters and self._has_room(0):
            self.later(0, self._release_room_waiters)
        if not self._pending and self._idle_waiters:
            self.later(0, self._release_idle_waiters)

    def lane_spoke_nonsense(self, lane: Lane, reason: str) -> None:
        """A worker sent something that cannot be understood."""
        self._carry_out(self._brain.broken(lane.generation, reason))

    # -- admission and dispatch -----------------------------------------------------------

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

        It has to while the lane that works on its key is not connected for it: another cluster
        that shares the pool put the key there.
        """
        if operation.deadline is None:
            operation.deadline = self._reactor.seconds() + operation.default_timeout
        if lane is None:
            entry = self._keys.get(operation.ident) if operation.ident is not None else None
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
                if operation.ident is not None:
                    self._keys[operation.ident] = [lane, 1]
        lane.submit(operation)
        return True

    def _fail_unsent(self, operation: Operation, error: Exception) -> None:
        if not operation.settled:
            operation.settled = True
            self.operation_left(operation)
            operation.fail(error)

    def _check_deadlines(self) -> None:
        self._tick = self.later(_TICK, self._check_deadlines) if self._pending else None
        now = self._reactor.seconds()
        for lane in list(self._lanes.values()):
            lane.expire(now)
        for session in list(self._sessions):
            for target in (session, *session.buckets.values()):
                for operation in list(target.waiting):
                    deadline = operation.deadline
                    if deadline is not None and deadline <= now:
                        self._fail_unsent(operation, timed_out(operation, sent=False))
                self.dispatch_waiting(target)

    def _release_room_waiters(self) -> None:
        self._room_waiters.release(lambda: self._has_room(0))

    def _release_idle_waiters(self) -> None:
        self._idle_waiters.release(lambda: not self._pending)

    # -- the lives of workers -------------------------------------------------------------

    def _start(self) -> None:
        # Imported here, since ampoule imports the reactor.
        from txcouchbase.workers.process import WorkerStarter

        if self._closing is None:
            self._starter = WorkerStarter(self._reactor)
            self._carry_out(self._brain.start())
            self.later(self.config.heartbeat_interval, self._beat)

    def _carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Spawn):
                self.later(instruction.delay, self._spawn, instruction.generation)
            elif isinstance(instruction, Kill):
                self._kill(instruction)
            elif isinstance(instruction, OpenBreaker):
                self._open_breaker(instruction.deaths)
            elif isinstance(instruction, CloseBreaker):
                self._refusal = None
                _log.info("a worker is ready again: operations are admitted")

    def _spawn(self, generation: int) -> None:
        from txcouchbase.workers.process import Exit

        if self._closing is not None:
            self._brain.exited(generation)
            return
        lane = Lane(generation, self, self.config, self._reactor)
        self._lanes[generation] = lane
        assert self._starter is not None
        try:
            self._starter.start(lane, self._worker_ended)
        except OSError as error:
            lane.process = None
            self._worker_ended(lane, Exit(None, None, str(error)))
            return
        overdue = self.later(
            self.config.start_timeout,
            lambda: self._carry_out(self._brain.start_overdue(generation)),
        )
        settings = {"client": self.config.client, "threads": self.config.worker_threads}
        configured = lane.pipe.call(Configure, settings=wire.encode(settings))
        configured.addCallbacks(
            self._configured, lambda _: None, callbackArgs=(lane,)
        )  # an errback means that the worker has ended, which is handled as such
        configured.addErrback(self._start_went_wrong, lane)
        configured.addBoth(self._forget_call, overdue)

    def _configured(self, response: dict[str, bytes], lane: Lane) -> None:
        if response["error"]:
            raise decode_error(response["error"])
        about = wire.decode(response["about"])
        self._check_origin(about)
        lane.client = about["client"]
        _log.info(
            "worker {pid} is ready (client: {client}, couchbase {sdk})",
            pid=lane.pid,
            client=lane.client,
            sdk=about["sdk"],
        )
        self._carry_out(self._brain.ready(lane.generation))
        for session in self._sessions:
            session.start_on(lane)

    def _check_origin(self, about: dict[str, str]) -> None:
        from txcouchbase.workers.process import PACKAGE_ROOT

        here = (PACKAGE_ROOT, txcouchbase.__version__)
        there = (about["origin"], about["version"])
        if here != there:
            raise WorkerStartFailed(
                f"the worker imported txcouchbase {there[1]} from {there[0]}, but the application "
                f"uses {here[1]} from {here[0]}: remove the other copy from the worker's path"
            )

    def _start_went_wrong(self, failure: Failure, lane: Lane) -> None:
        self._last_stderr = failure.getErrorMessage()
        _log.failure("worker {pid} cannot be used", failure, pid=lane.pid)
        self._carry_out(self._brain.broken(lane.generation, failure.getErrorMessage()))

    def _forget_call(self, result: Any, call: DelayedCall) -> None:
        if call.active():
            call.cancel()
        self._calls.discard(call)

    def _kill(self, instruction: Kill) -> None:
        lane = self._lanes.get(instruction.generation)
        if lane is not None and lane.process is not None:
            _log.warn("worker {pid} is killed: {reason}", pid=lane.pid, reason=instruction.reason)
            lane.process.signal(signal.SIGKILL)

    def _open_breaker(self, deaths: int) -> None:
        error = WorkerStartFailed(
            f"{deaths} workers in a row died before they were ready; operations are refused "
            "until one becomes ready",
            self._last_stderr,
        )
        _log.error("{error}", error=error)
        self._refusal = error
        for session in list(self._sessions):
            session.fail(error)

    def _worker_ended(self, lane: Lane, exit: Exit) -> None:
        self._lanes.pop(lane.generation, None)
        if exit.stderr:
            self._last_stderr = exit.stderr
        state = self._brain.states.get(lane.generation)
        instructions = self._brain.exited(lane.generation)
        if not self._brain.closing:
            _log.warn(
                "a worker ended while {state} (exit status {code}, signal {signal})",
                state=state.value if state is not None else "unknown",
                code=exit.code,
                signal=exit.signal,
            )
        for session in self._sessions:
            session.lane_lost(lane)
        again, failed = lane.lost(exit)
        for operation in again:
            # It was released by the lane and is pending again, at its old place in the order.
            self._entered(operation)
            target = operation.keyspace.target
            if self._brain.closing or target.closed:
                closed = PoolClosed(f"closed before {operation.kind.name} was sent")
                self._fail_unsent(operation, closed)
            elif target.waiting or not target.lanes or not self._dispatch(operation):
                target.waiting.append(operation)
        self._carry_out(instructions)
        for operation, error in failed:
            operation.fail(error)
        if not self._lanes:
            self._gone_waiters.release_present()

    def _beat(self) -> None:
        self.later(self.config.heartbeat_interval, self._beat)
        allowed = self.config.heartbeat_timeout / self.config.heartbeat_interval
        for lane in self.ready_lanes():
            # Beats are counted, not seconds: between two of them the reactor has read what
            # the worker said, so a stall of this process is never held against a worker.
            if lane.silent_beats > allowed:
                self._carry_out(self._brain.silent(lane.generation))
                continue
            lane.silent_beats += 1
            beat = lane.pipe.call(Heartbeat)
            beat.addCallbacks(lambda _, lane=lane: setattr(lane, "silent_beats", 0), lambda _: None)

    def _reactor_stops(self) -> Deferred[None]:
        self._shutdown_trigger = None  # it has fired
        return self.close()

    # -- closing --------------------------------------------------------------------------

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[Any], Any, None]:
        self._refusal = PoolClosed("the pool is closed: make a new one")
        self._brain.close()
        if self._shutdown_trigger is not None:
            self._reactor.removeSystemEventTrigger(self._shutdown_trigger)
        for session in self._sessions:
            for target in (session, *session.buckets.values()):
                if not target.lanes:
                    target.fail(self._refusal)
        yield self._bounded(self._when_idle(), self.config.drain_timeout)
        for session in self._sessions:
            session.close(self._refusal)
        kill_timeout = self.config.kill_timeout
        for lane in self._lanes.values():
            lane.pipe.call(Stop).addErrback(lambda _: None)  # it ended before it answered
        yield self._until_gone(kill_timeout)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for lane in self._lanes.values():
                if lane.process is not None:
                    lane.process.signal(number)
            yield self._until_gone(kill_timeout)
        yield self._until_gone(None)

    def _when_idle(self) -> Deferred[None]:
        self.later(0, self._release_idle_waiters)
        return self._idle_waiters.wait()

    def _until_gone(self, timeout: float | None) -> Deferred[None]:
        """Fires when no process is left, or after the timeout."""
        gone = self._gone_waiters.wait() if self._lanes else succeed(None)
        return self._bounded(gone, timeout) if timeout is not None else gone

    def _bounded(self, deferred: Deferred[None], timeout: float) -> Deferred[None]:
        """Fires like the given Deferred, or after the timeout, whichever is first."""
        bounded: Deferred[None] = Deferred()

        def fire(_: Any = None) -> None:
            self._forget_call(None, call)
            if not bounded.called:
                bounded.callback(None)

        call = self.later(timeout, fire)
        deferred.addBoth(fire)
        return bounded

    def _closed(self, result: Any) -> None:
        for call in list(self._calls):
            if call.active():
                call.cancel()
        self._calls.clear()
        self._room_waiters.fail(PoolClosed("the pool is closed: make a new one"))
        if isinstance(result, Failure):
            _log.failure("closing the pool went wrong", result)
        self._closed_waiters.release_present()
