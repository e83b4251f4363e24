"""`retry_ambiguous`: what may have been applied is sent once more only where the caller says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from couchbase import options as sdk
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    DocumentExistsException,
    TemporaryFailException,
)
from couchbase.transcoder import RawBinaryTranscoder
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.trial.unittest import SkipTest

from tests.changes import CHANGES
from tests.support import LONG, ONE, TWO, ServerTestCase, until
from txcouchbase.cluster import AsyncQueryRequest, TxCluster, TxRawCluster
from txcouchbase.collection import TxCollection
from txcouchbase.exceptions import PoolClosed, WorkerLost
from txcouchbase.testing import Fault, Script
from txcouchbase.workers import WorkerPool


class AnyBytes(RawBinaryTranscoder):
    """Reads whatever a test has stored."""

    def decode_value(self, value: bytes, flags: int) -> bytes:
        return value


class WorkerDeathTests(ServerTestCase):
    """Workers that are stopped before they read what is sent to them, and killed then."""

    def pool(self, collection: TxCollection) -> WorkerPool:
        return collection._scope._bucket._cluster.pool

    def stop_workers(self, pool: WorkerPool) -> list[int]:
        """What is sent to them from now on is in flight, and never read."""
        pids = [worker.pid for worker in pool.workers if worker.pid is not None]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    @inlineCallbacks
    def lose(self, pool: WorkerPool, start: Callable[[], Any], count: int) -> Any:
        """Call something and kill the worker on which that is in flight; fires with the calls."""
        (pid,) = self.stop_workers(pool)
        started = start()
        (lane,) = pool._lanes.values()
        yield until(lambda: len(lane._in_flight) == count)
        os.kill(pid, signal.SIGKILL)
        return started

    def outcomes(self, calls: list[Deferred[Any]]) -> Deferred[list[tuple[bool, Any]]]:
        return DeferredList(calls, consumeErrors=True)

    @inlineCallbacks
    def all_changes(self, collection: TxCollection, **keywords: Any) -> Any:
        """Each change, called once and its worker killed then; fires with the outcomes."""
        documents: dict[str, Any] = {name: {"a": 0} for name in (*CHANGES, "unlock")}
        documents.update(increment=5, decrement=5)
        yield collection.upsert_multi({self.key(k): v for k, v in documents.items()})
        locked = yield collection.get_and_lock(self.key("unlock"), timedelta(seconds=15))

        def start() -> list[Deferred[Any]]:
            return [
                *(
                    ask(collection, self.key(name), timeout=LONG, **keywords)
                    for name, ask in CHANGES.items()
                ),
                collection.unlock(self.key("unlock"), locked.cas, timeout=LONG, **keywords),
            ]

        calls = yield self.lose(self.pool(collection), start, len(CHANGES) + 1)
        outcomes = yield self.outcomes(calls)
        return dict(zip((*CHANGES, "unlock"), outcomes, strict=True))

    @inlineCallbacks
    def test_with_it_each_change_is_sent_once_more(self) -> Any:
        collection = self.collection(ONE)
        outcomes = yield self.all_changes(collection, retry_ambiguous=True)
        failed = {name: found for name, (good, found) in outcomes.items() if not good}
        self.assertEqual(failed, {})
        # None of them had reached the server before: so each has been done once.
        self.assertEqual(outcomes["increment"][1].content, 6)
        self.assertEqual(outcomes["decrement"][1].content, 4)
        appended = yield collection.get(self.key("append"), transcoder=AnyBytes(), timeout=LONG)
        self.assertEqual(appended.content_as[bytes].count(b"x"), 1)

    @inlineCallbacks
    def test_a_second_try_that_fails_says_nothing_of_the_first(self) -> Any:
        if self.node is None:
            raise SkipTest("needs faults of the node")
        collection = self.collection(ONE)
        pool = self.pool(collection)
        yield collection.upsert(self.key("k"), 0)
        silence = Fault("kv", operation="^SET$", effect="silence", times=1)
        struck = self.node.faults.add(silence)
        call = collection.upsert(self.key("k"), 1, retry_ambiguous=True, timeout=LONG)
        yield until(lambda: struck.struck == 1)
        self.node.faults.add(Fault("kv", operation="^SET$", effect="refuse", status="EBUSY"))
        (worker,) = pool.workers
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        error = yield self.assertFailure(call, WorkerLost)
        self.assertTrue(error.ambiguous)
        self.assertIsInstance(error.__cause__, TemporaryFailException)
        found = yield collection.get(self.key("k"), timeout=LONG)
        self.assertEqual(found.value, 1, "the first try was applied")

    @inlineCallbacks
    def test_without_it_each_change_is_lost(self) -> Any:
        collection = self.collection(ONE)
        outcomes = yield self.all_changes(collection)
        for name, (good, failure) in outcomes.items():
            self.assertFalse(good, name)
            self.assertIsInstance(failure.value, WorkerLost, name)
            self.assertTrue(failure.value.ambiguous, name)
            self.assertEqual(failure.value.operation, name)
        counter = yield collection.get(self.key("increment"), timeout=LONG)
        self.assertEqual(counter.value, 5)

    @inlineCallbacks
    def test_false_is_as_without_it(self) -> Any:
        collection = self.collection(ONE)
        yield collection.get(self.key("k"), quiet=True)
        calls = yield self.lose(
            self.pool(collection),
            lambda: [
                collection.upsert(self.key("a"), 1, timeout=LONG, retry_ambiguous=False),
                collection.upsert(self.key("b"), 1, timeout=LONG, retry_ambiguous=True),
            ],
            2,
        )
        (lost, failure), (stored, _) = yield self.outcomes(calls)
        self.assertEqual((lost, failure.type, stored), (False, WorkerLost, True))

    @inlineCallbacks
    def killed_twice(self, cluster: TxCluster, start: Callable[[], list[Any]], count: int) -> Any:
        """Call something on one of two stopped workers, kill that and then the other, to which
        it went; fires with the outcomes."""
        yield cluster.wait_until_ready(LONG)
        pool = cluster.pool
        self.stop_workers(pool)
        outcomes = self.outcomes(start())
        lanes = list(pool._lanes.values())
        yield until(lambda: any(len(lane._in_flight) == count for lane in lanes))
        lanes.sort(key=lambda lane: -len(lane._in_flight))
        for lane in lanes:
            yield until(lambda lane=lane: len(lane._in_flight) == count)
            assert lane.pid is not None
            os.kill(lane.pid, signal.SIGKILL)
        found = yield outcomes
        self.assertEqual((pool._pending, pool._pending_bytes), (0, 0))
        return [failure.value for _, failure in found]

    @inlineCallbacks
    def test_killed_twice(self) -> Any:
        cluster = self.cluster(TWO)
        collection = cluster.bucket(self.bucket_name).default_collection()
        key = self.key("k")  # operations on one key are on one worker

        def start() -> list[Any]:
            return [
                collection.upsert(key, 1, timeout=LONG, retry_ambiguous=True),
                collection.get(key, timeout=LONG),
                collection.upsert_multi({key: 1}, timeout=LONG, retry_ambiguous=True),
            ]

        change, read, several = yield self.killed_twice(
            cluster, lambda: [call.addCallback(_raise_one) for call in start()], 3
        )
        for error, operation, ambiguous in (
            (change, "upsert", True),
            (read, "get", False),
            (several, "upsert", True),
        ):
            self.assertIsInstance(error, WorkerLost)
            self.assertEqual((error.operation, error.ambiguous), (operation, ambiguous))

    @inlineCallbacks
    def test_a_query_killed_twice(self) -> Any:
        cluster = self.cluster(TWO)
        (error,) = yield self.killed_twice(
            cluster, lambda: [cluster.query("SELECT 1", retry_ambiguous=True)], 1
        )
        self.assertIsInstance(error, WorkerLost)
        self.assertTrue(error.ambiguous)

    @inlineCallbacks
    def test_what_was_applied_before(self) -> Any:
        """The answer is what a second call gets; a counter has counted twice."""
        if self.node is None:
            self.skipTest("the node delays its answers")
        collection = self.collection(ONE)
        keys = {name: self.key(name) for name in ("insert", "counter", "get")}
        yield collection.upsert(keys["counter"], 5)
        fault = self.node.faults.add(
            Fault("kv", operation="^(ADD|INSERT|INCREMENT)$", effect="delay", delay=20.0)
        )
        (pid,) = (worker.pid for worker in self.pool(collection).workers)
        assert pid is not None
        calls: list[Any] = [
            collection.insert(keys["insert"], 1, timeout=LONG, retry_ambiguous=True),
            collection.binary().increment(keys["counter"], timeout=LONG, retry_ambiguous=True),
        ]
        outcomes = self.outcomes(calls)
        yield until(lambda: fault.struck == 2)
        self.node.faults.clear()
        os.kill(pid, signal.SIGKILL)
        (inserted, failure), (counted, counter) = yield outcomes
        self.assertEqual((inserted, failure.type), (False, DocumentExistsException))
        self.assertEqual((counted, counter.content), (True, 7))

    @inlineCallbacks
    def test_multi_operations(self) -> Any:
        collection = self.collection(ONE)
        yield collection.get(self.key("k"), quiet=True)
        with_it = {self.key(f"a{n}"): n for n in range(5)}
        without = {self.key(f"b{n}"): n for n in range(5)}
        calls = yield self.lose(
            self.pool(collection),
            lambda: [
                collection.upsert_multi(with_it, timeout=LONG, retry_ambiguous=True),
                collection.upsert_multi(without, timeout=LONG),
                collection.binary().increment_multi(
                    [self.key("c")], timeout=LONG, retry_ambiguous=True
                ),
            ],
            11,
        )
        (_, stored), (_, lost), (_, counted) = yield self.outcomes(calls)
        self.assertTrue(stored.all_ok)
        self.assertEqual(list(stored), list(with_it))
        self.assertEqual({type(error) for error in lost.values()}, {WorkerLost})
        self.assertTrue(counted.all_ok)

    @inlineCallbacks
    def test_the_raw_form(self) -> Any:
        cluster = TxRawCluster(self.connstr, self.options(), pool=ONE)
        self.addCleanup(cluster.close)
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield cluster.defer(collection.get(self.key("k"), quiet=True))
        calls = yield self.lose(
            cluster.pool,
            lambda: [
                cluster.defer(
                    collection.upsert(self.key("k"), 1, retry_ambiguous=True, timeout=LONG)
                ),
                cluster.defer(collection.upsert(self.key("l"), 1, timeout=LONG)),
                cluster.defer(
                    collection.upsert_multi({self.key("m"): 1}, retry_ambiguous=True, timeout=LONG)
                ),
            ],
            3,
        )
        (stored, result), (kept, failure), (_, several) = yield self.outcomes(calls)
        self.assertTrue(stored, result)
        self.assertEqual((kept, failure.type), (False, WorkerLost))
        self.assertTrue(several.all_ok)

    @inlineCallbacks
    def test_queries(self) -> Any:
        cluster = self.cluster(ONE)
        yield cluster.on_connect()
        if self.node is not None:
            self.node.scripts.add(Script("analytics", rows=[1]))
        handlers: list[Handler] = []
        streams: list[Any] = []

        def start() -> list[Any]:
            handlers.append(cluster.query_ex(Handler, "SELECT RAW 3", retry_ambiguous=True))
            handlers.append(cluster.query_ex(Handler, "SELECT RAW 3"))
            streams.append(cluster.query_stream("SELECT RAW 4", retry_ambiguous=True))
            calls: list[Any] = [
                cluster.query("SELECT RAW 1", retry_ambiguous=True),
                cluster.query("SELECT RAW 2"),
                cluster.query("SELECT RAW $n", sdk.QueryOptions(), retry_ambiguous=True, n=5),
            ]
            if self.node is not None:
                calls.append(cluster.analytics_query("SELECT 1", retry_ambiguous=True))
            return calls

        count = 7 if self.node is not None else 6
        calls = yield self.lose(cluster.pool, start, count)
        (good, rows), (bad, failure), (named, found), *analysed = yield self.outcomes(calls)
        self.assertTrue(good, rows)
        self.assertEqual(list(rows), [1])
        self.assertEqual((bad, failure.type), (False, WorkerLost))
        self.assertTrue(failure.value.ambiguous)
        self.assertTrue(named, found)
        self.assertEqual(list(found), [5])
        for there, result in analysed:
            self.assertTrue(there, result)
            self.assertEqual(list(result), [1])
        yield until(lambda: all(handler.ended for handler in handlers))
        self.assertEqual([handler.rows for handler in handlers], [[3], []])
        self.assertIsNone(handlers[0].error)
        self.assertIsInstance(handlers[1].error, WorkerLost)
        row = yield Deferred.fromCoroutine(anext(streams[0]))
        self.assertEqual(row, 4)
        yield Deferred.fromCoroutine(streams[0].aclose())

    @inlineCallbacks
    def test_its_time_is_over_before_there_is_a_worker(self) -> Any:
        if self.node is None:
            self.skipTest("the server stays")
        collection = self.collection(ONE)
        yield collection.get(self.key("k"), quiet=True)
        calls = yield self.lose(
            self.pool(collection),
            lambda: [
                collection.upsert(self.key("k"), 1, retry_ambiguous=True),
                collection.get(self.key("l")),
            ],
            2,
        )
        outcomes = self.outcomes(calls)
        yield self.node.stop()
        (_, change), (_, read) = yield outcomes
        self.assertIs(change.type, AmbiguousTimeoutException)
        self.assertIsNot(read.type, AmbiguousTimeoutException)

    @inlineCallbacks
    def test_the_pool_closes_before_there_is_a_worker(self) -> Any:
        collection = self.collection(ONE)
        pool = self.pool(collection)
        yield collection.get(self.key("k"), quiet=True)
        calls = yield self.lose(
            pool,
            lambda: [
                collection.upsert(self.key("k"), 1, timeout=LONG, retry_ambiguous=True),
                collection.get(self.key("l"), timeout=LONG),
            ],
            2,
        )
        outcomes = self.outcomes(calls)
        yield until(lambda: not collection._keyspace.target.lanes)
        yield pool.close()
        (_, change), (_, read) = yield outcomes
        self.assertIs(change.type, WorkerLost)
        self.assertTrue(change.value.ambiguous)
        self.assertEqual(change.value.signal, signal.SIGKILL)
        self.assertIsInstance(change.value.__cause__, PoolClosed)
        self.assertIs(read.type, PoolClosed)


def _raise_one(result: Any) -> Any:
    """The error of the only key of a multi operation."""
    if isinstance(result, Mapping):
        (outcome,) = result.values()
        raise outcome
    return result


class Handler(AsyncQueryRequest):
    """Keeps what it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: list[Any] = []
        self.ended = False
        self.error: Exception | None = None

    def on_rows(self, rows: list[Any]) -> None:
        self.rows += rows

    def on_done(self) -> None:
        self.ended = True

    def on_error(self, error: Exception) -> None:
        self.ended, self.error = True, error
