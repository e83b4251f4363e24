"""What the grammar's rules of mutations and definitions make of their parts.

Each method is named after a rule.
"""

from __future__ import annotations

from txcouchbase.testing.query.errors import not_done, syntax_error
from txcouchbase.testing.query.grammar.parts import (
    Clause,
    Parts,
    all_of,
    names,
    part,
    value_of,
    words,
)
from txcouchbase.testing.query.grammar.queries import QueryBuilder
from txcouchbase.testing.query.syntax import (
    BuildIndex,
    CreateCollection,
    CreateIndex,
    CreateScope,
    Delete,
    DropCollection,
    DropIndex,
    DropScope,
    Expression,
    IndexKey,
    Insert,
    KeyspacePath,
    Projection,
    Query,
    ResultTerm,
    Target,
    Update,
    UpdateTerm,
)

__all__ = ["StatementBuilder"]


class StatementBuilder(QueryBuilder):
    """Rules of whole statements."""

    # Mutations.

    def into(self, parts: Parts) -> Target:
        return Target(parts[0], value_of(parts, "alias"), None)

    def target(self, parts: Parts) -> Target:
        return Target(parts[0], value_of(parts, "alias"), value_of(parts, "use"))

    def keyspace(self, parts: Parts) -> KeyspacePath:
        path = names(parts)
        if "COLON" in words(parts):
            return KeyspacePath(path[0], tuple(path[1:]))
        return KeyspacePath(None, tuple(path))

    def insert(self, parts: Parts) -> Insert:
        rows = value_of(parts, "values")
        return Insert(parts[1], "UPSERT" in words(parts), rows, None, value_of(parts, "returning"))

    def insert_query(self, parts: Parts) -> Insert:
        row = (value_of(parts, "key"), value_of(parts, "value"), value_of(parts, "options"))
        query = part(parts, Query)
        returning = value_of(parts, "returning")
        return Insert(parts[1], "UPSERT" in words(parts), (row,), query, returning)

    def key_column(self, parts: Parts) -> Clause:
        return Clause("key", parts[0])

    def value_column(self, parts: Parts) -> Clause:
        return Clause("value", parts[0])

    def options_column(self, parts: Parts) -> Clause:
        return Clause("options", parts[0])

    def values(self, parts: Parts) -> Clause:
        return Clause("values", tuple(parts))

    def value_row(self, parts: Parts) -> tuple[Expression, Expression, Expression | None]:
        return parts[0], parts[1], parts[2] if len(parts) > 2 else None

    def update(self, parts: Parts) -> Update:
        terms = all_of(parts, UpdateTerm)
        if not terms:
            raise syntax_error("UPDATE without SET and UNSET")
        return Update(
            parts[0],
            terms,
            value_of(parts, "where"),
            value_of(parts, "limit"),
            value_of(parts, "returning"),
        )

    def set_term(self, parts: Parts) -> UpdateTerm:
        return UpdateTerm(parts[0], parts[2], *value_of(parts, "for", ((), None)))

    def unset_term(self, parts: Parts) -> UpdateTerm:
        return UpdateTerm(parts[0], None, *value_of(parts, "for", ((), None)))

    def update_for(self, parts: Parts) -> Clause:
        loops = [item for item in parts if isinstance(item, tuple)]
        # The last FOR is the outermost one.
        return Clause("for", (tuple(reversed(loops)), part(parts, Expression)))

    def delete(self, parts: Parts) -> Delete:
        limit, offset = value_of(parts, "page", (None, None))
        where, returning = value_of(parts, "where"), value_of(parts, "returning")
        return Delete(parts[0], where, limit, offset, returning)

    def returning(self, parts: Parts) -> Clause:
        return Clause("returning", Projection(False, False, tuple(parts)))

    def raw_returning(self, parts: Parts) -> Clause:
        return Clause("returning", Projection(False, True, (ResultTerm(parts[0], None, False),)))

    # Definitions.

    def create_index(self, parts: Parts) -> CreateIndex:
        _check_using(parts)
        keyspace = _path(parts)
        return CreateIndex(
            names(parts)[0],
            keyspace,
            False,
            value_of(parts, "exists", False),
            all_of(parts, IndexKey),
            value_of(parts, "partition", ()),
            value_of(parts, "where"),
            value_of(parts, "with"),
        )

    def create_primary(self, parts: Parts) -> CreateIndex:
        _check_using(parts)
        keyspace = _path(parts)
        name = next(iter(names(parts)), None)
        exists, options = value_of(parts, "exists", False), value_of(parts, "with")
        partition = value_of(parts, "partition", ())
        return CreateIndex(name, keyspace, True, exists, (), partition, None, options)

    def partition(self, parts: Parts) -> Clause:
        return Clause("partition", tuple(parts))

    def using(self, parts: Parts) -> Clause:
        return Clause("using", parts[0].type)

    def index_with(self, parts: Parts) -> Clause:
        return Clause("with", parts[0])

    def drop_index(self, parts: Parts) -> DropIndex:
        _check_using(parts)
        first, *second = all_of(parts, KeyspacePath)
        exists = value_of(parts, "exists", False)
        if second:
            if first.namespace is not None or len(first.parts) > 1:
                raise syntax_error("DROP INDEX with a keyspace before ON")
            return DropIndex(first.parts[0], second[0], exists)
        *path, name = first.parts
        if not path:
            raise syntax_error("DROP INDEX without a keyspace")
        return DropIndex(name, KeyspacePath(first.namespace, tuple(path)), exists)

    def drop_primary(self, parts: Parts) -> DropIndex:
        _check_using(parts)
        name = next(iter(names(parts)), None)
        return DropIndex(name, _path(parts), value_of(parts, "exists", False))

    def build_index(self, parts: Parts) -> BuildIndex:
        _check_using(parts)
        return BuildIndex(parts[0], all_of(parts, Expression))

    def create_scope(self, parts: Parts) -> CreateScope:
        return CreateScope(_path(parts), value_of(parts, "exists", False))

    def drop_scope(self, parts: Parts) -> DropScope:
        return DropScope(_path(parts), value_of(parts, "exists", False))

    def create_collection(self, parts: Parts) -> CreateCollection:
        exists, options = value_of(parts, "exists", False), value_of(parts, "with")
        return CreateCollection(_path(parts), exists, options)

    def drop_collection(self, parts: Parts) -> DropCollection:
        return DropCollection(_path(parts), value_of(parts, "exists", False))

    def existence(self, parts: Parts) -> Clause:
        return Clause("exists", True)


def _path(parts: Parts) -> KeyspacePath:
    found = part(parts, KeyspacePath)
    assert found is not None
    return found


def _check_using(parts: Parts) -> None:
    using = value_of(parts, "using", "GSI")
    if using != "GSI":
        raise not_done(f"an index USING {using}")
