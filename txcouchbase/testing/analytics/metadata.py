"""What the analytics service has stored: scopes with their collections, indexes and links. No I/O.

A scope (*dataverse* in older words) is known by its parts, joined with slashes; a collection was a
*dataset*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from txcouchbase.testing.analytics import errors
from txcouchbase.testing.analytics.errors import AnalyticsRefused
from txcouchbase.testing.analytics.links import LOCAL, Link
from txcouchbase.testing.analytics.scopes import Collection, Scope, full_source
from txcouchbase.testing.analytics.statements import Path, Statement

__all__ = ["DEFAULT_SCOPE", "Analytics", "Keyspaces"]

Keyspaces = dict[str, dict[str, dict[str, int]]]
"""What there is to fill collections from: collections by bucket and scope."""

DEFAULT_SCOPE = "Default"
FIELD_TYPES = {"string", "int64", "bigint", "double"}


class Analytics:
    """All that is stored of a cluster."""

    def __init__(self) -> None:
        self._scopes = {DEFAULT_SCOPE: Scope()}
        self._number = 100

    def execute(self, statement: Statement, keyspaces: Keyspaces, context: Path) -> None:
        """Carry a statement out.

        :param keyspaces: what collections can be filled from.
        :param context: the scope of names that name none.
        :raises AnalyticsRefused: as a server refuses it.
        """
        create = _CREATIONS.get(statement.kind)
        if create is not None:
            create(self, statement, keyspaces, context)
        else:
            _STATEMENTS[statement.kind](self, statement, context)

    def check_scope(self, name: str) -> None:
        """See that there is a scope.

        :raises AnalyticsRefused: SCOPE_MISSING.
        """
        self._scope(name)

    def find(self, path: Path, context: Path) -> tuple[Collection, bool]:
        """The collection that a name in a query stands for, and whether its link is connected.

        :raises AnalyticsRefused: COLLECTION_UNKNOWN.
        """
        scope, name = _split(path, context)
        found = self._scopes.get(scope)
        if found is None or name not in found.collections:
            raise _unknown(scope, name)
        collection = found.collections[name]
        return collection, collection.link in found.connected

    def pending(self) -> dict[str, dict[str, int]]:
        """How many changes each connected collection has yet to take in: none."""
        counts = {
            scope: dict.fromkeys(
                (name for name, one in each.collections.items() if one.link in each.connected), 0
            )
            for scope, each in self._scopes.items()
        }
        return {scope: collections for scope, collections in counts.items() if collections}

    # Links.

    def create_link(self, scope: str, name: str, link: Link) -> None:
        """Store a link.

        :raises AnalyticsRefused: SCOPE_MISSING, LINK_EXISTS.
        """
        links = self._scope(scope).links
        if name in links or name == LOCAL:
            raise AnalyticsRefused(errors.LINK_EXISTS, f"Link {scope}.{name} already exists")
        links[name] = link

    def replace_link(self, scope: str, name: str, link: Link) -> None:
        """Store a link in place of one of the same type.

        :raises AnalyticsRefused: SCOPE_MISSING, LINK_MISSING; REQUEST for another type.
        """
        previous = self._link(scope, name)
        if previous.kind != link.kind:
            raise AnalyticsRefused(errors.REQUEST, "The type of a link cannot be changed")
        self._scopes[scope].links[name] = link

    def drop_link(self, scope: str, name: str) -> None:
        """Take a link out.

        :raises AnalyticsRefused: SCOPE_MISSING, LINK_MISSING; COMPILATION for one in use.
        """
        self._link(scope, name)
        found = self._scopes[scope]
        users = [each for each, one in found.collections.items() if one.link == name]
        if users:
            raise AnalyticsRefused(
                errors.COMPILATION,
                f"Cannot drop link {scope}.{name} since analytics collections use it: {users}",
            )
        del found.links[name]
        found.connected.discard(name)

    def links(
        self, scope: str | None = None, name: str | None = None, kind: str | None = None
    ) -> list[dict[str, Any]]:
        """Links as a server shows them; of one scope, of one name, of one type.

        :raises AnalyticsRefused: SCOPE_MISSING, LINK_MISSING.
        """
        if name is not None and scope is not None:
            self._link(scope, name)
        scopes = self._scopes if scope is None else {scope: self._scope(scope)}
        return [
            link.as_dict(where, each)
            for where, found in scopes.items()
            for each, link in found.links.items()
            if name in (None, each) and kind in (None, link.kind)
        ]

    def _scope(self, name: str) -> Scope:
        found = self._scopes.get(name)
        if found is None:
            raise AnalyticsRefused(
                errors.SCOPE_MISSING, f"Cannot find analytics scope with name {name}"
            )
        return found

    def _link(self, scope: str, name: str) -> Link:
        found = self._scope(scope).links.get(name)
        if found is None:
            raise AnalyticsRefused(errors.LINK_MISSING, f"Link {scope}.{name} does not exist")
        return found

    def _collection(self, scope: str, name: str) -> Collection:
        found = self._scope(scope).collections.get(name)
        if found is None:
            raise AnalyticsRefused(
                errors.COLLECTION_MISSING,
                f"Cannot find analytics collection with name {name} in analytics scope {scope}",
            )
        return found

    # Statements.

    def _create_scope(self, statement: Statement, context: Path) -> None:
        name = "/".join(statement.paths[0])
        if name not in self._scopes:
            self._scopes[name] = Scope()
        elif not statement.lenient:
            raise AnalyticsRefused(
                errors.SCOPE_EXISTS, f"An analytics scope with name {name} already exists"
            )

    def _drop_scope(self, statement: Statement, context: Path) -> None:
        name = "/".join(statement.paths[0])
        if name == DEFAULT_SCOPE:
            raise AnalyticsRefused(errors.COMPILATION, f"Cannot drop analytics scope: {name}")
        if name in self._scopes or not statement.lenient:
            self._scope(name)
            del self._scopes[name]

    def _create_collection(self, statement: Statement, keyspaces: Keyspaces, context: Path) -> None:
        scope, name = _split(statement.paths[0], context)
        found = self._scope(scope)
        link = LOCAL
        if len(statement.paths) > 1:
            link_scope, link = _split(statement.paths[1], tuple(scope.split("/")))
            if link_scope != scope:
                raise AnalyticsRefused(
                    errors.COMPILATION, f"Link {link_scope}.{link} is of another analytics scope"
                )
            if link != LOCAL:
                self._link(scope, link)
        if name in found.collections:
            if statement.lenient:
                return
            raise AnalyticsRefused(
                errors.COLLECTION_EXISTS,
                f"An analytics collection with name {name} already exists in analytics scope"
                f" {scope}",
            )
        if link == LOCAL:
            _check_source(statement.source, keyspaces)
        self._add(found, name, link, statement.source, statement.condition)

    def _add(
        self, scope: Scope, name: str, link: str, source: Path, condition: str | None = None
    ) -> None:
        self._number += 1
        scope.collections[name] = Collection(self._number, link, source, condition)

    def _enable(self, statement: Statement, keyspaces: Keyspaces, context: Path) -> None:
        source = statement.paths[0]
        _check_source(source, keyspaces)
        scope, name = _split(full_source(source), ())
        found = self._scopes.setdefault(scope, Scope())
        if name not in found.collections:
            self._add(found, name, LOCAL, source)
        found.connect(LOCAL)

    def _disable(self, statement: Statement, context: Path) -> None:
        scope, name = _split(full_source(statement.paths[0]), ())
        self._collection(scope, name)
        del self._scopes[scope].collections[name]

    def _drop_collection(self, statement: Statement, context: Path) -> None:
        scope, name = _split(statement.paths[0], context)
        try:
            self._collection(scope, name)
        except AnalyticsRefused:
            if statement.lenient:
                return
            raise
        del self._scopes[scope].collections[name]

    def _create_index(self, statement: Statement, context: Path) -> None:
        scope, name = _split(statement.paths[0], context)
        indexes, (index,) = self._collection(scope, name).indexes, statement.paths[1]
        for path, kind in statement.fields:
            if kind not in FIELD_TYPES:
                raise AnalyticsRefused(
                    errors.COMPILATION, f"Cannot index field {'.'.join(path)} on type {kind}"
                )
        # A collection's primary index has its name.
        if index not in indexes and index != name:
            indexes[index] = statement.fields
        elif not statement.lenient:
            raise AnalyticsRefused(
                errors.INDEX_EXISTS, f"An index with this name {index} already exists"
            )

    def _drop_index(self, statement: Statement, context: Path) -> None:
        path = statement.paths[0]
        if len(path) < 2:
            raise AnalyticsRefused(
                errors.COMPILATION, "Syntax error: DROP INDEX needs a collection and an index"
            )
        scope, name = _split(path[:-1], context)
        indexes = self._collection(scope, name).indexes
        if indexes.pop(path[-1], None) is None and not statement.lenient:
            raise AnalyticsRefused(errors.INDEX_MISSING, f"Cannot find index with name {path[-1]}")

    def _connect(self, statement: Statement, context: Path) -> None:
        for scope, name in [_split(path, context) for path in statement.paths]:
            found = self._scope(scope)
            link = None if name == LOCAL else self._link(scope, name)
            if link is None or link.kind == "couchbase":
                change = found.connect if statement.kind == "connect_link" else found.disconnect
                change(name)
            else:
                raise AnalyticsRefused(
                    errors.COMPILATION,
                    f"Link {scope}.{name} of type {link.kind} cannot be connected or disconnected",
                )

    # Metadata.

    def metadata(self, name: str) -> list[dict[str, Any]]:
        """The rows of a collection of the scope ``Metadata``.

        :raises AnalyticsRefused: COLLECTION_UNKNOWN.
        """
        make = _METADATA.get(name)
        if make is None:
            raise _unknown("Metadata", name)
        return list(make(self))

    def _scope_rows(self) -> Iterator[dict[str, Any]]:
        for name in self._scopes:
            yield {"DataverseName": name, "PendingOp": 0}

    def _collection_rows(self) -> Iterator[dict[str, Any]]:
        for scope, found in self._scopes.items():
            for name, collection in found.collections.items():
                row = {
                    "DataverseName": scope,
                    "DatasetName": name,
                    "DatatypeDataverseName": "Metadata",
                    "DatatypeName": "AnyObject",
                    "DatasetType": "INTERNAL",
                    "DatasetId": collection.number,
                    "LinkName": collection.link,
                    "BucketName": collection.source[0],
                    "PendingOp": 0,
                }
                if len(collection.source) == 3:
                    row["ScopeName"], row["CollectionName"] = collection.source[1:]
                if collection.condition is not None:
                    row["Filter"] = collection.condition
                yield row

    def _index_rows(self) -> Iterator[dict[str, Any]]:
        for scope, found in self._scopes.items():
            for name, collection in found.collections.items():
                base = {"DataverseName": scope, "DatasetName": name, "IndexStructure": "BTREE"}
                key = {"SearchKey": [["key"]], "IsPrimary": True, "PendingOp": 0}
                yield base | {"IndexName": name} | key
                for index, fields in collection.indexes.items():
                    yield base | {
                        "IndexName": index,
                        "SearchKey": [list(path) for path, _ in fields],
                        "SearchKeyType": [kind for _, kind in fields],
                        "IsPrimary": False,
                        "PendingOp": 0,
                    }

    def _link_rows(self) -> Iterator[dict[str, Any]]:
        for scope, found in self._scopes.items():
            for name in (LOCAL, *found.links):
                yield {
                    "DataverseName": scope,
                    "Name": name,
                    "IsActive": name in found.connected,
                }


def _split(path: Path, context: Path) -> tuple[str, str]:
    """The scope and the name that a path names."""
    return "/".join(path[:-1] or context), path[-1]


def _unknown(scope: str, name: str) -> AnalyticsRefused:
    return AnalyticsRefused(
        errors.COLLECTION_UNKNOWN,
        f"Cannot find analytics collection {name} in analytics scope {scope} nor an alias with"
        f" name {name}",
    )


def _check_source(source: Path, keyspaces: Keyspaces) -> None:
    bucket, scope, collection = full_source(source)
    if len(source) not in (1, 3) or collection not in keyspaces.get(bucket, {}).get(scope, {}):
        raise AnalyticsRefused(
            errors.COMPILATION, f"Bucket or collection {'.'.join(source)} does not exist"
        )


_STATEMENTS: dict[str, Callable[[Analytics, Statement, Path], None]] = {
    "create_scope": Analytics._create_scope,
    "drop_scope": Analytics._drop_scope,
    "drop_collection": Analytics._drop_collection,
    "create_index": Analytics._create_index,
    "drop_index": Analytics._drop_index,
    "connect_link": Analytics._connect,
    "disconnect_link": Analytics._connect,
    "disable_analytics": Analytics._disable,
}
_CREATIONS: dict[str, Callable[[Analytics, Statement, Keyspaces, Path], None]] = {
    "create_collection": Analytics._create_collection,
    "enable_analytics": Analytics._enable,
}
_METADATA: dict[str, Callable[[Analytics], Iterator[dict[str, Any]]]] = {
    "Dataverse": Analytics._scope_rows,
    "Dataset": Analytics._collection_rows,
    "Index": Analytics._index_rows,
    "Link": Analytics._link_rows,
}
