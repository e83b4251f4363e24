"""`retry_ambiguous`: what may have been applied is sent once more only where the caller says so."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import couchbase.subdocument as SD
from couchbase import options as sdk
from couchbase import search
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    DocumentExistsException,
    InvalidArgumentException,
    TemporaryFailException,
)
from couchbase.transcoder import RawBinaryTranscoder
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support import LONG, ONE, TWO, ServerTestCase, until
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.binary_collection import TxBinaryCollection, TxRawBinaryCollection
from txcouchbase.cluster import AsyncQueryRequest, TxCluster, TxRawCluster
from txcouchbase.collection import TxCollection, TxRawCollection
from txcouchbase.exceptions import PoolClosed, WorkerLost
from txcouchbase.testing import Fault, Script
from txcouchbase.workers import PoolConfig, WorkerPool
from txcouchbase.workers.stream import RowOperation

EXPIRY = timedelta(minutes=5)

MATCH = search.MatchAllQuery()

Ask = Callable[..., Any]
"""Calls a method of a collection on a key, with further keywords."""

CHANGES: dict[str, Ask] = {
    "upsert": lambda c, k, **kw: c.upsert(k, 1, **kw),
    "insert": lambda c, k, **kw: c.insert(f"{k}-new", 1, **kw),
    "replace": lambda c, k, **kw: c.replace(k, 2, **kw),
    "remove": lambda c, k, **kw: c.remove(k, **kw),
    "touch": lambda c, k, **kw: c.touch(k, EXPIRY, **kw),
    "get_and_touch": lambda c, k, **kw: c.get_and_touch(k, EXPIRY, **kw),
    "get_and_lock": lambda c, k, **kw: c.get_and_lock(k, timedelta(seconds=15), **kw),
    "mutate_in": lambda c, k, **kw: c.mutate_in(k, [SD.upsert("a", 1)], **kw),
    "append": lambda c, k, **kw: c.binary().append(k, b"x", **kw),
    "prepend": lambda c, k, **kw: c.binary().prepend(k, b"x", **kw),
    "increment": lambda c, k, **kw: c.binary().increment(k, **kw),
    "decrement": lambda c, k, **kw: c.binary().decrement(k, **kw),
}
"""The operations that change something, save `unlock`, which needs a CAS."""

UNREAD: dict[str, Ask] = {
    "get": lambda c, **kw: c.get("k", **kw),
    "exists": lambda c, **kw: c.exists("k", **kw),
    "lookup_in": lambda c, **kw: c.lookup_in("k", [SD.get("a")], **kw),
    "get_multi": lambda c, **kw: c.get_multi(["k"], **kw),
    "exists_multi": lambda c, **kw: c.exists_multi(["k"], **kw),
}
"""Those that only read, and are sent once more anyway."""


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


class Submitted:
    """Takes the place of a pool."""

    def __init__(self) -> None:
        self.operations: list[Any] = []
        self.reactor = MemoryReactorClock()
        self.config = PoolConfig()
        self.has_room = True

    def submit(self, operation: Any, feeder: Any = None) -> None:
        self.operations.append(operation)

    def cancel(self, operation: Any) -> None:
        """Nobody waits."""

    def now(self) -> float:
        return 0.0

    def admit(self, feeder: Any) -> None:
        """There is room."""

    def forget(self, feeder: Any) -> None:
        """There is room."""


class KeywordTests(SynchronousTestCase):
    """Where the keyword is taken and where it is refused, without a process."""

    def setUp(self) -> None:
        self.cluster = TxCluster(
            "couchbase://127.0.0.1",
            username="u",
            password="p",
            reactor=MemoryReactorClock(),
        )
        self.bucket = self.cluster.bucket("default")
        self.collection = self.bucket.default_collection()
        self.submitted = Submitted()
        places: Any = (self.cluster, self.bucket, self.collection)
        for place in places:
            place._pool = self.submitted

    def test_what_changes_something_takes_it_and_nothing_else_does(self) -> None:
        kinds = [kind for kind in OPERATIONS.values() if not kind.blocking and not kind.rows]
        self.assertTrue(kinds)
        found = 0
        for kind in kinds:
            for form in (
                (TxCollection, TxBinaryCollection),
                (TxRawCollection, TxRawBinaryCollection),
            ):
                for name in (kind.name, f"{kind.name}_multi"):
                    for owner in form:
                        method = getattr(owner, name, None)
                        if method is None:
                            continue
                        found += 1
                        parameter = inspect.signature(method).parameters.get("retry_ambiguous")
                        if kind.repeatable:
                            self.assertIsNone(parameter, name)
                        else:
                            assert parameter is not None, name
                            self.assertIs(parameter.kind, inspect.Parameter.KEYWORD_ONLY)
                            self.assertIs(parameter.default, False)
        # Each in both forms; lookup_in and mutate_in, and those that set an expiry or unlock
        # a document with a document of its own, have no multi form in the SDK.
        self.assertGreater(found, 2 * len(kinds))

    def test_it_goes_with_the_operation_and_not_to_the_sdk(self) -> None:
        asks = {**CHANGES, "unlock": lambda c, k, **kw: c.unlock(k, 1, **kw)}
        for name, ask in asks.items():
            for keywords in ({}, {"timeout": LONG}):
                ask(self.collection, "k", retry_ambiguous=True, **keywords)
                operation = self.submitted.operations.pop()
                self.assertTrue(operation.retry_ambiguous and operation.resendable, name)
                self.assertNotIn("retry_ambiguous", operation.options or {}, name)
                ask(self.collection, "k", **keywords)
                operation = self.submitted.operations.pop()
                self.assertFalse(operation.retry_ambiguous or operation.resendable, name)

    def test_multi_operations_pass_it_on(self) -> None:
        for given in (True, False):
            self.collection.upsert_multi({"a": 1, "b": 2}, retry_ambiguous=given)
            operations, self.submitted.operations = self.submitted.operations, []
            self.assertEqual([each.resendable for each in operations], [given] * 2)

    def test_queries_take_it_and_their_statement_does_not(self) -> None:
        statement: Any = {"statement": "SELECT 1", "retry_ambiguous": True}
        streams: list[Any] = []
        asks: list[tuple[bool, Ask]] = [
            (True, lambda: self.cluster.query("SELECT 1", retry_ambiguous=True)),
            (False, lambda: self.cluster.query("SELECT 1")),
            (True, lambda: self.cluster.query("SELECT 1", read_only=True)),
            (True, lambda: self.cluster.query_ex(Handler, "SELECT 1", retry_ambiguous=True)),
            (True, lambda: streams.append(self.cluster.query_stream(**statement))),
            (True, lambda: self.cluster.analytics_query("SELECT 1", retry_ambiguous=True)),
            (False, lambda: self.cluster.analytics_query("SELECT 1")),
            (True, lambda: streams.append(self.cluster.analytics_stream(**statement))),
        ]
        for resendable, ask in asks:
            ask()
            operation: RowOperation = self.submitted.operations.pop()
            self.assertEqual(operation.resendable, resendable)
            self.assertNotIn(b"retry_ambiguous", operation.value or b"")
        for stream in streams:
            self.successResultOf(Deferred.fromCoroutine(stream.aclose()))

    def test_not_after_rows_have_arrived(self) -> None:
        self.cluster.query("SELECT 1", retry_ambiguous=True)
        operation: RowOperation = self.submitted.operations.pop()
        self.assertTrue(operation.resendable)
        operation.arrived([b"1"], 1)
        self.assertFalse(operation.resendable)

    def refused(self, ask: Ask, *args: Any, **kwargs: Any) -> None:
        error = self.assertRaises(InvalidArgumentException, ask, *args, **kwargs)
        self.assertIn("retry_ambiguous", str(error))
        self.assertEqual(self.submitted.operations, [])

    def test_what_is_no_bool_is_refused(self) -> None:
        for value in (1, 0, None, "yes"):
            for ask in CHANGES.values():
                self.refused(ask, self.collection, "k", retry_ambiguous=value)
            self.refused(self.collection.upsert_multi, {"k": 1}, retry_ambiguous=value)
            self.refused(self.cluster.query, "SELECT 1", retry_ambiguous=value)
            self.refused(self.cluster.analytics_query, "SELECT 1", retry_ambiguous=value)
            self.refused(self.cluster.query_ex, Handler, "SELECT 1", retry_ambiguous=value)

    def test_what_only_reads_refuses_it(self) -> None:
        for ask in UNREAD.values():
            self.refused(ask, self.collection, retry_ambiguous=True)
        self.refused(self.cluster.search_query, "i", MATCH, retry_ambiguous=True)
        self.refused(self.cluster.search_stream, "i", MATCH, retry_ambiguous=True)
        self.refused(self.bucket.view_query, "d", "v", retry_ambiguous=True)

    def test_it_is_no_option_of_a_block(self) -> None:
        block: Any = {"retry_ambiguous": True}
        self.refused(self.collection.upsert, "k", 1, sdk.UpsertOptions(**block))
        self.refused(self.collection.upsert_multi, {"k": 1}, sdk.UpsertMultiOptions(**block))
        self.refused(self.collection.upsert_multi, {"k": 1}, per_key_options={"k": block})
        self.refused(self.cluster.query, "SELECT 1", sdk.QueryOptions(**block))
        self.refused(self.cluster.analytics_query, "SELECT 1", sdk.AnalyticsOptions(**block))
        self.refused(self.cluster.search_query, "i", MATCH, sdk.SearchOptions(**block))

    def test_a_named_parameter_may_be_called_so(self) -> None:
        self.cluster.query("SELECT $retry_ambiguous", named_parameters={"retry_ambiguous": 1})
        operation: RowOperation = self.submitted.operations.pop()
        self.assertFalse(operation.resendable)
        self.assertIn(b"retry_ambiguous", operation.value or b"")
