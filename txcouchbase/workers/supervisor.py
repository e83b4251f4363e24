"""`Supervisor`: carries out what the brain decides about the lives of workers."""

from __future__ import annotations

import signal
from collections.abc import Generator
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.error import ProcessExitedAlready
from twisted.logger import Logger
from twisted.python.failure import Failure

import txcouchbase
from txcouchbase.amp import wire
from txcouchbase.amp.commands import Configure, Heartbeat, Stop
from txcouchbase.amp.errors import decode_error
from txcouchbase.exceptions import WorkerStartFailed
from txcouchbase.workers import brain
from txcouchbase.workers.brain import Instruction, PoolBrain, WorkerState
from txcouchbase.workers.events import (
    CrashLoopBegan,
    CrashLoopEnded,
    EndCause,
    Observers,
    PoolResized,
    WorkerDraining,
    WorkerEnded,
    WorkerReady,
    WorkerStarted,
)
from txcouchbase.workers.lane import Lane, LaneOwner
from txcouchbase.workers.life import Life
from txcouchbase.workers.stats import Tally, WorkerStats
from txcouchbase.workers.view import WorkerView

if TYPE_CHECKING:
    from txcouchbase.workers.config import PoolConfig
    from txcouchbase.workers.delayed import DelayedCalls
    from txcouchbase.workers.process import Exit, WorkerStarter

__all__ = ["Supervisor", "SupervisorOwner"]

_log = Logger()

_WATCH = 0.1
"""How often workers that retire or drain are looked at while there are any (seconds)."""


class SupervisorOwner(LaneOwner):
    """What a supervisor asks and tells its pool."""

    def worker_settings(self) -> dict[str, Any]:
        """What a worker has to know when it starts: plain data."""
        raise NotImplementedError

    def may_be_silent(self, lane: Lane) -> bool:
        """Whether a worker need not give signs of life now."""
        raise NotImplementedError

    def is_relieved(self, lane: Lane, workers: int) -> bool:
        """Whether so many other workers are connected to all that this one is connected to."""
        raise NotImplementedError

    def worker_ready(self, lane: Lane) -> None:
        """A worker has started and can be given work."""
        raise NotImplementedError

    def worker_draining(self, lane: Lane) -> None:
        """A worker is to end: give it no more work, and others what it has not been sent."""
        raise NotImplementedError

    def worker_lost(self, lane: Lane, exit: Exit) -> None:
        """A worker has ended, with whatever was on its lane."""
        raise NotImplementedError

    def refuse(self, error: WorkerStartFailed) -> None:
        """No worker is ready, and none gets ready."""
        raise NotImplementedError

    def admit_again(self) -> None:
        """A worker got ready after all."""
        raise NotImplementedError


class Supervisor:
    """Spawns workers, watches, replaces and kills them, and ends them.

    Args:
        config: How many there are at first, and its times.
        reactor: The reactor to use.
        calls: The pool's delayed calls.
        owner: The pool.
        observers: Who hears of what happens.
        jobs: Whether these are the workers for the application's own functions.
        tally: Where their lanes count what they do.

    Attributes:
        lanes: One for each worker process that is there, by generation.
    """

    def __init__(
        self,
        config: PoolConfig,
        reactor: Any,
        calls: DelayedCalls,
        owner: SupervisorOwner,
        observers: Observers,
        jobs: bool,
        tally: Tally,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._calls = calls
        self._owner = owner
        self._observers = observers
        self._for_jobs = jobs
        self._tally = tally
        self._ended = dict.fromkeys(EndCause, 0)
        self._random = Random()
        self._brain = PoolBrain(config, self._random)
        self._starter: WorkerStarter | None = None
        self._spawns: dict[int, DelayedCall] = {}
        self._lives: dict[Lane, Life] = {}
        self._watching = False
        self._last_stderr = ""
        self.lanes: dict[int, Lane] = {}

    @property
    def views(self) -> list[WorkerView]:
        """What an application sees of the workers."""
        return [WorkerView(lane, self._brain) for lane in self.lanes.values()]

    def states(self) -> dict[WorkerState, int]:
        """How many workers are in each state."""
        states = list(self._brain.states.values())
        return {state: states.count(state) for state in WorkerState}

    def ended(self) -> dict[EndCause, int]:
        """How many workers have ended for each cause."""
        return dict(self._ended)

    def workers(self) -> tuple[WorkerStats, ...]:
        """How each worker process is."""
        now = self._reactor.seconds()
        return tuple(
            WorkerStats(
                pid=lane.pid,
                generation=generation,
                state=self._brain.states[generation],
                load=lane.load,
                operations=lane.operations,
                age=now - self._lives[lane].started,
                rss=lane.rss or None,
            )
            for generation, lane in self.lanes.items()
        )

    def ready_lanes(self) -> list[Lane]:
        """The lanes whose worker is ready."""
        return self._in_state(WorkerState.READY)

    def _in_state(self, state: WorkerState) -> list[Lane]:
        states = self._brain.states
        return [lane for number, lane in self.lanes.items() if states.get(number) is state]

    # -- from the pool --------------------------------------------------------------------

    def start(self) -> None:
        """Spawn the workers, unless the pool closes already."""
        # Imported here, since ampoule imports the reactor.
        from txcouchbase.workers.process import WorkerStarter

        if not self._brain.closing:
            self._starter = WorkerStarter(self._reactor)
            self._carry_out(self._brain.start())
            self._calls.later(self._config.heartbeat_interval, self._beat)

    def resize(self, min_workers: int, max_workers: int) -> None:
        """There are to be other numbers of workers."""
        loads = {number: lane.load for number, lane in self.lanes.items()}
        instructions = self._brain.resize(min_workers, max_workers, loads)
        self._carry_out(instructions)
        self._resized()

    def sampled(self) -> None:
        """Ten times a second while there are operations: see whether workers keep up."""
        ready = self.ready_lanes()
        if ready:
            before = self._brain.wanted
            waiting = sum(lane.falls_behind for lane in ready) / len(ready)
            instructions = self._brain.sampled(waiting)
            if self._brain.wanted != before:
                _log.info(
                    "operations wait for workers: from {before} to {wanted} workers",
                    before=before,
                    wanted=self._brain.wanted,
                )
            self._carry_out(instructions)
            if self._brain.wanted != before:
                self._resized()

    def kill(self, lane: Lane, cause: EndCause, reason: str) -> None:
        """End a worker that cannot be used any more; it is replaced."""
        self._carry_out(self._brain.broken(lane.generation, cause, reason))

    def replace_none(self) -> None:
        """The pool closes: whatever ends from now on is not replaced."""
        self._brain.close()
        for generation in list(self._spawns):
            self._spawn_not(generation)

    def kill_silent(self) -> None:
        """The pool closes: nobody is to wait for a worker that does not even answer.

        One that gives no sign of life within `kill_timeout` is killed, unless it runs a job.
        """
        for lane in self._in_state(WorkerState.DRAINING):
            if not self._owner.may_be_silent(lane):
                sign = lane.pipe.call(Heartbeat).addErrback(lambda _: None)
                # In two steps, between which the reactor reads what came while it was busy.
                self._calls.later(
                    self._config.kill_timeout, self._calls.later, 0, self._kill_unless, sign, lane
                )

    def _kill_unless(self, sign: Deferred[Any], lane: Lane) -> None:
        if not sign.called:
            reason = "the pool closes, and it gave no sign of life within kill_timeout"
            self._carry_out(self._brain.silent(lane.generation, reason))

    def end(self) -> Deferred[Any]:
        """End all workers: ask, TERM, KILL, each with `kill_timeout`; fires when all are gone."""
        return gatherResults([self._end(lane) for lane in self.lanes.values()])

    # -- what the brain wants -------------------------------------------------------------

    def _carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, brain.Spawn):
                number = instruction.generation
                self._spawns[number] = self._calls.later(instruction.delay, self._spawn, number)
            elif isinstance(instruction, brain.Drain):
                self._drain(instruction)
            elif isinstance(instruction, brain.Stop):
                self._stop(instruction.generation)
            elif isinstance(instruction, brain.Kill):
                self._kill(instruction)
            elif isinstance(instruction, brain.CrashLoop):
                self._crash_loop(instruction)
            else:
                _log.info("a worker is ready again: the crash loop is over")
                self._owner.admit_again()
                self._observers.notify(CrashLoopEnded(self._for_jobs))

    def _spawn_not(self, generation: int) -> None:
        self._calls.cancel(self._spawns.pop(generation))
        self._carry_out(self._brain.exited(generation))

    def _spawn(self, generation: int) -> None:
        from txcouchbase.workers.process import Exit

        del self._spawns[generation]
        lane = Lane(generation, self._owner, self._config, self._reactor, self._tally)
        self.lanes[generation] = lane
        self._lives[lane] = Life(self._config, self._reactor.seconds(), self._random)
        assert self._starter is not None
        try:
            self._starter.start(lane, self._worker_ended)
        except OSError as error:
            lane.process = None
            self._worker_ended(lane, Exit(None, None, str(error)))
            return
        self._observers.notify(WorkerStarted(self._for_jobs, generation, lane.pid))
        overdue = self._calls.later(
            self._config.start_timeout,
            # In two steps, between which the reactor reads what came while it was busy.
            self._calls.later,
            0,
            lambda: self._carry_out(self._brain.start_overdue(generation)),
        )
        settings = wire.encode(self._owner.worker_settings())
        configured = lane.pipe.call(Configure, settings=settings)
        configured.addCallback(self._configured, lane)
        configured.addErrback(self._start_went_wrong, lane)
        configured.addBoth(lambda _, call: self._calls.cancel(call), overdue)

    def _configured(self, response: dict[str, bytes], lane: Lane) -> None:
        if response["error"]:
            raise decode_error(response["error"])
        about = wire.decode(response["about"])
        _check_origin(about)
        if self._brain.states.get(lane.generation) is not WorkerState.STARTING:
            return  # it was to be ended meanwhile
        lane.client, lane.rss = about["client"], about["rss"]
        self._lives[lane].ready(self._reactor.seconds(), lane.rss)
        _log.info(
            "worker {pid} is ready (client: {client}, couchbase {sdk})",
            pid=lane.pid,
            client=lane.client,
            sdk=about["sdk"],
        )
        self._carry_out(self._brain.ready(lane.generation))
        self._owner.worker_ready(lane)
        self._watch()
        self._observers.notify(WorkerReady(self._for_jobs, lane.generation, lane.pid, lane.client))

    def _start_went_wrong(self, failure: Failure, lane: Lane) -> None:
        if failure.check(ProcessExitedAlready):
            return  # that is handled as such
        self._last_stderr = failure.getErrorMessage()
        _log.failure("worker {pid} cannot be used", failure, pid=lane.pid)
        self.kill(lane, EndCause.BROKEN, failure.getErrorMessage())

    def _drain(self, instruction: brain.Drain) -> None:
        lane = self.lanes[instruction.generation]
        cause = instruction.cause
        _log.info("worker {pid} drains: {cause}", pid=lane.pid, cause=cause.value)
        self._lives[lane].drains_since = self._reactor.seconds()
        self._owner.worker_draining(lane)
        self._watch()
        self._observers.notify(WorkerDraining(self._for_jobs, lane.generation, lane.pid, cause))

    def _watch(self) -> None:
        if not self._watching and (
            self._brain.retiring is not None or self._in_state(WorkerState.DRAINING)
        ):
            self._watching = True
            self._calls.later(_WATCH, self._look_at_those_that_go)

    def _look_at_those_that_go(self) -> None:
        self._watching = False
        retiring = self._brain.retiring
        if retiring is not None and self._owner.is_relieved(
            self.lanes[retiring], self._brain.wanted
        ):
            self._carry_out(self._brain.relieved(retiring))
        for lane in self._in_state(WorkerState.DRAINING):
            if not self._lives[lane].ends and self._has_drained(lane):
                self._carry_out(self._brain.drained(lane.generation))
        self._watch()

    def _has_drained(self, lane: Lane) -> bool:
        # What nobody waits for any more may never be answered, and must not keep a worker.
        drained_for = self._reactor.seconds() - self._lives[lane].drains_since
        return not lane.load or (
            drained_for >= self._config.drain_timeout and not lane.owes_answers
        )

    def _stop(self, generation: int) -> None:
        lane = self.lanes.get(generation)
        if lane is None:
            self._spawn_not(generation)
        elif lane.client:
            self._end(lane)
        elif lane.process is not None:
            lane.process.signal(signal.SIGKILL)  # it has not begun: there is nothing to lose

    @inlineCallbacks
    def _end(self, lane: Lane) -> Generator[Deferred[Any], Any, None]:
        life = self._lives[lane]
        if life.ends:
            yield life.gone.wait()
            return
        life.ends = True
        lane.pipe.call(Stop).addErrback(lambda _: None)  # it ended before it answered
        for number in (signal.SIGTERM, signal.SIGKILL):
            yield self._calls.bounded(life.gone.wait(), self._config.kill_timeout)
            if lane.generation not in self.lanes:
                return
            if lane.process is not None:
                lane.process.signal(number)
        yield life.gone.wait()

    def _kill(self, instruction: brain.Kill) -> None:
        lane = self.lanes.get(instruction.generation)
        if lane is not None and lane.process is not None:
            _log.warn("worker {pid} is killed: {reason}", pid=lane.pid, reason=instruction.reason)
            lane.process.signal(signal.SIGKILL)

    def _crash_loop(self, instruction: brain.CrashLoop) -> None:
        ready = instruction.ready
        error = WorkerStartFailed(
            f"{instruction.deaths} workers in a row died before they were ready; "
            + (f"the {ready} that are left go on" if ready else "operations are refused")
            + " until one becomes ready",
            self._last_stderr,
        )
        _log.error("{error}", error=error)
        if not ready:
            self._owner.refuse(error)
        self._observers.notify(CrashLoopBegan(self._for_jobs, error, ready))

    def _resized(self) -> None:
        limits = self._brain.min_workers, self._brain.max_workers
        self._observers.notify(PoolResized(self._for_jobs, *limits, self._brain.wanted))

    # -- what workers do ------------------------------------------------------------------

    def _worker_ended(self, lane: Lane, exit: Exit) -> None:
        del self.lanes[lane.generation]
        life = self._lives.pop(lane)
        if exit.stderr:
            self._last_stderr = exit.stderr
        cause = self._brain.cause_of_end(lane.generation)
        self._ended[cause] += 1
        instructions = self._brain.exited(lane.generation)
        log = _log.info if cause.planned else _log.warn
        log(
            "worker {pid} ended: {cause} ({how}){last_words}",
            pid=lane.pid,
            cause=cause.value,
            how=f"exit status {exit.code}" if exit.signal is None else f"signal {exit.signal}",
            last_words=f"; its last words: {exit.stderr}"
            if exit.stderr and not cause.planned
            else "",
        )
        self._carry_out(instructions)
        self._owner.worker_lost(lane, exit)
        self._observers.notify(
            WorkerEnded(
                self._for_jobs,
                lane.generation,
                lane.pid,
                cause,
                exit.code,
                exit.signal,
                exit.stderr,
            )
        )
        life.gone.release_present()

    def _beat(self) -> None:
        self._calls.later(self._config.heartbeat_interval, self._beat)
        allowed = self._config.heartbeat_timeout / self._config.heartbeat_interval
        for lane in self._in_state(WorkerState.READY) + self._in_state(WorkerState.DRAINING):
            if self._owner.may_be_silent(lane):
                continue
            # Beats are counted, not seconds: between two of them the reactor has read what
            # the worker said, so a stall of this process is never held against a worker.
            if lane.silent_beats > allowed:
                reason = "it gave no sign of life within heartbeat_timeout"
                self._carry_out(self._brain.silent(lane.generation, reason))
                continue
            lane.silent_beats += 1
            beat = lane.pipe.call(Heartbeat)
            beat.addCallbacks(self._heard, lambda _: None, callbackArgs=(lane,))
        self._look_for_wear()

    def _heard(self, answer: dict[str, Any], lane: Lane) -> None:
        lane.silent_beats = 0
        lane.rss = answer["rss"]

    def _look_for_wear(self) -> None:
        now = self._reactor.seconds()
        for lane in self.ready_lanes():
            life = self._lives[lane]
            cause = life.look(now, lane)
            if cause is not None:
                self._carry_out(self._brain.worn_out(lane.generation, cause))
            elif now - life.idle_since >= self._config.idle_timeout:
                before = self._brain.wanted
                instructions = self._brain.idle(lane.generation)
                self._carry_out(instructions)
                if self._brain.wanted != before:
                    self._resized()
        self._watch()


def _check_origin(about: dict[str, str]) -> None:
    from txcouchbase.workers.process import PACKAGE_ROOT

    here = (PACKAGE_ROOT, txcouchbase.__version__)
    there = (about["origin"], about["version"])
    if here != there:
        raise WorkerStartFailed(
            f"the worker imported txcouchbase {there[1]} from {there[0]}, but the application "
            f"uses {here[1]} from {here[0]}: remove the other copy from the worker's path"
        )
