"""The Twisted end of the HTTP services: connections, requests, and answers on their way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface.declarations import implementer

from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, fields_of
from txcouchbase.testing.http.rows import Severed
from txcouchbase.testing.http.service import Delivery, HttpService

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["HttpFactory"]

MAX_BODY = 64 * 1024 * 1024
"""Bytes of the longest request body; a longer one closes the connection."""


class _LimitedRequest(Request):
    """A request whose body has an end, and is left as it is."""

    _received = 0
    _content_type: Sequence[bytes] | None = None

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer."""
        # Twisted takes apart what it takes for a form, however long, and before any login.
        self._content_type = self.requestHeaders.getRawHeaders(b"content-type")
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Answer, with all headers."""
        if self._content_type is not None:
            self.requestHeaders.setRawHeaders(b"content-type", self._content_type)
        super().process()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body."""
        self._received += len(data)
        if self._received > MAX_BODY:
            self.channel.loseConnection()
            return
        super().handleContentChunk(data)


class _QuietSite(Site):
    noisy = False

    def log(self, request: Any) -> None:
        """Requests are not logged."""


class _ServiceResource(Resource):
    """Everything of one service."""

    isLeaf = True

    def __init__(
        self, service: HttpService, state: ClusterState, exchanges: _Exchanges, node: int
    ) -> None:
        super().__init__()
        self._node = node
        self._service = service
        self._state = state
        self._exchanges = exchanges

    def render(self, request: Request) -> int:
        """Answer, now or later."""
        call = Call(self._service.name, request.method.decode("latin-1"), "", node=self._node)
        path, _, query = request.uri.partition(b"?")
        # A request may name the whole URL.
        if not path.startswith(b"/"):
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        call.path = path.decode("latin-1")
        call.headers = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        assert request.content is not None
        call.body = request.content.read()
        try:
            call.arguments = fields_of(query)
            delivery = self._service.handle(self._state, call)
        except HttpRefused as refused:
            delivery = Delivery(refused.answer())
        _Exchange(request, delivery, self._exchanges).begin()
        return NOT_DONE_YET


class _Exchanges:
    """The answers of one port that are on their way out.

    :param reactor: keeps their time.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.held = False
        self.open: set[_Exchange] = set()


@implementer(IPushProducer)
class _Exchange:
    """One answer on its way out."""

    log = Logger()

    def __init__(self, request: Request, delivery: Delivery, exchanges: _Exchanges) -> None:
        self._request = request
        self._delivery = delivery
        self._exchanges = exchanges
        self._reactor = exchanges.reactor
        self._chunks: Iterator[bytes] = iter(())
        self._call: Any = None
        self._stalled: Callable[[], None] | None = None
        self._paused = False
        self._left = delivery.cut
        exchanges.open.add(self)
        request.notifyFinish().addBoth(self._ended)

    def begin(self) -> None:
        """Send it as soon as it is due."""
        if self._delivery.delay:
            self._call = self._reactor.callLater(self._delivery.delay, self._send)
        else:
            self._send()

    def release(self) -> None:
        """Go on where a hold has stopped it."""
        stalled, self._stalled = self._stalled, None
        if stalled is not None:
            stalled()

    def _send(self) -> None:
        self._call = None
        if self._exchanges.held:
            self._stalled = self._send
            return
        answer = self._delivery.answer
        if answer is None:
            return
        self._write_head(answer)
        if isinstance(answer.body, bytes):
            if self._left is None:
                self._request.write(answer.body)
                self._request.finish()
            else:
                self._write_until_cut(answer.body)
                self._sever()
            return
        self._chunks = answer.body
        self._request.registerProducer(self, True)
        self._bite()

    def _write_head(self, answer: Answer) -> None:
        request = self._request
        request.setResponseCode(answer.code)
        request.setHeader(b"content-type", answer.content_type.encode())
        for name, value in answer.headers.items():
            request.setHeader(name.encode(), value.encode())
        if isinstance(answer.body, bytes):
            request.setHeader(b"content-length", b"%d" % len(answer.body))

    def _bite(self) -> None:
        self._call = None
        if self._exchanges.held:
            self._stalled = self._bite
            return
        try:
            chunk = next(self._chunks, None)
        except Severed as severed:
            self._write_until_cut(severed.rest)
            self._sever()
            return
        except Exception:
            # A defect of the node; the client sees what it would see of a server's crash.
            self.log.failure("an answer broke off")
            self._sever()
            return
        if chunk is None:
            if self._left is not None:
                self._sever()
                return
            self._request.unregisterProducer()
            self._request.finish()
            return
        if chunk:
            self._write_until_cut(chunk)
            if self._left == 0:
                self._sever()
                return
        if not self._paused and self._call is None:
            self._call = self._reactor.callLater(0, self._bite)

    def _write_until_cut(self, data: bytes) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            self._request.write(data)

    def _sever(self) -> None:
        # What was written still leaves.
        channel = self._request.channel
        if channel is not None:
            if self._request.producer is not None:
                self._request.unregisterProducer()
            channel.loseConnection()

    def _ended(self, _: object) -> None:
        self._exchanges.open.discard(self)
        self._stalled = None
        if self._call is not None:
            self._call.cancel()
            self._call = None
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        self._chunks = iter(())

    # IPushProducer: the connection says whether the client reads.

    def pauseProducing(self) -> None:
        """Make no more chunks for now."""
        self._paused = True
        self._stalled = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        if self._call is None and self._stalled is None:
            self._call = self._reactor.callLater(0, self._bite)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.pauseProducing()


class _Connection(ProtocolWrapper):
    """A connection that is not read while its port is held."""

    transport: Any

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._reading = True

    def makeConnection(self, transport: Any) -> None:
        """Take note of a new connection."""
        super().makeConnection(transport)
        if self.factory.held:
            self.hold()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection, once nothing is left of it."""
        super().connectionLost(reason)
        self.factory.lost()

    def pauseProducing(self) -> None:
        """Read no more; the HTTP protocol is busy with a request."""
        self._reading = False
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._reading = True
        if not self.factory.held:
            self.transport.resumeProducing()

    def hold(self) -> None:
        """Read nothing."""
        self.transport.pauseProducing()

    def release(self) -> None:
        """Read on if the HTTP protocol wants to."""
        if self._reading:
            self.transport.resumeProducing()


class HttpFactory(WrappingFactory):
    """The HTTP server of one port, whose connections can be held and ended.

    Idle connections stay open.

    :param service: what it serves.
    :param state: the cluster.
    :param reactor: keeps its time.
    :param node: the number of the node whose port it is.
    """

    noisy = False
    protocol = _Connection

    def __init__(
        self, service: HttpService, state: ClusterState, reactor: Any, node: int = 0
    ) -> None:
        self._exchanges = _Exchanges(reactor)
        resource = _ServiceResource(service, state, self._exchanges, node)
        site = _QuietSite(resource, requestFactory=_LimitedRequest, timeout=None, reactor=reactor)
        super().__init__(site)
        self._waiting: list[Deferred[None]] = []

    @property
    def held(self) -> bool:
        """Whether nothing is answered for now."""
        return self._exchanges.held

    def hold(self) -> None:
        """Read nothing, and send no answer on, until `release`."""
        self._exchanges.held = True
        for connection in self.protocols:
            connection.hold()

    def release(self) -> None:
        """Go on where `hold` stopped."""
        self._exchanges.held = False
        for exchange in list(self._exchanges.open):
            exchange.release()
        for connection in list(self.protocols):
            connection.release()

    def lost(self) -> None:
        """A connection has ended."""
        if not self.protocols:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def close(self) -> Deferred[None]:
        """Abort every connection; fires when all have ended."""
        if not self.protocols:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        for connection in list(self.protocols):
            connection.transport.abortConnection()
        return done
