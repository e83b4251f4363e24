"""The search service of the embedded node: requests in, answers out."""

from __future__ import annotations

import json
from typing import Any

from tests.node_services import ServiceCase, whole
from txcouchbase.testing.http.calls import Call
from txcouchbase.testing.management.accounts import Account
from txcouchbase.testing.management.roles import Grant
from txcouchbase.testing.search import service as search

INDEX = {"type": "fulltext-index", "sourceType": "couchbase", "sourceName": "stock"}

MALFORMED: tuple[Any, ...] = (
    5,
    {"enabled": "yes"},
    {"fields": {"a": 1}},
    {"fields": ["name"]},
    {"fields": [{"type": 5}]},
    {"fields": [{"type": "vector", "dims": "2"}]},
    {"properties": []},
    {"properties": {"a": {"properties": {"b": 5}}}},
)


class SearchTests(ServiceCase):
    """The search service."""

    service = "search"

    def put(self, name: str, prefix: str = "/api", **members: Any) -> Any:
        status, answer = self.ask("PUT", f"{prefix}/index/{name}", INDEX | members)
        self.assertEqual(status, 200, answer)
        return answer

    def test_definition(self) -> None:
        """A definition is kept with its defaults, and changed by UUID."""
        stored = self.put("a")
        _, read = self.ask("GET", "/api/index/a")
        definition = read["indexDef"]
        self.assertEqual(definition["uuid"], stored["uuid"])
        self.assertEqual(definition["sourceType"], "gocbcore")
        self.assertEqual(definition["sourceUUID"], self.state.buckets["stock"].uuid)
        self.assertEqual(
            definition["planParams"], {"indexPartitions": 1, "maxPartitionsPerPIndex": 64}
        )
        self.refused(400, "already exists", "PUT", "/api/index/a", INDEX)
        self.refused(400, "concurrent", "PUT", "/api/index/a", INDEX | {"uuid": "x"})
        self.refused(400, "missing for update", "PUT", "/api/index/b", INDEX | {"uuid": "x"})
        changed = self.put("a", uuid=stored["uuid"])
        self.assertNotEqual(changed["uuid"], stored["uuid"])
        self.assertNotEqual(self.put("a", uuid="*")["uuid"], changed["uuid"])

    def test_frozen(self) -> None:
        """The partitions of a frozen plan cannot be changed."""
        self.put("a")
        self.ask("POST", "/api/index/a/planFreezeControl/freeze")
        uuid = self.ask("GET", "/api/index/a")[1]["indexDef"]["uuid"]
        body = INDEX | {"uuid": uuid, "planParams": {"indexPartitions": 4}}
        self.refused(400, "planFrozen", "PUT", "/api/index/a", body)

    def test_malformed(self) -> None:
        """What is no definition is refused with the reason."""
        for body, reason in (
            (b"{", "could not unmarshal"),
            ([], "could not unmarshal"),
            ("[" * 100_000, "could not unmarshal"),
            (b'{"type": NaN}', "could not unmarshal"),
            ({}, "index type is required"),
            ({"type": "fulltext-index"}, "sourceType is required"),
            (INDEX | {"params": 1}, "could not unmarshal"),
            (INDEX | {"planParams": {"indexPartitions": True}}, "could not unmarshal"),
            (INDEX | {"planParams": {"indexPartitions": 65}}, "64 vbuckets"),
            (INDEX | {"planParams": {"nodePlanParams": {"": 1}}}, "could not unmarshal"),
            (INDEX | {"planParams": {"nodePlanParams": {"": {"": 1}}}}, "could not unmarshal"),
            (INDEX | {"params": {"mapping": {"types": [1]}}}, "must be objects"),
            *(
                (INDEX | {"params": {"mapping": {"default_mapping": rules}}}, "must be objects")
                for rules in MALFORMED
            ),
            (INDEX | {"sourceType": "files"}, "unknown sourceType"),
            (INDEX | {"sourceUUID": "x"}, "sourceUUID mismatched"),
            ({"type": "fulltext-alias", "sourceType": "nil"}, "no targets"),
        ):
            self.refused(400, reason, "PUT", "/api/index/a", body)
        self.refused(400, "too long", "PUT", "/api/index/" + "a" * 210, INDEX)
        self.refused(400, "unsupported op", *self.control("a", "queryControl", "maybe"))
        self.refused(400, "index not found", *self.control("b", "queryControl", "allow"))

    def control(self, name: str, control: str, operation: str) -> tuple[str, str]:
        self.ask("PUT", "/api/index/a", INDEX)
        return "POST", f"/api/index/{name}/{control}/{operation}"

    def test_scopes(self) -> None:
        """Indexes of a scope live and die with it, those of a bucket with the bucket."""
        prefix = "/api/bucket/stock/scope/shop"
        self.refused(400, "no scope", "PUT", f"{prefix}/index/a", INDEX)
        self.state.buckets["stock"].manifest.create_scope("shop")
        self.assertEqual(self.put("a", prefix)["name"], "stock.shop.a")
        self.put("b")
        self.assertEqual(self.ask("GET", f"{prefix}/index/a")[1]["indexDef"]["name"], "a")
        self.state.drop_scope("stock", "shop")
        self.assertEqual(list(self.state.search_indexes.all()), ["b"])
        self.state.drop_bucket("stock")
        self.assertEqual(self.ask("GET", "/api/index")[1], {"status": "ok", "indexDefs": None})

    def test_count(self) -> None:
        """Counts are of the collections that a mapping names; others are refused."""
        config = {"doc_config": {"mode": "scope.collection.type_field"}}
        for types, expected in (
            ({}, {"count": 0, "status": "ok"}),
            ({"_default._default": {"enabled": True}}, {"count": 0, "status": "ok"}),
            ({"_default.nothing": {}}, {"count": 0, "status": "ok"}),
        ):
            mapping: dict[str, Any] = {"default_mapping": {"enabled": False}, "types": types}
            self.put("a", params=config | {"mapping": mapping}, uuid="*")
            self.assertEqual(self.ask("GET", "/api/index/a/count"), (200, expected))
        custom = {"doc_config": {"mode": "custom"}, "mapping": {}}
        self.put("a", params=custom, uuid="*")
        self.refused(400, "'custom'", "GET", "/api/index/a/count")
        self.assertEqual(self.ask("GET", "/api/nsstats"), (200, {"num_indexes": 1}))
        self.assertEqual(self.ask("POST", "/api/index/a/ingestControl/pause")[0], 200)
        alias = {"type": "fulltext-alias", "sourceType": "nil", "params": {"targets": {"b": {}}}}
        self.ask("PUT", "/api/index/b", alias)
        self.refused(500, "does not evaluate", "GET", "/api/index/b/count")

    def test_query(self) -> None:
        """A query is checked before anything is searched."""
        path = "/api/index/a/query"
        self.refused(400, "index not found", "POST", path, {"query": {}})
        self.put("a")
        for body, reason in (
            (b"\xff", "no JSON"),
            ([], "not an object"),
            ({}, "unknown query type"),
            ({"query": {}, "size": -1}, "size"),
            ({"query": {}, "from": True}, "from"),
            ({"query": {"cidr": "10.0.0.0/8"}}, "script an answer"),
            ({"knn": []}, "unknown query type"),
        ):
            self.refused(400, reason, "POST", path, body)

    def test_permissions(self) -> None:
        """Who may read indexes may not change them."""
        self.put("a")
        self.account = Account("b", "", "local", (Grant("fts_searcher", ("stock",)),))
        self.assertEqual(self.ask("GET", "/api/index/a")[0], 200)
        self.refused(403, "search_manage", "DELETE", "/api/index/a")
        self.account = Account("b", "", "local", (Grant("fts_admin", ("other",)),))
        for method, path, body in (
            ("GET", "/api/index/a", b""),
            ("DELETE", "/api/index/a", b""),
            ("POST", "/api/index/a/query", {"query": {}}),
            ("PUT", "/api/index/b", INDEX),
            ("PUT", "/api/index/stock", INDEX | {"sourceName": ""}),
            ("PUT", "/api/bucket/stock/scope/_default/index/b", INDEX),
        ):
            self.refused(403, "no permission", method, path, body)
        self.assertIsNone(self.ask("GET", "/api/index")[1]["indexDefs"])
        self.assertEqual(self.ask("GET", "/api/nsstats")[1], {"num_indexes": 0})
        self.account = None
        self.refused(403, "search", "GET", "/api/index")
        self.assertEqual(self.ask("GET", "/api/ping"), (200, b""))

    def test_render(self) -> None:
        """The members that clients insist on are there, whatever is scripted."""
        call = Call("search", "POST", "/api/index/a/query", body=b'{"query": {}}')
        for rows in ([], [{"id": "a", "score": 2}, 5, None]):
            for errors in ([], [{"msg": "one"}, {"msg": "two"}]):
                for metadata in ({}, {"took": 7, "more": True}):
                    answer = search.render(iter(rows), metadata, errors, call)
                    read = json.loads(whole(answer))
                    for member in ("status", "took", "total_hits", "max_score", "hits"):
                        self.assertIn(member, read)
                    self.assertEqual(read["hits"], rows)
                    self.assertEqual(answer.code, 400 if errors and not rows else 200)
                    self.assertEqual(read.get("more", False), bool(metadata))
