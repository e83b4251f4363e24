"""The embedded node: its listening ports and its life."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock, gatherResults, maybeDeferred, succeed
from twisted.python.failure import Failure

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.faults import SERVICES, Faults
from txcouchbase.testing.record import Record
from txcouchbase.testing.scripts import Scripts
from txcouchbase.testing.storage import Storage
from txcouchbase.testing.tls import Certificate

__all__ = ["EmbeddedNode"]

MAX_AHEAD = 30 * 365 * 24 * 3600
"""How many seconds the clock may be put ahead; expiries are times in 32 bits, until 2106."""


class _Port(Protocol):
    """The factory of one listening port."""

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def close(self) -> Deferred[None]: ...


class EmbeddedNode(Storage):
    """A node that keeps its documents in memory and speaks Couchbase's protocols.

    Nothing listens before `start`. `start`, `stop`, `kill` and `restart` wait for each other: what
    is asked for last is what comes out.

    :param buckets: names of the buckets.
    :param username: the administrator.
    :param password: the administrator's password.
    :param port: the key-value port; 0 for one that is free.
    :param reactor: what listens and keeps time; None for the installed reactor.
    :param tls: listen with TLS too, with a certificate made at the start; `connstr` is that of
        TLS then. Needs the extra ``txcouchbase[testing]``.
    :param services: those to run, besides key-value and management; of ``query``, ``analytics``,
        ``search``, ``views``, ``eventing``.
    :raises ValueError: for what a node cannot have; it says what.
    """

    def __init__(
        self,
        buckets: Iterable[str] = ("default",),
        username: str = "Administrator",
        password: str = "password",
        port: int = 0,
        reactor: Any = None,
        *,
        tls: bool = False,
        services: Iterable[str] = SERVICES,
    ) -> None:
        names = list(buckets)
        if not names or len(set(names)) != len(names):
            raise ValueError("a node needs buckets of different names")
        wanted = {"kv", "mgmt", *services}
        unknown = wanted.difference(SERVICES)
        if unknown:
            raise ValueError(f"services: {sorted(unknown)} are none of {', '.join(SERVICES)}")
        self.username = username
        self.password = password
        self.bucket_names = tuple(names)
        self.services = tuple(name for name in SERVICES if name in wanted)
        self._reactor = reactor
        self._life = DeferredLock()
        self._ahead = 0.0
        super().__init__(ClusterState(username, password, names, self._seconds))
        self._empty = self.snapshot()
        self._wants_tls = tls
        self._certificate: Certificate | None = None
        self._certificate_path: str | None = None
        self._listeners: list[tuple[Any, _Port]] = []
        self._control: tuple[Any, _Port] | None = None
        self._ports: dict[str, int] = {}
        self._port = port
        # Ports stay the same over a restart.
        self._wanted_ports = {"kv": port}

    # Its life.

    def start(self) -> Deferred[None]:
        """Listen. Fires when clients may connect.

        What fails leaves nothing that listens; but the control port of a node that was killed.

        :raises RuntimeError: in the Deferred, if the node is running.
        :raises twisted.internet.error.CannotListenError: in the Deferred.
        :raises ImportError: in the Deferred, where something of the extra is missing.
        """
        return self._life.run(lambda: maybeDeferred(self._start))

    def _start(self) -> Deferred[None]:
        if self._ports:
            raise RuntimeError("the node is running")
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        if self._wants_tls and self._certificate is None:
            self._certificate = Certificate(self._state.host)
            self._certificate_path = _written(self._certificate.certificate)
        try:
            self._listen()
        except BaseException:
            # Whatever it was, no port may stay open.
            failure = Failure()
            undo = self._stop if self._control is None else self._close
            return undo().addCallback(lambda _: failure)
        self._wanted_ports = dict(self._ports)
        # Prepared statements live as long as the process of a query service.
        self._state.statements.forget()
        self._state.serve(self._ports)
        return succeed(None)

    def _listen(self) -> None:
        from txcouchbase.testing.control import control_service
        from txcouchbase.testing.http.server import HttpFactory
        from txcouchbase.testing.kv.server import KeyValueFactory
        from txcouchbase.testing.services import MAP_NAMES, http_services

        http = http_services()
        context = self._certificate.context_factory() if self._certificate is not None else None
        for service in self.services:
            plain, secret = MAP_NAMES[service]
            for name, with_tls in ((plain, None), (secret, context)):
                if name == secret and context is None:
                    continue
                factory = (
                    KeyValueFactory(self._state, self._reactor)
                    if service == "kv"
                    else HttpFactory(http[service], self._state, self._reactor)
                )
                listener = self._open(self._wanted_ports.get(name, 0), factory, with_tls)
                self._listeners.append((listener, factory))
                self._ports[name] = listener.getHost().port
        if self._control is None:
            control = HttpFactory(control_service(self), self._state, self._reactor)
            self._control = self._open(0, control, None), control

    def _open(self, number: int, factory: Any, context: Any) -> Any:
        if context is None:
            return self._reactor.listenTCP(number, factory, interface=self._state.host)
        return self._reactor.listenSSL(number, factory, context, interface=self._state.host)

    def stop(self) -> Deferred[None]:
        """Close every listener and connection; fires when they are closed. Idempotent.

        What is stored stays, for another `start`.
        """
        return self._life.run(self._stop)

    def _stop(self) -> Deferred[None]:
        path, self._certificate_path = self._certificate_path, None
        if path is not None:
            with suppress(FileNotFoundError):
                os.unlink(path)
        self._certificate = None
        self._wanted_ports = {"kv": self._port}
        control, self._control = self._control, None
        return self._close(*([control] if control is not None else []))

    def kill(self) -> Deferred[None]:
        """As if the machine had lost power: connections are reset, ports are closed.

        `restart` brings it back; the control port stays. Fires when the ports are closed.
        """
        return self._life.run(self._close)

    def restart(self, keep_data: bool = True) -> Deferred[None]:
        """Stop and start the network side, on the same ports, with a higher revision epoch.

        :param keep_data: whether what is stored outlives it; without, the node is as it was made:
            its buckets, empty, and its one account. Faults, scripts and the record stay.
        :raises twisted.internet.error.CannotListenError: in the Deferred; the node is as if it
            had been killed then.
        """

        def start(_: None) -> Deferred[None]:
            if not keep_data:
                self.restore(self._empty)
            return self._start()

        return self._life.run(lambda: self._close().addCallback(start))

    def advance(self, seconds: float) -> None:
        """Put the node's clock ahead, so that documents expire and locks end without waiting.

        :raises ValueError: for a number that is not above 0, or too far ahead for the protocol.
        """
        if not 0 < seconds <= MAX_AHEAD - self._ahead:
            raise ValueError(f"seconds: {seconds!r} is not above 0, or too far ahead")
        self._ahead += seconds

    def hold(self) -> None:
        """Answer nothing any more, as a machine that hangs: connections stay, new ones too.

        The control port goes on.
        """
        for _, factory in self._listeners:
            factory.hold()

    def release(self) -> None:
        """Go on where `hold` stopped; what arrived in the meantime is answered now."""
        for _, factory in self._listeners:
            factory.release()

    def _close(self, *others: tuple[Any, _Port]) -> Deferred[None]:
        self._ports = {}
        listeners, self._listeners = self._listeners, []
        closing: list[Deferred[Any]] = []
        for listener, factory in [*listeners, *others]:
            closing += [maybeDeferred(listener.stopListening), factory.close()]
        return gatherResults(closing).addCallback(lambda _: None)

    # Where it is.

    @property
    def connstr(self) -> str:
        """The connection string, such as ``couchbase://127.0.0.1:12345``."""
        scheme = "couchbase" if self._certificate is None else "couchbases"
        return f"{scheme}://{self._state.host}:{self.kv_port}"

    @property
    def kv_port(self) -> int:
        """The port of the key-value service; that of TLS where there is TLS."""
        return self.port("kv")

    @property
    def mgmt_port(self) -> int:
        """The port of the management service in the clear."""
        return self._running()["mgmt"]

    @property
    def control_port(self) -> int:
        """The port by which tests of other processes control the node, over HTTP."""
        if self._control is None:
            raise RuntimeError("the node is not running")
        port: int = self._control[0].getHost().port
        return port

    @property
    def certificate_path(self) -> str | None:
        """The file of the certificate that clients must trust; None without TLS."""
        return self._certificate_path

    def port(self, service: str) -> int:
        """The port of a service, that of TLS where there is TLS.

        :raises KeyError: for a service that the node does not run.
        """
        from txcouchbase.testing.services import MAP_NAMES

        plain, secret = MAP_NAMES[service]
        ports = self._running()
        return ports[secret] if secret in ports else ports[plain]

    # What tests want to see and to happen.

    @property
    def faults(self) -> Faults:
        """What happens to requests; see `Fault`."""
        return self._state.faults

    @property
    def scripts(self) -> Scripts:
        """What HTTP services answer in place of their own; see `Script`."""
        return self._state.scripts

    @property
    def record(self) -> Record:
        """The requests that arrived while it was on."""
        return self._state.record

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """The record, empty at first, on inside of the ``with``."""
        record = self._state.record
        record.clear()
        record.on = True
        try:
            yield record
        finally:
            record.on = False

    def _running(self) -> dict[str, int]:
        if not self._ports:
            raise RuntimeError("the node is not running")
        return self._ports

    def _seconds(self) -> float:
        # Before the start documents may be stored already.
        now: float = time.time() if self._reactor is None else self._reactor.seconds()
        return now + self._ahead


def _written(certificate: bytes) -> str:
    descriptor, path = tempfile.mkstemp(prefix="couchbase-", suffix=".pem")
    with open(descriptor, "wb") as file:
        file.write(certificate)
    return path
