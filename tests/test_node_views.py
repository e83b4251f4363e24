"""The view service of the embedded node, and what it knows of JavaScript."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.node_services import ServiceCase
from txcouchbase.testing.http.calls import Call
from txcouchbase.testing.javascript import syntax_error
from txcouchbase.testing.management.accounts import Account
from txcouchbase.testing.management.roles import Grant
from txcouchbase.testing.storage import Storage
from txcouchbase.testing.views import service as views
from txcouchbase.testing.views.collation import collated


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
        for name in ("on_error", "full_set", "debug", "inclusive_end", "start_key", "endkey"):
            self.refused(400, name, "POST", path, {}, **{name: "{"})
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


class EvaluationTests(ServiceCase):
    """Views whose map function is one of Python."""

    service = "views"
    DOCUMENTS: ClassVar = {"a": [1, "x"], "b": [1, "y"], "c": [2, "x"], "d": None, "e": "k"}

    def setUp(self) -> None:
        super().setUp()
        self.storage = Storage(self.state)
        for key, value in self.DOCUMENTS.items():
            self.storage.put(key, value)
        self.storage.map_view("d", "v", lambda value, meta: [(value, len(meta.id))], reduce="_sum")

    def query(self, view: str = "v", keys: Any = None, **arguments: str) -> Any:
        """The answer of a view, rows by their ids where there are ids."""
        body = {} if keys is None else {"keys": keys}
        status, answer = self.ask("POST", f"/stock/_design/d/_view/{view}", body, **arguments)
        self.assertEqual(status, 200, answer)
        return answer

    def ids(self, **arguments: Any) -> str:
        rows = self.query(reduce="false", **arguments)["rows"]
        return "".join(row["id"] for row in rows)

    def test_rows(self) -> None:
        """Rows are in the order of their keys, then of their documents."""
        answer = self.query(reduce="false", limit="2", debug="true")
        self.assertEqual(answer["total_rows"], 5)
        self.assertEqual(
            answer["rows"],
            [{"id": "d", "key": None, "value": 1}, {"id": "e", "key": "k", "value": 1}],
        )
        self.assertIn("main_group", answer["debug_info"]["local"])
        none = {"rows": [], "total_rows": 5}
        self.assertEqual(self.query(reduce="false", limit="0"), none)
        self.assertEqual(self.query(reduce="false", skip="9"), none)
        self.storage.put("f", None)
        self.assertEqual(self.ids(stale="false", on_error="stop", full_set="true"), "dfeabc")

    def test_what_is_asked_for(self) -> None:
        """Keys, ranges, their ends, order and pages."""
        for arguments, ids in (
            ({"key": '[1,"x"]'}, "a"),
            ({"key": "null"}, "d"),
            ({"key": "1"}, ""),
            ({"startkey": '[1,"y"]'}, "bc"),
            ({"end_key": '[1,"x"]'}, "dea"),
            ({"end_key": '[1,"x"]', "inclusive_end": "false"}, "de"),
            ({"startkey": '"k"', "endkey": "[1,{}]"}, "eab"),
            ({"startkey": "[1,{}]", "endkey": '"k"'}, ""),
            ({"startkey": "[1,{}]", "endkey": '"k"', "descending": "true"}, "bae"),
            (
                {
                    "startkey": "[1,{}]",
                    "endkey": '"k"',
                    "descending": "true",
                    "inclusive_end": "false",
                },
                "ba",
            ),
            ({"descending": "true"}, "cbaed"),
            ({"skip": "1", "limit": "2"}, "ea"),
            ({"limit": "0"}, ""),
        ):
            self.assertEqual(self.ids(**arguments), ids, arguments)
        self.assertEqual(self.ids(keys=[[2, "x"], None, 7, [1, "x"]]), "cda")
        self.assertEqual(self.ids(keys=[[2, "x"], None], descending="true"), "cd")

    def test_documents_of_one_key(self) -> None:
        """Documents say where rows of one key begin and end."""
        self.storage.map_view("d", "same", lambda value, meta: [(1, None)])
        for arguments, ids in (
            ({"startkey_docid": "c"}, "cde"),
            ({"endkey_docid": "c"}, "abc"),
            ({"endkey_docid": "c", "inclusive_end": "false"}, "ab"),
            ({"start_key_doc_id": "b", "end_key_doc_id": "c"}, "bc"),
            ({"startkey_docid": "c", "endkey_docid": "b", "descending": "true"}, "cb"),
            ({"inclusive_end": "false"}, ""),
            ({"startkey_docid": "c", "descending": "true", "inclusive_end": "false"}, ""),
        ):
            rows = self.query("same", startkey="1", endkey="1", **arguments)["rows"]
            self.assertEqual("".join(row["id"] for row in rows), ids, arguments)

    def test_reduce(self) -> None:
        """Rows become one, or one for each group."""
        self.storage.map_view("d", "count", lambda value, meta: [(value, 1)], reduce="_count")
        self.storage.map_view(
            "d", "stats", lambda value, meta: [(0, ord(meta.id))], reduce="_stats"
        )
        whole = [{"key": None, "value": 5}]
        self.assertEqual(self.query(), {"rows": whole})
        self.assertEqual(self.query("count", group_level="0")["rows"], whole)
        (row,) = self.query("stats")["rows"]
        self.assertEqual(
            row["value"], {"sum": 495, "count": 5, "min": 97, "max": 101, "sumsqr": 49015}
        )
        groups = [([1], 2), ([2], 1)]
        found = self.query("count", group_level="1", startkey="[]")["rows"]
        self.assertEqual([(row["key"], row["value"]) for row in found], groups)
        found = self.query("count", group="true", descending="true", limit="2", skip="1")["rows"]
        self.assertEqual([row["key"] for row in found], [[1, "y"], [1, "x"]])
        found = self.query("count", [[2, "x"], None], group="true")["rows"]
        self.assertEqual([row["key"] for row in found], [[2, "x"], None])
        self.assertEqual(self.query(key="7")["rows"], [])
        self.assertEqual(self.query("count", group_level="2", debug="true")["rows"][0]["value"], 1)

    def test_functions(self) -> None:
        """What a function gives becomes rows; what is wrong with it is the answer."""
        path = "/stock/_design/d/_view/"

        def by_member(value: Any, meta: Any) -> Iterator[tuple[Any, Any]]:
            if isinstance(value, list):
                yield from ((member, meta.cas > 0) for member in value)

        self.storage.map_view("d", "members", by_member)
        rows = self.query("members")["rows"]
        self.assertEqual([row["key"] for row in rows], [1, 1, 2, "x", "x", "y"])
        self.assertIs(rows[0]["value"], True)
        self.storage.map_view("d", "none", lambda value, meta: None)
        self.assertEqual(self.query("none"), {"rows": [], "total_rows": 0})

        def exits(value: Any, meta: Any) -> Any:
            raise SystemExit(3)

        def ends(value: Any, meta: Any) -> Any:
            raise GeneratorExit

        for name, function in {
            "exits": exits,
            "ends": ends,
            "raises": lambda value, meta: value["n"],
            "no_pair": lambda value, meta: [1],
            "no_key": lambda value, meta: [(meta, 1)],
            "no_value": lambda value, meta: [(1, object())],
        }.items():
            self.storage.map_view("d", name, function)
            self.refused(500, "the map function failed with the document 'a'", "GET", path + name)
        self.storage.map_view("d", "sum", lambda value, meta: [(1, "x")], reduce="_sum")
        self.refused(500, "Builtin _sum function requires", "GET", path + "sum")
        self.ask("PUT", "/stock/_design/d", {"views": {"v": {"map": "", "reduce": "f"}}})
        self.refused(500, "no reduce function", "GET", path + "v")
        self.assertEqual(self.ids(), "deabc")
        not_json = self.state.buckets["stock"].documents[b"\0d"]
        not_json.tail = not_json.tail[:12] + b"raw"
        self.assertEqual(self.query(reduce="false", limit="1")["rows"][0]["key"], "cmF3")

    def test_definitions(self) -> None:
        """Views are made where they lack, and stay as they are where they do not."""
        _, design = self.ask("GET", "/stock/_design/d")
        self.assertEqual(design, {"views": {"v": {"map": "", "reduce": "_sum"}}})
        for design_name, view, more in (
            ("d", "v", {"reduce": "_count"}),
            ("d", "w", {"reduce": "_avg"}),
            ("d", " w", {}),
        ):
            with self.assertRaises(ValueError):
                self.storage.map_view(design_name, view, lambda value, meta: None, **more)
        with self.assertRaises(LookupError):
            self.storage.map_view("d", "v", lambda value, meta: None, bucket="nobody")
        self.storage.map_view("d", "v", lambda value, meta: None)
        self.assertEqual(self.query()["rows"], [])

    def test_many(self) -> None:
        """An answer is made in steps, between which others are served."""
        for number in range(2000):
            self.storage.put(f"k{number}", number)
        self.storage.map_view("d", "numbers", lambda value, meta: [(value, number)] * 3)
        call = Call("views", "POST", "", account=self.account)
        call.names = {"bucket": "stock", "design": "d", "view": "numbers"}
        self.patch(views, "LOOK_AHEAD", 0.0)
        route, _ = self.routers["views"].find("POST", "/stock/_design/d/_view/numbers")
        chunks = list(route.handler(self.state, call).body)
        self.assertGreater(chunks.count(b""), 10)
        self.assertEqual(len(json.loads(b"".join(chunks))["rows"]), 3 * 2005)


class CollationTests(SynchronousTestCase):
    """The order of keys."""

    def test_order(self) -> None:
        """The order that CouchDB's documentation gives, and what is the same."""
        order: list[Any] = [
            None,
            False,
            True,
            -1,
            1,
            1.5,
            2,
            "",
            " ",
            "`",
            "_",
            "-",
            "1",
            "a",
            "A",
            "\u00e4",
            "aa",
            "b",
            "B",
            "ba",
            "bb",
            "\u0431",
            [],
            ["a"],
            ["b"],
            ["b", "c"],
            ["b", "c", "a"],
            ["b", "d"],
            {},
            {"a": 1},
            {"a": 2},
            {"b": 1},
            {"b": 2},
            {"b": 2, "a": 1},
            {"b": 2, "c": 2},
        ]
        keys = [collated(value) for value in order]
        self.assertEqual(keys, sorted(keys))
        for before, after in pairwise(keys):
            self.assertLess(before, after)
        self.assertEqual(collated(1), collated(1.0))
        self.assertNotEqual(collated("\u00e4"), collated("a\u0308"))
        self.assertRaises(TypeError, collated, {1, 2})


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
