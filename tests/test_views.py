"""Views through real workers: what arrives at the node, and what comes back."""

from __future__ import annotations

from typing import Any

from couchbase.exceptions import (
    DesignDocumentNotFoundException,
    InternalServerFailureException,
    InvalidArgumentException,
)
from couchbase.management.views import DesignDocumentNamespace
from couchbase.options import ViewOptions
from couchbase.views import ViewErrorMode, ViewOrdering, ViewQuery, ViewScanConsistency
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

from tests.mapfunctions import by_kind
from tests.support import LONG, ServerTestCase, posted
from txcouchbase.cluster import AsyncViewBase
from txcouchbase.testing import Script

EVERY: dict[str, Any] = {
    "client_context_id": "mine",
    "debug": True,
    "endkey": [2, "x"],
    "endkey_docid": "b",
    "full_set": True,
    "group": True,
    "group_level": 2,
    "inclusive_end": False,
    "key": "k",
    "keys": ["k", 1],
    "limit": 2,
    "namespace": DesignDocumentNamespace.DEVELOPMENT,
    "on_error": ViewErrorMode.CONTINUE,
    "order": ViewOrdering.DESCENDING,
    "query_string": ["also=here"],
    "raw": {"odd": "1"},
    "reduce": True,
    "scan_consistency": ViewScanConsistency.REQUEST_PLUS,
    "skip": 1,
    "startkey": [1],
    "startkey_docid": "a",
    "timeout": LONG,
}
"""Each option, although a server would not take all of them together."""

ARRIVES = {
    "also": "here",
    "debug": "true",
    "descending": "true",
    "end_key": '[2, "x"]',
    "end_key_doc_id": "b",
    "full_set": "true",
    "group": "true",
    "group_level": "2",
    "inclusive_end": "false",
    "key": '"k"',
    "keys": ["k", 1],
    "limit": "2",
    "odd": "1",
    "on_error": "continue",
    "reduce": "true",
    "skip": "1",
    "stale": "false",
    "start_key": "[1]",
    "start_key_doc_id": "a",
}
STAY_HERE = {"serializer", "span", "parent_span"}
Y2 = ["y", "d2"]


class Handler(AsyncViewBase):
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


async def by_query(bucket: Any, *args: Any, **kwargs: Any) -> Any:
    result = await bucket.view_query(*args, **kwargs)
    return list(result), result


async def by_handler(bucket: Any, *args: Any, **kwargs: Any) -> Any:
    handler = bucket.view_query_ex(Handler, *args, **kwargs)
    await handler.ended
    return handler.rows, handler


async def by_stream(bucket: Any, *args: Any, **kwargs: Any) -> Any:
    stream = bucket.view_stream(*args, **kwargs)
    return [row async for row in stream], stream


FORMS = (by_query, by_handler, by_stream)


class ViewTests(ServerTestCase):
    """The three forms of a query."""

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        if self.node is None:
            self.skipTest("map functions and the record are the embedded node's")
        for number, kind in enumerate("xxyyy"):
            self.node.put(f"d{number}", {"kind": kind, "n": number})
        for design in ("shop", "dev_shop"):
            self.node.map_view(design, "by_kind", by_kind, reduce="_sum")
        self.node.map_view("shop", "plain", by_kind)
        self.node.map_view("shop", "broken", lambda value, meta: [value["lacks"]])
        self.node.map_view("shop", "no_sum", lambda value, meta: [(1, "x")], reduce="_sum")

    def test_queries(self) -> Any:
        """One cluster for all of it, since a worker takes its time to start."""
        return ensureDeferred(self.queries(self.bucket()))

    async def queries(self, bucket: Any) -> None:
        await self.every_option_arrives(bucket)
        await self.answers(bucket)
        await self.errors(bucket)

    async def every_option_arrives(self, bucket: Any) -> None:
        assert self.node is not None
        self.assertEqual(set(EVERY), set(ViewQuery._VALID_OPTS) - STAY_HERE)
        row = {"id": "a", "key": [1], "value": None}
        self.node.scripts.add(Script("views", match="_design/dev_every/", rows=[row]))
        for form in FORMS:
            for options in ((ViewOptions(**EVERY),), ()):
                with self.node.recording() as record:
                    more = {} if options else EVERY
                    rows, _ = await form(bucket, "every", "v", *options, **more)
                self.assertEqual([(row.id, row.key, row.value) for row in rows], [("a", [1], None)])
                (sent,) = posted(record, "views")
                path = f"/{self.bucket_name}/_design/dev_every/_view/v"
                self.assertEqual((sent.operation, sent.account), (f"POST {path}", "Administrator"))
                self.assertEqual(sent.options, ARRIVES)
        for form in FORMS:
            with self.node.recording() as record:
                await form(bucket, "shop", "plain", raw={"stale": "false"})
                await form(bucket, "shop", "plain", client_context_id="mine")
            sent = record.find("views", f"POST /{self.bucket_name}/_design/shop/_view/plain")
            self.assertEqual([request.options for request in sent], [{"stale": "false"}, {}])

    async def answers(self, bucket: Any) -> None:
        for form in FORMS:
            rows, result = await form(bucket, "shop", "by_kind", reduce=False, debug=True)
            self.assertEqual([row.id for row in rows], ["d0", "d1", "d2", "d3", "d4"])
            self.assertEqual((rows[0].key, rows[4].value), (["x", "d0"], 4))
            self.assertEqual((result.total_rows, result.metadata().total_rows()), (5, 5))
            self.assertIn("main_group", str(result.metadata().debug_info()))
            (row,), _ = await form(bucket, "shop", "by_kind")
            self.assertEqual((row.id, row.key, row.value), (None, None, 10))
            rows, _ = await form(bucket, "shop", "by_kind", group_level=1)
            self.assertEqual([(row.key, row.value) for row in rows], [(["x"], 1), (["y"], 9)])
            for options, ids in (
                ({"key": Y2}, "2"),
                ({"keys": [["y", "d4"], ["x", "d0"]]}, "40"),
                ({"startkey": Y2, "endkey": ["y", "d4"], "inclusive_end": False}, "23"),
                ({"endkey": Y2, "order": ViewOrdering.DESCENDING, "skip": 1}, "32"),
                ({"startkey": Y2, "startkey_docid": "d3", "limit": 1}, "3"),
                ({"endkey": Y2, "endkey_docid": "d1"}, "01"),
                ({"namespace": DesignDocumentNamespace.DEVELOPMENT, "limit": 1}, "0"),
            ):
                rows, _ = await form(bucket, "shop", "by_kind", reduce=False, **options)
                self.assertEqual("".join(row.id[1:] for row in rows), ids, options)

    async def errors(self, bucket: Any) -> None:
        for design, view, options, expected, text in (
            ("nobody", "by_kind", {}, DesignDocumentNotFoundException, "_design/nobody not found"),
            ("shop", "nothing", {}, DesignDocumentNotFoundException, "missing_named_view"),
            ("shop", "plain", {"group": True}, InvalidArgumentException, "non-reduce view"),
            ("shop", "plain", {"reduce": True}, InvalidArgumentException, "map view"),
            ("shop", "plain", {"raw": {"skip": "x"}}, InvalidArgumentException, "integer"),
            (
                "shop",
                "broken",
                {},
                InternalServerFailureException,
                "the map function failed with the document",
            ),
            ("shop", "no_sum", {}, InternalServerFailureException, "Builtin _sum function"),
        ):
            for form in FORMS:
                with self.assertRaises(expected) as raised:
                    await form(bucket, design, view, **options)
                self.assertIs(type(raised.exception), expected)
                self.assertIn(text, str(raised.exception))
