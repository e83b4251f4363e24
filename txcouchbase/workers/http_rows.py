"""`HttpRows`: rows straight from the service, as they come.

The worker sends what the SDK would send, to an endpoint that the SDK has found, and takes the
answer apart while it arrives. When the reader is slow it stops reading, and with it the server.
What is not covered here goes the SDK's way: prepared statements, credentials other than passwords
and certificates, and clusters none of whose endpoints can be reached from here.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from couchbase.exceptions import CouchbaseException
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, DNSLookupError, UserError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import RequestNotSent, ResponseDone  # type: ignore[attr-defined]
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface.declarations import implementer

from txcouchbase.amp import wire
from txcouchbase.amp.errors import timeout_error
from txcouchbase.amp.rows import CHUNK_BYTES, CHUNK_ROWS, WINDOW
from txcouchbase.workers.answers import AnswerReader, MalformedAnswer
from txcouchbase.workers.service_answers import Exchange, failed, last_of, row_maker
from txcouchbase.workers.service_requests import ServiceRequest, service_request
from txcouchbase.workers.services import Endpoint, Services

if TYPE_CHECKING:
    from txcouchbase.workers.executor import Task
    from txcouchbase.workers.rows import OpenSource, RowSource

__all__ = ["HttpRows", "http_rows"]

_AHEAD: Final = WINDOW
"""So many bytes of rows that nobody has taken stop the reading."""

_NO_LIMIT: Final = 75_000
"""The time of a query that has none (milliseconds), as the SDK's."""

_NEVER_SENT: Final = (ConnectError, DNSLookupError, UserError, RequestNotSent)


@implementer(IBodyProducer)
class _Body:
    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def stopProducing(self) -> None: ...


class _Incoming(Protocol):
    """The body of an answer."""

    transport: Any

    def __init__(self, arrived: Callable[[bytes], None], ended: Callable[[Failure], None]) -> None:
        self._arrived = arrived
        self._ended = ended

    def dataReceived(self, data: bytes) -> None:
        self._arrived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended(reason)


class HttpRows:
    """The rows of one query.

    Args:
        services: Those of its cluster.
        otherwise: Makes the source that goes the SDK's way.
        reactor: The worker's reactor.
        task: The operation.
        ready: Called when there is something to take.
    """

    def __init__(
        self,
        services: Services,
        otherwise: OpenSource,
        reactor: Any,
        task: Task,
        ready: Callable[[], None],
    ) -> None:
        self._services = services
        self._otherwise = otherwise
        self._reactor = reactor
        self._task = task
        self._ready = ready
        self._sdk: RowSource | None = None
        self._request: ServiceRequest | None = None
        self._exchange: Exchange | None = None
        self._asking: Deferred[Any] | None = None
        self._incoming: _Incoming | None = None
        self._reader: AnswerReader | None = None
        self._make: Callable[[bytes], bytes] | None = None
        self._unzip: Any = None
        self._rows: deque[bytes] = deque()
        self._ahead = 0
        self._paused = False
        self._holds = False
        self._over = False
        self._outcome: dict[str, Any] | Exception | None = None
        self._timer: DelayedCall | None = None
        self._patience = 0.0

    # -- asking ---------------------------------------------------------------------------

    def start(self) -> None:
        """Send the request, once it is known where to."""
        assert self._task.value is not None
        remaining = self._task.remaining() or _NO_LIMIT
        arguments = wire.decode(self._task.value)
        request = service_request(self._task.kind.name, arguments, remaining)
        if request is None or not self._services.covered:
            self._go_the_sdk_s_way()
            return
        self._request = request
        self._reader = AnswerReader(request.member)
        self._make = row_maker(request.service)
        self._patience = remaining / 1000.0
        self._timer = self._reactor.callLater(self._patience, self._late)
        endpoints = self._services.endpoints(self._reactor, request.service)
        endpoints.addCallback(self._try).addErrback(self._cannot_ask)

    def _go_the_sdk_s_way(self) -> None:
        self._end_timer()
        self._sdk = self._otherwise(self._task, self._ready)
        self._sdk.start()

    def _try(self, endpoints: list[Endpoint]) -> None:
        if self._over:
            return
        if not endpoints:
            try:
                self._go_the_sdk_s_way()
            except Exception as error:  # the caller has to hear of it, whatever it is
                self._sdk = None
                self._end(error)
            return
        endpoint, *others = endpoints
        request = self._request
        assert request is not None
        agent, scheme = self._services.agent(self._reactor)
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._exchange = Exchange(request, endpoint.host, endpoint.port)
        body: Any = _Body(request.body)
        self._asking = agent.request(
            b"POST",
            f"{scheme}://{host}:{endpoint.port}{request.path}".encode(),
            self._services.headers(request.headers),
            body,
        )
        self._asking.addCallbacks(self._answered, self._unanswered, errbackArgs=(endpoint, others))

    def _cannot_ask(self, failure: Failure) -> None:
        self._end(failure.value)  # type: ignore[arg-type]

    def _unanswered(self, failure: Failure, endpoint: Endpoint, others: list[Endpoint]) -> None:
        self._asking = None
        if self._over:
            return
        if failure.check(*_NEVER_SENT) or _was_refused_by_tls(failure):
            self._services.failed(self._reactor, endpoint)
            self._try(others)
            return
        assert self._exchange is not None
        self._end(failed(self._exchange, "request_canceled"))

    # -- the answer -----------------------------------------------------------------------

    def _answered(self, response: Any) -> None:
        self._asking = None
        assert self._exchange is not None
        self._exchange.status = response.code
        encoding = response.headers.getRawHeaders("content-encoding", [""])[-1]
        if encoding.lower() in ("gzip", "x-gzip"):
            self._unzip = zlib.decompressobj(wbits=31)
        self._incoming = _Incoming(self._arrived, self._ended)
        response.deliverBody(self._incoming)
        if self._over:
            self._hang_up()

    def _arrived(self, data: bytes) -> None:
        if self._over:
            return
        assert self._reader is not None
        try:
            if self._unzip is not None:
                data = self._unzip.decompress(data)
            rows = self._reader.feed(data)
            if self._make is not None:
                rows = [self._make(row) for row in rows]
        except (MalformedAnswer, zlib.error):
            assert self._exchange is not None
            self._end(failed(self._exchange, "parsing_failure"))
            return
        self._restart_timer()
        if rows:
            self._rows += rows
            self._ahead += sum(map(len, rows))
            if self._ahead > _AHEAD:
                self._pause()
            self._tell()

    def _ended(self, reason: Failure) -> None:
        if self._over:
            return
        assert self._reader is not None and self._exchange is not None
        if not reason.check(ResponseDone, PotentialDataLoss):
            self._end(failed(self._exchange, "request_canceled"))
            return
        try:
            self._exchange.body = self._reader.finish()
            rest = msgspec.json.decode(self._exchange.body, type=dict[str, Any])
        except (MalformedAnswer, msgspec.MsgspecError, ValueError, RecursionError):
            self._end(failed(self._exchange, "parsing_failure"))
            return
        try:
            self._end(last_of(self._exchange, rest))
        except CouchbaseException as error:
            self._end(error)

    def _end(self, outcome: dict[str, Any] | Exception) -> None:
        if self._over:
            return
        self._over = True
        self._outcome = outcome
        self._end_timer()
        self._hang_up()
        self._tell()

    def _hang_up(self) -> None:
        if self._asking is not None:
            asking, self._asking = self._asking, None
            asking.addErrback(lambda failure: None)
            asking.cancel()
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            if incoming.transport is not None and not isinstance(self._outcome, dict):
                incoming.transport.stopProducing()

    def _tell(self) -> None:
        if not self._holds:
            self._holds = True
            self._ready()

    # -- its time -------------------------------------------------------------------------

    def _late(self) -> None:
        self._timer = None
        request, exchange = self._request, self._exchange
        assert request is not None
        if exchange is None:
            message = f"{self._task.kind.name} timed out before it was sent: no endpoint so far"
            self._end(timeout_error(message))
            return
        kind = "unambiguous_timeout" if request.readonly else "ambiguous_timeout"
        self._end(failed(exchange, kind))

    def _restart_timer(self) -> None:
        # Once it has begun, an answer may take its time, but not fall silent for so long.
        if self._timer is not None:
            self._timer.reset(self._patience)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause(self) -> None:
        if not self._paused and self._incoming is not None:
            self._paused = True
            self._end_timer()
            self._incoming.transport.pauseProducing()

    def _resume(self) -> None:
        if self._paused and self._incoming is not None:
            self._paused = False
            self._timer = self._reactor.callLater(self._patience, self._late)
            self._incoming.transport.resumeProducing()

    # -- what is taken --------------------------------------------------------------------

    def take(self) -> list[bytes] | dict[str, Any]:
        """One chunk, or what comes last."""
        if self._sdk is not None:
            return self._sdk.take()
        rows, chunk, size = self._rows, list[bytes](), 0
        while rows and len(chunk) < CHUNK_ROWS:
            size += len(rows[0])
            if chunk and size > CHUNK_BYTES:
                size -= len(rows[0])
                break
            chunk.append(rows.popleft())
        self._ahead -= size
        if self._ahead <= _AHEAD // 2:
            self._resume()
        if chunk:
            return chunk
        if self._outcome is None:
            self._holds = False
            return []
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def stop(self) -> None:
        """Hang up: the server sees it."""
        if self._sdk is not None:
            self._sdk.stop()
            return
        self._rows.clear()
        self._over = True
        self._end_timer()
        self._hang_up()
        if not self._holds:
            self._holds = True
            self._reactor.callLater(0, self._ready)


def http_rows(
    services: Services, otherwise: OpenSource, reactor: Any, task: Task, ready: Callable[[], None]
) -> RowSource:
    """The source of an operation's rows; that of a scan's documents goes the SDK's way.

    Args:
        services: Those of the cluster.
        otherwise: Makes the source that goes the SDK's way.
        reactor: The worker's reactor.
        task: The operation.
        ready: What it calls when it has something.
    """
    if task.kind.name == "scan":
        return otherwise(task, ready)
    return HttpRows(services, otherwise, reactor, task, ready)


def _was_refused_by_tls(failure: Failure) -> bool:
    """Whether the connection was given up before anything of the request was sent."""
    reasons = getattr(failure.value, "reasons", None) or []
    return any(
        type(reason.value).__module__.split(".")[0] in ("OpenSSL", "service_identity")
        for reason in reasons
    )
