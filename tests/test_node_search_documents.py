"""Which documents a search index of the embedded node holds, and how it keeps up with them."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from typing import Any
from unittest.mock import patch

from tests.searching import EVERYTHING, HOTELS, SearchCase, kind, text
from txcouchbase.testing.http.calls import Answer, Call


class MappingTests(SearchCase):
    """Which documents an index holds, and what of them."""

    def test_fields(self) -> None:
        """What is disabled, not indexed or not mapped does not match."""
        self.store("x", {"secret": "hidden", "silent": "hidden", "free": "hidden", "n": None})
        self.index()
        self.assertEqual(self.found({"match": "hidden", "field": "free"}), ["x"])
        for field in ("secret", "silent"):
            self.assertEqual(self.found({"match": "hidden", "field": field}), [])
        (hit,) = self.search({"ids": ["x"]}, fields=["*"])["hits"]
        self.assertEqual(hit["fields"], {"silent": "hidden"})
        static = {"dynamic": False, "properties": {"deep": {"properties": {"a": text(name="b")}}}}
        self.store("y", {"deep": {"a": "hidden", "c": "hidden"}, "free": "hidden"})
        self.index(mapping={"default_mapping": static})
        self.assertEqual(self.found({"match": "hidden"}), ["y"])
        self.assertEqual(self.found({"match": "hidden", "field": "deep.b"}), ["y"])
        self.assertEqual(self.found({"match": "hidden", "field": "deep.a"}), [])
        self.assertEqual(self.found({"match": "hidden", "field": "free"}), [])
        own = text(include_in_all=False)
        self.index(mapping={"default_mapping": {"dynamic": False, "properties": {"free": own}}})
        self.assertEqual(self.found({"match": "hidden"}), [])
        self.assertEqual(self.found({"match": "hidden", "field": "free"}), ["x", "y"])
        self.index(
            mapping={"default_mapping": {}, "default_field": "free", "default_analyzer": "keyword"}
        )
        self.assertEqual(self.found({"match": "hidden"}), ["x", "y"])
        self.assertEqual(self.found({"match": "Harbour", "field": "name"}), [])
        self.assertEqual(self.found({"match": "The Ritz", "field": "name"}), ["ritz"])

    def test_analyzers(self) -> None:
        """Analyzers by name and of parts; others are refused, and so are kinds of fields."""
        custom = {"type": "custom", "tokenizer": "whitespace", "token_filters": ["to_lower"]}
        mapping: dict[str, Any] = {
            "default_mapping": {},
            "default_analyzer": "mine",
            "analysis": {"analyzers": {"mine": custom}},
        }
        self.index(mapping=mapping)
        self.assertEqual(self.found({"term": "&", "field": "name"}), ["shop"])
        self.assertEqual(self.found({"term": "the", "field": "name"}), ["inn", "ritz"])
        body = {"query": EVERYTHING}
        default: dict[str, Any] = {"default_mapping": {}}
        for mapping, reason in (
            (default | {"default_analyzer": "en"}, "'en'"),
            (default | {"default_datetime_parser": "mine"}, "date parser"),
            ({"default_mapping": {"properties": {"a": text(analyzer="ja")}}}, "'ja'"),
            ({"default_mapping": {"properties": {"a": kind("geoshape")}}}, "'geoshape'"),
            ({"default_mapping": {"properties": {"a": kind("vector", similarity="x")}}}, "'x'"),
            ({"default_mapping": {"properties": {"a": kind("datetime", date_format="x")}}}, "'x'"),
        ):
            self.index(mapping=mapping)
            self.refused(400, reason, "POST", "/api/index/i/query", body)
            # What it holds can be told all the same.
            self.assertEqual(self.ask("GET", "/api/index/i/count")[1]["count"], len(HOTELS))

    def test_types(self) -> None:
        """Documents are chosen by their type, the beginning of their key, or a pattern in it."""
        self.store("hotel_9", {"name": "Nine"})
        types = {"hotel": {"enabled": True}, "hostel": {"enabled": False}}
        rules = {"default_mapping": {"enabled": False}, "types": types}
        for config, expected in (
            ({"mode": "type_field", "type_field": "type"}, ["inn", "ritz"]),
            ({"mode": "docid_prefix", "docid_prefix_delim": "_"}, ["hotel_9"]),
            ({"mode": "docid_regexp", "docid_regexp": "^[a-z]{5}"}, ["hotel_9"]),
        ):
            self.index(mapping=rules, doc_config=config)
            self.assertEqual(self.found(EVERYTHING), expected)
            self.assertEqual(self.ask("GET", "/api/index/i/count")[1]["count"], len(expected))
        self.index(mapping=rules | {"default_mapping": {}})
        self.assertEqual(self.found(EVERYTHING), ["hotel_9", "inn", "ritz", "shop"])
        for config, reason in (
            ({"mode": "custom"}, "mode"),
            ({"mode": "docid_regexp", "docid_regexp": "("}, "docid_regexp"),
        ):
            self.index(mapping=rules, doc_config=config)
            self.refused(400, reason, "POST", "/api/index/i/query", {"query": EVERYTHING})

    def test_collections(self) -> None:
        """Collections are chosen by the names of types; a search may choose among them."""
        manifest = self.state.buckets["stock"].manifest
        manifest.create_scope("s")
        for name in ("a", "b"):
            manifest.create_collection("s", name)
            self.store(name, {"type": "t"}, "s", name)
            self.store(f"{name}2", {"type": "u"}, "s", name)
        config = {"mode": "scope.collection.type_field", "type_field": "type"}
        types: dict[str, Any] = {"s.a": {}, "s.b.t": {}}
        rules = {"default_mapping": {"enabled": False}, "types": types}
        prefix = "/api/bucket/stock/scope/s"
        self.index("i", prefix, mapping=rules, doc_config=config)
        self.assertEqual(self.found(EVERYTHING, prefix=prefix), ["a", "a2", "b"])
        self.assertEqual(self.ask("GET", f"{prefix}/index/i/count")[1]["count"], 3)
        self.assertEqual(self.found(EVERYTHING, prefix=prefix, collections=["b"]), ["b"])
        body = {"query": EVERYTHING, "collections": ["_default"]}
        self.refused(400, "doesn't belong", "POST", f"{prefix}/index/i/query", body)
        self.state.drop_collection("stock", "s", "a")
        self.assertEqual(self.found(EVERYTHING, prefix=prefix), ["b"])
        self.index()
        self.assertEqual(self.found(EVERYTHING), sorted(HOTELS))

    def test_odd_documents(self) -> None:
        """What is no object, or no JSON, has no fields."""
        self.store("odd", b"\xff\xfe")
        self.store("list", ["sea"])
        self.store("deep", b"[" * 10_000)
        self.store("half", b'{"name": "\\ud800 half", "n": 1e999}')
        self.store("big", {"n": 10**400, "v": [10**400, 1]})
        self.index()
        self.assertEqual(len(self.found(EVERYTHING)), len(HOTELS) + 5)
        (hit,) = self.search({"match": "half"}, fields=["*"])["hits"]
        self.assertEqual(hit["fields"], {"name": "\ufffd half"})
        self.store("keys", {f"k{number}": "sea" for number in range(3000)})
        self.store("huge", {"name": "x" * 100_000, "text": "huge"})
        self.assertEqual(self.found({"match": "sea", "field": "k2999"}), ["keys"])
        self.assertEqual(self.found({"match": "huge"}), ["huge"])

    def test_analysis(self) -> None:
        """The terms of a document are told with their places."""
        self.index()
        document = {"name": "An old Inn", "type": "x y", "n": 1}
        status, answer = self.ask("POST", "/api/index/i/analyzeDoc", document)
        self.assertEqual((status, answer["status"]), (200, "ok"))
        name, kind_ = answer["analyzed"]
        self.assertEqual(list(name), ["old", "inn"])
        self.assertEqual(
            name["inn"]["Locations"],
            [{"Field": "name", "ArrayPositions": [], "Start": 7, "End": 10, "Position": 3}],
        )
        self.assertEqual(list(kind_), ["x y"])
        self.refused(400, "no JSON", "POST", "/api/index/i/analyzeDoc", b"{")
        self.index(mapping={"default_mapping": {}, "default_analyzer": "en"})
        self.refused(400, "'en'", "POST", "/api/index/i/analyzeDoc", document)


class UpToDateTests(SearchCase):
    """An index has what is stored when a search comes."""

    def test_changes(self) -> None:
        """New, changed, removed, expired, dropped, flushed and restored documents."""
        self.index()
        query = {"match": "sea"}
        self.assertEqual(self.found(query), ["inn", "ritz", "shop"])
        self.store("new", {"x": "sea"}, expiry=int(self.now) + 60)
        self.store("inn", {"x": "land"})
        self.remove("shop")
        self.assertEqual(self.found(query), ["new", "ritz"])
        self.assertEqual(self.found({"match": "land"}), ["inn"])
        self.now += 60
        self.assertEqual(self.found(query), ["ritz"])
        before = deepcopy(self.state.stored())
        self.store("ritz", {"x": "land"})
        self.assertEqual(self.found(query), [])
        self.state.restore(before)
        self.assertEqual(self.found(query), ["ritz"])
        self.state.buckets["stock"].flush()
        self.assertEqual(self.found(EVERYTHING), [])
        self.store("inn", {"x": "sea"})
        self.assertEqual(self.found(query), ["inn"])

    def test_paused(self) -> None:
        """An index whose ingest is paused stays as it was, also through a snapshot."""
        self.index()
        self.ask("POST", "/api/index/i/ingestControl/pause")
        self.store("new", {"x": "sea"})
        self.remove("inn")
        query = {"match": "sea"}
        self.assertEqual(self.found(query), ["inn", "ritz", "shop"])
        self.state.restore(deepcopy(self.state.stored()))
        self.assertEqual(self.found(query), ["inn", "ritz", "shop"])
        self.assertEqual(self.ask("GET", "/api/index/i/count")[1]["count"], len(HOTELS))
        self.ask("POST", "/api/index/i/ingestControl/resume")
        self.assertEqual(self.found(query), ["new", "ritz", "shop"])
        self.assertEqual(self.ask("GET", "/api/index/i/count")[1]["count"], len(HOTELS))

    def test_disallowed(self) -> None:
        """Queries can be disallowed, an alias is refused, an index may be gone."""
        self.index()
        self.ask("POST", "/api/index/i/queryControl/disallow")
        body = {"query": EVERYTHING}
        self.refused(400, "no planPIndexes for indexName", "POST", "/api/index/i/query", body)
        self.ask("POST", "/api/index/i/queryControl/allow")
        self.assertEqual(len(self.found(EVERYTHING)), len(HOTELS))
        self.ask("DELETE", "/api/index/i")
        self.refused(400, "index not found", "POST", "/api/index/i/query", body)
        alias = {"type": "fulltext-alias", "sourceType": "nil", "params": {"targets": {"i": {}}}}
        self.ask("PUT", "/api/index/j", alias)
        self.refused(400, "does not evaluate an alias", "POST", "/api/index/j/query", body)
        self.refused(400, "does not evaluate an alias", "POST", "/api/index/j/analyzeDoc", {})

    def answer(self, query: Any) -> Answer:
        """A search of which no step is done yet."""
        path, body = "/api/index/i/query", json.dumps({"query": query, "size": 2000}).encode()
        route, names = self.routers["search"].find("POST", path)
        call = Call("search", "POST", path, {}, {}, body, self.account, names)
        return route.handler(self.state, call)

    def test_in_steps(self) -> None:
        """Searches of one index take turns; one that is given up stops no other."""
        for number in range(1500):
            self.store(f"n{number}", {"text": f"much to index {number} " * 10})
        self.index()
        first, second, third = (self.answer({"match": word}) for word in ("much", "7", "sea"))
        bodies = [first.body, second.body, third.body]
        assert not any(isinstance(body, bytes) for body in bodies)
        parts = [[next(body), next(body), next(body)] for body in bodies]  # type: ignore[arg-type]
        self.assertEqual([part[1:] for part in parts], [[b"", b""]] * 3)
        self.store("late", {"text": "sea"})
        bodies[0].close()  # type: ignore[union-attr]
        self.remove("inn")
        rest = [b"".join([*part, *body]) for part, body in zip(parts[1:], bodies[1:], strict=True)]
        (seven, sea) = (json.loads(each) for each in rest)
        self.assertEqual([hit["id"] for hit in seven["hits"]], ["n7"])
        self.assertEqual({hit["id"] for hit in sea["hits"]}, {"late", "ritz", "shop"})
        self.assertEqual(self.search({"match": "much"})["total_hits"], 1500)

    def test_a_defect_is_of_its_search(self) -> None:
        """What goes wrong in one search breaks off that answer alone."""
        self.index()
        self.found(EVERYTHING)
        broken, whole = self.answer({"match": "sea"}), self.answer({"match": "sea"})
        built = self.state.search_indexes.built.get(self.state.search_indexes.get("i"))
        text_index = built.documents.text
        rows = text_index.rows
        self.patch(text_index, "rows", lambda *_: 1 / 0)
        assert not isinstance(broken.body, bytes) and not isinstance(whole.body, bytes)
        self.assertRaises(ZeroDivisionError, list, broken.body)
        self.patch(text_index, "rows", rows)
        self.assertEqual(json.loads(b"".join(whole.body))["total_hits"], 3)


class LackingTests(SearchCase):
    """A Python without what text is searched with."""

    def test_no_sqlite(self) -> None:
        """It is named, by the search that needs it: nothing was imported before."""
        self.index()
        body = {"query": EVERYTHING}
        with patch.dict(sys.modules, sqlite3=None):
            self.refused(500, "FTS5 of sqlite3", "POST", "/api/index/i/query", body)
        self.assertEqual(self.ask("GET", "/api/index/i/count")[1]["count"], len(HOTELS))
