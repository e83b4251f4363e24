"""Scans through real workers, and what their parts do by themselves."""

from __future__ import annotations

import gc
import os
import signal
import time
from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    AuthenticationException,
    CouchbaseException,
    InvalidArgumentException,
    RequestCanceledException,
    UnAmbiguousTimeoutException,
    UnsuccessfulOperationException,
)
from couchbase.kv_range_scan import PrefixScan, RangeScan, SamplingScan, ScanTerm, ScanType
from couchbase.mutation_state import MutationState
from couchbase.options import ScanOptions
from couchbase.result import ScanResult, ScanResultIterable
from couchbase.transcoder import RawJSONTranscoder
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from tests.support import LONG, ServerTestCase, slow, until
from tests.test_sdk_rows import Threads
from txcouchbase.amp import wire
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.amp.rows import CHUNK_BYTES, WINDOW
from txcouchbase.cluster import TxCluster, TxRawCluster
from txcouchbase.collection import TxCollection
from txcouchbase.exceptions import WorkerLost
from txcouchbase.scans import ScanStream
from txcouchbase.testing import EmbeddedNode, Fault
from txcouchbase.workers import PoolConfig
from txcouchbase.workers.executor import Place, Task
from txcouchbase.workers.row_cluster import RowCluster
from txcouchbase.workers.scan_cluster import ScanCluster
from txcouchbase.workers.sdk_rows import ThreadRows
from txcouchbase.workers.sdk_scans import ScanRows, open_source

KINDS = ("RANGE_SCAN_CREATE", "RANGE_SCAN_CONTINUE", "RANGE_SCAN_CANCEL")
CREATE, CONTINUE, CANCEL = KINDS


class ScanTestCase(ServerTestCase):
    def setUp(self) -> Any:
        started = super().setUp()
        if os.environ.get("COUCHBASE_CONNSTR"):
            self.skipTest("what a server was asked for is read in the node's record")
        return started

    def fill(self, count: int, value: Any = None) -> list[str]:
        """Store documents; returns their keys."""
        assert self.node is not None
        keys = [f"doc-{number:04}" for number in range(count)]
        for number, key in enumerate(keys):
            self.node.put(key, number if value is None else value)
        return keys

    def read(self, stream: ScanStream) -> Any:
        """Fires with the results, sorted by their keys."""

        async def read() -> list[ScanResult]:
            return sorted([result async for result in stream], key=lambda result: result.id)

        return ensureDeferred(read())

    @inlineCallbacks
    def recorded(self, collection: TxCollection, *args: Any, **options: Any) -> Any:
        """The results of a scan, and the requests of it that the node got."""
        assert self.node is not None
        with self.node.recording() as record:
            results = yield self.read(collection.scan(*args, **options))
            requests = [request for request in record if request.operation in KINDS]
        return results, requests

    def until_idle(self, cluster: TxCluster) -> Any:
        return until(lambda: not any(worker.load for worker in cluster.pool.workers))


class OptionTests(ScanTestCase):
    @inlineCallbacks
    def test_each_type_and_each_option(self) -> Any:
        keys = self.fill(300)
        self.node.put("other", {"a": 1}, expiry=600)
        cluster = self.cluster()
        collection = cluster.bucket(self.bucket_name).default_collection()
        # Types.
        start, end = ScanTerm(keys[10]), ScanTerm(keys[20], exclusive=True)
        results, requests = yield self.recorded(collection, RangeScan(start, end))
        self.assertEqual([result.id for result in results], keys[10:20])
        self.assertEqual([result.content_as[int] for result in results], list(range(10, 20)))
        self.assertEqual(
            requests[0].options,
            {"vbucket": 0, "key_only": False, "start": keys[10], "excl_end": keys[20]},
        )
        creates = [request for request in requests if request.operation == CREATE]
        self.assertEqual([request.options["vbucket"] for request in creates], list(range(64)))
        results, requests = yield self.recorded(collection, PrefixScan("doc-00"))
        self.assertEqual([result.id for result in results], keys[:100])
        self.assertEqual(requests[0].options["start"], "doc-00")
        # Options.
        results, requests = yield self.recorded(
            collection, PrefixScan("o"), ScanOptions(ids_only=True, timeout=LONG)
        )
        (result,) = results
        self.assertEqual((result.id, result.ids_only), ("other", True))
        for attribute in ("cas", "expiry_time", "content_as"):
            self.assertRaises(InvalidArgumentException, getattr, result, attribute)
        self.assertIs(requests[0].options["key_only"], True)
        found = yield collection.get("other", with_expiry=True)
        results, requests = yield self.recorded(
            collection,
            PrefixScan("o"),
            ScanOptions(concurrency=1, batch_byte_limit=10),
            concurrency=3,
            batch_item_limit=5,
            batch_byte_limit=4_000,
            timeout=timedelta(seconds=30),
            transcoder=RawJSONTranscoder(),
        )
        (result,) = results
        self.assertIsInstance(result, ScanResult)
        self.assertEqual((result.cas, result.expiry_time), (found.cas, found.expiry_time))
        self.assertEqual(result.value, b'{"a": 1}')
        kinds = [request.operation for request in requests]
        self.assertEqual(kinds[:3], [CREATE] * 3)
        (more,) = (request.options for request in requests if request.operation == CONTINUE)
        self.assertEqual((more["item_limit"], more["byte_limit"]), (5, 4_000))
        self.assertTrue(20_000 < more["time_limit"] <= 30_000)
        stored = yield collection.upsert("new", 1)
        token = stored.mutation_token()
        results, requests = yield self.recorded(
            collection, PrefixScan("n"), consistent_with=MutationState(stored)
        )
        self.assertEqual([result.id for result in results], ["new"])
        (needed,) = (request.options for request in requests if "seqno" in request.options)
        self.assertEqual(
            (needed["vbucket"], needed["vb_uuid"], needed["seqno"]),
            (token.partition_id, str(token.partition_uuid), token.sequence_number),
        )
        # Collections, and the raw form.
        self.node.create_scope(self.bucket_name, "s")
        self.node.create_collection(self.bucket_name, "s", "c")
        self.node.put("here", 5, scope="s", collection="c")
        raw = TxRawCluster(self.connstr, self.options(), pool=cluster.pool)
        self.addCleanup(raw.close)
        named = raw.bucket(self.bucket_name).scope("s").collection("c")
        results, requests = yield self.recorded(named, RangeScan())
        self.assertEqual([(result.id, result.value) for result in results], [("here", 5)])
        where = {(request.bucket, request.scope, request.collection) for request in requests}
        self.assertEqual(where, {(self.bucket_name, "s", "c")})
        samples = []
        # Last, since the SDK ends them at the server after it has told of the end.
        for _ in range(2):
            results, requests = yield self.recorded(collection, SamplingScan(12, seed=77))
            samples.append([result.id for result in results])
            first = next(one.options for one in requests if one.operation == CREATE)
            self.assertEqual((first["samples"], first["seed"]), (12, 77))
        self.assertEqual((len(set(samples[0])), samples[0]), (12, samples[1]))

    @inlineCallbacks
    def test_errors(self) -> Any:
        cluster = self.cluster()
        collection = cluster.bucket(self.bucket_name).default_collection()
        odd: Any = 5
        unsupported: Any = type("Other", (ScanType,), {})()
        for scan_type, options in (
            (odd, {}),
            (unsupported, {}),
            (RangeScan(odd), {}),
            (RangeScan(None, ScanTerm("a", exclusive=odd)), {}),
            (PrefixScan(odd), {}),
            (SamplingScan(0), {}),
            (SamplingScan("1"), {}),  # type: ignore[arg-type]
            (SamplingScan(1, -1), {}),
            (RangeScan(), {"concurrency": 0}),
            (RangeScan(), {"concurrency": 65_536}),
            (RangeScan(), {"batch_item_limit": -1}),
            (RangeScan(), {"batch_byte_limit": "1"}),
            (RangeScan(), {"ids_only": 1}),
            (RangeScan(), {"consistent_with": MutationState()}),
            (RangeScan(), {"retry_ambiguous": True}),
        ):
            with self.assertRaises(InvalidArgumentException, msg=(scan_type, options)):
                collection.scan(scan_type, **options)
        self.fill(5)
        missing = cluster.bucket(self.bucket_name).collection("missing")
        yield self.assertFailure(
            self.read(missing.scan(RangeScan())), UnsuccessfulOperationException
        )
        # Late, so that the SDK waits for a document when it comes.
        for refused in KINDS[:2]:
            self.node.faults.add(
                Fault("kv", refused, effect="refuse", status="EACCESS", delay=0.1, times=1)
            )
            yield self.assertFailure(
                self.read(collection.scan(RangeScan())), AuthenticationException
            )
        # A server that says nothing is no worker's fault.
        (worker,) = cluster.pool.workers
        self.node.hold()
        silent = collection.scan(RangeScan(), timeout=timedelta(milliseconds=300))
        error = yield self.assertFailure(self.read(silent), UnAmbiguousTimeoutException)
        self.assertIn("it needs an answer of every node that has vBuckets", str(error))
        self.assertIn(f":{self.node.port('kv')} (", str(error))
        self.node.release()
        results = yield self.read(collection.scan(RangeScan()))
        self.assertEqual(len(results), 5)
        # So does one of several nodes that is down.
        nodes = EmbeddedNode(reactor=reactor, nodes=2)
        yield nodes.start()
        self.addCleanup(nodes.stop)
        of_nodes = self.cluster(cluster.pool, nodes.connstr)
        collection = of_nodes.bucket("default").default_collection()
        results = yield self.read(collection.scan(RangeScan(), timeout=LONG))
        self.assertEqual(results, [])
        port = nodes.port("kv", 1)
        yield nodes.kill(1)
        late = collection.scan(RangeScan(), timeout=timedelta(seconds=1))
        error = yield self.assertFailure(self.read(late), UnAmbiguousTimeoutException)
        self.assertIn("it needs an answer of every node", str(error))
        self.assertIn(f":{port}", str(error))
        self.assertEqual(cluster.pool.workers[0].pid, worker.pid)


class StreamTests(ScanTestCase):
    @inlineCallbacks
    def check_credit_and_stopping(self, client: str) -> Any:
        keys = self.fill(1_200, "x" * 1_000)
        cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, client=client))
        collection = cluster.bucket(self.bucket_name).default_collection()
        stream = collection.scan(RangeScan())
        self.assertIsInstance(stream, ScanResultIterable)
        self.assertIs(stream.rows(), stream)
        self.assertRaises(TypeError, list, stream)
        waiting = stream._ahead._chunks
        yield until(lambda: sum(size for _, size in waiting) > WINDOW - CHUNK_BYTES)
        for _ in range(20):
            yield collection.get(keys[0])
        self.assertLess(sum(size for _, size in waiting), WINDOW + CHUNK_BYTES)
        results = yield self.read(stream)
        self.assertEqual([result.id for result in results], keys)
        yield self.until_idle(cluster)
        # What goes wrong while the reader is slow is not taken for the end of the scan.
        silence = self.node.faults.add(Fault("kv", CONTINUE, effect="silence", skip=60, times=1))
        broken = collection.scan(RangeScan())
        waiting = broken._ahead._chunks
        yield until(
            lambda: silence.struck and sum(size for _, size in waiting) > WINDOW - CHUNK_BYTES
        )
        for _ in range(20):
            yield collection.get(keys[0])
        yield self.node.restart()
        error = yield self.assertFailure(self.read(broken), RequestCanceledException)
        self.assertIn("broke off", str(error))
        yield self.until_idle(cluster)
        # Stopped early, by each way there is; the server gives one document after another.
        self.node.faults.add(Fault("kv", CONTINUE, delay=0.02))

        async def leave(way: str) -> None:
            stream = collection.scan(RangeScan(), batch_item_limit=1)
            async for _ in stream:
                break
            if way == "cancel_scan":
                stream.cancel_scan()
                stream.cancel_scan()
                assert [result async for result in stream] == []
            elif way == "aclose":
                await stream.aclose()

        for way in ("cancel_scan", "aclose", "forget"):
            with self.node.recording() as record:
                yield ensureDeferred(leave(way))
                gc.collect()
                yield until(lambda r=record: any(one.operation == CANCEL for one in r))
                operations = [one.operation for one in record if one.operation in KINDS]
            self.assertEqual(operations[-1], CANCEL)
            self.assertLess(len(operations), 100)
            yield self.until_idle(cluster)

    def test_credit_and_stopping(self) -> Any:
        return self.check_credit_and_stopping("raw")

    @slow
    def test_credit_and_stopping_through_the_public_api(self) -> Any:
        return self.check_credit_and_stopping("sync")

    @inlineCallbacks
    def test_worker_dies(self) -> Any:
        self.fill(1_200, "x" * 1_000)
        cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, client="sync"))
        collection = cluster.bucket(self.bucket_name).default_collection()
        begun = collection.scan(RangeScan())
        yield until(lambda: len(begun._ahead._chunks) >= 2)
        # Of this one nothing was delivered: it is started again.
        silence = self.node.faults.add(Fault("kv", CONTINUE, effect="silence", times=1))
        again = collection.scan(PrefixScan("doc-000"))
        yield until(lambda: silence.struck)
        (worker,) = cluster.pool.workers
        os.kill(worker.pid, signal.SIGKILL)
        results = yield self.read(again)
        self.assertEqual(len(results), 10)
        error = yield self.assertFailure(self.read(begun), WorkerLost)
        self.assertEqual((error.ambiguous, error.operation), (False, "scan"))

    @inlineCallbacks
    def test_beside_other_operations(self) -> Any:
        """A scan that starts may wait for no callback of other operations, nor they for it."""
        keys = self.fill(60)
        cluster = self.cluster()
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        yield collection.get(keys[0])
        scans = [self.read(collection.scan(RangeScan(), concurrency=8)) for _ in range(12)]
        while not all(scan.called for scan in scans):
            yield collection.get_multi(keys)
        for scan in scans:
            results = yield scan
            self.assertEqual(len(results), 60)
        # The connection for scans has the bucket of its own.
        yield bucket.close()
        reopened = cluster.bucket(self.bucket_name).default_collection()
        results = yield self.read(reopened.scan(RangeScan()))
        self.assertEqual(len(results), 60)

    @inlineCallbacks
    def test_what_waits_for_a_silent_server_holds_up_nothing_else(self) -> Any:
        assert self.node is not None
        (key,) = self.fill(1)
        cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, worker_threads=1))
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield collection.get(key)
        silence = Fault("kv", operation="^RANGE_SCAN_CREATE$", effect="silence")
        struck = self.node.faults.add(silence)
        scan = self.read(collection.scan(RangeScan(), timeout=timedelta(seconds=4)))
        failed = self.assertFailure(scan, CouchbaseException)
        yield until(lambda: struck.struck)
        # Each needs a thread of the cluster.
        yield cluster.ping()
        yield cluster.query("SELECT 1")
        self.assertFalse(failed.called)
        yield failed


class FakeIterator:
    """Of the binding."""

    def __init__(self, items: list[Any], cancelled: bool) -> None:
        self._items = iter(items)
        self._cancelled = cancelled

    def __next__(self) -> Any:
        return next(self._items)

    def is_cancelled(self) -> bool:
        return self._cancelled

    def cancel_scan(self) -> None:
        self._cancelled = True


class FakeConnection:
    """Of the binding: a scan ends after some documents."""

    def __init__(self, count: int, cancelled: bool) -> None:
        self.arguments: dict[str, Any] = {}
        items = [_Item({"scan_item": {"key": f"k{number}"}}) for number in range(count)]
        self.iterator = FakeIterator(items, cancelled)

    def pycbc_kv_range_scan(self, **arguments: Any) -> FakeIterator:
        self.arguments = arguments
        return self.iterator


class _Item:
    def __init__(self, raw_result: dict[str, Any]) -> None:
        self.raw_result = raw_result


class FakeSDK:
    """A cluster of the SDK, and its bucket."""

    def __init__(self, connection: FakeConnection, states: list[str]) -> None:
        self.connection = connection
        self._impl = self
        self.states = states
        self.opened: list[str] = []
        self.closed = False

    def bucket(self, name: str) -> FakeSDK:
        self.opened.append(name)
        return self

    def ping(self, options: Any) -> Any:
        from couchbase.diagnostics import PingState, ServiceType

        state = PingState(self.states.pop(0))
        report = type("Report", (), {"state": state, "remote": "host:1", "error": None})()
        return type("Result", (), {"endpoints": {ServiceType.KeyValue: [report]}})()

    def set_authenticator(self, authenticator: Any) -> None:
        self.authenticator = authenticator

    def close(self) -> None:
        self.closed = True


class SourceTests(SynchronousTestCase):
    """`ScanRows` and `ScanCluster`, with a binding that does what it is told."""

    def source(
        self, count: int, cancelled: bool, config: dict[str, Any], states: list[str] | None = None
    ) -> ScanRows:
        self.threads = Threads()
        self.connection = FakeConnection(count, cancelled)
        self.sdk = FakeSDK(self.connection, states or ["ok"])
        self.scans = ScanCluster(lambda _: self.sdk, None, self.threads)  # type: ignore
        value = wire.encode(
            {"scan_type": 1, "scan_config": config, "orchestrator_options": {"ids_only": True}}
        )
        request = [1, OPERATIONS["scan"].code, 1, None, 5_000, value, 0]
        task = Task(request, Place(1, 1, "b", "s", "c"), time.monotonic())
        self.told: list[None] = []
        return ScanRows(self.scans, self.threads, task, lambda: self.told.append(None))

    def finish(self, source: ScanRows) -> tuple[int, Any]:
        """How many rows come, and what comes after them."""
        source.start()
        count = 0
        while True:
            self.threads.run()
            try:
                taken = source.take()
            except Exception as error:
                return count, error
            if isinstance(taken, dict):
                return count, taken
            count += len(taken)

    def test_ends(self) -> None:
        self.assertEqual(self.finish(self.source(3, False, {})), (3, {}))
        arguments = self.connection.arguments
        place = {name: arguments[name] for name in ("bucket", "scope", "collection_name")}
        self.assertEqual(place, {"bucket": "b", "scope": "s", "collection_name": "c"})
        options = arguments["orchestrator_options"]
        self.assertTrue(options["ids_only"] and 0 < options["timeout"] <= 5_000)
        # A sample is at its end when the SDK has cancelled what is left; other scans are not.
        self.assertEqual(self.finish(self.source(3, True, {"limit": 3})), (3, {}))
        for config in ({}, {"limit": 4}):
            count, error = self.finish(self.source(3, True, config))
            self.assertEqual(count, 3)
            self.assertIsInstance(error, RequestCanceledException)
            self.assertIn("after 3 documents", str(error))

    def test_stopping(self) -> None:
        # While a thread waits for a document the SDK must not be told.
        source = self.source(3, False, {})
        source.start()
        source.stop()
        self.threads.run()
        self.assertEqual((self.told, self.connection.arguments), ([None], {}))
        source = self.source(5_000, False, {})
        source.start()
        self.threads.run()
        self.assertGreater(len(source.take()), 0)
        source.stop()
        self.assertFalse(self.connection.iterator.is_cancelled())
        self.threads.run()
        self.assertTrue(self.connection.iterator.is_cancelled())
        # While none waits it is told at once.
        source = self.source(5_000, False, {})
        source.start()
        self.threads.run()
        source.stop()
        self.assertTrue(self.connection.iterator.is_cancelled())

    def test_a_sign_of_life_comes_first(self) -> None:
        source = self.source(3, False, {}, ["timeout", "error", "ok"])
        self.assertEqual(self.finish(source), (3, {}))
        self.assertEqual((self.sdk.states, self.sdk.opened), ([], ["b"]))

    def test_credentials(self) -> None:
        given: list[Any] = []

        def connect(authenticator: Any) -> Any:
            given.append(authenticator)
            return self.sdk

        source = self.source(3, False, {})
        rows = RowCluster(connect, "old", self.threads, self.threads)  # type: ignore[arg-type]
        rows.set_authenticator("new")
        scan = open_source(ThreadRows, rows, self.threads, source._task, list)
        self.assertIsInstance(scan, ScanRows)
        scan.start()
        self.threads.run()
        rows.set_authenticator("newer")
        self.assertEqual((given, self.sdk.authenticator), (["new"], "newer"))
        rows.close()
        self.assertTrue(self.sdk.closed)

    def test_closed(self) -> None:
        source = self.source(3, False, {})
        self.assertEqual(self.finish(source), (3, {}))
        self.scans.close_bucket("b")
        self.scans.close_bucket("b")
        self.assertTrue(self.sdk.closed)
        self.scans.close()
        count, error = self.finish(ScanRows(self.scans, self.threads, source._task, list))
        self.assertEqual(count, 0)
        self.assertIsInstance(error, RequestCanceledException)
