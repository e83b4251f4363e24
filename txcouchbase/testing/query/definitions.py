"""What CREATE, DROP and BUILD do: indexes, scopes and collections.

Source: the SQL++ language reference, "Data Definition Statements".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txcouchbase.testing.query.aggregates import AGGREGATES
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.formatted import formatted
from txcouchbase.testing.query.functions import FUNCTIONS
from txcouchbase.testing.query.indexes import PRIMARY, QueryIndex
from txcouchbase.testing.query.keyspaces import (
    Keyspace,
    collection_path,
    find_keyspace,
    find_scope,
    require,
)
from txcouchbase.testing.query.queries import Planner
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.syntax import (
    BuildIndex,
    Call,
    Comprehension,
    CreateCollection,
    CreateIndex,
    CreateScope,
    DropCollection,
    DropIndex,
    DropScope,
    Expression,
    FlattenKeys,
    IndexKey,
    KeyspacePath,
    Name,
    Node,
    Parameter,
    Statement,
    Subquery,
    children,
)
from txcouchbase.testing.query.values import is_array

__all__ = ["DEFINITIONS"]

_INDEX_OPTIONS: dict[str, type] = {
    "defer_build": bool,
    "nodes": list,
    "num_partition": int,
    "num_replica": int,
    "retain_deleted_xattr": bool,
    "secKeySize": int,
    "docKeySize": int,
    "arrSize": int,
    "numDoc": int,
    "residentRatio": int,
}
"""Options of WITH; those that say where an index lives and how large it is have no effect."""

INDEX_NODES = 1
"""Nodes that could hold a copy of an index."""


def _options(planner: Planner, node: Expression | None, allowed: dict[str, type]) -> dict[str, Any]:
    if node is None:
        return {}
    value = planner.compiler(Scope()).expression(node)(())
    if type(value) is not dict:
        raise QueryError(3000, "syntax error - WITH needs an object")
    for name, content in value.items():
        wanted = allowed.get(name)
        if wanted is None or type(content) is not wanted:
            raise _refused_index(f"invalid option {name} in WITH")
    return value


def _index_keyspace(execution: Execution, path: KeyspacePath) -> Keyspace:
    if path.namespace == "system":
        raise QueryError(11003, f"System datastore : Not implemented {path.parts[-1]}")
    keyspace = find_keyspace(execution, path)
    require(execution, "index", keyspace.bucket.name)
    return keyspace


def _create_index(planner: Planner, statement: CreateIndex) -> None:
    execution = planner.execution
    keyspace = _index_keyspace(execution, statement.keyspace)
    options = _options(planner, statement.options, _INDEX_OPTIONS)
    for key in statement.keys:
        _check_key(key)
    for expression in (*statement.partition, statement.where):
        if expression is not None:
            _check_indexable(expression)
    if sum([key.array is not None for key in statement.keys]) > 1:
        raise _refused_index(
            "Multiple expressions with ALL are found. Only one array expression is supported per "
            "index."
        )
    replicas = options.get("num_replica", 0)
    if replicas >= INDEX_NODES:
        raise _refused_index(
            "Fails to create index. There are not enough indexer nodes to create index with "
            f"replica count of {replicas}."
        )
    name = statement.name or PRIMARY
    partition = None
    if statement.partition:
        parts = ",".join([formatted(expression) for expression in statement.partition])
        partition = f"HASH({parts})"
    index = QueryIndex(
        name,
        keyspace.place,
        keyspace.bucket.name,
        statement.keys,
        statement.where,
        partition,
        online=not options.get("defer_build", False),
        replicas=replicas,
        created=execution.now,
    )
    try:
        execution.state.query_indexes.add(index)
    except ValueError:
        if not statement.if_not_exists:
            raise QueryError(4300, f"The index {name} already exists.") from None


def _check_key(key: IndexKey) -> None:
    expression = key.expression
    value = expression
    while isinstance(value, Comprehension):
        value = value.value
    if not isinstance(value, FlattenKeys) or key.array is None or value is expression:
        _check_indexable(expression)
        return
    if key.descending or key.include_missing:
        raise QueryError(
            3282, f"Attributes are not allowed on {formatted(expression)} of flatten_keys."
        )
    _check_indexable(expression, value)


def _check_indexable(expression: Expression, flattened: FlattenKeys | None = None) -> None:
    """See that the value of an expression follows from a document alone.

    :param flattened: the only FLATTEN_KEYS that may stand in it.
    """
    waiting: list[Node] = [expression]
    named = False
    while waiting:
        node = waiting.pop()
        named = named or isinstance(node, Name) or (isinstance(node, Call) and node.name == "meta")
        if isinstance(node, FlattenKeys) and node is not flattened:
            raise QueryError(3283, f"{formatted(node)} is not allowed in this context.")
        if isinstance(node, (Subquery, Parameter)) or (isinstance(node, Call) and _varies(node)):
            raise _not_indexable(expression)
        waiting.extend(children(node))
    if not named:
        raise _not_indexable(expression)


def _varies(call: Call) -> bool:
    found = FUNCTIONS.get(call.name)
    return call.name in AGGREGATES or (found is not None and (found.clock or found.volatile))


def _not_indexable(expression: Expression) -> QueryError:
    return QueryError(3280, f"{formatted(expression)} is not indexable.")


def _refused_index(cause: str) -> QueryError:
    return QueryError(5000, f"GSI CreateIndex() - cause: {cause}")


def _index_not_found(name: str | None) -> QueryError:
    if name is None:
        return QueryError(12004, f"Primary Index Not Found - cause: GSI index {PRIMARY} not found.")
    return QueryError(12016, f"Index Not Found - cause: GSI index {name} not found.")


def _drop_index(planner: Planner, statement: DropIndex) -> None:
    execution = planner.execution
    keyspace = _index_keyspace(execution, statement.keyspace)
    try:
        execution.state.query_indexes.drop(keyspace.place, statement.name or PRIMARY)
    except LookupError:
        if not statement.if_exists:
            raise _index_not_found(statement.name) from None


def _build_index(planner: Planner, statement: BuildIndex) -> None:
    execution = planner.execution
    keyspace = _index_keyspace(execution, statement.keyspace)
    names: list[str] = []
    for node in statement.names:
        if isinstance(node, Name):
            names.append(node.name)
            continue
        value = planner.compiler(Scope()).expression(node)(())
        names.extend(value if is_array(value) else [value])
    for name in names:
        if type(name) is not str:
            raise QueryError(3000, "syntax error - BUILD INDEX needs names")
        if execution.state.query_indexes.find(keyspace.place, name) is None:
            raise _index_not_found(name)
    execution.state.query_indexes.build(keyspace.place, names)


def _create_scope(planner: Planner, statement: CreateScope) -> None:
    execution = planner.execution
    bucket, scope = find_scope(execution, statement.path)
    require(execution, "collections", bucket.name)
    if scope in bucket.manifest.scopes() and statement.if_not_exists:
        return
    try:
        execution.state.create_scope(bucket.name, scope)
    except ValueError as error:
        raise QueryError(12025, f"Error while creating scope {scope} - cause: {error}") from None


def _drop_scope(planner: Planner, statement: DropScope) -> None:
    execution = planner.execution
    bucket, scope = find_scope(execution, statement.path)
    require(execution, "collections", bucket.name)
    if scope not in bucket.manifest.scopes():
        if statement.if_exists:
            return
        raise QueryError(12021, f"Scope not found in CB datastore: default:{bucket.name}.{scope}")
    try:
        execution.state.drop_scope(bucket.name, scope)
    except ValueError as error:
        raise QueryError(12026, f"Error while dropping scope {scope} - cause: {error}") from None


def _create_collection(planner: Planner, statement: CreateCollection) -> None:
    execution = planner.execution
    bucket, scope, collection = collection_path(execution, statement.path)
    require(execution, "collections", bucket.name)
    options = _options(planner, statement.options, {"maxTTL": int})
    scopes = bucket.manifest.scopes()
    if scope not in scopes:
        raise QueryError(12021, f"Scope not found in CB datastore: default:{bucket.name}.{scope}")
    if collection in scopes[scope] and statement.if_not_exists:
        return
    try:
        execution.state.create_collection(bucket.name, scope, collection, options.get("maxTTL", 0))
    except ValueError as error:
        raise QueryError(
            12027, f"Error while creating collection {collection} - cause: {error}"
        ) from None


def _drop_collection(planner: Planner, statement: DropCollection) -> None:
    execution = planner.execution
    bucket, scope, collection = collection_path(execution, statement.path)
    require(execution, "collections", bucket.name)
    if collection not in bucket.manifest.scopes().get(scope, {}):
        if statement.if_exists:
            return
        raise QueryError(
            12003,
            f"Keyspace not found in CB datastore: default:{bucket.name}.{scope}.{collection}",
        )
    execution.state.drop_collection(bucket.name, scope, collection)


DEFINITIONS: dict[type[Statement], Callable[[Planner, Any], None]] = {
    CreateIndex: _create_index,
    DropIndex: _drop_index,
    BuildIndex: _build_index,
    CreateScope: _create_scope,
    DropScope: _drop_scope,
    CreateCollection: _create_collection,
    DropCollection: _drop_collection,
}
"""What each statement does."""
