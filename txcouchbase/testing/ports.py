"""The listening ports of one node."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["Factory", "NodePorts", "listen"]

FIRST_FREE = 10_000
"""The lowest port that is chosen for a node."""

TRIES = 100
"""So many ports are tried until the system chooses."""


class Factory(Protocol):
    """The factory of one listening port."""

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def close(self) -> Deferred[None]: ...


def listen(reactor: Any, host: str, number: int, factory: Any, context: Any = None) -> Any:
    """Listen, with TLS if there is a context for it.

    :param number: the port; 0 for one that is free. That is none of those that the system gives to
        outgoing connections: a client that tries again and again to reach a node that is down would
        in the end be connected to itself, and the node could not come back.
    """
    last = _first_outgoing() - 1
    if number == 0 and last > FIRST_FREE + TRIES:
        for chosen in random.sample(range(FIRST_FREE, last + 1), TRIES):
            with suppress(CannotListenError):
                return _listen(reactor, host, chosen, factory, context)
    return _listen(reactor, host, number, factory, context)


def _first_outgoing() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            return int(file.read().split()[0])
    except OSError:
        return 32768  # the lowest that is usual


def _listen(reactor: Any, host: str, number: int, factory: Any, context: Any) -> Any:
    if context is None:
        return reactor.listenTCP(number, factory, interface=host)
    return reactor.listenSSL(number, factory, context, interface=host)


class NodePorts:
    """The ports of one node, which stay the same over `close` and `open`.

    :param number: the number of the node.
    :param services: those that it runs.
    :param port: the key-value port; 0 for one that is free.
    """

    def __init__(
        self, number: int, state: ClusterState, services: Iterable[str], port: int = 0
    ) -> None:
        self.number = number
        self.numbers: dict[str, int] = {}
        """The ports by the names of the cluster map, while they are open."""
        self._state = state
        self._services = tuple(services)
        self._port = port
        self._wanted = {"kv": port}
        self._listeners: list[tuple[Any, Factory]] = []

    def open(self, reactor: Any, context: Any) -> None:
        """Listen; what fails may leave some of them open.

        :param context: what TLS needs; None for no TLS.
        :raises twisted.internet.error.CannotListenError: for a port that is taken.
        """
        from txcouchbase.testing.http.server import HttpFactory
        from txcouchbase.testing.kv.server import KeyValueFactory
        from txcouchbase.testing.services import MAP_NAMES, http_services

        http, state = http_services(), self._state
        opened = {}
        for service in self._services:
            plain, secret = MAP_NAMES[service]
            for name, with_tls in ((plain, None), (secret, context)):
                if name == secret and context is None:
                    continue
                factory: Any = (
                    KeyValueFactory(state, reactor, self.number)
                    if service == "kv"
                    else HttpFactory(http[service], state, reactor, self.number)
                )
                wanted = self._wanted.get(name, 0)
                listener = listen(reactor, state.host, wanted, factory, with_tls)
                self._listeners.append((listener, factory))
                opened[name] = listener.getHost().port
        self.numbers = opened
        self._wanted = dict(opened)

    def close(self) -> Deferred[None]:
        """Close the ports and abort their connections; fires when all that has happened."""
        self.numbers = {}
        listeners, self._listeners = self._listeners, []
        closing: list[Deferred[Any]] = []
        for listener, factory in listeners:
            closing += [maybeDeferred(listener.stopListening), factory.close()]
        return gatherResults(closing).addCallback(lambda _: None)

    def forget(self) -> None:
        """Take any free ports next time, but for the one that was asked for."""
        self._wanted = {"kv": self._port}

    def hold(self) -> None:
        """Answer nothing any more."""
        for _, factory in self._listeners:
            factory.hold()

    def release(self) -> None:
        """Go on where `hold` stopped."""
        for _, factory in self._listeners:
            factory.release()
