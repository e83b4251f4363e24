"""`Services`: where the HTTP services of a cluster are, and how to speak to them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from couchbase.auth import Authenticator, CertificateAuthenticator, PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.diagnostics import PingState, ServiceType
from couchbase.options import PingOptions
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface.declarations import implementer

from txcouchbase.workers.service_tls import TlsEndpoint, TlsSettings, tls_settings

__all__ = ["Endpoint", "Services"]

_log = Logger()

_TYPES: Final = {
    "query": ServiceType.Query,
    "analytics": ServiceType.Analytics,
    "search": ServiceType.Search,
    "views": ServiceType.View,
}

_FIND_TIMEOUT: Final = timedelta(seconds=5)
_KNOWN_FOR: Final = 60.0
"""After that the endpoints are looked for again, since nodes may have come (seconds)."""

_AVOIDED_FOR: Final = 10.0
"""How long an endpoint that could not be reached is left alone (seconds)."""

_CONNECT_TIMEOUT: Final = 10.0
_IDLE_FOR: Final = 4.5
"""How long a connection without a request is kept (seconds); less than servers keep it."""

_IDLE_EACH: Final = 16
"""Connections without a request that are kept to one endpoint."""


class Endpoint(NamedTuple):
    """Where a service of one node listens."""

    host: str
    port: int


class Services:
    """The services of one cluster. Methods are for the reactor's thread, if nothing else is said.

    Endpoints are what the SDK's own `ping` reaches, so the network and the nodes are those that
    the SDK has chosen. They are used in turn; what cannot be reached is avoided for some time.

    Args:
        cluster: The SDK's cluster.
        connstr: Its connection string.
        options: Its options, by their names in the SDK's `ClusterOptions`.
        authenticator: The credentials.
        threads: The pool of threads for what blocks.
    """

    def __init__(
        self,
        cluster: Cluster,
        connstr: str,
        options: Mapping[str, Any],
        authenticator: Authenticator,
        threads: Any,
    ) -> None:
        self._cluster = cluster
        self._connstr = connstr
        self._options = options
        self._authenticator = authenticator
        self._threads = threads
        self._known: dict[str, list[Endpoint]] = {}
        self._known_since: dict[str, float] = {}
        self._waiting: dict[str, list[Deferred[list[Endpoint]]]] = {}
        self._avoided: dict[Endpoint, float] = {}
        self._turn = 0
        self._agent: Agent | None = None
        self._pool: HTTPConnectionPool | None = None
        self._agent_of: Authenticator | None = None
        self._warned = False

    def __repr__(self) -> str:
        return "<Services>"

    def set_authenticator(self, authenticator: Authenticator) -> None:
        """Use other credentials from the next request on; in any thread."""
        self._authenticator = authenticator

    # -- where they are -------------------------------------------------------------------

    def endpoints(self, reactor: Any, service: str) -> Deferred[list[Endpoint]]:
        """Fires with the endpoints to try, in this order; with none if none can be reached.

        Args:
            reactor: The worker's reactor.
            service: Of ``query``, ``analytics``, ``search``, ``views``.
        """
        known = self._usable(reactor, service)
        age = reactor.seconds() - self._known_since.get(service, 0.0)
        if known and age < _KNOWN_FOR:
            return succeed(known)
        found = self._find(reactor, service)
        return succeed(known) if known else found

    def failed(self, reactor: Any, endpoint: Endpoint) -> None:
        """An endpoint could not be reached."""
        self._avoided[endpoint] = reactor.seconds() + _AVOIDED_FOR
        # It may be somewhere else by now.
        self._known_since.clear()

    def _usable(self, reactor: Any, service: str) -> list[Endpoint]:
        now = reactor.seconds()
        known = self._known.get(service, ())
        usable = [each for each in known if self._avoided.get(each, 0.0) <= now]
        if not usable:
            return []
        self._turn += 1
        first = self._turn % len(usable)
        return usable[first:] + usable[:first]

    def _find(self, reactor: Any, service: str) -> Deferred[list[Endpoint]]:
        """Ask the SDK, once for all who wait."""
        waiter: Deferred[list[Endpoint]] = Deferred()
        waiting = self._waiting.setdefault(service, [])
        waiting.append(waiter)
        if len(waiting) == 1:
            asked = deferToThreadPool(reactor, self._threads, self._ask, service)
            asked.addErrback(self._unknown, service)
            asked.addCallback(self._found, reactor, service)
        return waiter

    def _ask(self, service: str) -> list[Endpoint]:
        """In a thread."""
        kind = _TYPES[service]
        options: Any = PingOptions(service_types=[kind], timeout=_FIND_TIMEOUT)
        result: Any = self._cluster.ping(options)
        reached = [
            _endpoint(report.remote)
            for report in result.endpoints.get(kind, ())
            if report.state == PingState.OK and report.remote
        ]
        if self._tls() is None or not reached:
            return reached
        # The SDK tells addresses, certificates are made out to names.
        ports = dict.fromkeys(endpoint.port for endpoint in reached)
        info: Any = self._cluster.cluster_info()
        names = dict.fromkeys(_host(node["hostname"]) for node in info.nodes)
        return [Endpoint(name, port) for name in names for port in ports]

    def _unknown(self, failure: Failure, service: str) -> list[Endpoint]:
        _log.warn("no endpoints of {service}: {why}", service=service, why=failure.value)
        return []

    def _found(self, endpoints: list[Endpoint], reactor: Any, service: str) -> None:
        self._known[service] = endpoints
        self._known_since[service] = reactor.seconds()
        for endpoint in endpoints:
            self._avoided.pop(endpoint, None)
        usable = self._usable(reactor, service)
        for waiter in self._waiting.pop(service):
            waiter.callback(usable)

    # -- how to speak to them -------------------------------------------------------------

    @property
    def covered(self) -> bool:
        """Whether these credentials, and this TLS, can be used here; else the SDK has to."""
        if not isinstance(self._authenticator, (PasswordAuthenticator, CertificateAuthenticator)):
            return False
        tls = self._tls()
        if tls is None:
            return isinstance(self._authenticator, PasswordAuthenticator)
        try:
            tls.creator()
        except Exception as error:  # whatever is wrong with the files, the SDK is to say it
            if not self._warned:
                self._warned = True
                _log.warn("rows come through the SDK: no TLS without it: {error}", error=error)
            return False
        return True

    def agent(self, reactor: Any) -> tuple[Agent, str]:
        """What sends requests, and the scheme of their addresses."""
        tls = self._tls()
        if self._agent is None or self._agent_of is not self._authenticator:
            self.close()
            self._pool = HTTPConnectionPool(reactor)
            self._pool.cachedConnectionTimeout = _IDLE_FOR  # type: ignore[assignment]
            self._pool.maxPersistentPerHost = _IDLE_EACH
            self._agent = Agent.usingEndpointFactory(
                reactor, _EndpointFactory(reactor, tls), self._pool
            )
            self._agent_of = self._authenticator
        return self._agent, "http" if tls is None else "https"

    def headers(self, of_request: Mapping[str, str]) -> Headers:
        """The headers of a request, with the credentials."""
        headers = Headers({name: [value] for name, value in of_request.items()})
        if isinstance(self._authenticator, PasswordAuthenticator):
            held = self._authenticator.as_dict()
            pair = f"{held['username']}:{held['password']}".encode()
            headers.setRawHeaders("authorization", [b"Basic " + b64encode(pair)])
        return headers

    def close(self) -> None:
        """Close the connections that have no request."""
        if self._pool is not None:
            self._pool.closeCachedConnections()
            self._pool = self._agent = None

    def _tls(self) -> TlsSettings | None:
        return tls_settings(self._connstr, self._options, self._authenticator)


@implementer(IAgentEndpointFactory)
class _EndpointFactory:
    def __init__(self, reactor: Any, tls: TlsSettings | None) -> None:
        self._reactor = reactor
        self._creator = tls.creator() if tls is not None else None

    def endpointForURI(self, uri: Any) -> Any:
        host = uri.host.decode().strip("[]")
        endpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=_CONNECT_TIMEOUT)
        return endpoint if self._creator is None else TlsEndpoint(endpoint, self._creator(host))


def _endpoint(remote: str) -> Endpoint:
    host, _, port = remote.rpartition(":")
    return Endpoint(host.strip("[]"), int(port))


def _host(address: str) -> str:
    return urlsplit(f"//{address}").hostname or address
