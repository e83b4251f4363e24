"""The management port: the few answers that a client needs to find a node alive."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import NOT_FOUND, NOT_IMPLEMENTED, UNAUTHORIZED
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txcouchbase.testing.kv.bootstrap import VERSION
from txcouchbase.testing.kv.cluster import ClusterState

__all__ = ["ControlResource", "HttpFactory", "ManagementResource"]


def _json(request: Request, body: object, code: int = 200) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    return json.dumps(body).encode()


class ManagementResource(Resource):
    """``/``, ``/pools`` and what is under ``/pools/default``, with basic authentication.

    :param cluster: what is shown.
    """

    isLeaf = True

    def __init__(self, cluster: ClusterState) -> None:
        super().__init__()
        self._cluster = cluster

    def render_GET(self, request: Request) -> bytes:
        """Answer by path; 401 without the user's name and password, 404 for what is not here."""
        path = request.path.decode("utf-8", "replace").rstrip("/")
        if path == "":
            return _json(request, {})
        if not self._authorized(request):
            request.setHeader(b"www-authenticate", b'Basic realm="Couchbase Server"')
            return _json(request, "unauthorized", UNAUTHORIZED)
        cluster = self._cluster
        if path == "/pools":
            pool = {"name": "default", "uri": "/pools/default"}
            return _json(
                request,
                {
                    "pools": [pool],
                    "uuid": cluster.uuid,
                    "implementationVersion": VERSION.decode(),
                },
            )
        if path == "/pools/default":
            return _json(request, self._pool())
        if path == "/pools/default/nodeServices":
            return _json(request, cluster.config(None))
        parts = path.split("/")[1:]
        if parts[:2] == ["pools", "default"]:
            if parts[2:] == ["buckets"]:
                return _json(request, [cluster.config(b) for b in cluster.buckets.values()])
            bucket = cluster.buckets.get(parts[3]) if len(parts) > 3 else None
            if bucket is not None and parts[2] in ("b", "buckets"):
                if len(parts) == 4:
                    return _json(request, cluster.config(bucket))
                if parts[4:] == ["scopes"]:
                    return _json(request, bucket.manifest.as_dict())
        return _json(request, f"not here: {path}", NOT_FOUND)

    def _pool(self) -> dict[str, Any]:
        cluster = self._cluster
        node = {
            "hostname": f"{cluster.host}:{cluster.services.get('mgmt', 0)}",
            "status": "healthy",
            "clusterMembership": "active",
            "thisNode": True,
            "version": VERSION.decode(),
            "services": ["kv"],
            "ports": {"direct": cluster.services.get("kv", 0)},
        }
        return {
            "name": "default",
            "nodes": [node],
            "buckets": {"uri": "/pools/default/buckets"},
        }

    def _authorized(self, request: Request) -> bool:
        header = request.getHeader(b"authorization") or b""
        scheme, _, encoded = header.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            given = b64decode(encoded.strip(), validate=True)
        except ValueError:
            return False
        wanted = f"{self._cluster.username}:{self._cluster.password}".encode()
        return hmac.compare_digest(given, wanted)


class ControlResource(Resource):
    """The control port: ``/health``; everything else is yet to come and says so."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """200 for ``/health``, 501 for everything else."""
        if request.path == b"/health":
            return _json(request, {"ok": True})
        return self.render_POST(request)

    def render_POST(self, request: Request) -> bytes:
        """501, with the path."""
        name = request.path.decode("utf-8", "replace")
        return _json(request, {"error": f"not implemented: {name}"}, NOT_IMPLEMENTED)


class _QuietSite(Site):
    noisy = False

    def log(self, request: Any) -> None:
        """Requests are not logged."""


class HttpFactory(WrappingFactory):
    """An HTTP server whose connections can be ended.

    :param resource: what it serves.
    :param reactor: keeps its time-outs.
    """

    noisy = False

    def __init__(self, resource: Resource, reactor: Any) -> None:
        super().__init__(_QuietSite(resource, reactor=reactor))
        self._waiting: list[Deferred[None]] = []

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """A connection has ended."""
        super().unregisterProtocol(p)
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
        for protocol in list(self.protocols):
            protocol.transport.abortConnection()
        return done
