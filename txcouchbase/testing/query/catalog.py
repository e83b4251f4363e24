"""The keyspaces of the namespace ``system``, as far as the node has them.

Source: the SQL++ language reference, "Getting System Information".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.kv.manifest import DEFAULT
from txcouchbase.testing.query.documents import DocumentMeta
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.formatted import formatted, formatted_key
from txcouchbase.testing.query.indexes import QueryIndex
from txcouchbase.testing.query.keyspaces import require

if TYPE_CHECKING:
    from txcouchbase.testing.kv.bucket import Bucket

__all__ = ["CATALOG", "REFUSED_KEYSPACES"]

_PERMISSIONS = ("select", "insert", "update", "delete", "index", "manage", "catalog")
"""Who has one of them on a bucket sees it in the catalog."""

Rows = list[tuple[Any, Any]]
Items = Iterator[tuple[str, dict[str, Any]]]


def _datastore(execution: Execution) -> str:
    state = execution.state
    return f"http://{state.host}:{state.services.get('mgmt', 0)}"


def _datastores(execution: Execution) -> Items:
    url = _datastore(execution)
    yield url, {"id": url, "url": url}


def _namespaces(execution: Execution) -> Items:
    yield "default", _common(execution) | {"id": "default", "name": "default"}


def _common(execution: Execution) -> dict[str, Any]:
    return {"datastore_id": _datastore(execution)}


def _visible(execution: Execution) -> dict[str, Bucket]:
    """The buckets that the one who asks may know of."""
    account = execution.account
    return {
        name: bucket
        for name, bucket in execution.state.buckets.items()
        if account is None or any(account.may(permission, name) for permission in _PERMISSIONS)
    }


def _buckets(execution: Execution) -> Items:
    for name in _visible(execution):
        path = f"default:{name}"
        yield (
            path,
            _common(execution)
            | {"name": name, "namespace": "default", "namespace_id": "default", "path": path},
        )


def _scopes(execution: Execution) -> Items:
    for name, bucket in _visible(execution).items():
        for scope in bucket.manifest.scopes():
            path = f"default:{name}.{scope}"
            yield (
                path,
                _common(execution)
                | {
                    "bucket": name,
                    "name": scope,
                    "namespace": "default",
                    "namespace_id": "default",
                    "path": path,
                },
            )


def _keyspaces(execution: Execution) -> Items:
    for name, bucket in _visible(execution).items():
        common = _common(execution) | {"namespace": "default", "namespace_id": "default"}
        path = f"default:{name}"
        yield path, common | {"id": name, "name": name, "path": path}
        for scope, collections in bucket.manifest.scopes().items():
            for collection in collections:
                path = f"default:{name}.{scope}.{collection}"
                yield (
                    path,
                    common
                    | {
                        "bucket": name,
                        "id": collection,
                        "name": collection,
                        "path": path,
                        "scope": scope,
                    },
                )


def _indexes(execution: Execution) -> Items:
    buckets = _visible(execution)
    for index in execution.state.query_indexes.all():
        if index.bucket in buckets:
            yield index.id, _index(execution, index)


def _index(execution: Execution, index: QueryIndex) -> dict[str, Any]:
    _, scope, collection = index.place
    shown = _common(execution) | {
        "id": index.id,
        "index_key": [formatted_key(key) for key in index.keys],
        "keyspace_id": collection,
        "metadata": {"num_replica": index.replicas},
        "name": index.name,
        "namespace_id": "default",
        "state": index.state,
        "using": "gsi",
    }
    # An index on the default collection is one on the bucket, as before there were collections.
    if scope == DEFAULT and collection == DEFAULT:
        shown["keyspace_id"] = index.bucket
    else:
        shown |= {"bucket_id": index.bucket, "scope_id": scope}
    if index.primary:
        shown["is_primary"] = True
    if index.condition is not None:
        shown["condition"] = formatted(index.condition)
    if index.partition is not None:
        shown["partition"] = index.partition
    return shown


def _dual(execution: Execution) -> Items:
    yield "dual", {}


def _prepareds(execution: Execution) -> Items:
    require(execution, "catalog", None)
    for prepared in execution.state.statements.all():
        yield prepared.name, {"name": prepared.name, "statement": prepared.text}


def _rows(items: Callable[[Execution], Items], keyspace: str) -> Callable[[Execution], Rows]:
    def rows(execution: Execution) -> Rows:
        return [
            (value, DocumentMeta(key, 0, 0, 0, f"system:{keyspace}", True, ""))
            for key, value in items(execution)
        ]

    return rows


CATALOG: dict[str, Callable[[Execution], Rows]] = {
    name: _rows(items, name)
    for name, items in {
        "all_indexes": _indexes,
        "all_keyspaces": _keyspaces,
        "all_scopes": _scopes,
        "buckets": _buckets,
        "datastores": _datastores,
        "dual": _dual,
        "indexes": _indexes,
        "keyspaces": _keyspaces,
        "namespaces": _namespaces,
        "prepareds": _prepareds,
        "scopes": _scopes,
    }.items()
}
"""By the names of the keyspaces: values with their metadata."""

REFUSED_KEYSPACES = frozenset(
    """
    active_requests all_sequences applicable_roles aus aus_settings awr completed_requests
    completed_requests_history dictionary dictionary_cache functions functions_cache group_info
    my_user_info nodes sequences tasks_cache transactions user_info vitals
    """.split()
)
"""What a server has and the node has not."""
