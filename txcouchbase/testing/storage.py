"""What an application's test does with a node's documents, without a client."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Call
from txcouchbase.testing.kv.bucket import Bucket, Document, vbucket_of
from txcouchbase.testing.kv.frames import DATATYPE_JSON
from txcouchbase.testing.kv.manifest import DEFAULT, leb128
from txcouchbase.testing.kv.settings import BucketSettings
from txcouchbase.testing.kv.status import Refused
from txcouchbase.testing.query.service import answer_to
from txcouchbase.testing.topology import NOWHERE
from txcouchbase.testing.views.designs import DesignDocument, DesignRefused
from txcouchbase.testing.views.evaluation import MapFunction

__all__ = ["Snapshot", "Storage", "StoredDocument"]

JSON_FLAGS = 0x02000006
"""Flags that say JSON, in the common form and in the legacy one."""


@dataclass(frozen=True)
class StoredDocument:
    """A document as it is stored.

    :param raw: its bytes.
    :param flags: the format, as the client has written it.
    :param expiry: seconds since the epoch, 0 for never.
    :param attributes: its extended attributes.
    """

    key: str
    raw: bytes
    flags: int
    cas: int
    expiry: int
    attributes: dict[str, Any]

    @property
    def value(self) -> Any:
        """The document, parsed.

        :raises ValueError: if it is not JSON.
        """
        return json.loads(self.raw)


@dataclass(frozen=True)
class Snapshot:
    """All that a node has stored at one moment; for `Storage.restore`."""

    stored: dict[str, Any] = field(repr=False)


class Storage:
    """Buckets, scopes, collections and documents.

    A bucket is named by ``bucket=``; None stands for the first one.

    :param state: the cluster that holds them.
    """

    def __init__(self, state: ClusterState) -> None:
        self._state = state

    # Where documents live.

    def create_bucket(self, name: str, settings: BucketSettings | None = None) -> None:
        """Add a bucket; it opens at once.

        :param settings: None for those of the buckets that a node starts with.
        :raises ValueError: for a name that exists.
        """
        self._state.create_bucket(name, settings or BucketSettings())

    def drop_bucket(self, name: str) -> None:
        """Take a bucket out, with all that depends on it.

        :raises LookupError: if it does not exist.
        """
        self._state.drop_bucket(name)

    def create_scope(self, bucket: str, scope: str) -> None:
        """Add a scope.

        :raises LookupError: for an unknown bucket.
        :raises ValueError: for a name that exists, or that a server would not take.
        """
        self._state.create_scope(bucket, scope)

    def create_collection(
        self, bucket: str, scope: str, collection: str, max_expiry: int = 0
    ) -> None:
        """Add a collection to a scope that exists.

        :param max_expiry: the longest life of its documents in seconds; 0 for what the bucket
            says.
        :raises LookupError: for an unknown bucket or scope.
        :raises ValueError: for a name that exists, or that a server would not take.
        """
        self._state.create_collection(bucket, scope, collection, max_expiry)

    def drop_collection(self, bucket: str, scope: str, collection: str) -> None:
        """Take a collection out, with its documents and indexes.

        :raises LookupError: if it does not exist.
        """
        self._state.drop_collection(bucket, scope, collection)

    def drop_scope(self, bucket: str, scope: str) -> None:
        """Take a scope out, with its collections, their documents and indexes.

        :raises LookupError: if it does not exist.
        :raises ValueError: for the default scope.
        """
        self._state.drop_scope(bucket, scope)

    # Documents.

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
        """Store a JSON document.

        :param expiry: seconds from now, or since the epoch where that is more than thirty days;
            0 for never.
        :raises LookupError: for an unknown bucket, scope or collection.
        :raises ValueError: where a server would not take the key or the value, for an expiry that
            is none, or while the document is locked.
        """
        if not isinstance(expiry, int) or not 0 <= expiry < 1 << 32:
            raise ValueError(f"expiry: {expiry!r} is no number of seconds that fits 32 bits")
        found, wire = self._wire(key, bucket, scope, collection)
        now = self._state.seconds()
        try:
            found.check_key(wire)
            found.store(
                wire,
                vbucket_of(key.encode(), found.vbuckets),
                found.writable(wire, 0, now),
                json.dumps(value, ensure_ascii=False, allow_nan=False).encode(),
                JSON_FLAGS,
                now,
                expiry=found.absolute_expiry(expiry, now),
                datatype=DATATYPE_JSON,
            )
        except Refused as refused:
            raise ValueError(f"{key!r}: {refused.status.name}") from None

    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        scope: str = DEFAULT,
        collection: str = DEFAULT,
    ) -> StoredDocument | None:
        """Look a document up; None if there is none, or if it has expired.

        :raises LookupError: for an unknown bucket, scope or collection.
        """
        found, wire = self._wire(key, bucket, scope, collection)
        document = self._live(found, wire)
        if document is None:
            return None
        return StoredDocument(
            key,
            document.value,
            document.flags,
            document.cas,
            document.expiry,
            json.loads(document.xattrs) if document.xattrs else {},
        )

    def remove(
        self,
        key: str,
        *,
        bucket: str | None = None,
        scope: str = DEFAULT,
        collection: str = DEFAULT,
    ) -> bool:
        """Remove a document, locked or not.

        :returns: whether there was one.
        :raises LookupError: for an unknown bucket, scope or collection.
        """
        found, wire = self._wire(key, bucket, scope, collection)
        document = self._live(found, wire)
        if document is not None:
            vbucket = vbucket_of(key.encode(), found.vbuckets)
            found.delete(wire, document, vbucket, self._state.seconds())
        return document is not None

    def lock(
        self,
        key: str,
        seconds: int = 15,
        *,
        bucket: str | None = None,
        scope: str = DEFAULT,
        collection: str = DEFAULT,
    ) -> int:
        """Lock a document, as if another client had done it.

        :param seconds: how long, 1 to 30.
        :returns: the CAS that unlocks it.
        :raises LookupError: for an unknown bucket, scope or collection, or a missing document.
        :raises ValueError: if it is locked already.
        """
        found, wire = self._wire(key, bucket, scope, collection)
        document = self._live(found, wire)
        if document is None:
            raise LookupError(f"no document {key!r}")
        try:
            found.lock(document, seconds, self._state.seconds())
        except Refused:
            raise ValueError(f"{key!r} is locked") from None
        return document.cas

    def keys(
        self, *, bucket: str | None = None, scope: str = DEFAULT, collection: str = DEFAULT
    ) -> list[str]:
        """The keys of a collection's documents, sorted.

        :raises LookupError: for an unknown bucket, scope or collection.
        """
        found, prefix = self._wire("", bucket, scope, collection)
        return sorted(
            wire[len(prefix) :].decode("utf-8", "replace")
            for wire in list(found.documents)
            if wire.startswith(prefix) and self._live(found, wire) is not None
        )

    def copies(self, key: str, *, bucket: str | None = None) -> list[int | None]:
        """The numbers of the nodes that have, or would have, a document: the active one first.

        None stands for a copy for which there is no node.

        :raises LookupError: for an unknown bucket.
        """
        found = self._bucket(bucket)
        chain = found.copies.chains[vbucket_of(key.encode(), found.vbuckets)]
        return [None if number == NOWHERE else number for number in chain]

    def load(self, lines: Iterable[str], bucket: str | None = None) -> int:
        """Store the documents of JSON lines.

        :param lines: such as an open file; each ``{"id": ..., "value": ...}``, optionally with
            ``"scope"`` and ``"collection"`` (made where they lack) and ``"expiry"``.
        :returns: how many.
        :raises ValueError: for a line that is something else; it says which one.
        """
        name = self._bucket(bucket).name
        count = 0
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                document = _document_of(line)
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
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            count += 1
        return count

    def query(self, statement: str, *positional: Any, **named: Any) -> list[Any]:
        """Run a SQL++ statement as the administrator, without a client.

        :param positional: what ``$1``, ``$2`` or ``?`` stand for.
        :param named: what ``$name`` stands for.
        :returns: the rows.
        :raises ValueError: for a statement that fails; it has the server's code and message.
        """
        parameters = {f"${name}": value for name, value in named.items()}
        call = Call(
            "query",
            "POST",
            "/query/service",
            headers={"content-type": "application/json"},
            body=json.dumps({"statement": statement, "args": positional, **parameters}).encode(),
            account=self._state.security.account(self._state.security.administrator),
        )
        body = answer_to(self._state, call).body
        found = json.loads(body if isinstance(body, bytes) else b"".join(body))
        for error in found.get("errors", ()):
            raise ValueError(f"{error['code']}: {error['msg']}")
        rows: list[Any] = found["results"]
        return rows

    def map_view(
        self,
        design: str,
        view: str,
        function: MapFunction,
        *,
        reduce: str | None = None,
        bucket: str | None = None,
    ) -> None:
        """Let a function of Python stand for the map function of a view from now on.

        A design document and a view that do not exist are made. They are part of what is stored;
        the function is not, and stays whatever is restored.

        :param design: the design document; those of development begin with ``dev_``.
        :param function: takes a document's value and its metadata (``id cas expiration flags``);
            returns or yields pairs of key and value.
        :param reduce: of a view that is made: ``_count``, ``_sum`` or ``_stats``.
        :raises LookupError: for an unknown bucket.
        :raises ValueError: for a reduce function of another name, or a view that exists with
            another one.
        """
        found = self._bucket(bucket)
        document = found.design_documents.get(design, DesignDocument({}, 0))
        present = document.view(view)
        if present is None:
            try:
                found.design_documents[design] = document.with_view(view, reduce)
            except DesignRefused as refused:
                raise ValueError(str(refused)) from None
        elif reduce is not None and present.get("reduce") != reduce:
            raise ValueError(f"the view {design}/{view} exists, with another reduce function")
        self._state.map_functions[found.name, design, view] = function

    # All of it.

    def snapshot(self) -> Snapshot:
        """All that is stored: buckets with their documents, accounts, indexes, functions.

        Not what is only in force for the time of a test: faults, scripts, the record.
        """
        return Snapshot(copy.deepcopy(self._state.stored()))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what a snapshot of this node holds; it may be used again.

        Clients stay connected. Sequence numbers and CAS go on growing.
        """
        self._state.restore(copy.deepcopy(snapshot.stored))

    def _make_collection(self, bucket: str, scope: str, collection: str) -> None:
        scopes = self._bucket(bucket).manifest.scopes()
        if scope not in scopes:
            self.create_scope(bucket, scope)
        if collection not in scopes.get(scope, {}):
            self.create_collection(bucket, scope, collection)

    def _bucket(self, name: str | None) -> Bucket:
        buckets = self._state.buckets
        found = buckets.get(name) if name is not None else next(iter(buckets.values()), None)
        if found is None:
            raise LookupError(f"no bucket {name!r}")
        return found

    def _wire(
        self, key: str, bucket: str | None, scope: str, collection: str
    ) -> tuple[Bucket, bytes]:
        if not isinstance(key, str):
            raise ValueError(f"a key is text, not {key!r}")
        found = self._bucket(bucket)
        number = found.manifest.scopes().get(scope, {}).get(collection)
        if number is None:
            raise LookupError(f"no collection {scope}.{collection}")
        return found, leb128(number) + key.encode()

    def _live(self, bucket: Bucket, wire: bytes) -> Document | None:
        try:
            return bucket.find(wire, self._state.seconds())
        except Refused:
            return None


_MEMBERS = {"id": str, "value": object, "scope": str, "collection": str, "expiry": int}


def _document_of(line: str) -> dict[str, Any]:
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError("a document is an object with the members id and value")
    for name, value in document.items():
        if name not in _MEMBERS:
            raise ValueError(f"{name}: unknown; there are {', '.join(_MEMBERS)}")
        if not isinstance(value, _MEMBERS[name]):
            raise ValueError(f"{name}: {value!r} is no {_MEMBERS[name].__name__}")
    for name in ("id", "value"):
        if name not in document:
            raise ValueError(f"{name}: missing")
    if document.get("scope", DEFAULT) != DEFAULT and "collection" not in document:
        raise ValueError("collection: missing; only the scope _default has a default collection")
    return document
