"""The embedded node started, stopped, killed, restarted and held, in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.support import until
from tests.test_node_kv import frame, store_extras
from tests.test_node_network import LOGIN, NetworkTestCase, Wire, code_of, request, whole
from txcouchbase.testing import EmbeddedNode, Fault, Script
from txcouchbase.testing.kv.frames import Opcode

reactor: Any = installed

QUERY = request("POST", "/query/service", {"statement": "SELECT 1"})


@inlineCallbacks
def settled(count: Callable[[], int]) -> Any:
    """A number, once it has not grown for a while."""
    before = -1
    while before != count():
        before = count()
        yield deferLater(reactor, 0.1, lambda: None)
    return before


class OrderTests(TestCase):
    """What is asked for last is what comes out."""

    timeout = 30

    def setUp(self) -> None:
        self.node = EmbeddedNode(reactor=reactor)
        self.addCleanup(self.node.stop)

    def refused(self, port: int) -> Deferred[Any]:
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        return self.assertFailure(
            endpoint.connect(Factory.forProtocol(Wire)), ConnectionRefusedError
        )

    @inlineCallbacks
    def test_stopped_during_a_restart(self) -> Any:
        yield self.node.start()
        port, control = self.node.kv_port, self.node.control_port
        yield gatherResults([self.node.restart(), self.node.stop()])
        self.assertRaises(RuntimeError, lambda: self.node.kv_port)
        yield self.refused(port)
        yield self.refused(control)

    @inlineCallbacks
    def test_everything_at_once(self) -> Any:
        node = self.node
        yield node.start()
        yield gatherResults([node.restart(), node.restart(keep_data=False), node.kill()])
        self.assertRaises(RuntimeError, lambda: node.kv_port)
        yield gatherResults([node.restart(), node.stop(), node.stop(), node.start()])
        yield gatherResults([node.kill(), node.restart(), node.stop()])
        self.assertRaises(RuntimeError, lambda: node.kv_port)

    @inlineCallbacks
    def test_started_again_on_a_port_that_is_being_closed(self) -> Any:
        yield self.node.start()
        port = self.node.kv_port
        yield self.node.stop()
        node = EmbeddedNode(port=port, reactor=reactor)
        self.addCleanup(node.stop)
        yield gatherResults([node.start(), node.stop(), node.start()])
        self.assertEqual(node.kv_port, port)

    @inlineCallbacks
    def test_a_restart_that_fails_can_be_repeated(self) -> Any:
        yield self.node.start()
        port, control = self.node.kv_port, self.node.control_port
        yield self.node.kill()
        squatter = reactor.listenTCP(port, Factory(), interface="127.0.0.1")
        yield self.assertFailure(self.node.restart(), CannotListenError)
        self.assertRaises(RuntimeError, lambda: self.node.kv_port)
        self.assertEqual(self.node.control_port, control)
        yield squatter.stopListening()
        yield self.node.restart()
        self.assertEqual(self.node.kv_port, port)

    def test_documents_before_the_start(self) -> None:
        node = EmbeddedNode()
        node.put("k", 1, expiry=100)
        self.assertEqual(node.keys(), ["k"])


class HeldTests(NetworkTestCase):
    @inlineCallbacks
    def test_rows_stay_where_they_are(self) -> Any:
        made = 0

        def rows(call: object) -> Any:
            nonlocal made
            while True:
                made += 1
                yield made

        self.node.scripts.add(Script("query", rows=rows))
        wire = yield self.wire(self.node.port("query"))
        wire.transport.write(QUERY)
        yield wire.until(lambda data: len(data) > 10_000)
        self.node.hold()
        before = yield settled(lambda: made)
        self.node.release()
        yield until(lambda: made > before)
        wire.transport.abortConnection()

    @inlineCallbacks
    def test_an_answer_that_closes_the_connection(self) -> Any:
        # Long enough to be held before it is over.
        script = self.node.scripts.add(Script("mgmt", body=b"late", delay=0.3))
        wire = yield self.wire(self.node.mgmt_port)
        wire.transport.write(
            b"GET /pools HTTP/1.0\r\nAuthorization: Basic %s\r\n\r\n" % LOGIN.encode()
        )
        yield until(lambda: script.answered > 0)
        self.node.hold()
        yield deferLater(reactor, 0.5, lambda: None)
        self.assertEqual((wire.received, wire.closed.called), (b"", False))
        self.node.release()
        received = yield wire.closed
        self.assertTrue(received.endswith(b"late"))

    @inlineCallbacks
    def test_stopped_and_restarted_while_held(self) -> Any:
        self.node.scripts.add(Script("query", rows=range(10**9)))
        wire = yield self.wire(self.node.port("query"))
        wire.transport.write(QUERY)
        yield wire.until(lambda data: len(data) > 1000)
        kv = yield self.logged_in()
        self.node.hold()
        yield self.node.restart()
        yield gatherResults([wire.closed, kv.closed])
        again = yield self.logged_in()
        self.node.hold()
        yield self.node.stop()
        yield again.closed

    @inlineCallbacks
    def test_nothing_is_left_once_it_has_stopped(self) -> Any:
        script = self.node.scripts.add(Script("mgmt", body=b"late", delay=60.0))
        wire = yield self.wire(self.node.mgmt_port)
        wire.transport.write(request("GET", "/pools"))
        yield until(lambda: script.answered > 0)

        def late(_: None) -> list[Any]:
            names = [getattr(call.func, "__qualname__", "") for call in reactor.getDelayedCalls()]
            return [name for name in names if "_Exchange" in name]

        left = yield self.node.stop().addCallback(late)
        self.assertEqual(left, [])


@implementer(IOpenSSLClientConnectionCreator)
class _Trusting:
    """A client of TLS that asks for no certificate."""

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)


class TlsTests(NetworkTestCase):
    def options(self) -> dict[str, Any]:
        return {"tls": True}

    @inlineCallbacks
    def wire(self, port: int) -> Any:
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        if port != self.node.control_port:
            endpoint = wrapClientTLS(_Trusting(), endpoint)  # type: ignore[assignment]
        wire = yield endpoint.connect(Factory.forProtocol(Wire))
        self.addCleanup(
            lambda: wire.closed.called or wire.transport.abortConnection() or wire.closed
        )
        return wire

    @inlineCallbacks
    def test_dropped_in_the_middle_of_a_frame(self) -> Any:
        for delay in (0.0, 0.01):
            kv = yield self.logged_in()
            fault = Fault("kv", operation="^GET$", effect="drop", size=5, delay=delay, times=1)
            self.node.faults.add(fault)
            kv.received = b""
            kv.transport.write(frame(Opcode.GET, b"k"))
            received = yield kv.until(lambda data: len(data) > 4)
            if not kv.closed.called:
                kv.transport.write(frame(Opcode.SET, b"late", b"1", store_extras()))
            yield kv.closed
            self.assertEqual(received, b"\x81\x00\x00\x00\x00")
        self.assertEqual(self.node.keys(), [])

    @inlineCallbacks
    def test_the_answer_to_quit(self) -> Any:
        kv = yield self.logged_in()
        response = yield kv.ask(frame(Opcode.QUIT, collection=b""))
        self.assertEqual(response[:2], b"\x81\x07")
        yield kv.closed

    @inlineCallbacks
    def test_held(self) -> Any:
        kv = yield self.logged_in()
        http = yield self.wire(self.node.port("mgmt"))
        response = yield http.ask(request("GET", "/pools"))
        self.assertEqual(code_of(response), 200)
        self.node.hold()
        kv.received = http.received = b""
        kv.transport.write(frame(Opcode.NOOP, collection=b""))
        http.transport.write(request("GET", "/pools"))
        yield self.control("GET", "/health")
        self.assertEqual((kv.received, http.received), (b"", b""))
        self.node.release()
        yield kv.until(whole)
        yield http.until(whole)
        self.node.hold()
        yield self.node.stop()
        yield gatherResults([kv.closed, http.closed])
