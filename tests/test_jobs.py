"""The application's own functions in job workers, with real processes."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from twisted.internet.defer import CancelledError, gatherResults, inlineCallbacks
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from tests import jobfunctions
from tests.support import gone, until
from txcouchbase.exceptions import PoolClosed, PoolOverloaded, RemoteError, WorkerLost
from txcouchbase.workers import PoolConfig, WorkerPool


def config(job_workers: int = 1, **fields: Any) -> PoolConfig:
    return PoolConfig(min_workers=1, max_workers=1, job_workers=job_workers, **fields)


def own_function(module: str, name: str) -> FunctionType:
    """A function that says that it is in that module."""
    function = FunctionType(jobfunctions.pid.__code__, {"os": os}, name)
    function.__module__, function.__qualname__ = module, name
    return function


class JobTestCase(TestCase):
    timeout = 60

    def pool(self, job_workers: int = 1, **fields: Any) -> WorkerPool:
        """A pool that is closed after the test."""
        pool = WorkerPool(config(job_workers, **fields))
        self.addCleanup(pool.close)
        return pool

    def mark(self) -> str:
        """Where a job can leave a mark that others see."""
        return os.path.abspath(self.mktemp())


class OutcomeTests(JobTestCase):
    @inlineCallbacks
    def test_what_a_function_returns_and_prints(self) -> Any:
        said: list[str] = []

        def observe(event: dict[str, Any]) -> None:
            said.append(event.get("text", ""))

        self.patch(os, "environ", {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"})
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        pool = self.pool()
        self.assertEqual(pool.job_workers, [])
        worker = yield pool.run(jobfunctions.pid)
        self.assertNotEqual(worker, os.getpid())
        self.assertEqual([view.pid for view in pool.job_workers], [worker])
        answer = yield pool.run(jobfunctions.echo, 1, function="f", name=[2])
        self.assertEqual(answer, ((1,), {"function": "f", "name": [2]}))
        answer = yield pool.run(jobfunctions.Adder(3).add, 4)
        self.assertEqual(answer, 7)
        answer = yield pool.run(functools.partial(jobfunctions.echo, 1), 2)
        self.assertEqual(answer, ((1, 2), {}))
        for timeout in (30, 1.7e308, 10**400, timedelta(seconds=30), timedelta.max):
            answer = yield pool.run(len, "four", timeout=timeout)
            self.assertEqual(answer, 4)
        data = os.urandom(8 * 1024 * 1024)
        answer = yield pool.run(jobfunctions.echo, data)
        self.assertEqual(answer[0], (data,))
        yield pool.run(jobfunctions.say, "hello")
        yield until(lambda: {"out hello", "err hello"} <= set(said))

    @inlineCallbacks
    def test_what_a_worker_s_start_does_without(self) -> Any:
        pool = self.pool()
        loaded = yield pool.run(eval, "'OpenSSL' in __import__('sys').modules")
        self.assertFalse(loaded)
        twisted = "__import__('twisted.internet.ssl')"
        supported = yield pool.run(eval, f"{twisted}.internet.ssl.supported")
        self.assertTrue(supported)
        collects = yield pool.run(eval, "__import__('gc').isenabled()")
        self.assertTrue(collects)

    @inlineCallbacks
    def test_what_a_function_raises(self) -> Any:
        pool = self.pool()
        worker = yield pool.run(jobfunctions.pid)
        error = yield self.assertFailure(
            pool.run(jobfunctions.refuse, "too late"), jobfunctions.Refused
        )
        self.assertEqual(error.args, ("too late",))
        self.assertIsInstance(error.__cause__, RemoteError)
        self.assertEqual(error.__cause__.class_name, "tests.jobfunctions.Refused")
        self.assertIn("in refuse", error.__cause__.remote_traceback)
        yield self.assertFailure(pool.run(jobfunctions.fail_with, "other"), KeyError)
        error = yield self.assertFailure(
            pool.run(jobfunctions.fail_with, "Unbuildable"), RemoteError
        )
        self.assertEqual((error.class_name, error.text), ("tests.jobfunctions.Unbuildable", "one"))
        self.assertIn("in fail_with", error.remote_traceback)
        error = yield self.assertFailure(
            pool.run(jobfunctions.fail_with, "Unshowable"), jobfunctions.Unshowable
        )
        self.assertIn("cannot be shown", str(error.__cause__))
        error = yield self.assertFailure(
            pool.run(jobfunctions.fail_with, "SystemExit"), RemoteError
        )
        self.assertEqual(error.class_name, "builtins.SystemExit")
        for function in (jobfunctions.unpicklable, jobfunctions.exiting):
            error = yield self.assertFailure(pool.run(function), TypeError)
            self.assertIn("cannot be pickled", str(error))
        yield self.assertFailure(pool.run(jobfunctions.deferred), TypeError)
        nowhere = ModuleType("nowhere")
        nowhere.pid = own_function("nowhere", "pid")  # type: ignore[attr-defined]
        sys.modules["nowhere"] = nowhere
        self.addCleanup(sys.modules.pop, "nowhere")
        error = yield self.assertFailure(pool.run(nowhere.pid), ImportError)
        self.assertIn("must be importable there", str(error))
        error = yield self.assertFailure(pool.run(jobfunctions.unreadable, os.getpid()), TypeError)
        self.assertIn("cannot be unpickled here: ValueError: not here", str(error))
        error = yield self.assertFailure(
            pool.run(jobfunctions.unreadable, os.getpid(), True), TypeError
        )
        self.assertIn("cannot be unpickled here: SystemExit: 5", str(error))
        error = yield self.assertFailure(
            pool.run(jobfunctions.raise_unreadable, os.getpid()), RemoteError
        )
        self.assertEqual(error.text, "my own")
        again = yield pool.run(jobfunctions.pid)
        self.assertEqual(again, worker, "none of this is the worker's end")


class RefusalTests(JobTestCase):
    @inlineCallbacks
    def test_what_cannot_be_sent_is_refused_at_the_call(self) -> Any:
        pool = WorkerPool(config())

        def inside() -> None:
            pass

        class Inside:
            pass

        async def coroutine() -> None:
            pass

        class Locked:
            def __init__(self) -> None:
                self.lock = threading.Lock()

            def method(self) -> None:
                pass

        Locked.__qualname__ = "Locked"
        own = own_function("__main__", "own")
        opened = open(os.devnull)
        self.addCleanup(opened.close)
        echo = jobfunctions.echo
        cases: list[tuple[tuple[Any, ...], dict[str, Any], tuple[str, ...]]] = [
            ((lambda: None,), {}, ("<lambda> is a lambda", "define it with def")),
            ((inside,), {}, ("<locals>.inside is defined inside a function", "top level")),
            ((own,), {}, ("__main__.own is defined in the program itself", "not the program")),
            ((Locked().method,), {}, ("the function of", "Locked.method", "cannot be pickled")),
            ((echo, 1, inside), {}, ("argument 2 of echo", "inside a function")),
            ((echo, Inside()), {}, ("argument 1 of echo", "Inside is defined inside")),
            ((echo,), {"file": opened}, ("the argument file of echo", "cannot be pickled")),
            ((functools.partial(echo, inside),), {}, ("the function of partial", "inside")),
            ((coroutine,), {}, ("coroutine function",)),
            ((5,), {}, ("run needs a function, not int",)),
        ]
        cases += [
            ((echo,), {"timeout": wrong}, ("timeout must be seconds",))
            for wrong in (-1, True, "1", float("nan"), float("inf"), timedelta(seconds=-1))
        ]
        for args, kwargs, words in cases:
            error = self.assertRaises(InvalidArgumentException, pool.run, *args, **kwargs)
            for word in words:
                self.assertIn(word, str(error))
        self.assertEqual(pool.job_workers, [])
        yield pool.close()
        self.failureResultOf(pool.run(echo), PoolClosed)


class LifeTests(JobTestCase):
    @inlineCallbacks
    def test_one_job_for_each_worker_at_a_time(self) -> Any:
        pool = self.pool(2)
        end, marks = self.mark(), [self.mark() for _ in range(4)]
        jobs = [pool.run(jobfunctions.wait_for, mark, end) for mark in marks]
        started = [Path(mark) for mark in marks]
        yield until(lambda: started[0].exists() and started[1].exists())
        self.assertEqual([view.load for view in pool.job_workers], [1, 1])
        self.assertFalse(started[2].exists() or started[3].exists())
        Path(end).touch()
        pids = yield gatherResults(jobs)
        self.assertEqual(len(set(pids[:2])), 2)

    @inlineCallbacks
    def test_death(self) -> Any:
        pool = self.pool(max_pending=2)
        mark = self.mark()
        dying = pool.run(jobfunctions.die, mark, 7)
        queued = pool.run(jobfunctions.note, mark, "x")
        full = self.failureResultOf(pool.run(jobfunctions.pid), PoolOverloaded)
        self.assertIn("when_room(jobs=True)", full.getErrorMessage())
        room = pool.when_room(jobs=True)
        self.assertNoResult(room)
        yield pool.when_room()
        error = yield self.assertFailure(dying, WorkerLost)
        self.assertTrue(error.ambiguous)
        self.assertEqual((error.operation, error.exit_code), ("run", 7))
        self.assertIn("my last words", error.stderr)
        yield room
        yield queued
        self.assertEqual(Path(mark).read_text(), "xx", "each of them has run once")

    @inlineCallbacks
    def test_cancelling(self) -> Any:
        pool = self.pool(job_grace=1)
        first, second, queued, end = (self.mark() for _ in range(4))
        job = pool.run(jobfunctions.wait_for, first, end)
        waiting = pool.run(jobfunctions.note, queued, "never")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        yield until(Path(first).exists)
        (worker,) = pool.job_workers
        job.cancel()
        self.failureResultOf(job, CancelledError)
        later = [pool.run(jobfunctions.note, queued, text) for text in "abcde"]
        self.assertFalse(Path(queued).exists(), "its worker is busy until it ends")
        Path(end).touch()
        pids = yield gatherResults(later)
        self.assertEqual(set(pids), {worker.pid}, "it has ended by itself")
        self.assertEqual(Path(queued).read_text(), "abcde", "in the order of the calls")

        job = pool.run(jobfunctions.wait_for, second, self.mark())
        yield until(Path(second).exists)
        job.cancel()
        self.failureResultOf(job, CancelledError)
        successor = yield pool.run(jobfunctions.pid)
        self.assertNotEqual(successor, worker.pid, "what went on for too long was killed")
        self.assertTrue(gone(worker.pid))
        self.assertEqual(pool._jobs._pending, 0)

    @inlineCallbacks
    def test_deadlines(self) -> Any:
        pool = self.pool(job_grace=0.2)
        running, queued, end = self.mark(), self.mark(), self.mark()
        yield pool.run(jobfunctions.pid)
        (worker,) = pool.job_workers
        job = pool.run(jobfunctions.wait_for, running, end, timeout=0.4)
        waiting = pool.run(jobfunctions.note, queued, "never", timeout=timedelta(milliseconds=50))
        last = pool.run(jobfunctions.pid)
        yield self.assertFailure(waiting, UnAmbiguousTimeoutException)
        self.assertNoResult(job)
        yield self.assertFailure(job, AmbiguousTimeoutException)
        successor = yield last
        self.assertNotEqual(successor, worker.pid)
        self.assertFalse(Path(queued).exists())
        yield self.assertFailure(
            pool.run(jobfunctions.note, queued, "never", timeout=0), UnAmbiguousTimeoutException
        )

    @inlineCallbacks
    def test_heartbeats_are_for_idle_workers(self) -> Any:
        pool = self.pool(heartbeat_interval=0.05, heartbeat_timeout=0.2)
        yield pool.run(jobfunctions.pid)
        (worker,) = pool.job_workers
        yield pool.run(jobfunctions.hold, 0.6)
        pid = yield pool.run(jobfunctions.pid)
        self.assertEqual(pid, worker.pid)
        os.kill(worker.pid, signal.SIGSTOP)
        yield until(lambda: gone(worker.pid))
        successor = yield pool.run(jobfunctions.pid)
        self.assertNotEqual(successor, worker.pid)

    @inlineCallbacks
    def test_close(self) -> Any:
        pool = self.pool(2)
        marks, end = [self.mark() for _ in range(2)], self.mark()
        running = [pool.run(jobfunctions.wait_for, mark, end) for mark in marks]
        queued = pool.run(jobfunctions.pid)
        yield until(lambda: all(Path(mark).exists() for mark in marks))
        pids = [view.pid for view in pool.job_workers]
        closing = pool.close()
        self.failureResultOf(queued, PoolClosed)
        self.failureResultOf(pool.run(jobfunctions.pid), PoolClosed)
        Path(end).touch()
        ended = yield gatherResults(running)
        self.assertEqual(sorted(ended), sorted(pids))
        yield closing
        self.assertTrue(all(gone(pid) for pid in pids))

    @inlineCallbacks
    def test_close_by_force(self) -> Any:
        pool = self.pool(drain_timeout=0.1, kill_timeout=0.1)
        mark = self.mark()
        job = pool.run(jobfunctions.hog, mark, 600)
        yield until(Path(mark).exists)
        (worker,) = pool.job_workers
        closing = pool.close()
        yield self.assertFailure(job, WorkerLost)
        yield closing
        self.assertTrue(gone(worker.pid))
