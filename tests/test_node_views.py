"""The view service of the embedded node, and what it knows of JavaScript."""

from __future__ import annotations

import copy
import time
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.node_services import ServiceCase
from txcouchbase.testing.javascript import syntax_error
from txcouchbase.testing.management.accounts import Account
from txcouchbase.testing.management.roles import Grant


class ViewTests(ServiceCase):
    """The view service."""

    service = "views"
    VIEWS: ClassVar = {"views": {"v": {"map": "function (d, m) { emit(1); }"}}}

    def test_design_documents(self) -> None:
        """Design documents are kept whole, with a revision that grows."""
        path = "/stock/_design/dev_a"
        self.refused(404, "missing", "GET", path)
        body = self.VIEWS | {"options": {"updateMinChanges": 3}}
        self.assertEqual(self.ask("PUT", path, body), (201, {"ok": True, "id": "_design/dev_a"}))
        self.assertEqual(self.ask("GET", path), (200, body))
        self.ask("PUT", path, self.VIEWS)
        _, listed = self.ask("GET", "/pools/default/buckets/stock/ddocs")
        meta = listed["rows"][0]["doc"]["meta"]
        self.assertEqual(meta["id"], "_design/dev_a")
        self.assertTrue(meta["rev"].startswith("2-"))
        self.assertEqual(self.ask("DELETE", path)[0], 200)
        self.refused(404, "missing", "DELETE", path)
        self.refused(404, "missing", "PUT", "/nobody/_design/a", body)
        self.refused(404, "not found", "GET", "/pools/default/buckets/nobody/ddocs")

    def test_malformed(self) -> None:
        """What is no design document is refused with the reason."""
        for body, reason in (
            (b"{", "Content is not json"),
            (b"", "Content is not json"),
            ([], "Content is not json"),
            ({"views": []}, "`views' is not a json object"),
            ({"views": {"v": 1}}, "is not a json object"),
            ({"views": {"": {}}}, "empty string"),
            ({"views": {" v": {"map": ""}}}, "whitespace"),
            ({"views": {"v": {}}}, "is missing"),
            ({"views": {"v": {"map": 1}}}, "not a json string"),
            ({"views": {"v": {"map": "f(", "reduce": "_sum"}}}, "Syntax error in the map"),
            ({"views": {"v": {"map": "f", "reduce": "g)"}}}, "Syntax error in the reduce"),
            ({"views": {"v": {"map": "f", "reduce": "_avg"}}}, "built-in"),
        ):
            self.refused(400, reason, "PUT", "/stock/_design/a", body)

    def test_query(self) -> None:
        """Parameters are checked before it is answered that views are not evaluated."""
        path = "/stock/_design/a/_view/v"
        self.refused(404, "not found", "POST", path, {})
        self.ask("PUT", "/stock/_design/a", self.VIEWS)
        self.refused(404, "missing_named_view", "POST", "/stock/_design/a/_view/w", {})
        for arguments, body, reason in (
            ({"limit": "-1"}, {}, "positive integer"),
            ({"limit": "\u00b2"}, {}, "positive integer"),
            ({"descending": "maybe"}, {}, "boolean"),
            ({"key": "{"}, {}, "JSON"),
            ({"stale": "x"}, {}, "stale"),
            ({"reduce": "true"}, {}, "map view"),
            ({"group_level": "1"}, {}, "non-reduce"),
            ({"group": "true", "group_level": "1"}, {}, "not compatible"),
            ({"key": "1"}, {"keys": [1]}, "multi-get"),
            ({}, {"keys": 1}, "array"),
            ({}, [], "not an object"),
            ({}, b"{", "not JSON"),
        ):
            self.refused(400, reason, "POST", path, body, **arguments)
        self.refused(500, "script an answer", "POST", path, {"keys": [1]}, limit="3", more="x")
        self.refused(500, "script an answer", "GET", path)

    def test_permissions(self) -> None:
        """Who may query views may not change them."""
        self.account = Account("b", "", "local", (Grant("views_reader", ("stock",)),))
        self.refused(403, "views_manage", "PUT", "/stock/_design/a", self.VIEWS)
        self.refused(404, "missing", "GET", "/stock/_design/a")

    def test_snapshot(self) -> None:
        """A copy of the documents does not change with them."""
        self.ask("PUT", "/stock/_design/a", self.VIEWS)
        kept = copy.deepcopy(self.state.buckets["stock"].design_documents)
        self.ask("DELETE", "/stock/_design/a")
        self.assertEqual(list(kept), ["a"])


class JavaScriptTests(SynchronousTestCase):
    """What is said of JavaScript."""

    def test_valid(self) -> None:
        """No mistake is found where there is none."""
        for source in (
            "",
            "function (doc, meta) { emit(meta.id, [doc.a, {b: 1}]); }",
            "x = a / b / c; // (",
            "x = /[(\"]\\//g.test('(') ? \"'\" : '\\'';",
            "return /\\)/;",
            "`(${x} '`; /* ) */ (1)",
            "if (a) /(/.test(b)",
            "a = (b + c) / 2;",
        ):
            self.assertIsNone(syntax_error(source), source)

    def test_invalid(self) -> None:
        """Brackets and quotes that match nothing are found, with their place."""
        for source, place in (
            ("function () {", "line 1, column 13"),
            ("f(\n]", "line 2, column 1"),
            (")", "line 1, column 1"),
            ("a = 'b\n'", "line 1, column 5"),
            ("/* a", "line 1, column 1"),
            ("`a", "line 1, column 1"),
        ):
            self.assertIn(place, syntax_error(source) or "", source)

    def test_bounded(self) -> None:
        """No source takes long."""
        for piece in ("/[", "(", "/*", "`", "'", "/\\", "/a[", "a/", "[/]", "(/a["):
            started = time.process_time()
            syntax_error(piece * (120_000 // len(piece)))
            self.assertLess(time.process_time() - started, 1.5, piece)
