"""A pool with real processes: starting, dying, waiting, closing, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import traceback
from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    AuthenticationException,
    BucketNotFoundException,
    CouchbaseException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from couchbase.options import ClusterOptions, ClusterTimeoutOptions
from twisted.internet import reactor
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    gatherResults,
    inlineCallbacks,
    maybeDeferred,
)
from twisted.trial.unittest import TestCase

from tests.leftovers import delayed_calls, descriptors
from tests.support import ONE, TWO, ServerTestCase, gone, until
from txcouchbase.bucket import TxBucket
from txcouchbase.cluster import TxCluster, TxRawCluster
from txcouchbase.collection import TxCollection
from txcouchbase.exceptions import PoolClosed, PoolOverloaded, WorkerLost, WorkerStartFailed
from txcouchbase.workers import PoolConfig, WorkerPool, WorkerState, process


class LifeTests(ServerTestCase):
    @inlineCallbacks
    def test_connecting(self) -> Any:
        cluster = self.cluster(TWO)
        bucket = cluster.bucket(self.bucket_name)
        self.assertFalse(cluster.connected or bucket.connected)
        yield gatherResults([cluster.on_connect(), bucket.on_connect(), cluster.on_connect()])
        self.assertTrue(cluster.connected and bucket.connected)
        yield cluster.on_connect()
        yield cluster.close()
        self.assertTrue(cluster.connected)

    @inlineCallbacks
    def test_nothing_is_called_back_from_inside_the_call(self) -> Any:
        cluster = self.cluster(ONE)
        yield cluster.on_connect()
        again = cluster.on_connect()
        self.assertFalse(again.called)
        yield again

    @inlineCallbacks
    def test_operations_before_the_connection_wait_for_it(self) -> Any:
        collection = self.collection(TWO)
        stored, result = yield gatherResults(
            [collection.upsert(self.key("k"), 1), collection.get(self.key("k"))]
        )
        self.assertEqual(result.cas, stored.cas)

    @inlineCallbacks
    def test_an_unknown_bucket_does_not_keep_a_cluster_from_being_ready(self) -> Any:
        cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1))
        unknown = cluster.bucket("unknown")
        for _ in range(2):
            yield cluster.wait_until_ready(timedelta(seconds=30))
        yield self.assertFailure(unknown.on_connect(), BucketNotFoundException)
        yield cluster.wait_until_ready(timedelta(seconds=30))

    @inlineCallbacks
    def test_wait_until_ready_means_every_worker(self) -> Any:
        cluster = self.cluster(TWO)
        cluster.bucket(self.bucket_name)
        yield cluster.wait_until_ready(timedelta(seconds=30))
        self.assertEqual([worker.state for worker in cluster.pool.workers], [WorkerState.READY] * 2)

    @inlineCallbacks
    def test_ping(self) -> Any:
        cluster = self.cluster(ONE)
        bucket = cluster.bucket(self.bucket_name)
        yield bucket.on_connect()
        result = yield bucket.ping(report_id="mine")
        self.assertEqual(result.id, "mine")
        self.assertTrue(result.endpoints)

    @inlineCallbacks
    def test_the_pool_s_processes_are_its_workers_and_end_with_it(self) -> Any:
        cluster = self.cluster(TWO)
        yield cluster.wait_until_ready(timedelta(seconds=30))
        pids = [worker.pid for worker in cluster.pool.workers]
        self.assertEqual(len(set(pids)), 2)
        for pid in pids:
            with open(f"/proc/{pid}/cmdline", "rb") as arguments:
                self.assertNotIn(self.password.encode(), arguments.read())
            with open(f"/proc/{pid}/environ", "rb") as environ:
                self.assertNotIn(b"COUCHBASE_PASSWORD", environ.read())
        yield cluster.close()
        self.assertTrue(all(gone(pid) for pid in pids))
        self.assertEqual(cluster.pool.workers, [])

    @inlineCallbacks
    def test_descriptors_and_delayed_calls_go_with_the_pool(self) -> Any:
        for _ in range(2):
            before, calls_before = len(descriptors()), len(delayed_calls(reactor))
            cluster = TxCluster(self.connstr, self.options(), pool=ONE)
            yield cluster.bucket(self.bucket_name).on_connect()
            yield cluster.close()
        # The first round opens what the process keeps, such as /dev/null.
        yield until(lambda: len(descriptors()) <= before)
        self.assertLessEqual(len(delayed_calls(reactor)), calls_before)

    @inlineCallbacks
    def test_close_is_idempotent_and_ends_what_comes_later(self) -> Any:
        collection = self.collection(ONE)
        cluster = collection._scope._bucket._cluster
        yield collection.upsert(self.key("k"), 1)
        yield gatherResults([cluster.close(), cluster.close()])
        yield cluster.close()
        error = yield self.assertFailure(collection.get(self.key("k")), PoolClosed)
        self.assertIsInstance(error, RuntimeError)
        self.assertRaises(PoolClosed, self.cluster, cluster.pool)

    @inlineCallbacks
    def test_close_lets_operations_end(self) -> Any:
        collection = self.collection(ONE)
        yield collection.upsert(self.key("k"), 1)
        calls = [collection.upsert(self.key("k"), number) for number in range(20)]
        yield collection._scope._bucket._cluster.close()
        results = yield DeferredList(calls, consumeErrors=True)
        self.assertTrue(all(ok for ok, _ in results))

    @inlineCallbacks
    def test_close_while_starting(self) -> Any:
        cluster = self.cluster(TWO)
        call = cluster.bucket(self.bucket_name).default_collection().get("k")
        yield until(lambda: cluster.pool.workers)
        yield cluster.close()
        yield self.assertFailure(call, PoolClosed)

    @inlineCallbacks
    def test_close_before_the_first_process(self) -> Any:
        cluster = self.cluster(TWO)
        connecting = cluster.on_connect()
        yield cluster.close()
        yield self.assertFailure(connecting, PoolClosed)

    @inlineCallbacks
    def test_a_bucket_can_be_closed_and_opened_again(self) -> Any:
        cluster = self.cluster(ONE)
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        yield collection.upsert(self.key("k"), 1)
        yield bucket.close()
        yield self.assertFailure(collection.get(self.key("k")), PoolClosed)
        again = cluster.bucket(self.bucket_name)
        result = yield again.default_collection().get(self.key("k"))
        self.assertEqual(result.value, 1)
        # Also while it is being closed, and whichever of the two ends first.
        closed = again.close()
        once_more = cluster.bucket(self.bucket_name)
        yield once_more.on_connect()
        yield closed
        yield once_more.ping()
        closed = once_more.close()
        yield until(lambda: not once_more._session.lanes)
        last = cluster.bucket(self.bucket_name)
        yield last.on_connect()
        yield last.ping()

    @inlineCallbacks
    def test_to_cancel_a_close_stops_nothing(self) -> Any:
        pool = WorkerPool(ONE)
        self.addCleanup(pool.close)
        cluster = self.cluster(pool)
        bucket = cluster.bucket(self.bucket_name)
        yield bucket.on_connect()
        for closing in (bucket, cluster):
            ended: Deferred[None] = Deferred()
            closing.registerDeferred("_dtor", ended)
            close = closing.close()
            close.cancel()
            yield self.assertFailure(close, CancelledError)
            yield ended
        self.assertEqual(list(pool.targets()), [])

    @inlineCallbacks
    def test_a_cluster_closed_while_it_connects_is_disconnected(self) -> Any:
        pool = WorkerPool(ONE)
        self.addCleanup(pool.close)
        yield self.cluster(pool).on_connect()
        (worker,) = pool.workers

        alone = len(descriptors(worker.pid))
        yield self.cluster(pool).on_connect()
        each = len(descriptors(worker.pid)) - alone
        for _ in range(3):
            cluster = self.cluster(pool)
            connecting = cluster.on_connect()
            yield until(lambda: cluster._session._attempts)  # noqa: B023
            yield cluster.close()
            yield self.assertFailure(connecting, PoolClosed)
            ready = cluster.wait_until_ready(timedelta(seconds=50))
            yield self.assertFailure(ready, PoolClosed)
        yield self.cluster(pool).on_connect()  # which the worker answers after the others
        yield until(lambda: len(descriptors(worker.pid)) <= alone + 2 * each)


class RefusalTests(ServerTestCase):
    @inlineCallbacks
    def test_wrong_password(self) -> Any:
        self.password = "wrong"
        cluster = self.cluster(TWO)
        bucket = cluster.bucket(self.bucket_name)
        connecting, opening = cluster.on_connect(), bucket.on_connect()
        call = bucket.default_collection().get("k")
        for failing in (connecting, opening, call):
            yield self.assertFailure(failing, AuthenticationException)
        self.assertFalse(cluster.connected)
        # A refusal is no worker's fault.
        yield until(lambda: [w.state for w in cluster.pool.workers] == [WorkerState.READY] * 2)
        yield self.assertFailure(cluster.on_connect(), AuthenticationException)

    @inlineCallbacks
    def test_unknown_bucket(self) -> Any:
        cluster = self.cluster(ONE)
        bucket = cluster.bucket("nothing")
        yield self.assertFailure(bucket.on_connect(), BucketNotFoundException)
        yield self.assertFailure(bucket.default_collection().get("k"), BucketNotFoundException)
        yield cluster.bucket(self.bucket_name).on_connect()

    @inlineCallbacks
    def test_unknown_collection(self) -> Any:
        collection = self.bucket(ONE).collection("nothing")
        yield self.assertFailure(
            collection.get("k", timeout=timedelta(seconds=1)), UnAmbiguousTimeoutException
        )

    @inlineCallbacks
    def test_unreachable_server(self) -> Any:
        timeouts = ClusterTimeoutOptions(bootstrap_timeout=timedelta(seconds=1))
        cluster = self.cluster(ONE, connstr="couchbase://127.0.0.1:1", timeout_options=timeouts)
        call = cluster.bucket(self.bucket_name).default_collection().get("k")
        yield self.assertFailure(cluster.on_connect(), CouchbaseException)
        yield self.assertFailure(call, CouchbaseException)

    @inlineCallbacks
    def test_names_that_cannot_be_names(self) -> Any:
        bucket = self.bucket(ONE)
        collection = bucket.default_collection()
        for key in (None, 5, b"bytes", ["list"], "\ud800"):
            yield self.assertFailure(maybeDeferred(collection.get, key), InvalidArgumentException)
        self.assertRaises(InvalidArgumentException, bucket.collection, 5)
        self.assertRaises(InvalidArgumentException, bucket.scope("\ud800").collection, "c")
        yield self.assertFailure(
            collection.get("k", timeout=timedelta(0)), UnAmbiguousTimeoutException
        )

    def test_missing_credentials(self) -> None:
        self.assertRaises(InvalidArgumentException, TxCluster, self.connstr)
        self.assertRaises(InvalidArgumentException, TxCluster, None, self.options())

    def test_an_option_that_cannot_travel(self) -> None:
        error = self.assertRaises(
            InvalidArgumentException, TxCluster, self.connstr, self.options(), odd=lambda: None
        )
        self.assertIn("odd", str(error))

    def test_children_are_made_by_their_parents(self) -> None:
        self.assertRaises(InvalidArgumentException, TxBucket, self.connstr, "default")
        self.assertRaises(InvalidArgumentException, TxCollection, self.connstr, "default")

    def test_credentials_are_in_no_repr(self) -> None:
        self.password = "very secret"
        cluster = self.cluster(ONE)
        shown = [cluster, cluster.pool, cluster._settings, cluster._settings.for_workers]
        for thing in (*shown, cluster._session, cluster.pool.config):
            self.assertNotIn("very secret", repr(thing) + str(thing))
        for wrong in (self.options(), self.options()["authenticator"]):
            error = self.assertRaises(InvalidArgumentException, TxCluster, wrong)
            self.assertNotIn("very secret", repr(error) + str(error))

    @inlineCallbacks
    def test_refusals_do_not_gather(self) -> Any:
        pool = WorkerPool(ONE)
        cluster = TxRawCluster(self.connstr, self.options(), pool=pool)
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield pool.close()
        depths = []
        for calls in (1, 50):
            for _ in range(calls):
                for refused in (collection.get("k"), collection.get_multi(["k"])):
                    error = yield self.assertFailure(collection.defer(refused), PoolClosed)
            depths.append(len(traceback.extract_tb(pool.refusal.__traceback__)))
        self.assertEqual(str(error), str(pool.refusal))
        self.assertEqual(depths[0], depths[1])


class DeathTests(ServerTestCase):
    @inlineCallbacks
    def kill(self, collection: TxCollection) -> Any:
        """Stop all workers, start operations on them, kill them."""
        pool = collection._scope._bucket._cluster.pool
        pids = [worker.pid for worker in pool.workers]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        calls = {
            "upsert": collection.upsert(self.key("w"), 1, timeout=timedelta(seconds=30)),
            "get": collection.get(self.key("r"), timeout=timedelta(seconds=30)),
        }
        for call in calls.values():
            call.addErrback(lambda failure: failure.value)
        # Written to the pipe at the end of this turn; the workers will never read it.
        yield until(lambda: all(lane._in_flight for lane in pool._lanes.values()))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return calls

    @inlineCallbacks
    def test_what_was_in_flight(self) -> Any:
        collection = self.collection(ONE)
        yield collection.upsert(self.key("r"), "still there")
        calls = yield self.kill(collection)
        error = yield calls["upsert"]
        self.assertIsInstance(error, WorkerLost)
        self.assertTrue(error.ambiguous)
        self.assertEqual(
            (error.operation, error.key, error.signal), ("upsert", self.key("w"), signal.SIGKILL)
        )
        result = yield calls["get"]
        self.assertEqual(result.value, "still there")
        yield collection.upsert(self.key("w"), 2)

    @inlineCallbacks
    def test_what_is_cancelled_when_another_hears_of_it(self) -> Any:
        cluster = self.cluster(ONE)
        yield cluster.on_connect()
        pool = cluster.pool
        (worker,) = pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        calls = [cluster.buckets().get_all_buckets() for _ in range(4)]
        calls[0].addErrback(lambda failure: (calls[1].cancel(), failure)[1])
        yield until(lambda: any(lane._in_flight for lane in pool._lanes.values()))
        os.kill(worker.pid, signal.SIGKILL)
        outcomes = yield DeferredList(calls, consumeErrors=True)
        self.assertEqual(
            [failure.type for _, failure in outcomes],
            [WorkerLost, CancelledError, WorkerLost, WorkerLost],
        )
        self.assertEqual((pool._pending, pool._pending_bytes), (0, 0))

    @inlineCallbacks
    def test_an_idle_worker_is_replaced_and_gets_the_session(self) -> Any:
        collection = self.collection(TWO)
        pool = collection._scope._bucket._cluster.pool
        yield collection._scope._bucket._cluster.wait_until_ready(timedelta(seconds=30))
        (first, second) = (worker.pid for worker in pool.workers)
        for pid in (first, second):
            os.kill(pid, signal.SIGKILL)
        yield until(lambda: gone(first) and gone(second))
        # With time for a new worker to start, on a machine that is busy.
        yield collection.upsert(self.key("k"), 1, timeout=timedelta(seconds=30))
        yield until(lambda: len(collection._keyspace.target.lanes) == 2)
        self.assertFalse({worker.pid for worker in pool.workers} & {first, second})

    @inlineCallbacks
    def test_a_silent_worker_is_killed_and_replaced(self) -> Any:
        config = PoolConfig(
            min_workers=1, max_workers=1, heartbeat_interval=0.05, heartbeat_timeout=0.3
        )
        collection = self.collection(config)
        yield collection.upsert(self.key("k"), 1)
        (worker,) = collection._scope._bucket._cluster.pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        result = yield collection.get(self.key("k"), timeout=timedelta(seconds=30))
        self.assertEqual(result.value, 1)
        self.assertTrue(gone(worker.pid))

    @inlineCallbacks
    def test_a_deadline_covers_a_worker_that_does_not_answer(self) -> Any:
        collection = self.collection(ONE)
        yield collection.upsert(self.key("k"), 1)
        (worker,) = collection._scope._bucket._cluster.pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, worker.pid, signal.SIGCONT)
        yield self.assertFailure(
            collection.get(self.key("k"), timeout=timedelta(milliseconds=50)),
            UnAmbiguousTimeoutException,
        )

    @inlineCallbacks
    def test_workers_end_by_force_if_they_must(self) -> Any:
        config = PoolConfig(min_workers=1, max_workers=1, kill_timeout=0.1, drain_timeout=0.1)
        collection = self.collection(config)
        yield collection.upsert(self.key("k"), 1)
        (worker,) = collection._scope._bucket._cluster.pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        yield collection._scope._bucket._cluster.close()
        self.assertTrue(gone(worker.pid))


class LimitTests(ServerTestCase):
    @inlineCallbacks
    def test_too_many_operations(self) -> Any:
        collection = self.collection(PoolConfig(min_workers=1, max_workers=1, max_pending=3))
        pool = collection._scope._bucket._cluster.pool
        calls = [collection.upsert(self.key("k"), number) for number in range(3)]
        refused = collection.upsert(self.key("k"), 4)
        error = self.failureResultOf(refused, PoolOverloaded).value
        self.assertIn("max_pending", str(error))
        yield pool.when_room()
        yield gatherResults(calls)
        yield collection.upsert(self.key("k"), 5)

    @inlineCallbacks
    def test_too_many_bytes(self) -> Any:
        collection = self.collection(
            PoolConfig(min_workers=1, max_workers=1, max_pending_bytes=1000)
        )
        first = collection.upsert(self.key("big"), "v" * 2000)
        self.failureResultOf(collection.get(self.key("k")), PoolOverloaded)
        yield first

    @inlineCallbacks
    def test_cancelling(self) -> Any:
        collection = self.collection(ONE)
        waiting = collection.upsert(self.key("k"), 1)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        yield collection.upsert(self.key("other"), 1)
        missing = yield collection.exists(self.key("k"))
        self.assertFalse(missing.exists, "what was cancelled before it was sent is never sent")
        pool = collection._scope._bucket._cluster.pool
        (worker,) = pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        in_flight = collection.upsert(self.key("k"), 2)
        yield until(lambda: any(lane._in_flight for lane in pool._lanes.values()))
        in_flight.cancel()
        self.failureResultOf(in_flight, CancelledError)
        os.kill(worker.pid, signal.SIGCONT)
        yield collection.upsert(self.key("k"), 3)
        result = yield collection.get(self.key("k"))
        self.assertEqual(result.value, 3)
        self.assertEqual(pool._pending, 0)
        self.assertEqual(pool._keys, {})

    @inlineCallbacks
    def test_another_cluster_on_the_same_key(self) -> Any:
        pool = WorkerPool(TWO)
        self.addCleanup(pool.close)
        first = self.collection(pool)
        yield first.upsert(self.key("k"), 0)
        second = self.collection(pool)
        calls = [first.upsert(self.key("k"), number) for number in range(3)]
        held = dict(pool._keys)
        waiting = second.get(self.key("k"))  # its cluster is not connected yet
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(held, pool._keys)
        self.assertEqual([count for _, count in held.values()], [3])
        yield gatherResults(calls)
        self.assertEqual(pool._keys, {})

    @inlineCallbacks
    def test_what_is_over_does_not_gather(self) -> Any:
        config = PoolConfig(min_workers=1, max_workers=1, max_in_flight=10)
        collection = self.collection(config)
        yield collection.upsert(self.key("k"), 1)
        pool = collection._pool
        (worker,) = pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, worker.pid, signal.SIGCONT)
        short = timedelta(milliseconds=20)
        calls = [collection.upsert(self.key("k"), 1, timeout=short) for _ in range(500)]
        outcomes = yield DeferredList(calls, consumeErrors=True)
        self.assertFalse([answered for answered, _ in outcomes if answered])
        (lane,) = pool.lanes()
        yield until(lambda: not lane._queue)
        self.assertLessEqual(lane.load, 10)
        os.kill(worker.pid, signal.SIGCONT)


class CrashLoopTests(TestCase):
    timeout = 60

    @inlineCallbacks
    def test_workers_that_cannot_start(self) -> Any:
        config = PoolConfig(
            min_workers=1, max_workers=1, restart_backoff=(0.01, 0.02, 0), crash_loop_after=2
        )
        self.patch(process, "_BOOTSTRAP", "raise SystemExit('no way to start')")
        cluster = TxCluster("couchbase://127.0.0.1", ClusterOptions(_authenticator()), pool=config)
        self.addCleanup(cluster.close)
        call = cluster.bucket("default").default_collection().get("k")
        error = yield self.assertFailure(call, WorkerStartFailed)
        self.assertIn("no way to start", str(error))
        later = cluster.bucket("default").default_collection().get("k")
        self.failureResultOf(later, WorkerStartFailed)


class PoolTests(TestCase):
    def test_making_one_starts_nothing(self) -> None:
        pool = WorkerPool(ONE)
        self.assertEqual(pool.workers, [])

    def test_a_pool_that_never_started_closes(self) -> Any:
        return WorkerPool(ONE).close()

    def test_wrong_configuration(self) -> None:
        self.assertRaises(TypeError, WorkerPool, {"min_workers": 1})


def _authenticator() -> Any:
    from couchbase.auth import PasswordAuthenticator

    return PasswordAuthenticator("user", "password")
