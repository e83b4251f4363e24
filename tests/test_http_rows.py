"""Rows straight from the service: as they come, no faster than they are read, whatever breaks."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import couchbase.search as search
from couchbase.auth import PasswordAuthenticator
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    AuthenticationException,
    CouchbaseException,
    ParsingFailedException,
    RequestCanceledException,
    ServiceUnavailableException,
    UnAmbiguousTimeoutException,
)
from couchbase.management.users import Role, User
from couchbase.options import ClusterOptions
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from tests.support import LONG, ONE, ServerTestCase, until
from txcouchbase.amp import wire
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.cluster import TxCluster
from txcouchbase.testing import EmbeddedNode, Script
from txcouchbase.workers.executor import Place, Task
from txcouchbase.workers.http_rows import HttpRows
from txcouchbase.workers.services import Endpoint

ASKED = {
    "query": lambda cluster, bucket, **options: cluster.query_stream("SELECT", **options),
    "analytics": lambda cluster, bucket, **options: cluster.analytics_stream("SELECT", **options),
    "search": lambda cluster, bucket, **options: cluster.search_stream(
        "hits", search.MatchQuery("x"), **options
    ),
    "views": lambda cluster, bucket, **options: bucket.view_stream("d", "v", **options),
}
MATCH = {"query": "SELECT", "analytics": "SELECT", "search": "^POST", "views": "^POST"}
"""Not what workers ask to find endpoints."""

ROW = {
    "query": {"a": 1},
    "analytics": {"a": 1},
    "search": {"index": "i", "id": "d", "score": 1.0},
    "views": {"id": "d", "key": 1, "value": None},
}


async def read(stream: Any) -> tuple[int, Exception | None]:
    """How many rows come, and what ends them."""
    count = 0
    try:
        async for _ in stream:
            count += 1
    except CouchbaseException as error:
        return count, error
    return count, None


class Made:
    """Rows that are made as they are sent."""

    def __init__(self, total: int, row: Any) -> None:
        self.count = 0
        self.ended = False
        self.total = total
        self._row = row

    def rows(self, call: Any) -> Iterator[Any]:
        try:
            for _ in range(self.total):
                self.count += 1
                yield self._row
        finally:
            self.ended = True

    def pause(self) -> Deferred[None]:
        """Fires when no more are made."""
        looks = [-1] * 40

        def still() -> bool:
            looks.append(self.count)
            return looks[-1] == looks[-40]

        return until(still)


class NodeTestCase(ServerTestCase):
    def setUp(self) -> Any:
        started = super().setUp()
        if os.environ.get("COUCHBASE_CONNSTR"):
            self.skipTest("the node answers as a test wants it")
        return started

    async def connected(self, **options: Any) -> tuple[TxCluster, Any]:
        cluster = self.cluster(**options)
        bucket = cluster.bucket(self.bucket_name)
        await bucket.on_connect()
        return cluster, bucket


class StreamTests(NodeTestCase):
    def test_a_reader_who_does_not_read_and_then_hangs_up(self) -> Any:
        return ensureDeferred(self.slow_reader())

    async def slow_reader(self) -> None:
        assert self.node is not None
        cluster, bucket = await self.connected()
        for service, ask in ASKED.items():
            # 1,000 bytes each: what is under way has to fit the buffers of two sockets.
            row = ROW[service] | ({"fields": {"t": "x" * 950}} if service == "search" else {})
            if service != "search":
                row = row | {"value": "x" * 960}
            made = Made(100_000, row)
            script = self.node.scripts.add(Script(service, MATCH[service], rows=made.rows))
            stream = ask(cluster, bucket)
            await stream.__anext__()
            await made.pause()
            self.assertLess(made.count, 40_000, service)
            self.assertFalse(made.ended)
            self.assertEqual(cluster.pool.workers[0].load, 1)
            await stream.aclose()
            await until(lambda made=made: made.ended)
            await until(lambda: not cluster.pool.workers[0].load)
            self.node.scripts.remove(script.number)

    def test_a_row_is_there_long_before_the_last_one(self) -> Any:
        return ensureDeferred(self.first_row())

    async def first_row(self) -> None:
        assert self.node is not None
        cluster, bucket = await self.connected()
        for service, ask in ASKED.items():
            made = Made(200_000, ROW[service])
            script = self.node.scripts.add(Script(service, MATCH[service], rows=made.rows))
            stream = ask(cluster, bucket, timeout=LONG)
            await stream.__anext__()
            self.assertLess(made.count, made.total, service)
            count, error = await read(stream)
            self.assertEqual((count, error), (made.total - 1, None), service)
            self.assertIsNotNone(stream.metadata())
            self.node.scripts.remove(script.number)


class FaultTests(NodeTestCase):
    def test_in_the_middle(self) -> Any:
        return ensureDeferred(self.in_the_middle())

    async def in_the_middle(self) -> None:
        assert self.node is not None
        cluster, bucket = await self.connected()
        for service, ask in ASKED.items():
            one = json.dumps(ROW[service]).encode()
            member = {"search": b"hits", "views": b"rows"}.get(service, b"results")
            for script, rows, expected in (
                (
                    Script(service, MATCH[service], rows=[ROW[service]] * 5000, cut_after=3000),
                    3000,
                    RequestCanceledException,
                ),
                # An answer that ends by itself, in the middle of a row.
                (
                    Script(service, MATCH[service], body=b'{"%b":[%b,%b' % (member, one, one[:5])),
                    1,
                    ParsingFailedException,
                ),
                (
                    Script(
                        service,
                        MATCH[service],
                        body=b'{"%b":[%b,%b,nonsense]}' % (member, one, one),
                    ),
                    2,
                    ParsingFailedException,
                ),
                (Script(service, MATCH[service], body=b"no JSON"), 0, ParsingFailedException),
            ):
                number = self.node.scripts.add(script).number
                count, error = await read(ask(cluster, bucket))
                self.assertIsInstance(error, expected, (service, script))
                # What comes together with what cannot be read is lost with it, and what a
                # connection that is cut has not brought yet.
                self.assertLessEqual(count, rows)
                self.node.scripts.remove(number)
        result = await cluster.query("SELECT RAW 5")
        self.assertEqual(list(result), [5])

    def test_a_server_that_falls_silent(self) -> Any:
        return ensureDeferred(self.silent())

    async def silent(self) -> None:
        assert self.node is not None
        cluster, bucket = await self.connected()
        for service, expected, options in (
            ("query", AmbiguousTimeoutException, {}),
            ("query", UnAmbiguousTimeoutException, {"read_only": True}),
            ("search", AmbiguousTimeoutException, {}),
        ):
            made = Made(100_000, ROW[service])
            script = self.node.scripts.add(Script(service, MATCH[service], rows=made.rows))
            stream = ASKED[service](cluster, bucket, timeout=timedelta(seconds=0.8), **options)
            await stream.__anext__()
            self.node.hold()
            count, error = await read(stream)
            self.assertIsInstance(error, expected)
            self.assertLess(count, made.total)
            self.node.release()
            self.node.scripts.remove(script.number)
            await until(lambda: not cluster.pool.workers[0].load)

    def test_credentials_that_change(self) -> Any:
        return ensureDeferred(self.credentials())

    async def credentials(self) -> None:
        admin, _ = await self.connected()
        users = admin.users()

        def user(password: str) -> User:
            return User("second", password=password, roles={Role("admin")})

        await users.upsert_user(user("the first"))
        cluster = TxCluster(self.connstr, username="second", password="the first", pool=ONE)
        self.addCleanup(cluster.close)
        self.assertEqual(list(await cluster.query("SELECT RAW 1")), [1])
        await users.upsert_user(user("the second"))
        await self.assertFailure(cluster.query("SELECT 1"), AuthenticationException)
        await cluster.set_authenticator(PasswordAuthenticator("second", "the second"))
        self.assertEqual(list(await cluster.query("SELECT RAW 1")), [1])

    def test_nodes_that_leave(self) -> Any:
        return ensureDeferred(self.nodes())

    async def nodes(self) -> None:
        node = EmbeddedNode(nodes=3, reactor=reactor)
        await node.start()
        self.addCleanup(node.stop)
        cluster = self.cluster(connstr=node.connstr)
        await cluster.on_connect()

        async def asked(count: int) -> set[int]:
            with node.recording() as record:
                for _ in range(count):
                    self.assertEqual(list(await cluster.query("SELECT RAW 1", timeout=LONG)), [1])
            return {request.node for request in record.find("query", "POST /query/service")}

        self.assertEqual(await asked(6), {0, 1, 2})
        await node.kill(2)
        self.assertEqual(await asked(6), {0, 1})
        await node.kill(1)
        self.assertEqual(await asked(3), {0})
        await node.restart(1)
        await node.restart(2)
        await until(lambda: cluster.pool.workers[0].load == 0)
        self.assertTrue(await asked(3) <= {0, 1, 2})


class OtherWayTests(NodeTestCase):
    """What goes the SDK's way, and what does not."""

    def test_tls(self) -> Any:
        return ensureDeferred(self.tls())

    async def tls(self) -> None:
        node = EmbeddedNode(tls=True, reactor=reactor)
        await node.start()
        self.addCleanup(node.stop)
        node.scripts.add(Script("query", match="agent", rows=lambda call: [call.headers]))
        for connstr, options in (
            (node.connstr, {"cert_path": node.certificate_path}),
            (f"{node.connstr}?tls_verify=none", {}),
        ):
            authenticator = PasswordAuthenticator(node.username, node.password, **options)
            cluster = TxCluster(connstr, ClusterOptions(authenticator), pool=ONE)
            self.addCleanup(cluster.close)
            await cluster.on_connect()
            (headers,) = await cluster.query("agent")
            # The SDK names itself; a request from here does not.
            self.assertNotIn("cxx", headers.get("user-agent", ""))
            await cluster.close()

    def test_what_only_the_sdk_does(self) -> Any:
        return ensureDeferred(self.only_the_sdk())

    async def only_the_sdk(self) -> None:
        node = EmbeddedNode(services=("query",), reactor=reactor)
        await node.start()
        self.addCleanup(node.stop)
        cluster = self.cluster(connstr=node.connstr)
        await cluster.on_connect()
        with node.recording() as record:
            result = await cluster.query("SELECT RAW 1", adhoc=False)
            self.assertEqual(list(result), [1])
        (request,) = record.find("query", "POST /query/service")
        self.assertTrue(request.options["statement"].startswith("PREPARE "))
        await self.assertFailure(
            cluster.analytics_query("SELECT 1", timeout=LONG), ServiceUnavailableException
        )


class FakeTransport:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class FakeResponse:
    def __init__(self, code: int = 200, **headers: str) -> None:
        self.code = code
        self.headers = Headers({name.replace("_", "-"): [text] for name, text in headers.items()})
        self.transport = FakeTransport()
        self.body: Any = None

    def deliverBody(self, protocol: Any) -> None:
        self.body = protocol
        protocol.makeConnection(self.transport)


class FakeServices:
    """Of a cluster, and the agent that asks them."""

    covered = True

    def __init__(self, *endpoints: Endpoint) -> None:
        self.list = list(endpoints) or [Endpoint("host", 1)]
        self.asked: list[Deferred[Any]] = []
        self.uris: list[bytes] = []
        self.cancelled = 0
        self.lost: list[Endpoint] = []

    def endpoints(self, clock: Any, service: str) -> Deferred[list[Endpoint]]:
        return succeed(self.list)

    def failed(self, clock: Any, endpoint: Endpoint) -> None:
        self.lost.append(endpoint)

    def agent(self, clock: Any) -> tuple[Any, str]:
        return self, "http"

    def headers(self, of_request: Any) -> Headers:
        return Headers({})

    def request(self, method: bytes, uri: bytes, headers: Headers, body: Any) -> Deferred[Any]:
        def cancelled(deferred: Deferred[Any]) -> None:
            self.cancelled += 1

        self.uris.append(uri)
        self.asked.append(Deferred(cancelled))
        return self.asked[-1]


class SourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ready = 0
        self.services = FakeServices()
        self.sdk: list[str] = []

    def note(self) -> None:
        self.ready += 1

    def source(self, seconds: float = 10.0, **arguments: Any) -> HttpRows:
        given = wire.encode({"statement": "SELECT 1", "metrics": False, **arguments})
        code = OPERATIONS["query"].code
        place = Place(1, 1, "", "", "")
        task = Task([1, code, 0, None, int(seconds * 1000), given, 0], place, time.monotonic())
        services: Any = self.services

        def otherwise(task: Task, ready: Any) -> Any:
            return SimpleNamespace(
                start=lambda: self.sdk.append("start"),
                take=lambda: {"from": "sdk"},
                stop=lambda: self.sdk.append("stop"),
            )

        source = HttpRows(services, otherwise, self.clock, task, self.note)
        source.start()
        return source

    def answered(self, source: HttpRows, code: int = 200, **headers: str) -> FakeResponse:
        response = FakeResponse(code, **headers)
        self.services.asked[-1].callback(response)
        return response

    def test_rows_and_what_comes_last(self) -> None:
        source = self.source()
        response = self.answered(source)
        response.body.dataReceived(b'{"results":[1,{"a":2},')
        self.assertEqual((source.take(), source.take()), ([b"1", b'{"a":2}'], []))
        response.body.dataReceived(b'[3]],"status":"success","requestID":"r"}')
        self.assertEqual(source.take(), [b"[3]"])
        self.assertEqual(source.take(), [])
        response.body.connectionLost(Failure(ResponseDone()))
        last: Any = source.take()
        self.assertEqual(last["metadata"]["request_id"], "r")
        self.assertEqual(self.ready, 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_compressed(self) -> None:
        source = self.source()
        response = self.answered(source, content_encoding="gzip")
        rows = ",".join(str(n) for n in range(5000))
        data = gzip.compress(f'{{"results":[{rows}],"status":"success"}}'.encode())
        for place in range(0, len(data), 7):
            response.body.dataReceived(data[place : place + 7])
        response.body.connectionLost(Failure(ResponseDone()))
        found: list[bytes] = []
        while isinstance(chunk := source.take(), list):
            self.assertLessEqual(len(chunk), 1000)
            found += chunk
        self.assertEqual([int(row) for row in found], list(range(5000)))
        self.assertEqual(chunk["metadata"]["status"], "success")

    def test_what_is_not_compressed_as_it_says(self) -> None:
        source = self.source()
        self.answered(source, content_encoding="gzip").body.dataReceived(b'{"results":[]}')
        self.assertRaises(ParsingFailedException, source.take)

    def test_it_reads_no_further_than_is_taken(self) -> None:
        source = self.source()
        response = self.answered(source)
        calls = response.transport.calls
        response.body.dataReceived(b'{"results":[')
        row = b'"%b",' % (b"x" * 1021)
        response.body.dataReceived(row * 250)
        self.assertEqual(calls, [])
        response.body.dataReceived(row * 10)
        self.assertEqual(calls, ["pause"])
        # Nobody is late who waits to be read.
        self.clock.advance(100)
        source.take()
        self.assertEqual(calls, ["pause"])
        while calls == ["pause"]:
            self.assertTrue(source.take())
        self.assertEqual(calls, ["pause", "resume"])
        self.clock.advance(11)
        self.assertEqual(calls, ["pause", "resume", "stop"])
        while isinstance(chunk := self.taken(source), list):
            pass
        self.assertIsInstance(chunk, AmbiguousTimeoutException)

    def taken(self, source: HttpRows) -> Any:
        try:
            return source.take()
        except CouchbaseException as error:
            return error

    def test_silence(self) -> None:
        source = self.source(2.0)
        response = self.answered(source)
        for _ in range(5):
            self.clock.advance(1.9)
            response.body.dataReceived(b" ")
        self.assertEqual(self.ready, 0)
        self.clock.advance(2.1)
        self.assertEqual(self.ready, 1)
        self.assertIsInstance(self.taken(source), AmbiguousTimeoutException)
        self.assertEqual(response.transport.calls, ["stop"])

    def test_no_answer(self) -> None:
        for arguments, expected in (
            ({}, AmbiguousTimeoutException),
            ({"readonly": True}, UnAmbiguousTimeoutException),
        ):
            source = self.source(2.0, **arguments)
            self.clock.advance(2.1)
            self.assertIsInstance(self.taken(source), expected)
        self.assertEqual(self.services.cancelled, 2)

    def test_endpoints_that_cannot_be_reached(self) -> None:
        self.services = FakeServices(Endpoint("a", 1), Endpoint("fd00::1", 2))
        source = self.source()
        self.services.asked[0].errback(Refused())
        self.assertEqual(
            self.services.uris, [b"http://a:1/query/service", b"http://[fd00::1]:2/query/service"]
        )
        self.services.asked[1].errback(Refused())
        self.assertEqual(self.services.lost, self.services.list)
        self.assertEqual(self.sdk, ["start"])
        self.assertEqual(source.take(), {"from": "sdk"})
        source.stop()
        self.assertEqual(self.sdk, ["start", "stop"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_connection_that_is_lost_is_not_tried_again(self) -> None:
        self.services = FakeServices(Endpoint("a", 1), Endpoint("b", 2))
        source = self.source()
        self.services.asked[0].errback(RuntimeError("lost"))
        self.assertEqual(len(self.services.asked), 1)
        self.assertIsInstance(self.taken(source), RequestCanceledException)
        self.assertEqual(self.services.lost, [])

    def test_stopping(self) -> None:
        # Before the answer, within it, and after it.
        source = self.source()
        source.stop()
        self.assertEqual(self.services.cancelled, 1)
        self.assertEqual(self.ready, 0)
        self.clock.advance(0)
        self.assertEqual(self.ready, 1)

        source = self.source()
        response = self.answered(source)
        response.body.dataReceived(b'{"results":[1,')
        source.stop()
        self.assertEqual(response.transport.calls, ["stop"])
        response.body.dataReceived(b"2,")
        response.body.connectionLost(Failure(ResponseDone()))
        self.clock.advance(0)
        self.assertEqual(self.ready, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_sdk_s_way(self) -> None:
        self.source(adhoc=False)
        self.services.covered = False
        self.source()
        self.assertEqual(self.sdk, ["start", "start"])
        self.assertEqual(self.services.asked, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
