"""What INSERT, UPSERT, UPDATE and DELETE do to one document.

Errors are those of a server: code 12009, with what lies behind it as the reason.
"""

from __future__ import annotations

from typing import Any

from txcouchbase.testing.kv.bucket import Document, vbucket_of
from txcouchbase.testing.kv.frames import DATATYPE_JSON
from txcouchbase.testing.kv.status import Refused, Status
from txcouchbase.testing.query.documents import DocumentMeta, fetched
from txcouchbase.testing.query.encoding import encoded
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.keyspaces import Keyspace

__all__ = ["JSON_FLAGS", "Writer"]

JSON_FLAGS = 0x02000006
"""Flags that say JSON, in the common form and in the legacy one."""

_REASONS = {
    Status.KEY_EEXISTS: (12033, "datastore.couchbase.CAS_mismatch", "CAS mismatch"),
    Status.KEY_ENOENT: (17014, "dml.statement.keynotfound", "Key not found"),
    Status.LOCKED: (12034, "datastore.couchbase.DML_MC", "LOCKED: the document is locked"),
    Status.E2BIG: (12034, "datastore.couchbase.DML_MC", "E2BIG: the document is too large"),
    Status.EINVAL: (12034, "datastore.couchbase.DML_MC", "EINVAL: no key of a document"),
}


def _failed(statement: str, key: str, code: int, name: str, message: str) -> QueryError:
    reason = {"_level": "exception", "code": code, "key": name, "message": message}
    return QueryError(
        12009,
        "DML Error, possible causes include concurrent modification. Failed to perform "
        f"{statement} on key {key}",
        reason,
    )


class Writer:
    """Changes the documents of one keyspace.

    :param statement: what errors call it, such as ``INSERT``.
    """

    def __init__(self, execution: Execution, keyspace: Keyspace, statement: str) -> None:
        self._execution = execution
        self._keyspace = keyspace
        self._statement = statement

    def insert(self, key: str, value: Any, expiry: int) -> DocumentMeta:
        """Store a new document.

        :raises QueryError: 12009 if there is one, with the reason 17012.
        """
        now = self._execution.state.seconds()
        if self._writable(key, 0, now) is not None:
            raise _failed(
                self._statement, key, 17012, "dml.statement.duplicatekey", f"Duplicate Key: {key}"
            )
        return self._store(key, None, value, self._absolute(expiry, now), now)

    def upsert(self, key: str, value: Any, expiry: int | None) -> DocumentMeta:
        """Store a document, whether there is one or not.

        :param expiry: None if it was not said.
        """
        now = self._execution.state.seconds()
        document = self._writable(key, 0, now)
        return self._store(key, document, value, self._expiry(document, expiry, now), now)

    def update(self, meta: DocumentMeta, value: Any, expiry: int | None) -> DocumentMeta:
        """Store another value of a document that was read.

        :param expiry: None if it was not said.
        :raises QueryError: 12009 if the document was changed since, with the reason 12033.
        """
        now = self._execution.state.seconds()
        document = self._writable(meta.id, meta.cas, now)
        return self._store(meta.id, document, value, self._expiry(document, expiry, now), now)

    def delete(self, meta: DocumentMeta) -> None:
        """Delete a document that was read.

        :raises QueryError: 12009 if the document was changed since, with the reason 12033.
        """
        now = self._execution.state.seconds()
        bucket, wire = self._keyspace.bucket, self._keyspace.wire_key(meta.id)
        document = self._writable(meta.id, meta.cas, now)
        assert document is not None
        bucket.delete(wire, document, self._vbucket(meta.id), now)
        self._execution.mutations += 1

    def _writable(self, key: str, cas: int, now: float) -> Document | None:
        try:
            return self._keyspace.bucket.writable(self._keyspace.wire_key(key), cas, now)
        except Refused as refused:
            raise self._refused(key, refused) from None

    def _store(
        self, key: str, document: Document | None, value: Any, expiry: int, now: float
    ) -> DocumentMeta:
        keyspace = self._keyspace
        try:
            stored = keyspace.bucket.store(
                keyspace.wire_key(key),
                self._vbucket(key),
                document,
                encoded(value),
                JSON_FLAGS,
                now,
                expiry=expiry,
                datatype=DATATYPE_JSON,
            )
        except Refused as refused:
            raise self._refused(key, refused) from None
        self._execution.mutations += 1
        return fetched(key, stored, keyspace.path, now)

    def _vbucket(self, key: str) -> int:
        return vbucket_of(key.encode("utf-8", "surrogatepass"), self._keyspace.bucket.vbuckets)

    def _expiry(self, document: Document | None, expiry: int | None, now: float) -> int:
        if expiry is None and document is not None and self._execution.preserve_expiry:
            return document.expiry
        return self._absolute(expiry or 0, now)

    def _absolute(self, expiry: int, now: float) -> int:
        return self._keyspace.bucket.absolute_expiry(expiry, now)

    def _refused(self, key: str, refused: Refused) -> QueryError:
        status = refused.status
        code, name, message = _REASONS.get(
            status, (12034, "datastore.couchbase.DML_MC", status.name)
        )
        return _failed(self._statement, key, code, name, message)
