"""Analytics through real workers: what arrives at the node, and what comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from couchbase.analytics import AnalyticsQuery, AnalyticsScanConsistency
from couchbase.exceptions import (
    CouchbaseException,
    DatasetAlreadyExistsException,
    DatasetNotFoundException,
    DataverseAlreadyExistsException,
    DataverseNotFoundException,
    InternalServerFailureException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from couchbase.options import AnalyticsOptions
from couchbase.serializer import Serializer
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

from tests.support import LONG, ServerTestCase, posted
from txcouchbase.cluster import AsyncAnalyticsRequest
from txcouchbase.testing import Script

EVERY: dict[str, Any] = {
    "client_context_id": "mine",
    "metrics": True,
    "named_parameters": {"low": 2},
    "positional_parameters": [4],
    "priority": True,
    "query_context": "default:`shop`.`fruit`",
    "raw": {"max-warnings": 3},
    "read_only": True,
    "scan_consistency": AnalyticsScanConsistency.REQUEST_PLUS,
    "timeout": LONG,
}
"""Each option that goes to the server."""

STAY_HERE = {"serializer", "span", "parent_span", "scope_name"}
CREATE_ITEMS = "CREATE DATASET shop.fruit.items ON `default`"
COUNT = "SELECT VALUE COUNT(*) FROM _default WHERE n < ?"
NUMBERS = "SELECT VALUE i.n FROM items i WHERE i.n BETWEEN $low AND $1 ORDER BY i.n"


class Handler(AsyncAnalyticsRequest):
    """Gathers what it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: list[Any] = []
        self.ended: Deferred[Any] = Deferred()

    def on_rows(self, rows: list[Any]) -> None:
        self.rows += rows

    def on_done(self) -> None:
        self.ended.callback(None)

    def on_error(self, error: Exception) -> None:
        self.ended.errback(error)


class Noting(Serializer):
    """An application's own."""

    def serialize(self, value: Any) -> bytes:
        raise NotImplementedError

    def deserialize(self, value: bytes) -> Any:
        return "noted", value


async def by_query(place: Any, *args: Any, **kwargs: Any) -> Any:
    result = await place.analytics_query(*args, **kwargs)
    return list(result), result.metadata()


async def by_handler(place: Any, *args: Any, **kwargs: Any) -> Any:
    handler = place.analytics_query_ex(Handler, *args, **kwargs)
    await handler.ended
    return handler.rows, handler.metadata()


async def by_stream(place: Any, *args: Any, **kwargs: Any) -> Any:
    stream = place.analytics_stream(*args, **kwargs)
    return [row async for row in stream], stream.metadata()


FORMS = (by_query, by_handler, by_stream)


class AnalyticsTests(ServerTestCase):
    """The three forms of a query, on cluster and scope."""

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        if self.node is None:
            self.skipTest("documents and the record are the embedded node's")
        for number in range(6):
            self.node.put(f"k{number}", {"n": number})
        self.whole = self.cluster()
        self.scope = self.whole.bucket(self.bucket_name).default_scope()
        for statement in (
            "CREATE DATAVERSE shop.fruit",
            CREATE_ITEMS,
            "CONNECT LINK shop.fruit.Local",
            f"ALTER COLLECTION `{self.bucket_name}` ENABLE ANALYTICS",
        ):
            yield self.whole.analytics_query(statement)

    def test_queries(self) -> Any:
        """One cluster for all of it, since a worker takes its time to start."""
        return ensureDeferred(self.queries())

    async def queries(self) -> None:
        await self.every_option_arrives()
        await self.answers()
        await self.errors()

    async def every_option_arrives(self) -> None:
        assert self.node is not None
        self.assertEqual(set(EVERY), set(AnalyticsQuery._VALID_OPTS) - STAY_HERE)
        self.node.scripts.add(
            Script(
                "analytics",
                match="headers",
                rows=lambda call: [call.headers.get("analytics-priority")],
            )
        )
        wanted = {
            "statement": NUMBERS,
            "client_context_id": "mine",
            "$low": 2,
            "args": [4],
            "query_context": "default:`shop`.`fruit`",
            "max-warnings": 3,
            "readonly": True,
            "scan_consistency": "request_plus",
        }
        for place in (self.whole, self.scope):
            for form in FORMS:
                for options in ((AnalyticsOptions(**EVERY),), ()):
                    with self.node.recording() as record:
                        more = {} if options else EVERY
                        rows, metadata = await form(place, NUMBERS, *options, **more)
                    self.assertEqual(rows, [2, 3, 4])
                    (sent,) = posted(record, "analytics")
                    timeout = sent.options.pop("timeout")
                    self.assertEqual(sent.operation, "POST /query/service")
                    self.assertEqual(sent.options, wanted)
                    self.assertTrue(40_000 < int(timeout[:-2]) <= 50_000, timeout)
                    self.check(metadata)
                for priority in (True, False):
                    rows, _ = await form(place, "headers", priority=priority)
                    self.assertEqual(rows, ["-1" if priority else None])
        with self.node.recording() as record:
            for form in FORMS:
                rows, _ = await form(
                    self.scope, "SELECT VALUE COUNT(*) FROM _default WHERE n < ?", 4
                )
                self.assertEqual(rows, [4])
                rows, _ = await form(self.whole, "SELECT VALUE $low", low=[None])
                self.assertEqual(rows, [[None]])
        parameters = [{"args": [4]}, {"$low": [None]}]
        for sent, name in zip(posted(record, "analytics"), parameters * len(FORMS), strict=True):
            for member in ("statement", "timeout", "client_context_id"):
                del sent.options[member]
            if "args" in name:
                name = name | {"query_context": f"default:`{self.bucket_name}`.`_default`"}
            self.assertEqual(sent.options, name)

    def check(self, metadata: Any) -> None:
        """Metadata is all that the answer of three rows has."""
        self.assertEqual(metadata.status().value, "success")
        self.assertEqual(metadata.client_context_id(), "mine")
        self.assertEqual(len(metadata.request_id()), 36)
        self.assertEqual(metadata.signature(), {"*": "*"})
        self.assertEqual(metadata.warnings(), [])
        metrics = metadata.metrics()
        self.assertEqual(metrics.result_count().value, 3)
        self.assertEqual(metrics.result_size().value, 3)
        self.assertEqual(metrics.processed_objects().value, 6)
        self.assertEqual(metrics.error_count().value, 0)
        self.assertGreater(metrics.elapsed_time(), timedelta(0))
        self.assertGreater(metrics.execution_time(), timedelta(0))

    async def answers(self) -> None:
        assert self.node is not None
        warning = {"code": 24000, "msg": "beware"}
        self.node.scripts.add(Script("analytics", match="warn", metadata={"warnings": [warning]}))
        many = "SELECT VALUE n FROM ARRAY_RANGE(0, 3000) n"
        for form in FORMS:
            rows, metadata = await form(self.whole, many)
            self.assertEqual(rows, list(range(3000)))
            self.assertEqual(metadata.metrics().result_count().value, 3000)
            _, metadata = await form(self.whole, "warn")
            (read,) = metadata.warnings()
            self.assertEqual((read.code(), read.message()), (24000, "beware"))
            self.assertEqual(metadata.metrics().warning_count().value, 1)
            rows, _ = await form(self.whole, "SELECT VALUE 1", query_context="default:Default")
            self.assertEqual(rows, [1])
            rows, _ = await form(self.whole, "SELECT VALUE {'a': 1}", serializer=Noting())
            self.assertEqual(rows, [("noted", b'{"a":1}')])

    async def errors(self) -> None:
        assert self.node is not None
        for code in (23007, 21002):
            error = {"code": code, "msg": "scripted"}
            self.node.scripts.add(Script("analytics", match=f"fail {code}", errors=[error]))
        for statement, expected, number, code in (
            ("SELECT * FROM nobody", DatasetNotFoundException, 303, 24045),
            ("DROP DATASET nobody", DatasetNotFoundException, 303, 24025),
            ("USE nobody; SELECT 1", DataverseNotFoundException, 304, 24034),
            ("CREATE DATAVERSE shop.fruit", DataverseAlreadyExistsException, 306, 24039),
            (CREATE_ITEMS, DatasetAlreadyExistsException, 305, 24040),
            # The SDK has classes of its own for these in its manager alone.
            ("CONNECT LINK nobody", CouchbaseException, 307, 24006),
            ("SELEC", CouchbaseException, 301, 24000),
            ("SELECT VALUE n FROM [1] n USE KEYS 1", CouchbaseException, 301, 24000),
            ("fail 23007", CouchbaseException, 302, 23007),
            ("fail 21002", UnAmbiguousTimeoutException, 14, 21002),
            ("INSERT INTO items ([1])", InternalServerFailureException, 5, 25000),
        ):
            for form in FORMS:
                with self.assertRaises(CouchbaseException) as raised:
                    await form(self.whole, statement)
                error = raised.exception
                self.assertIs(type(error), expected, statement)
                self.assertEqual(error.error_code, number)
                self.assertEqual(error.error_context.first_error_code, code)
                self.assertEqual(error.error_context.statement, statement)
        with self.assertRaises(CouchbaseException) as raised:
            await by_query(self.whole, "DROP DATAVERSE shop.fruit", read_only=True)
        self.assertIn("prohibited", str(raised.exception))
        for form in FORMS:
            with self.assertRaises(InvalidArgumentException):
                await form(self.whole, "SELECT 1", serializer=1)
