"""What names in the FROM of a query stand for: collections of the analytics service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from txcouchbase.testing.analytics.errors import (
    COMPILATION,
    INTERNAL,
    AnalyticsRefused,
    not_done,
    refusal,
)
from txcouchbase.testing.analytics.links import LOCAL
from txcouchbase.testing.analytics.scopes import Collection, full_source
from txcouchbase.testing.analytics.statements import Path
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Execution, Row
from txcouchbase.testing.query.keyspaces import Keyspace
from txcouchbase.testing.query.queries import Planner
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.sources import Source, rows_source, scan_source
from txcouchbase.testing.query.syntax import Expression, KeyspacePath, Query, Subselect
from txcouchbase.testing.query.values import MISSING

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["Datasets", "condition_of"]


def condition_of(state: ClusterState, text: str) -> Expression:
    """The condition of a collection's documents, parsed.

    :raises AnalyticsRefused: COMPILATION, or INTERNAL for one that is not done.
    """
    try:
        parsed = state.statements.parse(f"SELECT RAW 1 FROM [] AS d WHERE {text}\n")
    except QueryError as error:
        raise refusal(error) from None
    plain = Query((), parsed.body, (), None, None) if isinstance(parsed, Query) else None
    body = parsed.body if parsed == plain and isinstance(parsed, Query) else None
    if not isinstance(body, Subselect) or body.where is None or body.group is not None:
        raise AnalyticsRefused(COMPILATION, f"Syntax error: {text} is no condition")
    return body.where


class Datasets:
    """What a query reads, and how much of it.

    :param execution: of the query.
    :param context: the scope of names that name none.

    Attributes:
        read: How many documents were read so far.
    """

    def __init__(self, execution: Execution, context: Path) -> None:
        self._execution = execution
        self._context = context
        self.read = 0

    def source(self, path: KeyspacePath) -> Source:
        """The rows of a collection.

        :raises AnalyticsRefused: COLLECTION_UNKNOWN; INTERNAL for one that this node does not have
            the data of.
        """
        if path.namespace is not None:
            raise AnalyticsRefused(COMPILATION, f"Syntax error: no namespace {path.namespace}")
        analytics = self._execution.state.analytics
        if len(path.parts) == 2 and path.parts[0] == "Metadata":
            rows = [(row, MISSING) for row in analytics.metadata(path.parts[1])]
            return rows_source(lambda: rows, self._execution)
        collection, connected = analytics.find(path.parts, self._context)
        name = ".".join(path.parts)
        if not connected:
            if collection.severed:
                raise AnalyticsRefused(
                    INTERNAL,
                    f"Internal error: the link {collection.link} of {name} was disconnected. On a"
                    " server the collection keeps what it had by then, which this node does not:"
                    " connect the link, or script an answer",
                )
            return rows_source(list, self._execution)
        if collection.link != LOCAL:
            raise not_done(f"a query of {name}, whose documents are at another cluster,")
        return self._documents(collection)

    def _documents(self, collection: Collection) -> Source:
        keyspace = self._keyspace(collection)
        if keyspace is None:
            return rows_source(list, self._execution)
        scan = scan_source(keyspace, self._execution)
        wanted = self._wanted(collection)

        def rows(row: Row) -> Iterator[list[Row]]:
            for batch in scan.rows(row):
                found = [document for document in batch if wanted(document)]
                self.read += len(found)
                yield found

        return Source(scan.width, rows, scan.dependent)

    def _keyspace(self, collection: Collection) -> Keyspace | None:
        """Where its documents are; None if that is no more."""
        name, scope, inner = full_source(collection.source)
        bucket = self._execution.state.buckets.get(name)
        number = None if bucket is None else bucket.manifest.scopes().get(scope, {}).get(inner)
        if bucket is None or number is None:
            return None
        return Keyspace(bucket, scope, inner, number)

    def _wanted(self, collection: Collection) -> Callable[[Row], bool]:
        """Whether a document is one of the collection's; what is no JSON never is."""
        if collection.condition is None:
            return _is_json
        scope = Scope.of_term("d", 0)
        condition = scope.resolve(condition_of(self._execution.state, collection.condition))
        holds = Planner(self._execution).compiler(scope).predicate(condition)
        return lambda document: _is_json(document) and holds(document)


def _is_json(document: Row) -> bool:
    return type(document[0]) is not bytes
