"""The Twisted end of the key-value service: bytes in, requests, bytes out."""

from __future__ import annotations

from struct import Struct
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface.declarations import implementer

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.kv.durability import ReplicasMissing, outcome_of
from txcouchbase.testing.kv.frames import ALT_REQUEST, MAX_BODY, REQUEST, Request, reply
from txcouchbase.testing.kv.session import Session
from txcouchbase.testing.kv.status import Malformed, Status
from txcouchbase.testing.kv.watch import Outcome, watched

__all__ = ["KeyValueFactory", "KeyValueProtocol"]

_START = Struct(">HHxxHI")
"""Of a header: magic and opcode in one number, the lengths of key and body, the vBucket between."""

_PLAIN_GET = 0x8000

MOST_OUTPUT = 1024 * 1024
"""Bytes of answers after which the next requests wait until the client has read some of them."""


@implementer(IPushProducer)
class KeyValueProtocol(Protocol):
    """One client.

    Everything that one read brings is answered by one write, unless the answers are long. A client
    that sends faster than it reads its answers is not read until it does.

    :param factory: keeps the connections of one listening port.
    """

    log = Logger()
    transport: Any

    def __init__(self, factory: KeyValueFactory) -> None:
        self._factory = factory
        self.session = Session(factory.cluster, factory.node)
        self.session.wake = self._try_again
        self._partial: list[bytes] = []
        self._have = 0
        self._need = 0
        self._late: set[Any] = set()
        self._waiting: dict[Any, tuple[Bucket, Request]] = {}
        self._stalled: list[Outcome] = []
        self._reading = True

    def connectionMade(self) -> None:
        """Take note of a new connection."""
        self._factory.made(self)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        if self._factory.held:
            self.hold()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self._partial.clear()
        for call in (*self._late, *self._waiting):
            call.cancel()
        for bucket, request in self._waiting.values():
            bucket.uncommitted.discard(request.key)
        self._late.clear()
        self._waiting.clear()
        self._stalled.clear()
        self._factory.lost(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer every request that is complete; keep the rest."""
        if self.session.closing:
            # TLS goes on reading until the peer has closed too.
            return
        if self._partial:
            self._partial.append(data)
            self._have += len(data)
            # What is complete waits for the client to read its answers.
            if self._have < self._need or not self._reading:
                return
            data = self._kept()
        self._respond(data)
        self._respond_to_kept()

    def _respond_to_kept(self) -> None:
        """Go on with requests that are complete, while the client reads its answers."""
        while (
            self._partial
            and self._have >= self._need
            and self._reading
            and not self.session.closing
        ):
            self._respond(self._kept())

    def _kept(self) -> bytes:
        kept = b"".join(self._partial)
        self._partial.clear()
        return kept

    def _respond(self, data: bytes) -> None:
        output: list[bytes] = []
        try:
            at = self._answer(data, output)
        except Malformed as malformed:
            if output:
                self.transport.write(b"".join(output))
            self._refuse(str(malformed))
            return
        if output:
            self.transport.write(b"".join(output))
        if self.session.closing:
            self._hang_up()
        elif at < len(data):
            self._keep(data[at:])

    def _answer(self, data: bytes, output: list[bytes]) -> int:
        """Append the responses to complete requests; return where the next one starts.

        All are answered unless the responses are long.
        """
        session = self.session
        long = 0
        find, active = session.find, session.active
        start_of = _START.unpack_from
        size = len(data)
        now = self._factory.cluster.seconds()
        at = 0
        while size - at >= 24:
            code, key_length, vbucket, body = start_of(data, at)
            stop = at + 24 + body
            if stop > size:
                if code >> 8 not in (REQUEST, ALT_REQUEST):
                    raise Malformed(f"a request cannot start with magic 0x{code >> 8:02x}")
                if body > MAX_BODY:
                    raise Malformed(f"a body of {body} bytes is longer than {MAX_BODY}")
                break
            # The way for most: a plain GET of a document with nothing to look at first.
            if code == _PLAIN_GET and body == key_length and vbucket in active:
                document = find(data[at + 24 : stop])
                if document is not None and document.head:
                    output += (document.head, data[at + 12 : at + 16], document.tail)
                    at = stop
                    continue
            request = Request(data, at, now)
            try:
                if self._factory.cluster.watched:
                    response = self._watched(request)
                else:
                    response = session.answer(request)
                output.append(response)
                long += len(response)
            except ReplicasMissing as missing:
                self._wait(request, missing.seconds)
            at = stop
            if session.closing:
                return size
            if long >= MOST_OUTPUT:
                break
            find, active = session.find, session.active
        return at

    def _watched(self, request: Request) -> bytes:
        """What a request is answered with at once, while somebody watches."""
        outcome = watched(self.session, request)
        if outcome.delay:
            self._send_later(outcome)
            return b""
        if outcome.close:
            self.session.closing = True
        return outcome.response

    def _send_later(self, outcome: Outcome) -> None:
        def send() -> None:
            self._late.remove(call)
            self._send_unless_held(outcome)

        call = self._factory.reactor.callLater(outcome.delay, send)
        self._late.add(call)

    def _wait(self, request: Request, seconds: float) -> None:
        """Take a durable write back when its time is over, if the cluster does not change."""
        bucket = self.session.bucket
        assert bucket is not None

        def give_up() -> None:
            del self._waiting[call]
            bucket.uncommitted.discard(request.key)
            self._send_unless_held(Outcome(reply(request, Status.SYNC_WRITE_AMBIGUOUS)))

        call = self._factory.reactor.callLater(seconds, give_up)
        self._waiting[call] = bucket, request

    def _try_again(self) -> None:
        """Carry durable writes out whose replicas answer again."""
        for call, (bucket, request) in list(self._waiting.items()):
            bucket.uncommitted.discard(request.key)
            request.now = self._factory.cluster.seconds()
            response = outcome_of(self.session, bucket, request)
            if response is not None:
                call.cancel()
                del self._waiting[call]
                if self.session.closing:
                    # Its bucket is gone. The client cannot know what became of the write.
                    self._hang_up_unless_held()
                    return
                self._send_unless_held(Outcome(response))

    def _hang_up_unless_held(self) -> None:
        if not self._factory.held:
            self._hang_up()

    def _send_unless_held(self, outcome: Outcome) -> None:
        if self._factory.held:
            self._stalled.append(outcome)
        else:
            self._send(outcome)

    def _send(self, outcome: Outcome) -> None:
        if self.session.closing:
            # The last that was sent may be a part of an answer, which this would complete.
            return
        self.transport.write(outcome.response)
        if outcome.close:
            self.session.closing = True
            self._hang_up()

    def _keep(self, rest: bytes) -> None:
        self._partial = [rest]
        self._have = len(rest)
        self._need = 24 + _START.unpack_from(rest)[3] if len(rest) >= 24 else 24

    def _refuse(self, reason: str) -> None:
        self.log.warn(
            "closing the connection from {peer}: {reason}",
            peer=self.transport.getPeer(),
            reason=reason,
        )
        self._hang_up()

    def _hang_up(self) -> None:
        # A registered producer would keep the transport open.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def hold(self) -> None:
        """Read nothing, and send nothing that is delayed."""
        self.transport.pauseProducing()

    def release(self) -> None:
        """Go on where `hold` stopped."""
        stalled, self._stalled = self._stalled, []
        for outcome in stalled:
            self._send(outcome)
        if self.session.closing:
            self._hang_up()
        elif self._reading:
            self._read_on()

    def _read_on(self) -> None:
        self._respond_to_kept()
        if self._reading:
            self.transport.resumeProducing()

    # IPushProducer: the transport says whether the client reads its answers.

    def pauseProducing(self) -> None:
        """Read no more requests; too many answers wait to be sent."""
        self._reading = False
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read requests again."""
        self._reading = True
        if not self._factory.held:
            self._read_on()

    def stopProducing(self) -> None:
        """The connection is gone."""


class KeyValueFactory(Factory):
    """The connections of one listening port.

    :param cluster: what they share.
    :param reactor: keeps the time of answers that are delayed.
    :param node: the number of the node whose port it is.
    """

    noisy = False

    def __init__(self, cluster: ClusterState, reactor: Any = None, node: int = 0) -> None:
        self.cluster = cluster
        self.reactor = reactor
        self.node = node
        self.held = False
        self.connections: set[KeyValueProtocol] = set()
        self._waiting: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """One protocol for each connection."""
        return KeyValueProtocol(self)

    def made(self, protocol: KeyValueProtocol) -> None:
        """A connection has begun."""
        self.connections.add(protocol)
        self.cluster.sessions.add(protocol.session)

    def hold(self) -> None:
        """Read nothing, and send nothing that is delayed, until `release`."""
        self.held = True
        for protocol in self.connections:
            protocol.hold()

    def release(self) -> None:
        """Go on where `hold` stopped."""
        self.held = False
        for protocol in list(self.connections):
            protocol.release()

    def lost(self, protocol: KeyValueProtocol) -> None:
        """A connection has ended."""
        self.connections.discard(protocol)
        self.cluster.sessions.discard(protocol.session)
        if not self.connections:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def close(self) -> Deferred[None]:
        """Abort every connection; fires when all have ended."""
        if not self.connections:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        for protocol in list(self.connections):
            transport = protocol.transport
            transport.abortConnection()
        return done
