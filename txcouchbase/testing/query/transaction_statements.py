"""The statements of transactions: BEGIN, COMMIT, ROLLBACK, and the client's own requests.

A client whose transaction has made a query sends what else it does as ``EXECUTE __get``,
``__insert``, ``__update`` and ``__delete``, with keyspace, key, value and options as positional
parameters. Source: the C++ client's ``core/transactions/attempt_context_impl.cxx``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from txcouchbase.testing.query.changes import Writer
from txcouchbase.testing.query.documents import DocumentMeta
from txcouchbase.testing.query.encoding import encoded
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.keyspaces import Keyspace, find_keyspace, require
from txcouchbase.testing.query.pipeline import Batches
from txcouchbase.testing.query.syntax import KeyspacePath
from txcouchbase.testing.query.transaction_data import Place
from txcouchbase.testing.query.transactions import Staged, Transaction, conflict

__all__ = ["CLIENT_REQUESTS", "client_request", "control", "ended", "undone", "writer_of"]


_PATH = re.compile("default:`(.+)`\\.`([^`]+)`\\.`([^`]+)`")


class StagingWriter(Writer):
    """Stages the changes of a transaction."""

    def __init__(
        self, execution: Execution, keyspace: Keyspace, statement: str, transaction: Transaction
    ) -> None:
        super().__init__(execution, keyspace, statement)
        self._transaction = transaction

    def insert(self, key: str, value: Any, expiry: int) -> DocumentMeta:
        """Stage a new document.

        :raises QueryError: 17012 if there is one.
        """
        if self._seen(key) is not None:
            raise QueryError(17012, f"Duplicate Key: {key}")
        return self._stage(key, None, value, expiry)

    def upsert(self, key: str, value: Any, expiry: int | None) -> DocumentMeta:
        """Stage a document, whether there is one or not."""
        return self._stage(key, self._seen(key), value, expiry)

    def update(self, meta: DocumentMeta, value: Any, expiry: int | None) -> DocumentMeta:
        """Stage another value of a document that was read.

        :raises QueryError: 17015 if it was changed since.
        """
        return self._stage(meta.id, self._unchanged(meta), value, expiry)

    def delete(self, meta: DocumentMeta) -> None:
        """Stage the removal of a document that was read.

        :raises QueryError: 17015 if it was changed since.
        """
        seen = self._unchanged(meta)
        now = self._execution.state.seconds()
        self._transaction.stage(
            Staged(self._keyspace, meta.id, None, seen.cas, self._keyspace.bucket.next_cas(now))
        )
        self._execution.mutations += 1

    def _seen(self, key: str) -> DocumentMeta | None:
        self._keyspace.wire_key(key)
        found = self._keyspace.find(key, self._execution.state.seconds())
        return None if found is None else found[1]

    def _unchanged(self, meta: DocumentMeta) -> DocumentMeta:
        seen = self._seen(meta.id)
        if seen is None or seen.cas != meta.cas:
            raise conflict(17015, f"Transaction staging error: {meta.id} was changed")
        return seen

    def _stage(
        self, key: str, seen: DocumentMeta | None, value: Any, expiry: int | None
    ) -> DocumentMeta:
        bucket, now = self._keyspace.bucket, self._execution.state.seconds()
        ends = bucket.absolute_expiry(expiry or 0, now)
        if expiry is None and seen is not None and self._execution.preserve_expiry:
            ends = seen.expiration
        cas = bucket.next_cas(now)
        self._transaction.stage(
            Staged(self._keyspace, key, encoded(value), 0 if seen is None else seen.cas, cas, ends)
        )
        self._execution.mutations += 1
        found = self._seen(key)
        assert found is not None
        return found


def writer_of(execution: Execution, keyspace: Keyspace, statement: str) -> Writer:
    """What changes the documents of a keyspace for a statement, at once or in its transaction."""
    if execution.transaction is None:
        return Writer(execution, keyspace, statement)
    return StagingWriter(execution, keyspace, statement, execution.transaction)


# BEGIN, COMMIT, ROLLBACK.


def control(execution: Execution, kind: str) -> list[Any]:
    """Carry BEGIN, COMMIT or ROLLBACK out.

    :returns: the rows of the answer.
    :raises QueryError: 17005 for one out of turn; 17007 if the commit meets a conflict.
    """
    state, transaction = execution.state, execution.transaction
    if kind == "BEGIN":
        if transaction is not None:
            raise QueryError(17005, "BEGIN WORK statement is out of order within the transaction")
        return [{"txid": _begin(execution).id}]
    if transaction is None:
        raise QueryError(17005, f"{kind} statement is out of order: there is no transaction")
    state.transactions.close(transaction)
    if kind == "COMMIT":
        execution.mutations += transaction.commit(state.seconds())
    else:
        transaction.roll_back(state.seconds())
    return []


def _begin(execution: Execution) -> Transaction:
    state, settings = execution.state, execution.settings
    record = settings.told.atr
    place = None
    if record is not None and record.id:
        keyspace = _keyspace(execution, record)
        place = keyspace.bucket, keyspace.wire_key(record.id)
    transaction = state.transactions.begin(settings, state.seconds(), place)
    try:
        for mutation in settings.told.mutations:
            transaction.adopt(_keyspace(execution, mutation), mutation.id, int(mutation.cas))
    except BaseException:
        # Whatever it was, nobody has the transaction's id to end it.
        state.transactions.close(transaction)
        raise
    return transaction


def _keyspace(execution: Execution, place: Place) -> Keyspace:
    return find_keyspace(execution, KeyspacePath("default", (place.bkt, place.scp, place.coll)))


def undone(transaction: Transaction, batches: Batches) -> Batches:
    """The rows of a statement, which is undone unless it gets to its end."""
    mark = transaction.mark()
    complete = False
    try:
        yield from batches
        complete = True
    finally:
        if not complete:
            transaction.go_back(mark)


def ended(execution: Execution, transaction: Transaction, batches: Batches) -> Batches:
    """The rows of a statement that is a transaction by itself, which ends with them.

    :raises QueryError: 17007 if the commit meets a conflict.
    """
    try:
        yield from batches
        if not execution.errors:
            transaction.commit(execution.state.seconds())
    finally:
        execution.state.transactions.close(transaction)


# Requests of a client that has turned to the query service.


def client_request(execution: Execution, name: str) -> list[Any]:
    """Carry out what a client asks for in the place of a key-value request.

    :param name: one of `CLIENT_REQUESTS`.
    :returns: the rows of the answer.
    :raises QueryError: 17004 outside a transaction, 17012 for a document that is there, 17014 for
        one that is not, 17015 for one that was changed.
    """
    if execution.transaction is None:
        raise QueryError(17004, f"Transaction context error: {name} outside of a transaction")
    path, key, *others = [*execution.positional, None, None]
    match = _PATH.fullmatch(path) if isinstance(path, str) else None
    if match is None or not isinstance(key, str):
        raise QueryError(1070, f"{name} needs the path of a collection and a key")
    keyspace = find_keyspace(execution, KeyspacePath("default", match.groups()))
    return CLIENT_REQUESTS[name](execution, keyspace, key, others)


def _get(execution: Execution, keyspace: Keyspace, key: str, others: list[Any]) -> list[Any]:
    require(execution, "select", keyspace.bucket.name)
    found = keyspace.find(key, execution.state.seconds())
    if found is None:
        raise QueryError(17014, f"Key not found: {key}")
    return [{"scas": str(found[1].cas), "doc": found[0]}]


def _insert(execution: Execution, keyspace: Keyspace, key: str, others: list[Any]) -> list[Any]:
    require(execution, "insert", keyspace.bucket.name)
    value = others[0]
    stored = writer_of(execution, keyspace, "INSERT").insert(key, value, 0)
    return [{"scas": str(stored.cas), "doc": value}]


def _update(execution: Execution, keyspace: Keyspace, key: str, others: list[Any]) -> list[Any]:
    require(execution, "update", keyspace.bucket.name)
    value = others[0]
    meta = _expected(execution, keyspace, key)
    stored = writer_of(execution, keyspace, "UPDATE").update(meta, value, None)
    return [{"scas": str(stored.cas), "doc": value}]


def _delete(execution: Execution, keyspace: Keyspace, key: str, others: list[Any]) -> list[Any]:
    require(execution, "delete", keyspace.bucket.name)
    writer_of(execution, keyspace, "DELETE").delete(_expected(execution, keyspace, key))
    return []


def _expected(execution: Execution, keyspace: Keyspace, key: str) -> DocumentMeta:
    found = keyspace.find(key, execution.state.seconds())
    if found is None:
        raise QueryError(17014, f"Key not found: {key}")
    cas = execution.settings.told.scas
    if cas is not None and cas != str(found[1].cas):
        raise QueryError(17015, f"CAS mismatch of {key}")
    return found[1]


CLIENT_REQUESTS: dict[str, Callable[[Execution, Keyspace, str, list[Any]], list[Any]]] = {
    "__get": _get,
    "__insert": _insert,
    "__update": _update,
    "__delete": _delete,
}
"""What is executed by these names in a transaction."""
