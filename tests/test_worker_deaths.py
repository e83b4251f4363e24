"""Workers that end, or stop, in every state of their lives; with real processes.

What fails fails with an error that names it, what only reads is sent again, and the pool is whole
afterwards.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from couchbase.exceptions import CouchbaseException, DocumentNotFoundException
from twisted.internet.defer import gatherResults, inlineCallbacks

from tests.faultcases import SHORT_BEATS, FaultTestCase, outcome_of
from tests.faultyworker import go
from tests.support import LONG, SLOW, until
from txcouchbase.exceptions import WorkerStartFailed
from txcouchbase.workers import WorkerState
from txcouchbase.workers.events import EndCause


class End(NamedTuple):
    """How a worker ends.

    Attributes:
        fault: What it does.
        code: The exit status that the pool sees.
        signal: Or the signal.
        silent: Whether it does not end by itself, but has to be killed.
    """

    fault: str
    code: int | None = None
    signal: int | None = None
    silent: bool = False


ENDS = {
    "exit_0": End("exit=0", 0),
    "exit_1": End("exit=1", 1),
    "sigkill": End("kill", None, signal.SIGKILL),
    "sigterm": End("term", None, signal.SIGTERM),
    "a_crash_in_c": End("segv", None, signal.SIGSEGV),
    "an_abort": End("abort", None, signal.SIGABRT),
    "sigstop": End("stop", None, signal.SIGKILL, silent=True),
    "being_stuck_in_c": End("hog", None, signal.SIGKILL, silent=True),
    "stuck_in_c_while_asked": End("hog", None, signal.SIGTERM, silent=True),
    "an_endless_regex": End("hog=regex", None, signal.SIGKILL, silent=True),
}


def for_each(
    ends: str, slow_ends: str, check: Callable[[Any, End], Any]
) -> Callable[[type[FaultTestCase]], type[FaultTestCase]]:
    """Give a class one test for each of these ends, of the second ones as `tests.support.slow`."""

    def add(case: type[FaultTestCase]) -> type[FaultTestCase]:
        for name in (ends + " " + slow_ends * SLOW).split():

            def test(self: Any, end: End = ENDS[name]) -> Any:
                return check(self, end)

            setattr(case, f"test_{name}", test)
        return case

    return add


@inlineCallbacks
def _while_starting(test: FaultTestCase, end: End) -> Any:
    # Before the long imports, if the end is that of `start_timeout`.
    moment = "import" if end.silent else "configure"
    collection = test.faulty_collection(
        {moment: end.fault}, start_timeout=1.5 if end.silent else 30.0
    )
    call = collection.upsert(test.key("k"), 1, timeout=LONG)
    yield until(lambda: os.path.exists(os.path.join(test.folder, f"{moment}.0")))
    # The worker that follows has all the time it needs.
    object.__setattr__(collection._pool.config, "start_timeout", 30.0)
    yield call
    ended = test.ends[-1]
    test.assertEqual(
        (ended.cause, ended.exit_code, ended.signal),
        (EndCause.START_OVERDUE if end.silent else EndCause.START_FAILED, end.code, end.signal),
    )
    test.assertIn("last words before", ended.stderr)
    yield test.assert_whole(collection)


@for_each(
    "sigkill sigstop", "exit_0 exit_1 a_crash_in_c an_abort being_stuck_in_c", _while_starting
)
class StartingTests(FaultTestCase):
    @inlineCallbacks
    def test_at_every_moment_of_the_start(self) -> Any:
        moments = ("import", "configure", "open_cluster", "open_bucket")
        collection = self.faulty_collection(
            dict.fromkeys(moments, "exit=0"), min_workers=2, max_workers=2
        )
        yield collection.upsert(self.key("k"), 1, timeout=LONG)
        yield until(lambda: len(self.ends) == len(moments))
        causes = sorted(ended.cause.name for ended in self.ends)
        self.assertEqual(causes, ["CRASHED"] * 2 + ["START_FAILED"] * 2)
        yield self.assert_whole(collection, workers=2)

    @inlineCallbacks
    def test_a_crash_loop_that_ends(self) -> Any:
        collection = self.faulty_collection({"import": "exit=9"}, times=3, crash_loop_after=2)
        call = collection.get(self.key("k"), timeout=LONG)
        error = yield self.assertFailure(call, WorkerStartFailed)
        self.assertIn("last words before exit=9", error.stderr)
        yield until(lambda: collection._pool.refusal is None)
        self.assertEqual([ended.exit_code for ended in self.ends], [9, 9, 9])
        yield self.assert_whole(collection)


@inlineCallbacks
def _while_idle(test: FaultTestCase, end: End) -> Any:
    collection = test.faulty_collection(**(SHORT_BEATS if end.silent else {}))
    yield collection.upsert(f"after:{end.fault}:k", 1, timeout=LONG)
    yield until(lambda: test.ends)
    (ended,) = test.ends
    test.assertEqual(
        (ended.cause, ended.exit_code, ended.signal),
        (EndCause.SILENT if end.silent else EndCause.CRASHED, end.code, end.signal),
    )
    yield test.assert_whole(collection)


@for_each("exit_0", "exit_1 sigkill sigstop being_stuck_in_c", _while_idle)
class IdleTests(FaultTestCase):
    pass


@inlineCallbacks
def _while_busy(test: FaultTestCase, end: End) -> Any:
    collection = test.faulty_collection(max_in_flight=3, **(SHORT_BEATS if end.silent else {}))
    yield collection.upsert(test.key("k"), "there", timeout=LONG)
    held, read, trigger = "hold:w", "hold:r", f"fault:{end.fault}:k"
    calls = [
        outcome_of(collection.upsert(held, 1, timeout=LONG)),
        outcome_of(collection.get(read, timeout=LONG)),
        outcome_of(collection.upsert(trigger, 1, timeout=LONG)),
        # In the queue, since no more may be in flight: they move to the next worker.
        outcome_of(collection.upsert(test.key("queued"), 1, timeout=LONG)),
        outcome_of(collection.get(test.key("k"), timeout=LONG)),
    ]
    outcomes = yield gatherResults(calls)
    for key, error in ((held, outcomes[0]), (trigger, outcomes[2])):
        test.assert_lost(error, key, end.fault, end.code, end.signal)
    # It was sent again: the answer is the server's.
    test.assertIsInstance(outcomes[1], DocumentNotFoundException)
    test.assertTrue(outcomes[3].cas)
    test.assertEqual(outcomes[4].value, "there")
    (ended,) = test.ends
    test.assertEqual(
        (ended.cause, ended.exit_code, ended.signal),
        (EndCause.SILENT if end.silent else EndCause.CRASHED, end.code, end.signal),
    )
    yield test.assert_whole(collection)


@for_each(
    "exit_0 sigkill a_crash_in_c being_stuck_in_c",
    "exit_1 sigterm sigstop an_abort an_endless_regex",
    _while_busy,
)
class BusyTests(FaultTestCase):
    @inlineCallbacks
    def test_only_operations_on_the_dead_worker_are_touched(self) -> Any:
        collection = self.faulty_collection(min_workers=3, max_workers=3)
        yield collection._scope._bucket._cluster.wait_until_ready(LONG)
        yield until(lambda: len(collection._keyspace.target.lanes) == 3)
        calls = [outcome_of(collection.upsert(f"hold:{n}", 1, timeout=LONG)) for n in range(6)]
        yield until(lambda: sum(lane.load for lane in collection._pool.lanes()) == 6)
        trigger = outcome_of(collection.upsert("fault:exit=4:k", 1, timeout=LONG))
        error = yield trigger
        self.assert_lost(error, "fault:exit=4:k", "exit=4", 4, None)
        yield until(lambda: sum(call.called for call in calls) == 2)
        yield until(lambda: len(collection._keyspace.target.lanes) == 3)
        self.assertEqual(sum(call.called for call in calls), 2)
        for lane in collection._pool.ready_lanes():
            os.kill(lane.pid, signal.SIGKILL)
        for error in (yield gatherResults(calls)):
            self.assertIn(error.exit_code, (4, None))
        yield until(lambda: len(self.ends) == 4)  # also of the one that had nothing in flight
        yield self.assert_whole(collection, workers=3)

    @inlineCallbacks
    def test_every_worker_at_once(self) -> Any:
        collection = self.faulty_collection(min_workers=2, max_workers=2)
        yield collection._scope._bucket._cluster.wait_until_ready(LONG)
        pids = [worker.pid for worker in collection._pool.workers]
        calls = [outcome_of(collection.upsert(f"hold:{n}", 1, timeout=LONG)) for n in range(4)]
        calls += [outcome_of(collection.get(f"hold:r{n}", timeout=LONG)) for n in range(4)]
        # Each of them is held once: what is sent again later is not.
        marks = [
            os.path.join(self.folder, f"hold:{n}.0") for n in (*range(4), "r0", "r1", "r2", "r3")
        ]
        yield until(lambda: all(map(os.path.exists, marks)))
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        outcomes = yield gatherResults(calls)
        self.assertEqual([each.signal for each in outcomes[:4]], [signal.SIGKILL] * 4)
        for each in outcomes[4:]:
            # Sent again, or lost with both workers.
            if not isinstance(each, DocumentNotFoundException):
                self.assertEqual((each.signal, each.ambiguous), (signal.SIGKILL, False))
        yield self.assert_whole(collection, workers=2)

    @inlineCallbacks
    def test_a_read_whose_second_worker_dies_too(self) -> Any:
        collection = self.faulty_collection()
        yield collection.upsert(self.key("k"), 1, timeout=LONG)
        call = collection.get("hold:k", timeout=LONG)
        for number in range(2):
            if number:
                # Held again, by the worker that it was sent to once more.
                os.unlink(os.path.join(self.folder, "hold:k.0"))
            yield until(
                lambda: (
                    os.path.exists(os.path.join(self.folder, "hold:k.0"))
                    and any(lane._in_flight for lane in collection._pool.lanes())
                )
            )
            (worker,) = collection._pool.workers
            os.kill(worker.pid, signal.SIGKILL)
            yield until(lambda number=number: len(self.ends) > number)
        error = yield outcome_of(call)
        self.assertEqual(
            (error.operation, error.key, error.signal, error.ambiguous),
            ("get", "hold:k", signal.SIGKILL, False),
        )
        yield self.assert_whole(collection)


@inlineCallbacks
def _while_draining(test: FaultTestCase, end: End) -> Any:
    collection = test.faulty_collection(
        min_workers=2, max_workers=2, **(SHORT_BEATS if end.silent else {})
    )
    pool = collection._pool
    yield collection._scope._bucket._cluster.wait_until_ready(LONG)
    yield until(lambda: len(collection._keyspace.target.lanes) == 2)
    keys = [f"await:{end.fault}:{number}" for number in range(2)]
    calls = [outcome_of(collection.upsert(key, 1, timeout=LONG)) for key in keys]
    yield until(lambda: all(lane._in_flight for lane in pool.lanes()))
    pool.resize(1, 1)
    (draining,) = (w for w in pool.workers if w.state is WorkerState.DRAINING)
    (other,) = (w for w in pool.workers if w.state is WorkerState.READY)
    go(test.folder, draining.pid)
    yield until(lambda: test.ends)
    yield until(lambda: any(call.called for call in calls))
    (failed,) = (number for number, call in enumerate(calls) if call.called)
    error = yield calls[failed]
    test.assert_lost(error, keys[failed], end.fault, end.code, end.signal)
    yield collection.upsert(test.key("other"), 1, timeout=LONG)
    test.assertEqual([worker.pid for worker in pool.workers], [other.pid])
    go(test.folder, other.pid)
    error = yield calls[1 - failed]
    test.assert_lost(error, keys[1 - failed], end.fault, end.code, end.signal)
    yield test.assert_whole(collection, workers=1)


@for_each("sigkill", "exit_0 exit_1 sigstop being_stuck_in_c", _while_draining)
class DrainingTests(FaultTestCase):
    pass


@inlineCallbacks
def _while_closing(test: FaultTestCase, end: End) -> Any:
    collection = test.faulty_collection(drain_timeout=1.0 if end.silent else 20.0, kill_timeout=0.2)
    cluster = collection._scope._bucket._cluster
    yield collection.upsert(test.key("k"), 1, timeout=LONG)
    (worker,) = cluster.pool.workers
    key = f"await:{end.fault}:k"
    call = outcome_of(collection.upsert(key, 1, timeout=LONG))
    yield until(lambda: os.path.exists(os.path.join(test.folder, f"{key}.0")))
    closed = cluster.close()
    go(test.folder, worker.pid)
    error = yield call
    test.assert_lost(error, key, end.fault, end.code, end.signal)
    yield closed
    yield test.assert_nothing_left(cluster)


@for_each("exit_1 sigkill", "exit_0 sigstop stuck_in_c_while_asked", _while_closing)
class ClosingTests(FaultTestCase):
    @inlineCallbacks
    def _closes(self, **faults: str) -> Any:
        collection = self.faulty_collection(faults, kill_timeout=0.3)
        yield collection.upsert(self.key("k"), 1, timeout=LONG)
        yield self.assert_nothing_left(collection._scope._bucket._cluster)
        (ended,) = self.ends
        return ended

    @inlineCallbacks
    def test_a_worker_that_goes_when_it_is_asked(self) -> Any:
        ended = yield self._closes()
        self.assertEqual((ended.cause, ended.exit_code), (EndCause.CLOSED, 0))

    @inlineCallbacks
    def test_a_worker_that_cannot_disconnect(self) -> Any:
        ended = yield self._closes(close="hang")
        self.assertEqual((ended.cause, ended.signal), (EndCause.CLOSED, signal.SIGTERM))

    @inlineCallbacks
    def test_a_worker_that_ignores_term_as_well(self) -> Any:
        ended = yield self._closes(**{"import": "ignore-term", "close": "hang"})
        self.assertEqual((ended.cause, ended.signal), (EndCause.CLOSED, signal.SIGKILL))

    @inlineCallbacks
    def test_a_worker_that_fails_to_disconnect(self) -> Any:
        ended = yield self._closes(close="raise-here=RuntimeError")
        self.assertEqual((ended.cause, ended.exit_code), (EndCause.CLOSED, 0))

    @inlineCallbacks
    def test_during_a_start_that_never_ends(self) -> Any:
        cluster = self.faulty_cluster({"configure": "stop"}, kill_timeout=0.2)
        call = outcome_of(cluster.bucket(self.bucket_name).default_collection().get("k"))
        yield until(lambda: os.path.exists(os.path.join(self.folder, "configure.0")))
        yield self.assert_nothing_left(cluster)
        self.assertIsInstance((yield call), CouchbaseException)
