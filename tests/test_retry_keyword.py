"""Where the keyword `retry_ambiguous` is taken and where it is refused, without a process."""

from __future__ import annotations

import inspect
from typing import Any

import couchbase.subdocument as SD
from couchbase import options as sdk
from couchbase import search
from couchbase.exceptions import InvalidArgumentException
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.changes import CHANGES, Ask
from tests.support import LONG
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.binary_collection import TxBinaryCollection, TxRawBinaryCollection
from txcouchbase.cluster import AsyncQueryRequest, TxCluster
from txcouchbase.collection import TxCollection, TxRawCollection
from txcouchbase.workers import PoolConfig
from txcouchbase.workers.stream import RowOperation

MATCH = search.MatchAllQuery()

UNREAD: dict[str, Ask] = {
    "get": lambda c, **kw: c.get("k", **kw),
    "exists": lambda c, **kw: c.exists("k", **kw),
    "lookup_in": lambda c, **kw: c.lookup_in("k", [SD.get("a")], **kw),
    "get_multi": lambda c, **kw: c.get_multi(["k"], **kw),
    "exists_multi": lambda c, **kw: c.exists_multi(["k"], **kw),
}
"""Those that only read, and are sent once more anyway."""


class Submitted:
    """Takes the place of a pool."""

    def __init__(self) -> None:
        self.operations: list[Any] = []
        self.reactor = MemoryReactorClock()
        self.config = PoolConfig()
        self.has_room = True

    def submit(self, operation: Any, feeder: Any = None) -> None:
        self.operations.append(operation)

    def cancel(self, operation: Any) -> None:
        """Nobody waits."""

    def now(self) -> float:
        return 0.0

    def admit(self, feeder: Any) -> None:
        """There is room."""

    def forget(self, feeder: Any) -> None:
        """There is room."""


class KeywordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = TxCluster(
            "couchbase://127.0.0.1",
            username="u",
            password="p",
            reactor=MemoryReactorClock(),
        )
        self.bucket = self.cluster.bucket("default")
        self.collection = self.bucket.default_collection()
        self.submitted = Submitted()
        places: Any = (self.cluster, self.bucket, self.collection)
        for place in places:
            place._pool = self.submitted

    def test_what_changes_something_takes_it_and_nothing_else_does(self) -> None:
        kinds = [kind for kind in OPERATIONS.values() if not kind.blocking and not kind.rows]
        self.assertTrue(kinds)
        found = 0
        for kind in kinds:
            for form in (
                (TxCollection, TxBinaryCollection),
                (TxRawCollection, TxRawBinaryCollection),
            ):
                for name in (kind.name, f"{kind.name}_multi"):
                    for owner in form:
                        method = getattr(owner, name, None)
                        if method is None:
                            continue
                        found += 1
                        parameter = inspect.signature(method).parameters.get("retry_ambiguous")
                        if kind.repeatable:
                            self.assertIsNone(parameter, name)
                        else:
                            assert parameter is not None, name
                            self.assertIs(parameter.kind, inspect.Parameter.KEYWORD_ONLY)
                            self.assertIs(parameter.default, False)
        # Each in both forms; lookup_in and mutate_in, and those that set an expiry or unlock
        # a document with a document of its own, have no multi form in the SDK.
        self.assertGreater(found, 2 * len(kinds))

    def test_it_goes_with_the_operation_and_not_to_the_sdk(self) -> None:
        asks = {**CHANGES, "unlock": lambda c, k, **kw: c.unlock(k, 1, **kw)}
        for name, ask in asks.items():
            for keywords in ({}, {"timeout": LONG}):
                ask(self.collection, "k", retry_ambiguous=True, **keywords)
                operation = self.submitted.operations.pop()
                self.assertTrue(operation.retry_ambiguous and operation.resendable, name)
                self.assertNotIn("retry_ambiguous", operation.options or {}, name)
                ask(self.collection, "k", **keywords)
                operation = self.submitted.operations.pop()
                self.assertFalse(operation.retry_ambiguous or operation.resendable, name)

    def test_multi_operations_pass_it_on(self) -> None:
        for given in (True, False):
            self.collection.upsert_multi({"a": 1, "b": 2}, retry_ambiguous=given)
            operations, self.submitted.operations = self.submitted.operations, []
            self.assertEqual([each.resendable for each in operations], [given] * 2)

    def test_queries_take_it_and_their_statement_does_not(self) -> None:
        statement: Any = {"statement": "SELECT 1", "retry_ambiguous": True}
        streams: list[Any] = []
        asks: list[tuple[bool, Ask]] = [
            (True, lambda: self.cluster.query("SELECT 1", retry_ambiguous=True)),
            (False, lambda: self.cluster.query("SELECT 1")),
            (True, lambda: self.cluster.query("SELECT 1", read_only=True)),
            (
                True,
                lambda: self.cluster.query_ex(AsyncQueryRequest, "SELECT 1", retry_ambiguous=True),
            ),
            (True, lambda: streams.append(self.cluster.query_stream(**statement))),
            (True, lambda: self.cluster.analytics_query("SELECT 1", retry_ambiguous=True)),
            (False, lambda: self.cluster.analytics_query("SELECT 1")),
            (True, lambda: streams.append(self.cluster.analytics_stream(**statement))),
        ]
        for resendable, ask in asks:
            ask()
            operation: RowOperation = self.submitted.operations.pop()
            self.assertEqual(operation.resendable, resendable)
            self.assertNotIn(b"retry_ambiguous", operation.value or b"")
        for stream in streams:
            self.successResultOf(Deferred.fromCoroutine(stream.aclose()))

    def test_not_after_rows_have_arrived(self) -> None:
        self.cluster.query("SELECT 1", retry_ambiguous=True)
        operation: RowOperation = self.submitted.operations.pop()
        self.assertTrue(operation.resendable)
        operation.arrived([b"1"], 1)
        self.assertFalse(operation.resendable)

    def refused(self, ask: Ask, *args: Any, **kwargs: Any) -> None:
        error = self.assertRaises(InvalidArgumentException, ask, *args, **kwargs)
        self.assertIn("retry_ambiguous", str(error))
        self.assertEqual(self.submitted.operations, [])

    def test_what_is_no_bool_is_refused(self) -> None:
        for value in (1, 0, None, "yes"):
            for ask in CHANGES.values():
                self.refused(ask, self.collection, "k", retry_ambiguous=value)
            self.refused(self.collection.upsert_multi, {"k": 1}, retry_ambiguous=value)
            self.refused(self.cluster.query, "SELECT 1", retry_ambiguous=value)
            self.refused(self.cluster.analytics_query, "SELECT 1", retry_ambiguous=value)
            self.refused(
                self.cluster.query_ex, AsyncQueryRequest, "SELECT 1", retry_ambiguous=value
            )

    def test_what_only_reads_refuses_it(self) -> None:
        for ask in UNREAD.values():
            self.refused(ask, self.collection, retry_ambiguous=True)
        self.refused(self.cluster.search_query, "i", MATCH, retry_ambiguous=True)
        self.refused(self.cluster.search_stream, "i", MATCH, retry_ambiguous=True)
        self.refused(self.bucket.view_query, "d", "v", retry_ambiguous=True)

    def test_it_is_no_option_of_a_block(self) -> None:
        block: Any = {"retry_ambiguous": True}
        self.refused(self.collection.upsert, "k", 1, sdk.UpsertOptions(**block))
        self.refused(self.collection.upsert_multi, {"k": 1}, sdk.UpsertMultiOptions(**block))
        self.refused(self.collection.upsert_multi, {"k": 1}, per_key_options={"k": block})
        self.refused(self.cluster.query, "SELECT 1", sdk.QueryOptions(**block))
        self.refused(self.cluster.analytics_query, "SELECT 1", sdk.AnalyticsOptions(**block))
        self.refused(self.cluster.search_query, "i", MATCH, sdk.SearchOptions(**block))

    def test_a_named_parameter_may_be_called_so(self) -> None:
        self.cluster.query("SELECT $retry_ambiguous", named_parameters={"retry_ambiguous": 1})
        operation: RowOperation = self.submitted.operations.pop()
        self.assertFalse(operation.resendable)
        self.assertIn(b"retry_ambiguous", operation.value or b"")
