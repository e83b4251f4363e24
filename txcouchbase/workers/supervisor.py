"""`Supervisor`: carries out what the brain decides about the lives of workers."""

from __future__ import annotations

import signal
from collections.abc import Generator
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

import txcouchbase
from txcouchbase.amp import wire
from txcouchbase.amp.commands import Configure, Heartbeat, Stop
from txcouchbase.amp.errors import decode_error
from txcouchbase.exceptions import WorkerStartFailed
from txcouchbase.workers.brain import (
    CloseBreaker,
    Instruction,
    Kill,
    OpenBreaker,
    PoolBrain,
    Spawn,
    WorkerState,
)
from txcouchbase.workers.lane import Lane, LaneOwner
from txcouchbase.workers.view import WorkerView
from txcouchbase.workers.waiting import Waiters

if TYPE_CHECKING:
    from txcouchbase.workers.config import PoolConfig
    from txcouchbase.workers.delayed import DelayedCalls
    from txcouchbase.workers.process import Exit, WorkerStarter

__all__ = ["Supervisor", "SupervisorOwner"]

_log = Logger()


class SupervisorOwner(LaneOwner):
    """What a supervisor asks and tells its pool."""

    def worker_settings(self) -> dict[str, Any]:
        """What a worker has to know when it starts: plain data."""
        raise NotImplementedError

    def may_be_silent(self, lane: Lane) -> bool:
        """Whether a worker need not give signs of life now."""
        raise NotImplementedError

    def worker_ready(self, lane: Lane) -> None:
        """A worker has started and can be given work."""
        raise NotImplementedError

    def worker_lost(self, lane: Lane, exit: Exit) -> None:
        """A worker has ended, with whatever was on its lane."""
        raise NotImplementedError

    def crash_loop_began(self, error: WorkerStartFailed) -> None:
        """No worker gets ready."""
        raise NotImplementedError

    def crash_loop_ended(self) -> None:
        """A worker got ready after all."""
        raise NotImplementedError


class Supervisor:
    """Spawns workers, watches, replaces and kills them, and ends them.

    Args:
        config: How many there are, and its times.
        reactor: The reactor to use.
        calls: The pool's delayed calls.
        owner: The pool.

    Attributes:
        lanes: One for each worker process that is there, by generation.
    """

    def __init__(
        self, config: PoolConfig, reactor: Any, calls: DelayedCalls, owner: SupervisorOwner
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._calls = calls
        self._owner = owner
        self._brain = PoolBrain(config, Random())
        self._starter: WorkerStarter | None = None
        self._gone_waiters = Waiters()
        self._last_stderr = ""
        self.lanes: dict[int, Lane] = {}

    @property
    def views(self) -> list[WorkerView]:
        """What an application sees of the workers."""
        return [WorkerView(lane, self._brain) for lane in self.lanes.values()]

    def ready_lanes(self) -> list[Lane]:
        """The lanes whose worker is ready."""
        states = self._brain.states
        return [
            lane
            for generation, lane in self.lanes.items()
            if states.get(generation) is WorkerState.READY
        ]

    def start(self) -> None:
        """Spawn the workers, unless the pool closes already."""
        # Imported here, since ampoule imports the reactor.
        from txcouchbase.workers.process import WorkerStarter

        if not self._brain.closing:
            self._starter = WorkerStarter(self._reactor)
            self._carry_out(self._brain.start())
            self._calls.later(self._config.heartbeat_interval, self._beat)

    def kill(self, lane: Lane, reason: str) -> None:
        """End a worker that cannot be used any more; it is replaced."""
        self._carry_out(self._brain.broken(lane.generation, reason))

    def replace_none(self) -> None:
        """The pool closes: whatever ends from now on is not replaced."""
        self._brain.close()

    @inlineCallbacks
    def end(self) -> Generator[Deferred[Any], Any, None]:
        """End all workers: ask, TERM, KILL, each with `kill_timeout`; fires when all are gone."""
        for lane in self.lanes.values():
            lane.pipe.call(Stop).addErrback(lambda _: None)  # it ended before it answered
        yield self._until_gone(self._config.kill_timeout)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for lane in self.lanes.values():
                if lane.process is not None:
                    lane.process.signal(number)
            yield self._until_gone(self._config.kill_timeout)
        yield self._until_gone(None)

    def _until_gone(self, timeout: float | None) -> Deferred[None]:
        """Fires when no process is left, or after the timeout."""
        gone = self._gone_waiters.wait() if self.lanes else succeed(None)
        return self._calls.bounded(gone, timeout) if timeout is not None else gone

    def _carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Spawn):
                self._calls.later(instruction.delay, self._spawn, instruction.generation)
            elif isinstance(instruction, Kill):
                self._kill(instruction)
            elif isinstance(instruction, OpenBreaker):
                self._open_breaker(instruction.deaths)
            elif isinstance(instruction, CloseBreaker):
                _log.info("a worker is ready again: operations are admitted")
                self._owner.crash_loop_ended()

    def _spawn(self, generation: int) -> None:
        from txcouchbase.workers.process import Exit

        if self._brain.closing:
            self._brain.exited(generation)
            return
        lane = Lane(generation, self._owner, self._config, self._reactor)
        self.lanes[generation] = lane
        assert self._starter is not None
        try:
            self._starter.start(lane, self._worker_ended)
        except OSError as error:
            lane.process = None
            self._worker_ended(lane, Exit(None, None, str(error)))
            return
        overdue = self._calls.later(
            self._config.start_timeout,
            lambda: self._carry_out(self._brain.start_overdue(generation)),
        )
        settings = wire.encode(self._owner.worker_settings())
        configured = lane.pipe.call(Configure, settings=settings)
        configured.addCallbacks(
            self._configured, lambda _: None, callbackArgs=(lane,)
        )  # an errback means that the worker has ended, which is handled as such
        configured.addErrback(self._start_went_wrong, lane)
        configured.addBoth(lambda _, call: self._calls.cancel(call), overdue)

    def _configured(self, response: dict[str, bytes], lane: Lane) -> None:
        if response["error"]:
            raise decode_error(response["error"])
        about = wire.decode(response["about"])
        _check_origin(about)
        lane.client = about["client"]
        _log.info(
            "worker {pid} is ready (client: {client}, couchbase {sdk})",
            pid=lane.pid,
            client=lane.client,
            sdk=about["sdk"],
        )
        self._carry_out(self._brain.ready(lane.generation))
        self._owner.worker_ready(lane)

    def _start_went_wrong(self, failure: Failure, lane: Lane) -> None:
        self._last_stderr = failure.getErrorMessage()
        _log.failure("worker {pid} cannot be used", failure, pid=lane.pid)
        self.kill(lane, failure.getErrorMessage())

    def _kill(self, instruction: Kill) -> None:
        lane = self.lanes.get(instruction.generation)
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
        self._owner.crash_loop_began(error)

    def _worker_ended(self, lane: Lane, exit: Exit) -> None:
        self.lanes.pop(lane.generation, None)
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
        self._carry_out(instructions)
        self._owner.worker_lost(lane, exit)
        if not self.lanes:
            self._gone_waiters.release_present()

    def _beat(self) -> None:
        self._calls.later(self._config.heartbeat_interval, self._beat)
        allowed = self._config.heartbeat_timeout / self._config.heartbeat_interval
        for lane in self.ready_lanes():
            if self._owner.may_be_silent(lane):
                continue
            # Beats are counted, not seconds: between two of them the reactor has read what
            # the worker said, so a stall of this process is never held against a worker.
            if lane.silent_beats > allowed:
                self._carry_out(self._brain.silent(lane.generation))
                continue
            lane.silent_beats += 1
            beat = lane.pipe.call(Heartbeat)
            beat.addCallbacks(_heard, lambda _: None, callbackArgs=(lane,))


def _heard(_: Any, lane: Lane) -> None:
    lane.silent_beats = 0


def _check_origin(about: dict[str, str]) -> None:
    from txcouchbase.workers.process import PACKAGE_ROOT

    here = (PACKAGE_ROOT, txcouchbase.__version__)
    there = (about["origin"], about["version"])
    if here != there:
        raise WorkerStartFailed(
            f"the worker imported txcouchbase {there[1]} from {there[0]}, but the application "
            f"uses {here[1]} from {here[0]}: remove the other copy from the worker's path"
        )
