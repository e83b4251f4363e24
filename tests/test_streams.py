"""Rows as they arrive: handlers, iterators, flow control, and what ends a stream early."""

from __future__ import annotations

import gc
import os
import signal
from datetime import timedelta
from typing import Any

import couchbase.search as search
from couchbase.exceptions import ParsingFailedException, QueryIndexNotFoundException
from twisted.internet import reactor
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.task import deferLater

from tests.support import ServerTestCase, until
from txcouchbase.amp.rows import CHUNK_BYTES, CHUNK_ROWS, WINDOW
from txcouchbase.cluster import (
    AsyncAnalyticsRequest,
    AsyncN1QLRequest,
    AsyncQueryRequest,
    AsyncSearchRequest,
    AsyncViewBase,
    TxCluster,
)
from txcouchbase.exceptions import PoolClosed, WorkerLost
from txcouchbase.testing import Fault, Script
from txcouchbase.workers import PoolConfig

NUMBERS = "SELECT RAW n FROM ARRAY_RANGE(0, {}) AS n"
WIDE = "SELECT n, REPEAT('x', 180) AS t FROM ARRAY_RANGE(0, {}) AS n"


class Noting:
    """Notes what a handler is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: list[Any] = []
        self.sizes: list[int] = []
        self.ends: list[Any] = []
        self.ended: Deferred[Any] = Deferred()

    def on_rows(self, rows: list[Any]) -> None:
        assert not self.ends
        self.rows += rows
        self.sizes.append(len(rows))

    def on_done(self) -> None:
        self.ends.append(None)
        self.ended.callback(None)

    def on_error(self, error: Exception) -> None:
        self.ends.append(error)
        self.ended.callback(error)


class Query(Noting, AsyncQueryRequest):
    pass


class Analytics(Noting, AsyncAnalyticsRequest):
    pass


class Search(Noting, AsyncSearchRequest):
    pass


class View(Noting, AsyncViewBase):
    pass


class PausesAtOnce(Query):
    """Pauses after its first rows."""

    def on_rows(self, rows: list[Any]) -> None:
        super().on_rows(rows)
        self.pause()


class Breaks(Query):
    """Its own code fails."""

    def on_rows(self, rows: list[Any]) -> None:
        raise LookupError("mine")

    def on_error(self, error: Exception) -> None:
        super().on_error(error)
        raise OSError("mine too")


class Forgets(AsyncQueryRequest):
    """Does not call its base class's constructor."""

    def __init__(self, statement: str) -> None:
        pass


class StreamTestCase(ServerTestCase):
    def until_idle(self, cluster: TxCluster) -> Any:
        """Until the workers have forgotten all streams."""
        return until(lambda: not any(worker.load for worker in cluster.pool.workers))


class HandlerTests(StreamTestCase):
    @inlineCallbacks
    def test_rows_arrive(self) -> Any:
        cluster = self.cluster()
        handler = cluster.query_ex(Query, NUMBERS.format("$top"), top=2500)
        self.assertIsInstance(handler, Query)
        self.assertEqual((handler.rows, handler.metadata()), ([], None))
        yield handler.ended
        self.assertEqual(handler.rows, list(range(2500)))
        self.assertTrue(all(size <= CHUNK_ROWS for size in handler.sizes), handler.sizes)
        self.assertEqual(handler.ends, [None])
        self.assertEqual(handler.metadata().status().value, "success")
        wide = cluster.query_ex(Query, WIDE.format(1000))
        yield wide.ended
        self.assertEqual(len(wide.rows), 1000)
        self.assertTrue(all(size * 190 < CHUNK_BYTES for size in wide.sizes), wide.sizes)
        scope = cluster.bucket(self.bucket_name).scope("_default")
        of_scope = scope.query_ex(Query, "SELECT RAW $1", 7)
        yield of_scope.ended
        self.assertEqual(of_scope.rows, [7])
        self.assertIs(AsyncN1QLRequest, AsyncQueryRequest)

    @inlineCallbacks
    def test_other_services(self) -> Any:
        if self.node is None:
            self.skipTest("the answers are scripted")
        hits = [{"index": "i", "id": str(n), "score": 1.0} for n in range(3)]
        facets = {"f": {"field": "k", "total": 1, "missing": 0, "other": 0}}
        views = [{"id": "a", "key": 1, "value": 2}]
        self.node.scripts.add(Script("analytics", rows=[1, 2]))
        self.node.scripts.add(Script("search", rows=hits, metadata={"facets": facets}))
        self.node.scripts.add(Script("views", rows=views, metadata={"total_rows": 4}))
        cluster = self.cluster()
        bucket = cluster.bucket(self.bucket_name)
        query = search.MatchAllQuery()
        analytics = cluster.analytics_query_ex(Analytics, "SELECT 1")
        found = cluster.search_query_ex(Search, "i", query, limit=3)
        also = cluster.search_ex(Search, "i", search.SearchRequest.create(query))
        view = bucket.view_query_ex(View, "d", "v")
        self.assertEqual((view.total_rows, found.facets()), (None, None))
        for handler in (analytics, found, also, view):
            yield handler.ended
            self.assertEqual(handler.ends, [None])
        self.assertEqual(analytics.rows, [1, 2])
        self.assertEqual([row.id for row in found.rows], ["0", "1", "2"])
        self.assertEqual(len(also.rows), 3)
        self.assertEqual(list(found.facets()), ["f"])
        self.assertEqual((view.rows[0].value, view.total_rows, view.indexed_rows), (2, 4, 4))

        async def read() -> list[Any]:
            streams = (
                cluster.analytics_stream("SELECT 1"),
                cluster.search_stream("i", query),
                bucket.view_stream("d", "v"),
            )
            lengths = []
            for stream in streams:
                lengths.append(len([row async for row in stream]))
            _, hits, view = streams
            return [*lengths, list(hits.facets()), view.total_rows]

        read_rows = yield ensureDeferred(read())
        self.assertEqual(read_rows, [2, 3, 1, ["f"], 4])

    @inlineCallbacks
    def test_pause_resume_stop(self) -> Any:
        cluster = self.cluster()
        handler = cluster.query_ex(PausesAtOnce, WIDE.format(20_000))
        yield until(lambda: handler.sizes)
        waiting = handler._delivery._chunks
        # It fills its window and no more, while other operations go on.
        yield until(lambda: sum(size for _, size in waiting) > WINDOW - 2 * CHUNK_BYTES)
        for _ in range(20):
            result = yield cluster.query("SELECT RAW 1")
            self.assertEqual(list(result), [1])
        self.assertEqual(len(handler.sizes), 1)
        self.assertLess(sum(size for _, size in waiting), WINDOW + CHUNK_BYTES)
        handler.resume()
        self.assertEqual(len(handler.sizes), 1, "not from inside the call")
        yield until(lambda: len(handler.sizes) == 2)
        handler.stop()
        handler.stop()
        self.assertEqual(handler.ends, [])
        yield handler.ended
        self.assertEqual((handler.ends, len(handler.sizes)), ([None], 2))
        self.assertIsNone(handler.metadata())
        yield self.until_idle(cluster)
        early = Query("SELECT 1")
        early.stop()
        self.assertEqual(early.ends, [])

    @inlineCallbacks
    def test_errors(self) -> Any:
        cluster = self.cluster()
        self.assertRaises(TypeError, cluster.query_ex, AsyncAnalyticsRequest, "SELECT 1")
        self.assertRaises(TypeError, cluster.query_ex, lambda: 1, "SELECT 1")
        self.assertRaises(RuntimeError, cluster.query_ex, Forgets, "SELECT 1")
        refused = cluster.query_ex(Query, "SELEC")
        yield refused.ended
        self.assertIsInstance(refused.ends[0], ParsingFailedException)
        self.assertEqual((len(refused.ends), refused.rows), (1, []))
        broken = cluster.query_ex(Breaks, NUMBERS.format(20_000))
        yield broken.ended
        self.assertEqual(len(broken.ends), 1)
        self.assertIsInstance(broken.ends[0], LookupError)
        yield self.until_idle(cluster)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        yield cluster.close()
        late = cluster.query_ex(Query, "SELECT 1")
        self.assertEqual(late.ends, [])
        yield late.ended
        self.assertIsInstance(late.ends[0], PoolClosed)


class IteratorTests(StreamTestCase):
    @inlineCallbacks
    def test_reading(self) -> Any:
        cluster = self.cluster()

        async def read() -> None:
            stream = cluster.query_stream(NUMBERS.format(2500))
            self.assertIs(stream.__aiter__(), stream)
            self.assertEqual([n async for n in stream], list(range(2500)))
            self.assertEqual(stream.metadata().status().value, "success")
            self.assertEqual([n async for n in stream], [])
            bad = cluster.query_stream("SELEC")
            with self.assertRaises(ParsingFailedException):
                await bad.__anext__()
            self.assertEqual([n async for n in bad], [])

        yield ensureDeferred(read())

    @inlineCallbacks
    def test_leaving_early(self) -> Any:
        cluster = self.cluster()
        yield cluster.on_connect()

        async def close() -> None:
            stream = cluster.query_stream(WIDE.format(20_000))
            async for _ in stream:
                break
            await stream.aclose()
            await stream.aclose()
            self.assertEqual([n async for n in stream], [])
            self.assertIsNone(stream.metadata())

        async def forget() -> None:
            async for _ in cluster.query_stream(WIDE.format(20_000)):
                break

        async def never_read() -> None:
            cluster.query_stream(WIDE.format(20_000))

        for leave in (close, forget, never_read):
            yield ensureDeferred(leave())
            gc.collect()
            yield self.until_idle(cluster)

    @inlineCallbacks
    def test_cancelling_the_reader(self) -> Any:
        if self.node is None:
            self.skipTest("the server is slow on demand")
        cluster = self.cluster()
        yield cluster.on_connect()
        self.node.faults.add(Fault("query", delay=0.5))
        stream = cluster.query_stream("SELECT 1")

        async def read() -> Any:
            return await stream.__anext__()

        reading = ensureDeferred(read())
        yield self.assertFailure(ensureDeferred(read()), RuntimeError)
        reading.cancel()
        yield self.assertFailure(reading, CancelledError)
        yield self.assertFailure(ensureDeferred(read()), StopAsyncIteration)
        yield self.until_idle(cluster)

    @inlineCallbacks
    def test_read_ahead_is_bounded(self) -> Any:
        for client in ("raw", "sync"):
            cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, client=client))
            bucket = cluster.bucket(self.bucket_name)
            collection = bucket.default_collection()
            yield collection.upsert(self.key("k"), 1)
            stream = cluster.query_stream(WIDE.format(60_000))
            waiting = stream._ahead._chunks
            yield until(lambda w=waiting: sum(size for _, size in w) > WINDOW - CHUNK_BYTES)
            for _ in range(20):
                yield collection.get(self.key("k"))
            self.assertLess(sum(size for _, size in waiting), WINDOW + CHUNK_BYTES)
            gets = 0

            async def read(stream: Any = stream) -> int:
                return len([row async for row in stream])

            reading = ensureDeferred(read())
            # The rows do not hold up other answers.
            while not reading.called:
                yield collection.get(self.key("k"))
                gets += 1
            rows = yield reading
            self.assertEqual(rows, 60_000)
            self.assertGreater(gets, 20)


class EndTests(StreamTestCase):
    """Workers that die, and pools that close."""

    @inlineCallbacks
    def test_worker_dies(self) -> Any:
        if self.node is None:
            self.skipTest("the server is silent on demand")
        cluster = self.cluster()
        yield cluster.on_connect()
        paused = cluster.query_ex(PausesAtOnce, WIDE.format(20_000), read_only=True)
        yield until(lambda: paused.sizes and len(paused._delivery._chunks) >= 2)
        silence = self.node.faults.add(Fault("query", effect="silence", times=3))
        # Of these nothing was delivered: the one that only reads is sent again.
        again = cluster.query("SELECT RAW 1", read_only=True)
        lost = cluster.query("SELECT RAW 2")
        searched = cluster.query_stream("SELECT RAW 3", read_only=True)
        yield until(lambda: silence.struck == 3)
        os.kill(cluster.pool.workers[0].pid, signal.SIGKILL)
        error = yield self.assertFailure(lost, WorkerLost)
        self.assertEqual(
            (error.ambiguous, error.operation, error.signal), (True, "query", signal.SIGKILL)
        )
        result = yield again
        self.assertEqual(list(result), [1])

        async def read() -> list[Any]:
            return [row async for row in searched]

        rows = yield ensureDeferred(read())
        self.assertEqual(rows, [3])
        # What arrived before is delivered before the error.
        self.assertEqual(paused.ends, [])
        paused.on_rows = lambda rows: Query.on_rows(paused, rows)  # type: ignore[method-assign]
        paused.resume()
        yield paused.ended
        self.assertGreater(len(paused.sizes), 2)
        (error,) = paused.ends
        self.assertIsInstance(error, WorkerLost)
        self.assertFalse(error.ambiguous)

    @inlineCallbacks
    def test_close_with_a_reader_that_sleeps(self) -> Any:
        config = PoolConfig(min_workers=1, max_workers=1, drain_timeout=0.2)
        cluster = self.cluster(config)
        paused = cluster.query_ex(PausesAtOnce, WIDE.format(20_000))
        other = self.cluster(cluster.pool)
        of_other = other.query_ex(PausesAtOnce, WIDE.format(20_000))
        yield until(lambda: paused.sizes and of_other.sizes)
        yield other.close()
        yield until(lambda: cluster.pool.workers[0].load == 1)
        of_other.on_rows = lambda rows: None  # type: ignore[method-assign]
        of_other.resume()
        yield of_other.ended
        self.assertIsInstance(of_other.ends[0], PoolClosed)
        self.assertIn("the cluster or bucket was closed", str(of_other.ends[0]))
        yield cluster.close()
        paused.on_rows = lambda rows: None  # type: ignore[method-assign]
        paused.resume()
        yield paused.ended
        self.assertIn("the pool was closed before all rows were read", str(paused.ends[0]))

    @inlineCallbacks
    def test_close_with_rows_that_nobody_reads(self) -> Any:
        """Nobody waits for them; what is read goes on to its end."""
        config = PoolConfig(min_workers=1, max_workers=1, drain_timeout=600)
        cluster = self.cluster(config)
        for close in (self.cluster(cluster.pool).close, cluster.close):
            closed = close.__self__  # type: ignore[attr-defined]
            unread = closed.query_stream(WIDE.format(20_000))
            left = closed.query_stream(WIDE.format(20_000))
            read = closed.query_stream(WIDE.format(20_000))
            yield ensureDeferred(left.__anext__())
            yield ensureDeferred(read.__anext__())
            batched = closed.query(WIDE.format(20_000))
            yield until(lambda unread=unread: unread._ahead._chunks)
            closing = close()

            async def reading(stream: Any = read, closing: Any = closing) -> int:
                count = 1
                async for _ in stream:
                    count += 1
                    if count % 1_000 == 0:
                        # Slower than the worker, and never idle for long.
                        await deferLater(reactor, 0.05)
                    if count == 10_000:
                        self.assertFalse(closing.called)
                return count

            count, rows = yield gatherResults([ensureDeferred(reading()), batched])
            self.assertEqual((count, len(rows)), (20_000, 20_000))
            yield closing
            for stream in (unread, left):
                rest = 0
                with self.assertRaises(PoolClosed) as raised:
                    while True:
                        yield ensureDeferred(stream.__anext__())
                        rest += 1
                self.assertGreater(rest, 0)  # what was there
                self.assertIn("before all rows were read", str(raised.exception))
        stats = cluster.pool.stats()
        self.assertEqual((stats.failed, stats.lost, stats.pending), (4, 0, 0))

    @inlineCallbacks
    def test_streams_are_bounded(self) -> Any:
        config = PoolConfig(min_workers=1, max_workers=1, max_streams=2)
        cluster = self.cluster(config)
        handlers = [cluster.query_ex(PausesAtOnce, WIDE.format(5_000)) for _ in range(2)]
        yield until(lambda: all(handler.sizes for handler in handlers))
        third = cluster.query_ex(Query, "SELECT RAW 3")
        dropped = cluster.query("SELECT RAW 4")
        fifth = cluster.query("SELECT RAW 5")
        late = cluster.query("SELECT RAW 6", timeout=timedelta(milliseconds=200))
        error = yield self.assertFailure(late, Exception)
        self.assertEqual(type(error).__name__, "UnAmbiguousTimeoutException")
        dropped.cancel()
        yield self.assertFailure(dropped, CancelledError)
        # Other operations do not wait behind them.
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        self.assertEqual(third.rows, [])
        handlers[0].stop()
        result = yield fifth
        self.assertEqual((list(result), third.rows), ([5], [3]))
        handlers[1].stop()
        yield gatherResults([handler.ended for handler in (*handlers, third)])
        yield self.until_idle(cluster)

    @inlineCallbacks
    def test_errors_after_rows(self) -> Any:
        """The SDK gathers the answer first: its error comes in place of the rows."""
        if self.node is None:
            self.skipTest("the answer is scripted")
        errors = [{"code": 12004, "msg": "gone"}]
        self.node.scripts.add(Script("query", match="SELECT", rows=[1, 2], errors=errors))
        for rows, expected in (("http", [1, 2]), ("sdk", [])):
            cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, rows=rows))
            handler = cluster.query_ex(Query, "SELECT 1")
            yield handler.ended
            self.assertIsInstance(handler.ends[0], QueryIndexNotFoundException)
            self.assertEqual(handler.rows, expected)
            result = cluster.query("SELECT 1")
            yield self.assertFailure(result, QueryIndexNotFoundException)
