"""Transactions of the query service: what they have staged, and how it is committed. No I/O.

What statements change is kept beside the documents until COMMIT, which compares the CAS of each
document with the one that the transaction saw. (A server stages it in the documents.) What the
client had staged in documents before its first query is taken over from there. Errors are a
server's: each tells the client by its ``cause`` whether another attempt may help.

Source: the SQL++ language reference, "SQL++ Support for Couchbase Transactions"; what a client
sends and how it reads errors, the C++ client's ``core/transactions/attempt_context_impl.cxx``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from txcouchbase.testing.kv.bucket import Document, vbucket_of
from txcouchbase.testing.kv.frames import DATATYPE_JSON
from txcouchbase.testing.kv.manifest import leb128, split_leb128
from txcouchbase.testing.kv.status import Refused
from txcouchbase.testing.query.changes import JSON_FLAGS
from txcouchbase.testing.query.documents import DocumentMeta, decoded
from txcouchbase.testing.query.encoding import encoded
from txcouchbase.testing.query.errors import QueryError

if TYPE_CHECKING:
    from txcouchbase.testing.kv.bucket import Bucket
    from txcouchbase.testing.query.keyspaces import Keyspace
    from txcouchbase.testing.query.transaction_data import Settings

__all__ = ["Staged", "Transaction", "Transactions", "conflict"]

DEFAULT_TIMEOUT = 120.0
"""Seconds that a transaction has if its BEGIN does not say."""

Place = tuple[str, bytes]
"""The UUID of a bucket, and a key of the wire."""


@dataclass(frozen=True)
class Staged:
    """What a transaction will do to one document.

    :param value: None removes it.
    :param seen: the CAS of the document that it replaces, 0 for none.
    :param cas: what the transaction's own statements see as its CAS.
    :param expiry: seconds since the epoch, 0 for never.
    :param in_document: whether the client has staged something in the document itself.
    """

    keyspace: Keyspace
    key: str
    value: bytes | None
    seen: int
    cas: int
    expiry: int = 0
    flags: int = JSON_FLAGS
    in_document: bool = False

    def seen_by_itself(self, keyspace: str) -> tuple[Any, DocumentMeta] | None:
        """The value and the metadata that statements of the transaction find."""
        if self.value is None:
            return None
        meta = DocumentMeta(self.key, self.cas, self.expiry, self.flags, keyspace, True, "")
        return decoded(self.value), meta


def conflict(code: int, message: str, raised: str = "failed") -> QueryError:
    """An error after which the client may try the transaction again."""
    cause = {"retry": True, "rollback": True, "raise": raised, "msg": message}
    return QueryError(code, message, cause=cause)


class Transaction:
    """One transaction.

    :param identity: what requests name it by.
    :param deadline: when it expires, on the state's clock.
    :param record: the bucket and the key of the wire of the client's attempt record.
    """

    def __init__(
        self, identity: str, deadline: float, record: tuple[Bucket, bytes] | None = None
    ) -> None:
        self.id = identity
        self.deadline = deadline
        self._record = record
        self.staged: dict[Place, Staged] = {}

    # What statements of the transaction see.

    def find(self, keyspace: Keyspace, wire: bytes) -> Staged | None:
        """What is staged for a document."""
        return self.staged.get((keyspace.bucket.uuid, wire))

    def keys(self, keyspace: Keyspace) -> list[str]:
        """The keys of a keyspace that only the transaction has."""
        uuid, prefix = keyspace.bucket.uuid, leb128(keyspace.number)
        documents = keyspace.bucket.documents
        return [
            staged.key
            for (bucket, wire), staged in self.staged.items()
            if bucket == uuid and wire.startswith(prefix) and wire not in documents
        ]

    # What they do.

    def stage(self, staged: Staged) -> None:
        """Change a document; what was staged for it before is replaced.

        :raises QueryError: 17020 if another transaction has staged something in it.
        """
        bucket, wire = staged.keyspace.bucket, staged.keyspace.wire_key(staged.key)
        self.check_free(bucket, wire)
        before = self.staged.get((bucket.uuid, wire))
        if before is not None:
            staged = replace(staged, seen=before.seen, in_document=before.in_document)
            if staged.value is None and not staged.seen and not staged.in_document:
                del self.staged[bucket.uuid, wire]
                return
        self.staged[bucket.uuid, wire] = staged

    def check_free(self, bucket: Bucket, wire: bytes) -> None:
        """See that no other transaction has staged something in a document.

        :raises QueryError: 17020.
        """
        document = _present(bucket, wire)
        if document is not None and _attempt(document) not in (None, self.id):
            raise conflict(17020, "Transaction staging error: write write conflict")

    def adopt(self, keyspace: Keyspace, key: str, cas: int) -> None:
        """Take over what the client has staged in a document.

        :raises QueryError: 17020 if the document was changed since.
        """
        bucket, wire = keyspace.bucket, keyspace.wire_key(key)
        document = _present(bucket, wire)
        if document is None or document.cas != cas:
            raise conflict(17020, f"Transaction staging error: {key} was changed")
        txn = _attributes(document).get("txn")
        removed = _member(txn, "op", "type") == "remove"
        value = None if removed else encoded(_member(txn, "op", "stgd"))
        flags = _member(txn, "aux", "uf")
        flags = flags if isinstance(flags, int) else JSON_FLAGS
        self.staged[bucket.uuid, wire] = Staged(
            keyspace, key, value, cas, cas, document.expiry, flags, True
        )

    def mark(self) -> dict[Place, Staged]:
        """What is staged at this moment, for `go_back`."""
        return dict(self.staged)

    def go_back(self, mark: dict[Place, Staged]) -> None:
        """Undo what was staged since `mark`."""
        self.staged = mark

    def commit(self, now: float) -> int:
        """Carry out what is staged, all of it or nothing; returns how many documents changed.

        :raises QueryError: 17007 if a document was changed since the transaction saw it, or its
            bucket is gone.
        """
        for place, staged in self.staged.items():
            if not self._unchanged(place, staged, now):
                self.roll_back(now)
                raise conflict(
                    17007, f"Commit Transaction statement error: CAS mismatch of {staged.key}"
                )
        for place, staged in self.staged.items():
            self._apply(place, staged, now)
        self._forget_attempt(now)
        return len(self.staged)

    def roll_back(self, now: float) -> None:
        """Take away what the client has staged in documents."""
        for (_, wire), staged in self.staged.items():
            document = _present(staged.keyspace.bucket, wire)
            if document is not None and _attempt(document) == self.id:
                _rewrite(staged.keyspace.bucket, wire, document, _without_txn(document), now)
        self._forget_attempt(now)

    def _forget_attempt(self, now: float) -> None:
        if self._record is None:
            return
        bucket, wire = self._record
        document = bucket.documents.get(wire)
        attributes = _attributes(document) if document is not None else {}
        if document is not None and _member(attributes, "attempts", self.id) is not None:
            del attributes["attempts"][self.id]
            _rewrite(bucket, wire, document, json.dumps(attributes), now)

    def _unchanged(self, place: Place, staged: Staged, now: float) -> bool:
        bucket, wire = staged.keyspace.bucket, place[1]
        if bucket.dropped:
            return False
        try:
            self.check_free(bucket, wire)
            document = bucket.find(wire, now)
        except (QueryError, Refused):
            return False
        if staged.in_document and document is None:
            document = bucket.tombstones.get(wire)
        if document is None:
            return staged.seen == 0
        return document.cas == staged.seen and not document.locked(now)

    def _apply(self, place: Place, staged: Staged, now: float) -> None:
        bucket, wire = staged.keyspace.bucket, place[1]
        vbucket = vbucket_of(staged.key.encode("utf-8", "surrogatepass"), bucket.vbuckets)
        document = _present(bucket, wire) if staged.seen else None
        if staged.value is None:
            if document is not None and not document.deleted:
                bucket.delete(wire, document, vbucket, now)
            elif document is not None:
                _rewrite(bucket, wire, document, _without_txn(document), now)
            return
        if document is not None and document.deleted:
            bucket.tombstones.pop(wire, None)
        bucket.store(
            wire,
            vbucket,
            document,
            staged.value,
            staged.flags,
            now,
            expiry=staged.expiry,
            datatype=DATATYPE_JSON,
            xattrs=_without_txn(document) if document is not None else None,
        )


def _present(bucket: Bucket, wire: bytes) -> Document | None:
    return bucket.documents.get(wire) or bucket.tombstones.get(wire)


def _attributes(document: Document) -> dict[str, Any]:
    if not document.xattrs:
        return {}
    found: dict[str, Any] = json.loads(document.xattrs)
    return found


def _attempt(document: Document) -> str | None:
    """The attempt that has staged something in a document."""
    found = _member(_attributes(document).get("txn"), "id", "atmpt")
    return found if isinstance(found, str) else None


def _member(value: Any, *path: str) -> Any:
    """A member of what a client has written, which may be anything; None where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _without_txn(document: Document) -> str:
    left = {name: value for name, value in _attributes(document).items() if name != "txn"}
    return json.dumps(left) if left else ""


def _rewrite(bucket: Bucket, wire: bytes, document: Document, xattrs: str, now: float) -> None:
    """Give a document other attributes, and leave all else as it is."""
    _, start = split_leb128(wire)
    bucket.store(
        wire,
        vbucket_of(wire[start:], bucket.vbuckets),
        document,
        document.value,
        document.flags,
        now,
        expiry=document.expiry,
        datatype=document.datatype,
        xattrs=xattrs,
        deleted=document.deleted,
    )


class Transactions:
    """The transactions of a query service that are open."""

    def __init__(self) -> None:
        self._open: dict[str, Transaction] = {}

    def begin(
        self, settings: Settings, now: float, record: tuple[Bucket, bytes] | None = None
    ) -> Transaction:
        """Open a transaction.

        :raises QueryError: 17013 if the client has opened it before.
        """
        for identity in [one.id for one in self._open.values() if one.deadline <= now]:
            del self._open[identity]
        identity = settings.told.id.atmpt or str(uuid4())
        if identity in self._open:
            raise QueryError(17013, f"Transaction {identity} is in use")
        timeout = DEFAULT_TIMEOUT if settings.timeout is None else settings.timeout
        opened = self._open[identity] = Transaction(identity, now + timeout, record)
        return opened

    def find(self, identity: str, now: float) -> Transaction:
        """An open transaction.

        :raises QueryError: 17004 if there is none, 17010 if it has expired.
        """
        found = self._open.get(identity)
        if found is None:
            raise QueryError(
                17004, f"Transaction context error: Transaction ({identity}) not found"
            )
        if found.deadline <= now:
            self.close(found)
            found.roll_back(now)
            raise QueryError(17010, f"Transaction ({identity}) expired")
        return found

    def close(self, transaction: Transaction) -> None:
        """Forget a transaction."""
        self._open.pop(transaction.id, None)

    def clear(self) -> None:
        """Forget all of them, as a restart does."""
        self._open.clear()
