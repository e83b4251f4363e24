"""The embedded node: its listening ports and its life."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, gatherResults, maybeDeferred, succeed
from twisted.python.failure import Failure

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.faults import SERVICES, Faults
from txcouchbase.testing.ports import Factory, NodePorts, listen
from txcouchbase.testing.record import Record
from txcouchbase.testing.scripts import Scripts
from txcouchbase.testing.storage import Storage
from txcouchbase.testing.tls import Certificate

__all__ = ["EmbeddedNode"]

MAX_AHEAD = 30 * 365 * 24 * 3600
"""How many seconds the clock may be put ahead; expiries are times in 32 bits, until 2106."""


class EmbeddedNode(Storage):
    """A node, or some, that keep documents in memory and speak Couchbase's protocols.

    Nothing listens before `start`. `start`, `stop`, `kill`, `restart` and `add_node` wait for each
    other: what is asked for last is what comes out.

    With several nodes, each has ports of its own for all services, and all nodes share what is
    stored: every replica is always up to date. Nodes are named by number, from 0 on; ``node=None``
    stands for all of them.

    :param buckets: names of the buckets.
    :param username: the administrator.
    :param password: the administrator's password.
    :param port: the key-value port of the first node; 0 for one that is free.
    :param reactor: what listens and keeps time; None for the installed reactor.
    :param tls: listen with TLS too, with a certificate made at the start; `connstr` is that of
        TLS then. Needs the extra ``txcouchbase[testing]``.
    :param services: those that each node runs, besides key-value and management; of ``query``,
        ``analytics``, ``search``, ``views``, ``eventing``.
    :param nodes: how many nodes, 1 to 16.
    :param replicas: how many copies the documents of these buckets have beside the active one, 0
        to 3; those for which there is no node are missing, as on a server.
    :param server_groups: how many server groups (``Group 1``, ...) the nodes take turns in.
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
        nodes: int = 1,
        replicas: int = 0,
        server_groups: int = 1,
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
        super().__init__(
            ClusterState(
                username,
                password,
                names,
                self._seconds,
                nodes=nodes,
                replicas=replicas,
                server_groups=server_groups,
            )
        )
        self._empty = self.snapshot()
        self._wants_tls = tls
        self._certificate: Certificate | None = None
        self._certificate_path: str | None = None
        self._ports = [
            NodePorts(number, self._state, self.services, 0 if number else port)
            for number in range(nodes)
        ]
        self._control: tuple[Any, Factory] | None = None

    # Its life.

    def start(self) -> Deferred[None]:
        """Listen. Fires when clients may connect.

        What fails leaves nothing that listens; but the control port of a node that was killed.

        :raises RuntimeError: in the Deferred, if the node, or one of several, is running.
        :raises twisted.internet.error.CannotListenError: in the Deferred.
        :raises ImportError: in the Deferred, where something of the extra is missing.
        """
        return self._life.run(self._start)

    def _start(self) -> Deferred[None]:
        if any(ports.numbers for ports in self._ports):
            raise RuntimeError("the node is running")
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        if self._wants_tls and self._certificate is None:
            self._certificate = Certificate(self._state.host)
            self._certificate_path = _written(self._certificate.certificate)
        members = [self._ports[number] for number in self.nodes]
        try:
            for ports in members:
                ports.open(self._reactor, self._context())
            self._listen_for_control()
        except BaseException:
            # Whatever it was, no port may stay open.
            failure = Failure()
            undo = self._stop if self._control is None else self._close
            return undo().addCallback(lambda _: failure)
        # Prepared statements live as long as the process of a query service.
        self._state.statements.forget()
        self._state.transactions.clear()
        for ports in members:
            self._state.serve(ports.numbers, ports.number)
        return succeed(None)

    def _context(self) -> Any:
        return self._certificate.context_factory() if self._certificate is not None else None

    def _listen_for_control(self) -> None:
        from txcouchbase.testing.control import control_service
        from txcouchbase.testing.http.server import HttpFactory

        if self._control is None:
            control = HttpFactory(control_service(self), self._state, self._reactor)
            self._control = listen(self._reactor, self._state.host, 0, control), control

    def stop(self) -> Deferred[None]:
        """Close every listener and connection; fires when they are closed. Idempotent.

        What is stored stays, for another `start`; nodes that were failed over do not come back.
        """
        return self._life.run(self._stop)

    def _stop(self) -> Deferred[None]:
        path, self._certificate_path = self._certificate_path, None
        if path is not None:
            with suppress(FileNotFoundError):
                os.unlink(path)
        self._certificate = None
        closing = [self._close()]
        for ports in self._ports:
            ports.forget()
        control, self._control = self._control, None
        if control is not None:
            closing += [maybeDeferred(control[0].stopListening), control[1].close()]
        return gatherResults(closing).addCallback(lambda _: None)

    def _close(self) -> Deferred[None]:
        return gatherResults([ports.close() for ports in self._ports]).addCallback(lambda _: None)

    def kill(self, node: int | None = None) -> Deferred[None]:
        """As if machines had lost power: connections are reset, ports are closed.

        `restart` brings them back; the control port stays. Fires when the ports are closed. The
        cluster map stays as it is, until `fail_over`: operations on the node's active vBuckets
        fail or wait, and durable writes for which its replicas are needed come to no end.

        :param node: the one to kill.
        :raises LookupError: in the Deferred, for a node that is not in the cluster.
        """
        return self._life.run(self._kill, node)

    def _kill(self, node: int | None) -> Deferred[None]:
        for number in self.nodes if node is None else (node,):
            self._state.stopped(number)
        return self._close() if node is None else self._ports[node].close()

    def restart(self, keep_data: bool = True, node: int | None = None) -> Deferred[None]:
        """Stop and start the network side, on the same ports, with a newer cluster map.

        :param keep_data: whether what is stored outlives it; without, the node is as it was made:
            its buckets, empty, and its one account. Faults, scripts and the record stay.
        :param node: the one to restart, which keeps what is stored.
        :raises LookupError: in the Deferred, for a node that is not in the cluster, such as one
            that was failed over.
        :raises ValueError: in the Deferred, for one node without its data.
        :raises twisted.internet.error.CannotListenError: in the Deferred; the node is as if it
            had been killed then.
        """
        return self._life.run(self._restart, keep_data, node)

    def _restart(self, keep_data: bool, node: int | None) -> Deferred[None]:
        if node is not None and not keep_data:
            raise ValueError("keep_data: the nodes share what is stored; only all can lose it")

        def start_all(_: None) -> Deferred[None]:
            if not keep_data:
                self.restore(self._empty)
            return self._start()

        closed = self._kill(node)
        return closed.addCallback(start_all if node is None else lambda _: self._start_one(node))

    def _start_one(self, node: int) -> Deferred[None]:
        ports = self._ports[node]
        return self._open(ports).addCallback(lambda _: self._state.serve(ports.numbers, node))

    def _open(self, ports: NodePorts) -> Deferred[None]:
        try:
            ports.open(self._reactor, self._context())
        except BaseException:
            # Whatever it was, no port may stay open.
            failure = Failure()
            return ports.close().addCallback(lambda _: failure)
        return succeed(None)

    def add_node(self) -> Deferred[int]:
        """Start another node, and give it its share of the vBuckets of all buckets.

        vBuckets that had lost all copies are there again, empty. Fires with the node's number
        when clients may connect to it.

        :raises RuntimeError: in the Deferred, if no node is running.
        :raises ValueError: in the Deferred, if there are too many already.
        """
        return self._life.run(self._add_node)

    def _add_node(self) -> Deferred[int]:
        self._running()
        self._state.topology.check_room()
        ports = NodePorts(len(self._ports), self._state, self.services)

        def join(_: None) -> int:
            self._ports.append(ports)
            return self._state.join(ports.numbers)

        return self._open(ports).addCallback(join)

    def fail_over(self, node: int) -> None:
        """Take a node out of the cluster, for good; it may run or have been killed.

        One replica of each of its active vBuckets becomes active, on a node that answers if there
        is one. Where there is no replica, the documents are lost, and the vBucket has no node
        until `add_node`: operations on it time out.

        :raises LookupError: for a node that is not in the cluster.
        :raises ValueError: for the last one.
        """
        self._state.fail_over(node)

    def advance(self, seconds: float) -> None:
        """Put the node's clock ahead, so that documents expire and locks end without waiting.

        :raises ValueError: for a number that is not above 0, or too far ahead for the protocol.
        """
        if not 0 < seconds <= MAX_AHEAD - self._ahead:
            raise ValueError(f"seconds: {seconds!r} is not above 0, or too far ahead")
        self._ahead += seconds

    def hold(self, node: int | None = None) -> None:
        """Answer nothing any more, as a machine that hangs: connections stay, new ones too.

        The control port goes on.

        :param node: the one that hangs.
        :raises LookupError: for a node that there never was.
        """
        for ports in self._those(node):
            if ports.number in self.nodes:
                self._state.stopped(ports.number)
            ports.hold()

    def release(self, node: int | None = None) -> None:
        """Go on where `hold` stopped; what arrived in the meantime is answered now.

        :param node: the one that goes on.
        :raises LookupError: for a node that there never was.
        """
        for ports in self._those(node):
            if ports.numbers and ports.number in self.nodes:
                self._state.resumed(ports.number)
            ports.release()

    # Where it is.

    @property
    def nodes(self) -> tuple[int, ...]:
        """The numbers of the nodes that are in the cluster, whether they run or were killed."""
        return tuple(member.number for member in self._state.topology.members)

    def describe_nodes(self) -> list[dict[str, Any]]:
        """All nodes that there ever were, by number.

        Each has ``number``, ``group``, ``in_cluster``, ``running`` and ``ports``, by the names of
        the cluster map.
        """
        return [
            {
                "number": member.number,
                "group": member.group,
                "in_cluster": not member.failed_over,
                "running": bool(self._ports[member.number].numbers),
                "ports": dict(member.services),
            }
            for member in self._state.topology.all
        ]

    @property
    def connstr(self) -> str:
        """The connection string, such as ``couchbase://127.0.0.1:12345``.

        Like all that follows it is of the first node that runs and is in the cluster.
        """
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

    def port(self, service: str, node: int | None = None) -> int:
        """The port of a service, that of TLS where there is TLS.

        :param node: whose; None for the first that runs.
        :raises KeyError: for a service that the node does not run.
        :raises LookupError: for a node that there never was.
        :raises RuntimeError: for one that does not run.
        """
        from txcouchbase.testing.services import MAP_NAMES

        plain, secret = MAP_NAMES[service]
        ports = self._running(node)
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

    def _those(self, node: int | None) -> list[NodePorts]:
        if node is None:
            return self._ports
        if not 0 <= node < len(self._ports):
            raise LookupError(f"no node {node!r}")
        return [self._ports[node]]

    def _running(self, node: int | None = None) -> dict[str, int]:
        known = [self._ports[number] for number in self.nodes]
        for ports in known if node is None else self._those(node):
            if ports.numbers:
                return ports.numbers
        raise RuntimeError("the node is not running")

    def _seconds(self) -> float:
        # Before the start documents may be stored already.
        now: float = time.time() if self._reactor is None else self._reactor.seconds()
        return now + self._ahead


def _written(certificate: bytes) -> str:
    descriptor, path = tempfile.mkstemp(prefix="couchbase-", suffix=".pem")
    with open(descriptor, "wb") as file:
        file.write(certificate)
    return path
