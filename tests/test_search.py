"""Searches through real workers: what arrives at the server, and what comes back from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import couchbase.search as search
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    CouchbaseException,
    InternalServerFailureException,
    InvalidArgumentException,
    QueryIndexNotFoundException,
    SearchIndexNotFoundException,
)
from couchbase.management.logic.search_index_mgmt_types import SearchIndex
from couchbase.mutation_state import MutationState
from couchbase.options import SearchOptions, VectorSearchOptions
from couchbase.vector_search import VectorQuery, VectorQueryCombination, VectorSearch
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

from tests.searching import HOTELS, MAPPING
from tests.support import LONG, ServerTestCase, posted
from txcouchbase.cluster import AsyncSearchRequest, BatchedSearchResult
from txcouchbase.testing import Fault

SCOPE, COLLECTION = "s", "hotels"
VECTORS = {"p": [0.0, 1.0], "q": [3.0, 4.0], "r": [-1.0, 0.0]}
PACKED = "AAAAAAAAgD8="
"""The vector of ``p``, as it is packed."""

STAY_HERE = {"serializer", "span", "parent_span", "scope_name"}
"""Objects of the application, and what the SDK itself leaves out."""

QUERY = search.MatchQuery("harbour", field="text")
REQUEST = search.SearchRequest.create(QUERY).with_vector_search(
    VectorSearch([VectorQuery("v", [0.0, 1.0]), VectorQuery("v", [0.0, 1.0])])
)


class Hits(AsyncSearchRequest):
    """Notes its rows; fires when it has ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hits: list[Any] = []
        self.ended: Deferred[Any] = Deferred()

    def on_rows(self, rows: list[Any]) -> None:
        self.hits += rows

    def on_done(self) -> None:
        self.ended.callback(self)

    def on_error(self, error: Exception) -> None:
        self.ended.errback(error)


def every_option(state: MutationState) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Each option of a search: its value, and the members of the request that it makes."""
    facets = {
        "kinds": search.TermFacet("type", 3),
        "stars": search.NumericFacet("stars", 3).add_range("low", max=3.0),
        "years": search.DateFacet("opened", 3).add_range("new", start="2010-01-01"),
    }
    sort = [
        search.SortField("stars", type="number", mode="min", missing="first", desc=True),
        search.SortGeoDistance((2.0, 48.0), "geo", unit="km"),
        search.SortScore(),
        search.SortID(desc=True),
    ]
    (token,) = state._sv
    vectors = {f"{token.partition_id}/{token.partition_uuid}": token.sequence_number}
    consistency = {"level": "at_plus", "vectors": {"i": vectors}}
    return {
        "timeout": (timedelta(seconds=17), {}),
        "limit": (2, {"size": 2}),
        "skip": (1, {"from": 1}),
        "explain": (True, {"explain": True}),
        "fields": (["name", "geo"], {"fields": ["name", "geo"]}),
        "highlight_style": (search.HighlightStyle.Ansi, {"highlight": {"style": "ansi"}}),
        "highlight_fields": (["text"], {"highlight": {"fields": ["text"]}}),
        "scan_consistency": (search.SearchScanConsistency.NOT_BOUNDED, {}),
        "consistent_with": (state, {"ctl": {"consistency": consistency}}),
        "raw": ({"odd": [1]}, {"odd": [1]}),
        "disable_scoring": (True, {"score": "none"}),
        "collections": ([COLLECTION], {"collections": [COLLECTION]}),
        "include_locations": (True, {"includeLocations": True}),
        "client_context_id": ("mine", {}),
        "facets": (
            facets,
            {
                "facets": {
                    "kinds": {"field": "type", "size": 3},
                    "stars": {
                        "field": "stars",
                        "size": 3,
                        "numeric_ranges": [{"name": "low", "max": 3.0}],
                    },
                    "years": {
                        "field": "opened",
                        "size": 3,
                        "date_ranges": [{"name": "new", "start": "2010-01-01"}],
                    },
                }
            },
        ),
        "sort": (
            sort,
            {
                "sort": [
                    {"by": "field", "field": "stars", "type": "number", "mode": "min"}
                    | {"missing": "first", "desc": True},
                    {"by": "geo_distance", "location": [2.0, 48.0], "field": "geo", "unit": "km"},
                    {"by": "score"},
                    {"by": "id", "desc": True},
                ]
            },
        ),
        "show_request": (True, {"showrequest": True}),
        "vector_query_combination": (VectorQueryCombination.AND, {"knn_operator": "and"}),
        "log_request": (True, {}),
        "log_response": (True, {}),
    }


class SearchCase(ServerTestCase):
    """An index of a scope and one of the cluster, which hold the same documents."""

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        if self.node is None:
            self.skipTest("what arrives is read from the node's record")
        self.node.create_scope(self.bucket_name, SCOPE)
        self.node.create_collection(self.bucket_name, SCOPE, COLLECTION)
        documents = HOTELS | {name: {"v": at, "type": name} for name, at in VECTORS.items()}
        for key, value in documents.items():
            self.node.put(key, value, scope=SCOPE, collection=COLLECTION)
        self.hotels = self.cluster()
        self.scope = self.hotels.bucket(self.bucket_name).scope(SCOPE)
        self.collection = self.scope.collection(COLLECTION)
        params = {
            "doc_config": {"mode": "scope.collection.type_field", "type_field": "type"},
            "mapping": {
                "default_mapping": {"enabled": False},
                "types": {f"{SCOPE}.{COLLECTION}": MAPPING["default_mapping"]},
            },
        }
        index = SearchIndex(name="i", source_name=self.bucket_name, params=params)
        yield self.scope.search_indexes().upsert_index(index)
        yield self.hotels.search_indexes().upsert_index(index)

    @inlineCallbacks
    def arriving(self, ask: Any) -> Any:
        """What a search gives, and the one request that it makes."""
        assert self.node is not None
        with self.node.recording() as record:
            given = yield ask()
        (request,) = posted(record, "search")
        return given, request


class ArrivalTests(SearchCase):
    """Every method and every option arrives."""

    @inlineCallbacks
    def test_options(self) -> Any:
        stored = yield self.collection.upsert("inn", HOTELS["inn"])
        options = every_option(MutationState(stored))
        self.assertEqual(set(options), set(search.SearchQueryBuilder._VALID_OPTS) - STAY_HERE)
        base = {"query": QUERY.encodable, "explain": False, "showrequest": False}
        knn = {"field": "v", "k": 3, "vector": [0.0, 1.0]}
        path = f"POST /api/bucket/{self.bucket_name}/scope/{SCOPE}/index/i/query"
        for name, (value, members) in options.items():
            found, request = yield self.arriving(
                lambda: self.scope.search("i", REQUEST, **{name: value})  # noqa: B023
            )
            self.assertEqual(request.operation, path)
            sent = dict(request.options)
            control = dict(sent.pop("ctl"))
            timeout = control.pop("timeout")
            expected = 17_000 if name == "timeout" else 75_000
            self.assertTrue(expected - 5_000 < timeout <= expected, (name, timeout))
            wanted = {**base, "knn": [knn, knn], **members}
            self.assertEqual(control, wanted.pop("ctl", {}), name)
            self.assertEqual(sent, wanted, name)
            self.assertEqual(len(found.rows()), {"limit": 2, "skip": 4}.get(name, 5), name)
            if name == "client_context_id":
                self.assertEqual(found.metadata().client_context_id(), "mine")

        together = {
            name: value for name, (value, _) in options.items() if name != "scan_consistency"
        }
        members = {name: value for _, more in options.values() for name, value in more.items()}
        members["highlight"] = {"style": "ansi", "fields": ["text"]}
        without = {k: v for k, v in members.items() if k != "knn_operator"}
        for of, start in (
            (self.hotels, "/api"),
            (self.scope, f"/api/bucket/{self.bucket_name}/scope/{SCOPE}"),
        ):
            for ask, vectors in self.ways(of, together):
                _, request = yield self.arriving(ask)
                self.assertEqual(request.operation, f"POST {start}/index/i/query")
                sent = dict(request.options)
                self.assertEqual(sent.pop("ctl")["consistency"], members["ctl"]["consistency"])
                wanted = {**base, **(members if vectors else without)}
                wanted |= {"knn": [knn, knn]} if vectors else {}
                del wanted["ctl"]
                self.assertEqual(sent, wanted)

    def ways(self, of: Any, options: dict[str, Any]) -> list[tuple[Any, bool]]:
        """Each method, and whether vectors go with it."""
        block = SearchOptions(**options)

        async def read(query: Any) -> int:
            return len([hit async for hit in of.search_stream("i", query, block)])

        return [
            (lambda: of.search_query("i", QUERY, block), False),
            (lambda: of.search("i", REQUEST, block), True),
            (lambda: of.search_query_ex(Hits, "i", QUERY, block).ended, False),
            (lambda: of.search_ex(Hits, "i", REQUEST, block).ended, True),
            (lambda: ensureDeferred(read(QUERY)), False),
            (lambda: ensureDeferred(read(REQUEST)), True),
        ]

    @inlineCallbacks
    def test_vectors(self) -> Any:
        only_q = search.MatchQuery("q", field="type")
        plain = {"field": "v", "k": 3, "vector": [0.0, 1.0]}
        packed = {"field": "v", "k": 3, "vector_base64": PACKED}
        ordered = list("prq")
        for query, member, ids in (
            (VectorQuery("v", [0.0, 1.0]), plain, ordered),
            (VectorQuery("v", PACKED), packed, ordered),
            (VectorQuery("v", [0.0, 1.0], num_candidates=2), plain | {"k": 2}, ordered[:2]),
            (VectorQuery("v", [0.0, 1.0], boost=2.5), plain | {"boost": 2.5}, ordered),
            (
                VectorQuery("v", [0.0, 1.0], prefilter=only_q),
                plain | {"filter": {"match": "q", "field": "type"}},
                ["q"],
            ),
        ):
            request = search.SearchRequest.create(VectorSearch.from_vector_query(query))
            for of in (self.hotels, self.scope):
                found, sent = yield self.arriving(lambda: of.search("i", request))  # noqa: B023
                self.assertEqual(sent.options["knn"], [member])
                self.assertNotIn("knn_operator", sent.options)
                self.assertEqual(sent.options["query"], {"match_none": None})
                self.assertEqual([row.id for row in found], ids)
        queries = [VectorQuery("v", [0.0, 1.0], num_candidates=n) for n in (1, 2)]
        combined = VectorSearchOptions(vector_query_combination=VectorQueryCombination.AND)
        request = search.SearchRequest.create(VectorSearch(queries, combined))
        found, sent = yield self.arriving(lambda: self.scope.search("i", request))
        self.assertEqual(sent.options["knn_operator"], "and")
        self.assertEqual([row.id for row in found], ["p"])
        beside = search.SearchRequest.create(search.MatchQuery("rope"))
        beside.with_vector_search(VectorSearch(queries))
        found = yield self.scope.search("i", beside, explain=True)
        self.assertEqual({row.id for row in found}, {"p", "r", "shop"})
        self.assertTrue(all(row.explanation["value"] == row.score for row in found))
        self.assertRaises(InvalidArgumentException, VectorQuery, "v", [])


class RowTests(SearchCase):
    """What comes back."""

    @inlineCallbacks
    def test_rows(self) -> Any:
        facets = {
            "kinds": search.TermFacet("type", 1),
            "stars": search.NumericFacet("stars", 2).add_range("low", max=3.0),
            "years": search.DateFacet("opened", 2).add_range("new", start="2010-01-01"),
        }
        options = SearchOptions(
            explain=True,
            fields=["*"],
            include_locations=True,
            highlight_style=search.HighlightStyle.Html,
            facets=facets,
            sort=["-_score", "_id"],
        )
        batched = yield self.scope.search_query("i", QUERY, options)
        self.assertIsInstance(batched, BatchedSearchResult)
        handler = yield self.hotels.search_ex(
            Hits, "i", search.SearchRequest.create(QUERY), options
        ).ended

        async def read() -> Any:
            stream = self.scope.search_stream("i", QUERY, options)
            return [hit async for hit in stream], stream

        rows, stream = yield ensureDeferred(read())
        for hits, result in (
            (list(batched), batched),
            (handler.hits, handler),
            (rows, stream),
        ):
            self.assertEqual([hit.id for hit in hits], ["hostel", "inn"])
            hit = hits[0]
            self.assertTrue(hit.index)
            self.assertGreater(hit.score, 0)
            self.assertEqual(hit.explanation["value"], hit.score)
            self.assertEqual(hit.fields["name"], "Harbour Hostel")
            self.assertEqual(hit.fields["geo"], [-0.1, 51.4])
            self.assertIn("<mark>harbour</mark>", hit.fragments["text"][0])
            (place,) = hit.locations.get_all()
            self.assertEqual((place.field, place.term, place.position), ("text", "harbour", 10))
            found = result.facets()
            kinds = found["kinds"]
            self.assertEqual((kinds.field, kinds.total, kinds.other), ("type", 2, 1))
            self.assertEqual([(each.term, each.count) for each in kinds.terms], [("hostel", 1)])
            (low,) = found["stars"].numeric_ranges
            self.assertEqual((low.name, low.count, low.max), ("low", 1, 3.0))
            (new,) = found["years"].date_ranges
            self.assertEqual((new.name, new.count, new.start), ("new", 1, "2010-01-01"))
            metadata = result.metadata()
            metrics = metadata.metrics()
            self.assertEqual(metrics.total_rows(), 2)
            self.assertEqual(metrics.max_score(), hits[0].score)
            self.assertEqual(metrics.success_partition_count(), 1)
            self.assertGreater(metrics.took(), timedelta(0))
            self.assertEqual(metadata.errors(), {})
        # What was written before the search is in it.
        yield self.collection.upsert("new", {"text": "harbour"})
        found = yield self.scope.search_query("i", QUERY)
        self.assertEqual({hit.id for hit in found}, {"inn", "hostel", "new"})
        self.assertIsNone(found.facets())

    @inlineCallbacks
    def test_errors(self) -> Any:
        assert self.node is not None
        request = search.SearchRequest.create(QUERY)
        bad = search.RawQuery({"nothing": 1})
        for ask, expected, reason in (
            (lambda: self.scope.search("nobody", request), QueryIndexNotFoundException, "i"),
            (lambda: self.hotels.search_query("nobody", QUERY), QueryIndexNotFoundException, "i"),
            (
                lambda: self.scope.search_query_ex(Hits, "nobody", QUERY).ended,
                QueryIndexNotFoundException,
                "i",
            ),
            (
                lambda: self.scope.search_query("i", bad),
                InternalServerFailureException,
                "unknown query type",
            ),
            (
                lambda: self.scope.search_query("i", QUERY, collections=["nobody"]),
                InternalServerFailureException,
                "belong to the scopes",
            ),
            (
                lambda: self.scope.search_indexes().disallow_querying("nobody"),
                SearchIndexNotFoundException,
                "i",
            ),
        ):
            error = yield self.assertFailure(ask(), expected)
            self.assertIn(reason, str(error))
        yield self.scope.search_indexes().disallow_querying("i")
        error = yield self.assertFailure(self.scope.search("i", request), CouchbaseException)
        self.assertIn("querying is disallowed", str(error))
        yield self.scope.search_indexes().allow_querying("i")
        self.node.faults.add(Fault("search", effect="silence", times=1))
        short = timedelta(milliseconds=300)
        yield self.assertFailure(
            self.scope.search("i", request, timeout=short), AmbiguousTimeoutException
        )
        found = yield self.scope.search("i", request, timeout=LONG)
        self.assertEqual(len(found), 2)
        self.assertRaises(InvalidArgumentException, self.scope.search, "i", request, fields="all")
        self.assertRaises(InvalidArgumentException, search.SearchRequest.create, "text")
