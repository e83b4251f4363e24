"""The embedded node: its listening ports and its life."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed

from txcouchbase.testing.kv.bucket import Bucket, vbucket_of
from txcouchbase.testing.kv.cluster import ClusterState
from txcouchbase.testing.kv.frames import DATATYPE_JSON
from txcouchbase.testing.kv.manifest import DEFAULT, leb128
from txcouchbase.testing.kv.status import Refused

__all__ = ["EmbeddedNode"]

JSON_FLAGS = 0x02000006
"""Flags that say JSON, in the common form and in the legacy one."""


class EmbeddedNode:
    """A node that keeps its documents in memory and speaks Couchbase's protocols.

    Nothing listens before `start`.

    :param buckets: names of the buckets.
    :param username: the one user.
    :param password: the user's password.
    :param port: the key-value port; 0 for one that is free.
    :param reactor: what listens and keeps time; None for the installed reactor.
    """

    def __init__(
        self,
        buckets: Iterable[str] = ("default",),
        username: str = "Administrator",
        password: str = "password",
        port: int = 0,
        reactor: Any = None,
    ) -> None:
        names = list(buckets)
        if not names or len(set(names)) != len(names):
            raise ValueError("a node needs buckets of different names")
        self.username = username
        self.password = password
        self.bucket_names = tuple(names)
        self._port = port
        self._reactor = reactor
        self._state = ClusterState(username, password, names, self._seconds)
        self._listeners: list[tuple[Any, Any]] = []
        self._ports: tuple[int, int, int] | None = None
        self._stopping: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """Listen. Fires when clients may connect.

        :raises RuntimeError: in the Deferred, if the node is running.
        :raises twisted.internet.error.CannotListenError: in the Deferred.
        """
        return maybeDeferred(self._start)

    def _start(self) -> None:
        from txcouchbase.testing.kv.server import KeyValueFactory
        from txcouchbase.testing.mgmt import ControlResource, HttpFactory, ManagementResource

        if self._ports is not None:
            raise RuntimeError("the node is running")
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        numbers: list[int] = []
        try:
            for factory, number in (
                (KeyValueFactory(self._state), self._port),
                (HttpFactory(ManagementResource(self._state), self._reactor), 0),
                (HttpFactory(ControlResource(), self._reactor), 0),
            ):
                listener = self._reactor.listenTCP(number, factory, interface=self._state.host)
                self._listeners.append((listener, factory))
                numbers.append(listener.getHost().port)
        except BaseException:
            self._close()
            raise
        kv, mgmt, control = numbers
        self._ports = (kv, mgmt, control)
        self._state.serve({"kv": kv, "mgmt": mgmt})

    def stop(self) -> Deferred[None]:
        """Close every listener and connection; fires when they are closed. Idempotent."""
        self._ports = None
        return self._close()

    def _close(self) -> Deferred[None]:
        listeners, self._listeners = self._listeners, []
        if not listeners:
            return succeed(None)
        closing = [maybeDeferred(listener.stopListening) for listener, _ in listeners]
        closing += [factory.close() for _, factory in listeners]
        return gatherResults(closing).addCallback(lambda _: None)

    @property
    def connstr(self) -> str:
        """The connection string, such as ``couchbase://127.0.0.1:12345``."""
        return f"couchbase://{self._state.host}:{self.kv_port}"

    @property
    def kv_port(self) -> int:
        """The port of the key-value service."""
        return self._running()[0]

    @property
    def mgmt_port(self) -> int:
        """The port of the management service, over HTTP."""
        return self._running()[1]

    @property
    def control_port(self) -> int:
        """The port by which tests control the node, over HTTP."""
        return self._running()[2]

    def create_scope(self, bucket: str, scope: str) -> None:
        """Add a scope.

        :raises LookupError: for an unknown bucket.
        :raises ValueError: for a name that exists, or that a server would not take.
        """
        self._bucket(bucket).manifest.create_scope(scope)
        self._state.changed()

    def create_collection(
        self, bucket: str, scope: str, collection: str, max_expiry: int = 0
    ) -> None:
        """Add a collection to a scope that exists.

        :param max_expiry: the longest life of its documents in seconds; 0 for no limit.
        :raises LookupError: for an unknown bucket or scope.
        :raises ValueError: for a name that exists, or that a server would not take.
        """
        self._bucket(bucket).manifest.create_collection(scope, collection, max_expiry)
        self._state.changed()

    def drop_collection(self, bucket: str, scope: str, collection: str) -> None:
        """Take a collection out, with its documents.

        :raises LookupError: if it does not exist.
        """
        found = self._bucket(bucket)
        found.drop_collections({found.manifest.drop_collection(scope, collection)})
        self._state.changed()

    def drop_scope(self, bucket: str, scope: str) -> None:
        """Take a scope out, with its collections and their documents.

        :raises LookupError: if it does not exist.
        :raises ValueError: for the default scope.
        """
        found = self._bucket(bucket)
        found.drop_collections(set(found.manifest.drop_scope(scope)))
        self._state.changed()

    def put(
        self,
        key: str,
        value: Any,
        *,
        bucket: str | None = None,
        scope: str = DEFAULT,
        collection: str = DEFAULT,
        expiry: int = 0,
    ) -> None:
        """Store a JSON document without a client.

        :param bucket: its name; None for the first one.
        :param expiry: seconds from now, or since the epoch where that is more than thirty days;
            0 for never.
        :raises LookupError: for an unknown bucket, scope or collection.
        :raises ValueError: where a server would not take the key or the value.
        """
        found = self._bucket(bucket or self.bucket_names[0])
        number = found.manifest.scopes().get(scope, {}).get(collection)
        if number is None:
            raise LookupError(f"no collection {scope}.{collection}")
        plain = key.encode("utf-8")
        wire, vbucket, now = leb128(number) + plain, vbucket_of(plain), self._state.seconds()
        try:
            found.check_key(wire)
            found.store(
                wire,
                vbucket,
                found.documents.get(wire),
                json.dumps(value, ensure_ascii=False).encode("utf-8"),
                JSON_FLAGS,
                now,
                expiry=found.absolute_expiry(expiry, now),
                datatype=DATATYPE_JSON,
            )
        except Refused as refused:
            raise ValueError(f"{key!r}: {refused.status.name}") from None

    def load(self, lines: Iterable[str], bucket: str | None = None) -> int:
        """Store the documents of JSON lines.

        :param lines: each ``{"id": ..., "value": ...}``, optionally with ``"scope"``,
            ``"collection"`` and ``"expiry"``; scopes and collections are made where they lack.
        :param bucket: the bucket's name; None for the first one.
        :returns: how many.
        :raises ValueError: for a line that is something else; it says which one.
        """
        name = bucket or self.bucket_names[0]
        count = 0
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                document = json.loads(line)
                where = (document.get("scope", DEFAULT), document.get("collection", DEFAULT))
                self._make_collection(name, *where)
                self.put(
                    document["id"],
                    document["value"],
                    bucket=name,
                    scope=where[0],
                    collection=where[1],
                    expiry=document.get("expiry", 0),
                )
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"line {number}: {error!r}") from error
            count += 1
        return count

    def _make_collection(self, bucket: str, scope: str, collection: str) -> None:
        scopes = self._bucket(bucket).manifest.scopes()
        if scope not in scopes:
            self.create_scope(bucket, scope)
        if collection not in scopes.get(scope, {}):
            self.create_collection(bucket, scope, collection)

    def _bucket(self, name: str) -> Bucket:
        found = self._state.buckets.get(name)
        if found is None:
            raise LookupError(f"no bucket {name!r}")
        return found

    def _running(self) -> tuple[int, int, int]:
        if self._ports is None:
            raise RuntimeError("the node is not running")
        return self._ports

    def _seconds(self) -> float:
        seconds: float = self._reactor.seconds()
        return seconds
