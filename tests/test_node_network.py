"""The embedded node on real sockets: its life, its control port, answers that stream or break."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.test_node_kv import frame, store_extras
from txcouchbase.testing import EmbeddedNode, Fault, Script
from txcouchbase.testing.kv.frames import HEADER, Opcode
from txcouchbase.testing.views.designs import DesignDocument

reactor: Any = installed


class Wire(Protocol):
    """A client that keeps what it gets."""

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[bytes] = Deferred()
        self._wanted: tuple[Callable[[bytes], bool], Deferred[bytes]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self._wanted is not None and self._wanted[0](self.received):
            wanted, self._wanted = self._wanted, None
            wanted[1].callback(self.received)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.closed.callback(self.received)

    def until(self, enough: Callable[[bytes], bool]) -> Deferred[bytes]:
        """All that was received, once it is enough."""
        done: Deferred[bytes] = Deferred()
        self._wanted = (enough, done)
        self.dataReceived(b"")
        return done

    def ask(self, data: bytes) -> Deferred[bytes]:
        """The answer to one request in one frame or one HTTP response with a length."""
        self.received = b""
        self.transport.write(data)
        return self.until(whole)


def whole(data: bytes) -> bool:
    if data[:1] == b"\x81":
        return len(data) >= 24 and len(data) == 24 + HEADER.unpack_from(data)[6]
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) == int(line.partition(b":")[2])
    return body.endswith(b"0\r\n\r\n")


LOGIN = b64encode(b"Administrator:password").decode()


def request(method: str, path: str, body: Any = None, login: str = LOGIN) -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def body_of(response: bytes) -> Any:
    text = response.partition(b"\r\n\r\n")[2]
    if b"chunked" in response.partition(b"\r\n\r\n")[0]:
        text = b"".join(text.split(b"\r\n")[1::2])
    return json.loads(text)


def code_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


class NetworkTestCase(TestCase):
    timeout = 30

    @inlineCallbacks
    def setUp(self) -> Any:
        self.node = EmbeddedNode(reactor=reactor, **self.options())
        yield self.node.start()
        self.addCleanup(self.node.stop)

    def options(self) -> dict[str, Any]:
        return {}

    @inlineCallbacks
    def wire(self, port: int) -> Any:
        """A connection that is closed after the test."""
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        wire = yield endpoint.connect(Factory.forProtocol(Wire))
        self.addCleanup(lambda: wire.transport.loseConnection() or wire.closed)
        return wire

    @inlineCallbacks
    def logged_in(self, port: int | None = None) -> Any:
        """A key-value connection with the bucket selected."""
        wire = yield self.wire(port or self.node.kv_port)
        hello = b"\x00\x12\x00\x0b"
        yield wire.ask(frame(Opcode.HELLO, value=hello))
        yield wire.ask(
            frame(Opcode.SASL_AUTH, b"PLAIN", b"\0Administrator\0password", collection=b"")
        )
        yield wire.ask(frame(Opcode.SELECT_BUCKET, b"default", collection=b""))
        return wire

    @inlineCallbacks
    def control(self, method: str, path: str, body: Any = None) -> Any:
        wire = yield self.wire(self.node.control_port)
        response = yield wire.ask(request(method, path, body))
        return code_of(response), body_of(response)


class LifeTests(NetworkTestCase):
    @inlineCallbacks
    def test_restart_keeps_ports_and_data(self) -> Any:
        self.node.put("k", 1)
        ports = {name: self.node.port(name) for name in self.node.services}
        wire = yield self.logged_in()
        epoch = self.node._state.config(None)["revEpoch"]
        yield self.node.restart()
        yield wire.closed
        self.assertEqual(ports, {name: self.node.port(name) for name in self.node.services})
        self.assertGreater(self.node._state.config(None)["revEpoch"], epoch)
        again = yield self.logged_in()
        response = yield again.ask(frame(Opcode.GET, b"k"))
        self.assertEqual(response[24 + 4 :], b"1")

    @inlineCallbacks
    def test_restart_without_data(self) -> Any:
        self.node.put("k", 1)
        self.node.create_scope("default", "s")
        yield self.node.restart(keep_data=False)
        self.assertEqual(self.node.keys(), [])
        self.assertRaises(LookupError, self.node.keys, scope="s")
        yield self.logged_in()

    @inlineCallbacks
    def test_killed_and_brought_back(self) -> Any:
        port = self.node.kv_port
        wire = yield self.logged_in()
        yield self.node.kill()
        yield wire.closed
        yield self.assertFailure(self.wire(port), ConnectionRefusedError)
        self.assertRaises(RuntimeError, lambda: self.node.kv_port)
        yield self.node.restart()
        self.assertEqual(self.node.kv_port, port)
        yield self.logged_in()

    @inlineCallbacks
    def test_a_held_node_answers_later(self) -> Any:
        kv = yield self.logged_in()
        http = yield self.wire(self.node.mgmt_port)
        self.node.hold()
        kv.received = b""
        kv.transport.write(frame(Opcode.NOOP, collection=b""))
        http.transport.write(request("GET", "/pools"))
        late = yield self.wire(self.node.mgmt_port)
        late.transport.write(request("GET", "/pools"))
        # The control port goes on, and its answer comes after what the others would have said.
        code, _ = yield self.control("GET", "/health")
        self.assertEqual(code, 200)
        self.assertEqual((kv.received, http.received, late.received), (b"", b"", b""))
        self.node.release()
        yield kv.until(whole)
        for wire in (http, late):
            response = yield wire.until(whole)
            self.assertEqual(code_of(response), 200)

    @inlineCallbacks
    def test_stop_with_answers_on_their_way(self) -> Any:
        self.node.scripts.add(Script("query", rows=range(10**9)))
        self.node.scripts.add(Script("mgmt", body=b"late", delay=60.0))
        streaming = yield self.wire(self.node.port("query"))
        waiting = yield self.wire(self.node.mgmt_port)
        streaming.transport.write(request("POST", "/query/service", {"statement": "SELECT 1"}))
        waiting.transport.write(request("GET", "/pools"))
        yield streaming.until(lambda data: len(data) > 1000)
        yield self.node.stop()
        yield streaming.closed
        yield waiting.closed
        # Trial fails the test if a delayed call is left behind.

    def test_a_port_that_is_taken(self) -> Any:
        other = EmbeddedNode(reactor=reactor, port=self.node.kv_port)
        return self.assertFailure(other.start(), Exception).addCallback(
            lambda error: self.assertIn("in use", str(error))
        )

    def test_services_that_do_not_exist(self) -> None:
        with self.assertRaises(ValueError) as raised:
            EmbeddedNode(services=["cache"])
        self.assertIn("cache", str(raised.exception))


class FewerServicesTests(NetworkTestCase):
    def options(self) -> dict[str, Any]:
        return {"services": ["query"]}

    def test_only_those_are_in_the_map(self) -> None:
        (node,) = self.node._state.config(None)["nodesExt"]  # type: ignore[misc]
        self.assertEqual(set(node["services"]), {"kv", "mgmt", "n1ql"})
        self.assertRaises(KeyError, self.node.port, "search")


class TlsTests(NetworkTestCase):
    def options(self) -> dict[str, Any]:
        return {"tls": True}

    @inlineCallbacks
    def test_every_service_speaks_it(self) -> Any:
        path = self.node.certificate_path
        assert path is not None
        with open(path, "rb") as file:
            trusted = Certificate.loadPEM(file.read())
        self.assertTrue(self.node.connstr.startswith("couchbases://"))
        for service in self.node.services:
            endpoint = wrapClientTLS(
                optionsForClientTLS("127.0.0.1", trustRoot=trusted),
                HostnameEndpoint(reactor, "127.0.0.1", self.node.port(service)),
            )
            wire = yield endpoint.connect(Factory.forProtocol(Wire))
            if service == "kv":
                response = yield wire.ask(frame(Opcode.NOOP, collection=b""))
                self.assertEqual(response[:2], b"\x81\x0a")
            else:
                response = yield wire.ask(request("GET", "/nowhere-at-all"))
                self.assertEqual(code_of(response), 404)
            wire.transport.loseConnection()
            yield wire.closed
        yield self.node.stop()
        self.assertFalse(os.path.exists(path))


class AnswerTests(NetworkTestCase):
    @inlineCallbacks
    def ask(self, **headers: str) -> Any:
        wire = yield self.wire(self.node.port("query"))
        wire.transport.write(request("POST", "/query/service", {"statement": "SELECT 1"}))
        return wire

    @inlineCallbacks
    def test_rows_leave_no_faster_than_they_are_read(self) -> Any:
        made = 0

        def rows(call: object) -> Any:
            nonlocal made
            while made < 10**6:
                made += 1
                yield {"text": "x" * 1000}

        self.node.scripts.add(Script("query", rows=rows))
        wire = yield self.wire(self.node.port("query"))
        wire.transport.pauseProducing()
        wire.transport.write(request("POST", "/query/service", {"statement": "SELECT 1"}))
        # Until nothing more is made: what fits into the sockets.
        before = -1
        while before != made or not made:
            before = made
            yield deferLater(reactor, 0.05, lambda: None)
        self.assertLess(made, 50_000)
        enough = made * 1000 + 5_000_000
        wire.transport.resumeProducing()
        yield wire.until(lambda data: len(data) > enough)
        wire.transport.abortConnection()

    @inlineCallbacks
    def test_other_connections_are_served_meanwhile(self) -> Any:
        self.node.scripts.add(Script("query", rows=range(10**9)))
        streaming = yield self.ask()
        kv = yield self.logged_in()
        yield streaming.until(lambda data: len(data) > 100_000)
        worst = 0.0
        for _ in range(50):
            started = time.process_time()
            yield kv.ask(frame(Opcode.GET, b"nothing"))
            worst = max(worst, time.process_time() - started)
        self.assertLess(worst, 5.0)
        streaming.transport.abortConnection()

    @inlineCallbacks
    def test_cut_in_the_middle_of_a_row(self) -> Any:
        self.node.scripts.add(Script("query", rows=[{"n": n} for n in range(9)], cut_after=2))
        wire = yield self.ask()
        received = yield wire.closed
        self.assertIn(b'{"n":1}', received)
        self.assertIn(b'{"n"', received.partition(b'{"n":1}')[2])
        self.assertNotIn(b'{"n":2}', received)

    @inlineCallbacks
    def test_dropped_truncated_delayed_and_silent(self) -> Any:
        self.node.scripts.add(Script("query", body=b'{"whole": 1}'))
        whole_body = b'{"whole": 1}'
        self.node.faults.add(Fault("query", effect="drop", size=5, times=1))
        wire = yield self.ask()
        received = yield wire.closed
        self.assertIn(b"Content-Length: 12", received.title())
        self.assertEqual(received.partition(b"\r\n\r\n")[2], whole_body[:5])
        self.node.faults.add(Fault("query", effect="truncate", size=5, times=1))
        wire = yield self.ask()
        received = yield wire.until(whole)
        self.assertEqual(received.partition(b"\r\n\r\n")[2], whole_body[:5])
        silence = self.node.faults.add(Fault("query", effect="silence"))
        silent = yield self.ask()
        while not silence.struck:
            yield deferLater(reactor, 0.001, lambda: None)
        self.node.faults.clear()
        self.node.faults.add(Fault("query", delay=0.05, times=1))
        wire = yield self.ask()
        received = yield wire.until(whole)
        self.assertEqual(received.partition(b"\r\n\r\n")[2], whole_body)
        self.assertEqual(silent.received, b"")

    @inlineCallbacks
    def test_bodies_have_an_end(self) -> Any:
        wire = yield self.wire(self.node.port("query"))
        wire.transport.write(
            b"POST /query/service HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"
        )
        chunk = bytes(1 << 20)
        for _ in range(70):
            wire.transport.write(chunk)
        yield wire.closed

    @inlineCallbacks
    def test_long_forms_take_no_time(self) -> Any:
        wire = yield self.wire(self.node.mgmt_port)
        form = request("POST", "/pools/default/buckets", b"a&" * (8 << 20))
        form = form.replace(b"application/json", b"application/x-www-form-urlencoded")
        started = time.process_time()
        response = yield wire.ask(form)
        self.assertEqual(code_of(response), 400)
        self.assertLess(time.process_time() - started, 2.0)

    @inlineCallbacks
    def test_odd_kinds_of_bodies(self) -> Any:
        for kind in (b"multipart/form-data", b"multipart/form-data; boundary=\xff", b";;;\xff="):
            wire = yield self.wire(self.node.mgmt_port)
            odd = request("POST", "/pools", b"abcd").replace(b"application/json", kind)
            response = yield wire.ask(odd)
            self.assertEqual(code_of(response), 405, kind)

    @inlineCallbacks
    def test_odd_requests(self) -> Any:
        for data, expected in (
            (request("GET", "http://127.0.0.1/pools"), 200),
            (request("GET", "/pools?%zz=%00&a=%ff"), 400),
            (request("GET", "/pools", login="!"), 401),
            (request("PUT", "/pools"), 405),
            (request("GET", "/%ff/%2e%2e/"), 404),
        ):
            wire = yield self.wire(self.node.mgmt_port)
            response = yield wire.ask(data)
            self.assertEqual(code_of(response), expected, data)


class ControlTests(NetworkTestCase):
    @inlineCallbacks
    def test_faults(self) -> Any:
        fault = {"service": "kv", "operation": "^GET$", "effect": "refuse", "status": "TMPFAIL"}
        code, added = yield self.control("POST", "/faults", fault)
        self.assertEqual((code, added["number"], added["status"]), (201, 1, "TMPFAIL"))
        kv = yield self.logged_in()
        response = yield kv.ask(frame(Opcode.GET, b"k"))
        self.assertEqual(response[6:8], b"\x00\x86")
        code, listed = yield self.control("GET", "/faults")
        self.assertEqual([item["struck"] for item in listed], [1])
        yield self.control("DELETE", "/faults/1")
        response = yield kv.ask(frame(Opcode.GET, b"k"))
        self.assertEqual(response[6:8], b"\x00\x01")
        for body, word in (
            ({"service": "kv", "speed": 1}, "speed"),
            ({"service": "kv"}, "delay"),
            ({"service": "kv", "effect": "drop", "size": 1.5}, "size"),
            ({"service": "query", "effect": "refuse", "status": 503, "body": 5}, "body"),
            ({"delay": 1}, "service"),
            ([], "object"),
        ):
            code, answer = yield self.control("POST", "/faults", body)
            self.assertEqual(code, 400)
            self.assertIn(word, answer["error"])
        code, _ = yield self.control("DELETE", "/faults/9")
        self.assertEqual(code, 404)
        yield self.control("POST", "/faults", fault)
        yield self.control("DELETE", "/faults")
        self.assertEqual(self.node.faults.active(), [])

    @inlineCallbacks
    def test_scripts(self) -> Any:
        script = {"service": "mgmt", "match": "^GET /pools ", "body": '{"scripted": true}'}
        code, added = yield self.control("POST", "/scripts", script)
        self.assertEqual((code, added["number"], added["answered"]), (201, 1, 0))
        wire = yield self.wire(self.node.mgmt_port)
        response = yield wire.ask(request("GET", "/pools"))
        self.assertEqual(body_of(response), {"scripted": True})
        _, listed = yield self.control("GET", "/scripts")
        self.assertEqual([item["answered"] for item in listed], [1])
        for body, word in (
            ({"service": "query", "rows": 5}, "rows"),
            ({"service": "query", "status": 200.5}, "status"),
            ({"service": "query", "errors": [1]}, "errors"),
            ({"service": "query", "errors": [{"msg": "no number"}]}, "errors"),
            ({"service": "query", "speed": 1}, "speed"),
            ({}, "service"),
        ):
            code, answer = yield self.control("POST", "/scripts", body)
            self.assertEqual(code, 400)
            self.assertIn(word, answer["error"])
        for service in ("search", "views"):
            partial = {"service": service, "rows": [{"id": "a"}], "errors": [{"msg": "away"}]}
            code, _ = yield self.control("POST", "/scripts", partial)
            self.assertEqual(code, 201)
        code, _ = yield self.control("DELETE", "/scripts/1")
        self.assertEqual(code, 200)
        code, _ = yield self.control("DELETE", "/scripts")
        self.assertEqual(self.node.scripts.active(), [])

    @inlineCallbacks
    def test_the_record(self) -> Any:
        yield self.control("PUT", "/record", {"on": True})
        kv = yield self.logged_in()
        yield kv.ask(frame(Opcode.SET, b"k", b"\xff{}", store_extras(0, 9)))
        _, found = yield self.control("GET", "/record?service=kv&operation=SET")
        self.assertEqual([(item["key"], item["options"]["expiry"]) for item in found], [("k", 9)])
        self.assertEqual(found[0]["body"], "\\xff{}")
        code, _ = yield self.control("GET", "/record?what=kv")
        self.assertEqual(code, 400)
        yield self.control("DELETE", "/record")
        _, found = yield self.control("GET", "/record")
        self.assertEqual(found, [])
        code, _ = yield self.control("PUT", "/record", {"on": 1})
        self.assertEqual(code, 400)
        yield self.control("PUT", "/record", {"on": False})
        self.assertFalse(self.node.record.on)

    @inlineCallbacks
    def test_documents_and_snapshots(self) -> Any:
        code, _ = yield self.control("PUT", "/documents/k%2F1", {"n": 1})
        self.assertEqual(code, 200)
        _, keys = yield self.control("GET", "/documents")
        self.assertEqual(keys, ["k/1"])
        _, found = yield self.control("GET", "/documents/k%2F1")
        self.assertEqual(found["value"], {"n": 1})
        _, snapshot = yield self.control("POST", "/snapshots")
        lines = b'{"id": "a", "value": 1, "scope": "s", "collection": "c"}\n'
        _, loaded = yield self.control("POST", "/documents", lines)
        self.assertEqual(loaded, {"loaded": 1})
        _, keys = yield self.control("GET", "/documents?scope=s&collection=c")
        self.assertEqual(keys, ["a"])
        _, removed = yield self.control("DELETE", "/documents/k%2F1")
        self.assertEqual(removed, {"removed": True})
        code, _ = yield self.control("GET", "/documents/k%2F1")
        self.assertEqual(code, 404)
        yield self.control("POST", f"/snapshots/{snapshot['number']}/restore")
        _, keys = yield self.control("GET", "/documents")
        self.assertEqual(keys, ["k/1"])
        code, _ = yield self.control("GET", "/documents?scope=s&collection=c")
        self.assertEqual(code, 404)
        code, _ = yield self.control("POST", "/documents", b"nonsense")
        self.assertEqual(code, 400)

    @inlineCallbacks
    def test_statements_and_the_clock(self) -> Any:
        self.node.put("a", {"n": 1}, expiry=100)
        body = {"statement": "SELECT RAW d.n FROM default AS d USE KEYS ['a'] WHERE d.n = $1"}
        _, rows = yield self.control("POST", "/query", {**body, "args": [1]})
        self.assertEqual(rows, [1])
        code, answer = yield self.control("POST", "/query", {"statement": "SELEKT"})
        self.assertEqual(code, 400)
        self.assertIn("3000", answer["error"])
        yield self.control("POST", "/advance", {"seconds": 101})
        _, keys = yield self.control("GET", "/documents")
        self.assertEqual(keys, [])
        for path, wrong in (("/advance", {"seconds": -1}), ("/advance", {}), ("/query", {})):
            code, _ = yield self.control("POST", path, wrong)
            self.assertEqual(code, 400)

    @inlineCallbacks
    def test_life(self) -> Any:
        port = self.node.kv_port
        code, _ = yield self.control("POST", "/kill")
        self.assertEqual(code, 200)
        yield self.assertFailure(self.wire(port), ConnectionRefusedError)
        code, answer = yield self.control("POST", "/restart", {"keep_data": True})
        self.assertEqual((code, answer), (200, {}))
        self.assertEqual(self.node.kv_port, port)
        code, _ = yield self.control("POST", "/restart", {"keep": 1})
        self.assertEqual(code, 400)
        yield self.control("POST", "/hold")
        yield self.control("POST", "/release")
        yield self.logged_in()

    @inlineCallbacks
    def test_only_administrators(self) -> Any:
        wire = yield self.wire(self.node.control_port)
        response = yield wire.ask(request("GET", "/faults", login="eDp5"))
        self.assertEqual(code_of(response), 401)


class StorageTests(TestCase):
    """What needs no network."""

    def setUp(self) -> None:
        self.node = EmbeddedNode(["default", "other"], reactor=reactor)

    def test_documents(self) -> None:
        node = self.node
        node.put("a", {"n": 1}, expiry=100)
        node.put("b", [1], bucket="other")
        found = node.get("a")
        assert found is not None
        self.assertEqual((found.key, found.value, found.attributes), ("a", {"n": 1}, {}))
        self.assertGreater(found.expiry, time.time() + 50)
        self.assertEqual(node.keys(), ["a"])
        self.assertEqual(node.keys(bucket="other"), ["b"])
        self.assertIsNone(node.get("b"))
        self.assertTrue(node.remove("a"))
        self.assertFalse(node.remove("a"))
        self.assertIsNone(node.get("a"))
        for call in (node.get, node.remove, node.lock):
            self.assertRaises(LookupError, call, "a", bucket="nowhere")
            self.assertRaises(LookupError, call, "a", scope="nowhere")
        self.assertRaises(LookupError, node.lock, "a")

    def test_what_no_server_holds(self) -> None:
        for expiry in (-1, 1 << 32, 1.5):
            self.assertRaises(ValueError, self.node.put, "a", 1, expiry=expiry)
        self.assertRaises(ValueError, self.node.put, "a", float("nan"))
        self.assertRaises(ValueError, self.node.put, "", 1)
        self.assertEqual(self.node.keys(), [])

    def test_lines_that_are_none(self) -> None:
        for line, word in (
            ("[]", "object"),
            ('{"id": "x"}', "value: missing"),
            ('{"id": 1, "value": 1}', "id: 1"),
            ('{"id": "x", "value": 1, "colection": "a"}', "colection: unknown"),
            ('{"id": "x", "value": 1, "expiry": "1"}', "expiry: '1'"),
            ('{"id": "x", "value": 1, "scope": "s"}', "collection: missing"),
        ):
            with self.assertRaises(ValueError) as raised:
                self.node.load([line])
            self.assertIn(word, str(raised.exception))
            self.assertIn("line 1", str(raised.exception))
        self.assertRaises(ValueError, self.node.put, "k", float("nan"))
        self.assertRaises(ValueError, self.node.put, 5, 1)

    def test_statements(self) -> None:
        self.node.put("a", {"n": 1})
        self.node.query("CREATE PRIMARY INDEX ON default")
        self.node.query("UPDATE default SET n = n + $more", more=4)
        found = self.node.get("a")
        assert found is not None
        self.assertEqual(found.value, {"n": 5})
        self.assertEqual(self.node.query("SELECT RAW n FROM default WHERE n > ?", 3), [5])
        with self.assertRaises(ValueError) as raised:
            self.node.query("SELECT * FROM nowhere")
        self.assertIn("12003", str(raised.exception))

    def test_the_clock(self) -> None:
        self.node.put("a", 1, expiry=100)
        self.node.lock("a", 20)
        self.node.advance(21)
        self.node.lock("a", 20)
        self.node.advance(80)
        self.assertIsNone(self.node.get("a"))
        for seconds in (0, -1, 1e300, float("inf"), float("nan")):
            self.assertRaises(ValueError, self.node.advance, seconds)

    def test_locks(self) -> None:
        self.node.put("a", 1)
        cas = self.node.lock("a", 20)
        self.assertGreater(cas, 0)
        self.assertRaises(ValueError, self.node.lock, "a")
        self.assertRaises(ValueError, self.node.put, "a", 2)
        self.assertTrue(self.node.remove("a"))

    def test_snapshots(self) -> None:
        node = self.node
        node.create_scope("default", "s")
        node.create_collection("default", "s", "c")
        node.put("a", 1, scope="s", collection="c")
        node.put("b", 1)
        before = node.get("b")
        snapshot = node.snapshot()
        for value in (2, 3):
            node.put("b", value)
            node.put("new", value)
            node.drop_scope("default", "s")
            node.restore(snapshot)
            found = node.get("b")
            assert found is not None and before is not None
            self.assertEqual((found.value, found.cas), (1, before.cas))
            self.assertIsNone(node.get("new"))
            self.assertIsNotNone(node.get("a", scope="s", collection="c"))
        node.put("b", 4)
        after = node.get("b")
        assert after is not None
        self.assertGreater(after.cas, before.cas)

    def test_numbers_of_collections_are_not_used_again(self) -> None:
        node = self.node
        snapshot = node.snapshot()
        node.create_scope("default", "s")
        node.create_collection("default", "s", "c")
        manifest = node._state.buckets["default"].manifest
        number, uid = manifest.collection_id("s", "c"), manifest.uid
        node.restore(snapshot)
        self.assertGreater(manifest.uid, uid)
        node.create_scope("default", "s")
        node.create_collection("default", "s", "c")
        self.assertGreater(manifest.collection_id("s", "c"), number)

    def test_a_dropped_bucket_comes_back_with_a_new_history(self) -> None:
        node = self.node
        node.put("a", 1)
        snapshot = node.snapshot()
        node.create_scope("default", "s")
        node.create_collection("default", "s", "c")
        dropped = node._state.buckets["default"]
        manifest, token = dropped.manifest, dropped.token(0)
        node.drop_bucket("default")
        node.restore(snapshot)
        bucket = node._state.buckets["default"]
        self.assertEqual((bucket.uuid, bucket.dropped), (dropped.uuid, False))
        self.assertEqual((node.keys(), list(node._state.buckets)), (["a"], ["default", "other"]))
        self.assertGreater(bucket.manifest.uid, manifest.uid)
        self.assertNotEqual(bucket.token(0)[0], token[0])
        node.create_scope("default", "s")
        node.create_collection("default", "s", "c")
        self.assertGreater(
            bucket.manifest.collection_id("s", "c"), manifest.collection_id("s", "c")
        )

    def test_design_documents_are_restored(self) -> None:
        designs = self.node._state.buckets["default"].design_documents
        designs["old"] = DesignDocument({})
        snapshot = self.node.snapshot()
        designs["new"] = designs.pop("old")
        self.node.restore(snapshot)
        found = self.node._state.buckets["default"].design_documents
        self.assertEqual(list(found), ["old"])
