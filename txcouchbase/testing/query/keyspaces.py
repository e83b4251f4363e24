"""Keyspaces: what a path in a statement names, and the documents there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.kv.manifest import DEFAULT, leb128
from txcouchbase.testing.kv.status import Refused
from txcouchbase.testing.query.documents import DocumentMeta, decoded, fetched
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.formatted import quoted
from txcouchbase.testing.query.syntax import Expression, Field, KeyspacePath, Name

if TYPE_CHECKING:
    from txcouchbase.testing.kv.bucket import Bucket
    from txcouchbase.testing.query.execution import Execution
    from txcouchbase.testing.query.indexes import Place
    from txcouchbase.testing.query.transactions import Transaction

__all__ = ["Keyspace", "find_keyspace", "find_scope", "path_of", "require"]

_ROLES = {
    "select": "query_select",
    "insert": "query_insert",
    "update": "query_update",
    "delete": "query_delete",
    "index": "query_manage_index",
    "catalog": "query_system_catalog",
    "collections": "scope_admin",
}


_UNINDEXED = b"_txn:"
"""What the keys of documents start with that indexes leave out: the records of transactions."""


@dataclass(frozen=True)
class Keyspace:
    """One collection.

    :param number: the collection's number on the wire.
    :param transaction: whose staged changes count, too.
    """

    bucket: Bucket
    scope: str
    collection: str
    number: int
    transaction: Transaction | None = None

    @property
    def is_default(self) -> bool:
        """Whether it is the collection that is meant where a bucket alone is named."""
        return self.scope == DEFAULT and self.collection == DEFAULT

    @property
    def path(self) -> str:
        """Its path as messages have it, such as ``default:travel.inventory.hotel``."""
        if self.is_default:
            return f"default:{self.bucket.name}"
        return f"default:{self.bucket.name}.{self.scope}.{self.collection}"

    @property
    def quoted(self) -> str:
        """Its path as statements have it."""
        parts = [self.bucket.name]
        if not self.is_default:
            parts += [self.scope, self.collection]
        return "`default`:" + ".".join([quoted(part) for part in parts])

    @property
    def place(self) -> Place:
        """What its indexes are kept under."""
        return self.bucket.uuid, self.scope, self.collection

    def wire_key(self, key: str) -> bytes:
        """The key of a document as the bucket has it.

        :raises QueryError: 12009 for a key that no document could have.
        """
        wire = leb128(self.number) + key.encode("utf-8", "surrogatepass")
        try:
            self.bucket.check_key(wire)
        except Refused:
            raise QueryError(12009, f"DML Error: invalid key {key!r}") from None
        return wire

    def find(self, key: str, now: float) -> tuple[Any, DocumentMeta] | None:
        """The value and the metadata of a document."""
        wire = leb128(self.number) + key.encode("utf-8", "surrogatepass")
        staged = self.transaction.find(self, wire) if self.transaction is not None else None
        if staged is not None:
            return staged.seen_by_itself(self.path)
        try:
            document = self.bucket.find(wire, now)
        except Refused:
            return None
        if document is None:
            return None
        return decoded(document.value), fetched(key, document, self.path, now)

    def keys(self, size: int) -> Iterator[list[str]]:
        """The keys of its documents, some at a time and in no order.

        :param size: how many keys of the bucket are looked at in one step.
        """
        prefix = leb128(self.number)
        start = len(prefix)
        every = list(self.bucket.documents)
        for at in range(0, len(every), size):
            yield [
                key[start:].decode("utf-8", "replace")
                for key in every[at : at + size]
                if key.startswith(prefix) and not key.startswith(_UNINDEXED, start)
            ]
        if self.transaction is not None:
            yield self.transaction.keys(self)


def path_of(expression: Expression) -> KeyspacePath | None:
    """The path that an expression of names and dots could be."""
    parts: list[str] = []
    while isinstance(expression, Field) and not expression.folded:
        parts.append(expression.name)
        expression = expression.base
    if not isinstance(expression, Name):
        return None
    return KeyspacePath(None, (expression.name, *reversed(parts)))


def find_scope(execution: Execution, path: KeyspacePath) -> tuple[Bucket, str]:
    """The bucket and the name of the scope that a path names; the scope need not exist.

    :raises QueryError: 12003 for an unknown bucket.
    """
    _check_namespace(path)
    if len(path.parts) == 1 and path.namespace is None and execution.context is not None:
        return _bucket(execution, execution.context[0]), path.parts[0]
    if len(path.parts) != 2:
        raise QueryError(3000, f"syntax error - {'.'.join(path.parts)} is no path of a scope")
    return _bucket(execution, path.parts[0]), path.parts[1]


def find_keyspace(execution: Execution, path: KeyspacePath) -> Keyspace:
    """The collection that a path names.

    :raises QueryError: 12003 for an unknown bucket or collection, 12021 for an unknown scope.
    """
    bucket, scope, collection = collection_path(execution, path)
    scopes = bucket.manifest.scopes()
    if scope not in scopes:
        raise QueryError(12021, f"Scope not found in CB datastore: default:{bucket.name}.{scope}")
    number = scopes[scope].get(collection)
    if number is None:
        raise QueryError(
            12003,
            f"Keyspace not found in CB datastore: default:{bucket.name}.{scope}.{collection}",
        )
    return Keyspace(bucket, scope, collection, number, execution.transaction)


def collection_path(execution: Execution, path: KeyspacePath) -> tuple[Bucket, str, str]:
    """The bucket and the names of scope and collection; these need not exist.

    :raises QueryError: 12002 for an unknown namespace, 12003 for an unknown bucket, 3000 for a
        path of another length.
    """
    _check_namespace(path)
    parts = path.parts
    if len(parts) == 3:
        return _bucket(execution, parts[0]), parts[1], parts[2]
    if len(parts) == 1:
        if path.namespace is None and execution.context is not None:
            bucket, scope = execution.context
            return _bucket(execution, bucket), scope, parts[0]
        return _bucket(execution, parts[0]), DEFAULT, DEFAULT
    raise QueryError(3000, f"syntax error - {'.'.join(parts)} is no path of a keyspace")


def require(execution: Execution, permission: str, bucket: str | None) -> None:
    """See whether the one who asks may do something.

    :raises QueryError: 13014.
    """
    account = execution.account
    if account is None or account.may(permission, bucket):
        return
    where = f" on default:{bucket}" if bucket is not None else ""
    raise QueryError(
        13014,
        f"User does not have credentials to run {permission.upper()} queries{where}. Add role "
        f"{_ROLES[permission]}{where} to allow the statement to run.",
    )


def _check_namespace(path: KeyspacePath) -> None:
    if path.namespace not in (None, "default"):
        raise QueryError(12002, f"Namespace not found in CB datastore: {path.namespace}")


def _bucket(execution: Execution, name: str) -> Bucket:
    bucket = execution.state.buckets.get(name)
    if bucket is None:
        raise QueryError(12003, f"Keyspace not found in CB datastore: default:{name}")
    return bucket
