"""Searches that are evaluated: each class of query, each option, vectors, and what goes wrong."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from couchbase.exceptions import (
    CouchbaseException,
    InvalidArgumentException,
    QueryIndexNotFoundException,
)
from couchbase.logic.search import SortRaw, SortString
from couchbase.management.logic.search_index_mgmt_types import SearchIndex
from couchbase.management.users import Role, User
from couchbase.mutation_state import MutationState
from couchbase.options import SearchOptions, VectorSearchOptions
from couchbase.scope import Scope
from couchbase.search import (
    BooleanFieldQuery,
    BooleanQuery,
    ConjunctionQuery,
    DateFacet,
    DateRangeQuery,
    DisjunctionQuery,
    DocIdQuery,
    GeoBoundingBoxQuery,
    GeoDistanceQuery,
    GeoPolygonQuery,
    HighlightStyle,
    MatchAllQuery,
    MatchNoneQuery,
    MatchOperator,
    MatchPhraseQuery,
    MatchQuery,
    NumericFacet,
    NumericRangeQuery,
    PhraseQuery,
    PrefixQuery,
    QueryStringQuery,
    RawQuery,
    RegexQuery,
    SearchQuery,
    SearchRequest,
    SortField,
    SortGeoDistance,
    SortID,
    SortScore,
    TermFacet,
    TermQuery,
    TermRangeQuery,
    WildcardQuery,
)
from couchbase.vector_search import VectorQuery, VectorQueryCombination, VectorSearch

from tests.conformance.checks import Context, check, expect, raises
from tests.searching import HOTELS, MAPPING

TIMEOUT = timedelta(seconds=5)
SCOPE, COLLECTION, INDEX = "search", "hotels", "hotels"
VECTORS = {"p": [0.0, 1.0], "q": [3.0, 4.0], "r": [-1.0, 0.0]}


@cache
def scope_of(context: Context) -> Scope:
    """A scope with a few documents in a collection, which an index of it and one of the cluster
    hold.
    """
    manager = context.bucket.collections()
    manager.create_scope(SCOPE)
    manager.create_collection(SCOPE, COLLECTION)
    scope = context.bucket.scope(SCOPE)
    collection = scope.collection(COLLECTION)
    for key, value in HOTELS.items():
        collection.upsert(key, value)
    for key, at in VECTORS.items():
        collection.upsert(key, {"v": at, "type": key})
    index = SearchIndex(
        name=INDEX,
        source_name=context.bucket_name,
        params={
            "doc_config": {"mode": "scope.collection.type_field", "type_field": "type"},
            "mapping": {
                "default_mapping": {"enabled": False},
                "types": {f"{SCOPE}.{COLLECTION}": MAPPING["default_mapping"]},
            },
        },
    )
    scope.search_indexes().upsert_index(index)
    context.cluster.search_indexes().upsert_index(index)
    return scope


def search(context: Context, query: SearchQuery, **options: Any) -> Any:
    """A search in the index of the scope, read to its end, and its rows."""
    result = scope_of(context).search(INDEX, SearchRequest.create(query), SearchOptions(**options))
    return result, list(result.rows())


def found(context: Context, query: SearchQuery, **options: Any) -> list[str]:
    """The keys of what is found, in their order."""
    return [row.id for row in search(context, query, **options)[1]]


def check_found(context: Context, *cases: tuple[SearchQuery, list[str]]) -> None:
    """Whether queries find documents."""
    for query, expected in cases:
        expect.assertEqual(sorted(found(context, query)), sorted(expected), query)


def refused(context: Context, query: SearchQuery, reason: str, **options: Any) -> None:
    """Whether a search fails with a reason."""
    with raises(CouchbaseException) as raised:
        search(context, query, **options)
    expect.assertIn(reason, str(raised.exception))


@check("Indexes of a scope and of the cluster are searched, by both methods")
def both(context: Context) -> None:
    scope = scope_of(context)
    query = MatchQuery("harbour", field="text")
    request = SearchRequest.create(query)
    for result in (
        scope.search(INDEX, request, timeout=TIMEOUT),
        context.cluster.search(INDEX, request, timeout=TIMEOUT),
        context.cluster.search_query(INDEX, query, timeout=TIMEOUT),
        scope.search_query(INDEX, query, timeout=TIMEOUT),
    ):
        rows = list(result.rows())
        expect.assertEqual({row.id for row in rows}, {"inn", "hostel"})
        expect.assertTrue(all(row.index and row.score > 0 for row in rows))
        metrics = result.metadata().metrics()
        expect.assertEqual(metrics.total_rows(), 2)
        expect.assertEqual(metrics.max_score(), rows[0].score)
        expect.assertEqual(metrics.success_partition_count(), 1)
        expect.assertEqual(metrics.error_partition_count(), 0)
        expect.assertGreater(metrics.took(), timedelta(0))
        expect.assertEqual(result.metadata().errors(), {})
    with raises(QueryIndexNotFoundException):
        list(scope.search("nobody", request).rows())
    with raises(QueryIndexNotFoundException):
        list(context.cluster.search_query("nobody", query).rows())


@check("Match and match phrase analyze their text, as the field is analyzed")
def match(context: Context) -> None:
    check_found(
        context,
        (MatchQuery("old sea", field="text"), ["inn", "ritz"]),
        (MatchQuery("old sea", field="text", match_operator=MatchOperator.AND), ["inn"]),
        (MatchQuery("harbor", field="text", fuzziness=1, prefix_length=2), ["inn", "hostel"]),
        (MatchQuery("Hotel", field="type", analyzer="standard"), ["inn", "ritz"]),
        (MatchPhraseQuery("old harbour", field="text"), ["inn"]),
        (MatchPhraseQuery("view of the sea"), ["inn"]),
    )
    refused(context, MatchQuery("x", analyzer="fr"), "is not evaluated by this node")
    refused(context, MatchQuery("x", fuzziness=9), "fuzziness exceeds max")
    refused(context, MatchPhraseQuery("x", analyzer="fr"), "is not evaluated by this node")


@check("Terms are found as they are, by prefix, pattern and range, and in a row")
def terms(context: Context) -> None:
    check_found(
        context,
        (TermQuery("harbour", field="text"), ["inn", "hostel"]),
        (TermQuery("harbor", field="text", fuzziness=1, prefix_length=3), ["inn", "hostel"]),
        (PhraseQuery("swimming", "pool", field="text"), ["ritz"]),
        (PrefixQuery("ho", field="type"), ["inn", "ritz", "hostel"]),
        (WildcardQuery("h?rb*", field="text"), ["inn", "hostel"]),
        (RegexQuery("ho(tel|stel)", field="type"), ["inn", "ritz", "hostel"]),
        (TermRangeQuery(min="hostel", max="hotel", field="type"), ["hostel"]),
        (
            TermRangeQuery(min="hostel", max="hotel", field="type", inclusive_max=True),
            ["inn", "ritz", "hostel"],
        ),
        (
            TermRangeQuery(min="hostel", max="hotel", field="type", inclusive_min=False),
            [],
        ),
    )
    refused(context, RegexQuery("(", field="type"), "error parsing regexp")
    refused(context, TermQuery("x", fuzziness=9), "fuzziness exceeds max")
    refused(context, RawQuery({"prefix": 5}), "prefix must be a string")
    refused(context, RawQuery({"wildcard": 5}), "wildcard must be a string")
    refused(context, RawQuery({"terms": [5]}), "terms must be an array of strings")


@check("Numbers, dates, flags and keys are found, all documents and none")
def values(context: Context) -> None:
    check_found(
        context,
        (NumericRangeQuery(min=3, max=5, field="stars"), ["inn"]),
        (NumericRangeQuery(3, 5, field="stars", inclusive_max=True), ["inn", "ritz"]),
        (NumericRangeQuery(3, field="stars", inclusive_min=False), ["ritz"]),
        (DateRangeQuery("2010-01-01", "2030-01-01", field="opened"), ["ritz", "hostel"]),
        (DateRangeQuery("2010-01-01", field="opened", inclusive_start=False), ["hostel"]),
        (
            DateRangeQuery(
                end="2010-01-01T00:00:00Z",
                field="opened",
                inclusive_end=True,
                datetime_parser="dateTimeOptional",
            ),
            ["inn", "ritz"],
        ),
        (BooleanFieldQuery(True, field="pool"), ["ritz"]),
        (DocIdQuery(["inn", "nobody"]), ["inn"]),
        (MatchAllQuery(), [*HOTELS, *VECTORS]),
        (MatchNoneQuery(), []),
    )
    refused(context, DateRangeQuery("yesterday", field="opened"), "unable to parse datetime")
    refused(context, RawQuery({"min": "a", "max": 5}), "must specify min or max")
    refused(context, RawQuery({"bool": 1}), "must be true or false")
    refused(context, RawQuery({"nothing": 1}), "unknown query type")


@check("Places are found by distance, in a box and in a polygon")
def places(context: Context) -> None:
    check_found(
        context,
        (GeoDistanceQuery("30km", (-0.12, 51.5), field="geo"), ["inn", "hostel"]),
        (GeoBoundingBoxQuery((-1, 52), (1, 51), field="geo"), ["inn", "hostel"]),
        (GeoPolygonQuery([(2, 48), (3, 48), (3, 50), (2, 50)], field="geo"), ["ritz"]),
    )
    refused(context, GeoDistanceQuery("1ell", (0, 0), field="geo"), "unknown unit")
    refused(context, GeoPolygonQuery([(0, 0), (1, 1)], field="geo"), "three points")
    refused(context, GeoBoundingBoxQuery((0, 0), (1, 1), field="geo"), "below")


@check("Queries are made of queries, and of strings; a part that should be is asked for by its min")
def compounds(context: Context) -> None:
    sea, old = MatchQuery("sea"), MatchQuery("old")
    optional = DisjunctionQuery(old)
    optional.min = 0
    check_found(
        context,
        (ConjunctionQuery(sea, old), ["inn"]),
        (DisjunctionQuery(sea, old), ["inn", "ritz", "shop"]),
        (DisjunctionQuery(sea, old, min=2), ["inn"]),
        (BooleanQuery(must=sea, must_not=old), ["ritz", "shop"]),
        (BooleanQuery(must=sea, should=old), ["inn"]),
        (BooleanQuery(must=sea, should=optional), ["inn", "ritz", "shop"]),
        (QueryStringQuery("+sea -old"), ["ritz", "shop"]),
        (QueryStringQuery('text:"old harbour" stars:>=5'), ["inn", "ritz"]),
    )
    refused(context, QueryStringQuery('"open'), "syntax error")
    refused(context, RawQuery({"disjuncts": [{"match": "x"}], "min": 2}), "minimum number")
    refused(context, RawQuery({"conjuncts": []}), "not empty")
    refused(context, RawQuery({"must": None}), "boolean query must contain")


@check("Every kind of query takes a boost, which weighs its score")
def boosts(context: Context) -> None:
    for first, second in ((9.0, 1.0), (1.0, 9.0)):
        both_of = DisjunctionQuery(DocIdQuery(["inn"], boost=first), DocIdQuery(["ritz"]))
        both_of.disjuncts[1].boost = second
        expected = ["inn", "ritz"] if first > second else ["ritz", "inn"]
        expect.assertEqual(found(context, both_of), expected)
    for query in (
        MatchQuery("sea", boost=2.0),
        MatchPhraseQuery("old harbour", boost=2.0),
        TermQuery("sea", boost=2.0),
        PhraseQuery("old", "inn", boost=2.0),
        PrefixQuery("ha", boost=2.0),
        WildcardQuery("ha*", boost=2.0),
        RegexQuery("sea", boost=2.0),
        QueryStringQuery("sea^3", boost=2.0),
        NumericRangeQuery(min=1, boost=2.0),
        DateRangeQuery(start="1990-01-01", boost=2.0),
        TermRangeQuery(min="s", boost=2.0),
        BooleanFieldQuery(True, boost=2.0),
        GeoDistanceQuery("9km", (0.0, 51.5), field="geo", boost=2.0),
        ConjunctionQuery(MatchQuery("sea"), boost=2.0),
        MatchAllQuery(boost=2.0),
    ):
        expect.assertTrue(found(context, query), query)
    refused(context, RawQuery({"match": "sea", "boost": "high"}), "boost must be a number")


@check("Hits are limited and skipped, explained, and have no score if none is wanted")
def pages(context: Context) -> None:
    result, rows = search(context, MatchAllQuery(), limit=2, skip=1, sort=["_id"])
    expect.assertEqual([row.id for row in rows], ["inn", "p"])
    expect.assertEqual(result.metadata().metrics().total_rows(), len(HOTELS) + len(VECTORS))
    _, rows = search(context, MatchQuery("sea old"), explain=True)
    for row in rows:
        expect.assertEqual(row.explanation["value"], row.score)
        expect.assertTrue(row.explanation["children"])
    result, rows = search(context, MatchQuery("sea"), disable_scoring=True)
    expect.assertEqual({row.score for row in rows}, {0.0})
    expect.assertEqual(result.metadata().metrics().max_score(), 0.0)
    expect.assertEqual(rows[0].explanation, {})
    refused(context, MatchAllQuery(), "bleveMaxResultWindow", limit=10_001)


@check("Stored fields are told, terms are marked in fragments, and their places told")
def shown(context: Context) -> None:
    query = MatchQuery("harbour")
    _, rows = search(
        context, query, fields=["name", "stars"], highlight_style=HighlightStyle.Html, limit=1
    )
    expect.assertEqual(rows[0].fields, {"name": "Harbour Hostel"})
    expect.assertEqual(rows[0].fragments["name"], ["<mark>Harbour</mark> Hostel"])
    _, rows = search(
        context, query, highlight_style=HighlightStyle.Ansi, highlight_fields=["name"], limit=1
    )
    expect.assertEqual(rows[0].fragments, {"name": ["\x1b[43mHarbour\x1b[0m Hostel"]})
    _, rows = search(context, query, include_locations=True, fields=["*"], limit=1)
    (place,) = [each for each in rows[0].locations.get_all() if each.field == "name"]
    expect.assertEqual((place.term, place.position), ("harbour", 1))
    expect.assertEqual((place.start, place.end), (0, 7))
    expect.assertEqual(set(rows[0].fields), {"name", "text", "type", "geo"})
    expect.assertEqual(rows[0].fragments, {})
    _, rows = search(context, query)
    expect.assertIsNone(rows[0].fields)
    expect.assertIsNone(rows[0].locations)
    raw = {"highlight": {"style": "bold"}}
    refused(context, query, "no highlighter named", raw=raw)


@check("Hits are sorted by score, key, field and distance")
def sort(context: Context) -> None:
    hotels = NumericRangeQuery(min=1, field="stars")
    paris = (2.35, 48.85)
    for order, expected in (
        (["-stars"], ["ritz", "inn", "hostel"]),
        (["-type", "_id"], ["inn", "ritz", "hostel"]),
        ([SortScore(), SortID(desc=True)], ["ritz", "inn", "hostel"]),
        ([SortField("stars", type="number", mode="min", desc=False)], ["hostel", "inn", "ritz"]),
        ([SortField("price", missing="first"), SortID()], ["hostel", "inn", "ritz"]),
        ([SortField("price", missing="last", desc=True)], ["ritz", "inn", "hostel"]),
        ([SortGeoDistance(paris, "geo", unit="km")], ["ritz", "hostel", "inn"]),
        ([SortRaw({"by": "id", "desc": True})], ["ritz", "inn", "hostel"]),
    ):
        expect.assertEqual(found(context, hotels, sort=order), expected, order)
    refused(context, hotels, "unknown search sort by", sort=[SortRaw({"by": "luck"})])
    # The SDK sends a list in the list, which no server takes.
    refused(context, hotels, "unknown search sort", sort=[SortString("stars")])


@check("Facets count terms and ranges, what is missing, and what is not shown")
def facets(context: Context) -> None:
    result, _ = search(
        context,
        PrefixQuery("ho", field="type"),
        facets={
            "kinds": TermFacet("type", 1),
            "stars": NumericFacet("stars", 3)
            .add_range("low", max=3)
            .add_range("high", min=3.0)
            .add_range("below", min=-5, max=2),
            "years": DateFacet("opened", 2).add_range("new", start="2010-01-01", end="2030-01-01"),
        },
    )
    found_facets = result.facets()
    kinds = found_facets["kinds"]
    expect.assertEqual((kinds.field, kinds.total, kinds.missing, kinds.other), ("type", 3, 0, 1))
    expect.assertEqual([(each.term, each.count) for each in kinds.terms], [("hotel", 2)])
    stars = found_facets["stars"]
    expect.assertEqual(
        [(each.name, each.count, each.min, each.max) for each in stars.numeric_ranges],
        [("high", 2, 3.0, None), ("low", 1, None, 3), ("below", 1, -5.0, 2)],
    )
    (year,) = found_facets["years"].date_ranges
    expect.assertEqual(
        (year.name, year.count, year.start, year.end), ("new", 2, "2010-01-01", "2030-01-01")
    )
    with raises(InvalidArgumentException):
        search(context, MatchAllQuery(), facets={"a": NumericFacet("stars", 1)})
    backwards = DateFacet("opened", 1).add_range("a", start="yesterday")
    refused(context, MatchAllQuery(), "not readable", facets={"a": backwards})


@check("A search sees mutations at once, and fails for those that its index will not get")
def consistency(context: Context) -> None:
    scope = scope_of(context)
    collection, manager = scope.collection(COLLECTION), scope.search_indexes()
    written = collection.upsert("fresh", {"name": "zebra"})
    query, state = MatchQuery("zebra"), MutationState(written)
    expect.assertEqual(found(context, query, consistent_with=state), ["fresh"])
    expect.assertEqual(manager.get_indexed_documents_count(INDEX), len(HOTELS) + len(VECTORS) + 1)
    manager.pause_ingest(INDEX)
    try:
        removed = collection.remove("fresh")
        expect.assertEqual(found(context, query), ["fresh"])
        refused(context, query, "ingest is paused", consistent_with=MutationState(removed))
    finally:
        manager.resume_ingest(INDEX)
    expect.assertEqual(found(context, query, consistent_with=MutationState(removed)), [])


@check("Who may read documents may not search them")
def permission(context: Context) -> None:
    scope_of(context)
    name, users = context.unique("reader"), context.cluster.users()
    role = Role("data_reader", bucket=context.bucket_name)
    users.upsert_user(User(name, password="password", roles=[role]))
    cluster = context.connect(name, "password")
    try:
        with raises(CouchbaseException) as raised:
            list(cluster.search(INDEX, SearchRequest.create(MatchAllQuery())).rows())
        expect.assertIn("no permission", str(raised.exception))
    finally:
        cluster.close()
        users.drop_user(name)


@check("Collections choose among those of the index, and unknown ones are refused")
def collections(context: Context) -> None:
    query = MatchQuery("sea")
    expect.assertEqual(len(found(context, query, collections=[COLLECTION])), 3)
    refused(context, query, "belong to the scopes", collections=["nobody"])


@check("A timeout is in milliseconds, and that of zero is the server's own")
def timeout(context: Context) -> None:
    result, rows = search(
        context, MatchQuery("sea"), raw={"ctl": {"timeout": 0}}, show_request=True
    )
    expect.assertEqual(len(rows), 3)
    expect.assertEqual(result.metadata().errors(), {})
    refused(context, MatchAllQuery(), "milliseconds", raw={"ctl": {"timeout": "1s"}})


@check("The nearest vectors are found: among others, with others, and beside a query")
def vectors(context: Context) -> None:
    scope = scope_of(context)
    near = VectorQuery("v", [0.0, 0.9], num_candidates=2)

    def nearest(*queries: VectorQuery, **options: Any) -> list[str]:
        asked = VectorSearch(list(queries), VectorSearchOptions(**options) if options else None)
        return [row.id for row in scope.search(INDEX, SearchRequest.create(asked)).rows()]

    expect.assertEqual(nearest(near), ["p", "r"])
    packed = "AAAAAGZmZj8="
    expect.assertEqual(nearest(VectorQuery("v", packed)), ["p", "r", "q"])
    only = VectorQuery("v", [0.0, 0.9], prefilter=MatchQuery("q", field="type"), boost=2.0)
    expect.assertEqual(nearest(only), ["q"])
    one = VectorQuery("v", [0.0, 0.9], num_candidates=1)
    both_of = {"vector_query_combination": VectorQueryCombination.AND}
    expect.assertEqual(nearest(near, one, **both_of), ["p"])
    # The SDK says "and" whichever is asked for.
    both_queries = SearchRequest.create(VectorSearch([near, one]))
    for operator, expected in (("or", ["p", "r"]), ("and", ["p"])):
        rows = scope.search(INDEX, both_queries, raw={"knn_operator": operator}).rows()
        expect.assertEqual([row.id for row in rows], expected)
    expect.assertEqual(nearest(near, one), ["p", "r"])
    request = SearchRequest.create(MatchQuery("rope")).with_vector_search(
        VectorSearch.from_vector_query(near)
    )
    rows = list(scope.search(INDEX, request, SearchOptions(explain=True)).rows())
    expect.assertEqual({row.id for row in rows}, {"p", "r", "shop"})
    expect.assertTrue(all(row.explanation["value"] == row.score for row in rows))
    for query, reason in (
        (VectorQuery("v", [0.0]), "1 dims"),
        (VectorQuery("name", [0.0, 1.0]), "no vector field"),
        (VectorQuery("v", "?"), "array of numbers"),
    ):
        with raises(CouchbaseException) as raised:
            nearest(query)
        expect.assertIn(reason, str(raised.exception))
