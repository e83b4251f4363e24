"""The search service: its manager of the cluster and of scopes, and queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    CouchbaseException,
    FeatureUnavailableException,
    InternalServerFailureException,
    InvalidArgumentException,
    QueryIndexAlreadyExistsException,
    QueryIndexNotFoundException,
    SearchIndexNotFoundException,
)
from couchbase.management.logic.search_index_mgmt_types import SearchIndex
from couchbase.management.options import (
    AllowQueryingSearchIndexOptions,
    AnalyzeDocumentSearchIndexOptions,
    DropSearchIndexOptions,
    GetAllSearchIndexesOptions,
    GetSearchIndexedDocumentsCountOptions,
    GetSearchIndexOptions,
    UpsertSearchIndexOptions,
)
from couchbase.options import SearchOptions
from couchbase.search import (
    DateFacet,
    MatchAllQuery,
    MatchQuery,
    NumericFacet,
    RawQuery,
    SearchRequest,
    TermFacet,
)
from couchbase.vector_search import VectorQuery, VectorSearch

from tests.conformance.checks import Context, check, expect, raises

TIMEOUT = timedelta(seconds=5)


def managers(context: Context) -> dict[str, Any]:
    """The manager of the cluster, and that of a scope."""
    return {
        "cluster": context.cluster.search_indexes(),
        "scope": context.bucket.default_scope().search_indexes(),
    }


def created(context: Context, manager: Any, **members: Any) -> SearchIndex:
    """A new index, as it is read back."""
    index = SearchIndex(name=context.unique("index"), source_name=context.bucket_name, **members)
    manager.upsert_index(index)
    read: SearchIndex = manager.get_index(index.name)
    return read


@check("An index is stored and read back by its name, with a UUID, its source and its plan")
def upsert_and_get(context: Context) -> None:
    for manager in managers(context).values():
        name = context.unique("index")
        params = {"mapping": {"default_mapping": {"enabled": True, "dynamic": False}}}
        plan = {"indexPartitions": 2}
        manager.upsert_index(
            SearchIndex(
                name=name,
                source_name=context.bucket_name,
                params=params,
                plan_params=plan,
                source_params={"x": 1},
            ),
            UpsertSearchIndexOptions(timeout=TIMEOUT),
        )
        read = manager.get_index(name, GetSearchIndexOptions(timeout=TIMEOUT))
        expect.assertEqual(read.name, name)
        expect.assertEqual(read.idx_type, "fulltext-index")
        expect.assertEqual(read.source_type, "gocbcore")
        expect.assertEqual(read.source_name, context.bucket_name)
        expect.assertEqual(read.params["mapping"], params["mapping"])
        expect.assertEqual(read.params["doc_config"]["mode"], "type_field")
        expect.assertEqual(read.plan_params["indexPartitions"], 2)
        expect.assertEqual(read.source_params, {"x": 1})
        expect.assertTrue(read.uuid)
        expect.assertTrue(read.source_uuid)
        manager.drop_index(name, DropSearchIndexOptions(timeout=TIMEOUT))


@check("An upsert without the UUID of the index that exists fails; with it, it changes the index")
def upsert_existing(context: Context) -> None:
    for manager in managers(context).values():
        read = created(context, manager)
        with raises(QueryIndexAlreadyExistsException):
            manager.upsert_index(SearchIndex(name=read.name, source_name=context.bucket_name))
        read.params["mapping"]["default_analyzer"] = "keyword"
        manager.upsert_index(read)
        changed = manager.get_index(read.name)
        expect.assertEqual(changed.params["mapping"]["default_analyzer"], "keyword")
        expect.assertNotEqual(changed.uuid, read.uuid)
        with raises(InternalServerFailureException) as raised:
            manager.upsert_index(read)
        expect.assertIn("concurrent index definition update", str(raised.exception))
        manager.drop_index(read.name)


@check("A name that is not letters, digits, - and _, an unknown type and a bucket are refused")
def upsert_refused(context: Context) -> None:
    for manager in managers(context).values():
        bucket = context.bucket_name
        for index, reason in (
            (SearchIndex(name="1st", source_name=bucket), "indexName is invalid"),
            (SearchIndex(name="i", source_name=bucket, idx_type="b-tree"), "unknown indexType"),
            (SearchIndex(name="i", source_name="nobody"), "failed to connect"),
            (
                SearchIndex(name="i", source_name=bucket, plan_params={"numReplicas": 1}),
                "cluster needs 2 search nodes",
            ),
        ):
            with raises(InternalServerFailureException) as raised:
                manager.upsert_index(index)
            expect.assertIn(reason, str(raised.exception))
        with raises(InvalidArgumentException):
            manager.upsert_index(SearchIndex(name=""))


@check("An alias of indexes is stored with its targets")
def alias(context: Context) -> None:
    manager = context.cluster.search_indexes()
    name = context.unique("alias")
    params = {"targets": {"hotels": {}}}
    manager.upsert_index(
        SearchIndex(name=name, idx_type="fulltext-alias", source_type="nil", params=params)
    )
    read = manager.get_index(name)
    expect.assertEqual(read.params, params)
    expect.assertEqual(read.idx_type, "fulltext-alias")
    manager.drop_index(name)


@check("All indexes are listed: by the cluster with those of scopes, by a scope its own")
def get_all(context: Context) -> None:
    of_cluster, of_scope = managers(context).values()
    options = GetAllSearchIndexesOptions(timeout=TIMEOUT)
    expect.assertEqual(list(of_scope.get_all_indexes(options)), [])
    first, second = created(context, of_cluster), created(context, of_scope)
    expect.assertEqual([index.name for index in of_scope.get_all_indexes()], [second.name])
    names = {index.name for index in of_cluster.get_all_indexes(options)}
    whole = f"{context.bucket_name}._default.{second.name}"
    expect.assertTrue({first.name, whole} <= names, names)
    of_cluster.drop_index(first.name)
    of_scope.drop_index(second.name)
    expect.assertEqual(list(of_scope.get_all_indexes()), [])


@check("Operations on an index that does not exist fail with SearchIndexNotFound")
def missing(context: Context) -> None:
    for manager in managers(context).values():
        for operation in (
            manager.get_index,
            manager.drop_index,
            manager.get_indexed_documents_count,
            manager.pause_ingest,
            manager.resume_ingest,
            manager.allow_querying,
            manager.disallow_querying,
            manager.freeze_plan,
            manager.unfreeze_plan,
            lambda name, each=manager: each.analyze_document(name, {"a": 1}),
        ):
            with raises(SearchIndexNotFoundException):
                operation("nobody")
    with raises(SearchIndexNotFoundException):
        context.cluster.search_indexes().get_index_stats("nobody")
    with raises(QueryIndexNotFoundException):
        list(context.cluster.search("nobody", SearchRequest.create(MatchAllQuery())))


@check("Indexed documents are those of the collections in the mapping, as of a pause of ingest")
def count(context: Context) -> None:
    options = GetSearchIndexedDocumentsCountOptions(timeout=TIMEOUT)
    for manager in managers(context).values():
        read = created(context, manager)
        before = manager.get_indexed_documents_count(read.name, options)
        key = context.unique("counted")
        context.collection.upsert(key, {"a": 1})
        expect.assertEqual(manager.get_indexed_documents_count(read.name), before + 1)
        manager.pause_ingest(read.name)
        context.collection.remove(key)
        expect.assertEqual(manager.get_indexed_documents_count(read.name), before + 1)
        manager.resume_ingest(read.name)
        expect.assertEqual(manager.get_indexed_documents_count(read.name), before)
        manager.drop_index(read.name)


@check("A name that makes another path is answered in the form of the service")
def odd_name(context: Context) -> None:
    with raises(FeatureUnavailableException):
        context.cluster.search_indexes().get_index("a/b")


@check("Pausing ingest, disallowing queries and freezing the plan show in the plan of the index")
def controls(context: Context) -> None:
    options = AllowQueryingSearchIndexOptions(timeout=TIMEOUT)
    for manager in managers(context).values():
        name = created(context, manager).name

        def node() -> Any:
            plan = manager.get_index(name).plan_params  # noqa: B023
            return plan.get("nodePlanParams", {}).get("", {}).get("")

        expect.assertIsNone(node())
        manager.pause_ingest(name)
        expect.assertEqual(node(), {"canRead": True, "canWrite": False})
        manager.disallow_querying(name)
        expect.assertEqual(node(), {"canRead": False, "canWrite": False})
        manager.resume_ingest(name)
        manager.allow_querying(name, options)
        expect.assertIsNone(node())
        manager.freeze_plan(name)
        expect.assertTrue(manager.get_index(name).plan_params["planFrozen"])
        manager.unfreeze_plan(name)
        expect.assertNotIn("planFrozen", manager.get_index(name).plan_params)
        manager.drop_index(name)


@check("Statistics are those of an index, and those of all")
def statistics(context: Context) -> None:
    of_cluster, of_scope = managers(context).values()
    name = created(context, of_cluster).name
    one = of_cluster.get_index_stats(name)
    expect.assertIn("DocCount", one["pindexes"][name]["basic"])
    key = f"{context.bucket_name}:{name}:doc_count"
    expect.assertIn(key, of_cluster.get_all_index_stats())
    expect.assertIn(key, of_scope.get_all_index_stats())
    of_cluster.drop_index(name)


@check("The analysis of a document by an index is the terms of its texts; others are refused")
def analyze(context: Context) -> None:
    options = AnalyzeDocumentSearchIndexOptions(timeout=TIMEOUT)
    for manager in managers(context).values():
        read = created(context, manager)
        found = manager.analyze_document(read.name, {"name": "The one"}, options)
        expect.assertIn("one", str(found))
        expect.assertNotIn("'the'", str(found))
        read.params["mapping"]["default_analyzer"] = "fr"
        manager.upsert_index(read)
        with raises(InternalServerFailureException) as raised:
            manager.analyze_document(read.name, {"name": "The one"}, options)
        expect.assertIn("is not evaluated by this node", str(raised.exception))
        manager.drop_index(read.name)


@check("What is not evaluated is refused by name; a query may be disallowed")
def query_refused(context: Context) -> None:
    of_cluster, of_scope = managers(context).values()
    for manager, target in (
        (of_cluster, context.cluster),
        (of_scope, context.bucket.default_scope()),
    ):
        name = created(context, manager).name
        with raises(CouchbaseException) as raised:
            list(target.search(name, SearchRequest.create(RawQuery({"cidr": "::1/8"}))).rows())
        expect.assertIn("script an answer", str(raised.exception))
        manager.disallow_querying(name)
        with raises(CouchbaseException) as raised:
            list(target.search(name, SearchRequest.create(MatchAllQuery())).rows())
        expect.assertIn("disallowed", str(raised.exception))
        manager.drop_index(name)


@check("A scripted answer has rows, facets and metrics as the SDK reads them, with every option")
def scripted(context: Context) -> None:
    facets = {
        "types": {
            "field": "type",
            "total": 3,
            "missing": 1,
            "other": 0,
            "terms": [{"term": "hotel", "count": 2}],
        }
    }
    hits = [
        {
            "index": "i",
            "id": f"key-{number}",
            "score": 1.5 - number,
            "fields": {"name": "n"},
            "locations": {
                "name": {"n": [{"pos": 1, "start": 0, "end": 1, "array_positions": None}]}
            },
            "fragments": {"name": ["<mark>n</mark>"]},
            "explanation": {"value": 1},
        }
        for number in range(2)
    ]
    script = {"service": "search", "match": "scripted/query", "rows": hits}
    context.control("POST", "/scripts", script | {"metadata": {"facets": facets}})
    try:
        result = context.cluster.search(
            "scripted",
            SearchRequest.create(MatchQuery("n", field="name")).with_vector_search(
                VectorSearch.from_vector_query(VectorQuery("v", [0.1, 0.2], num_candidates=2))
            ),
            SearchOptions(
                limit=10,
                skip=0,
                explain=True,
                fields=["name"],
                highlight_fields=["name"],
                include_locations=True,
                disable_scoring=False,
                facets={
                    "types": TermFacet("type", 5),
                    "ages": NumericFacet("age", 2).add_range("young", max=30),
                    "days": DateFacet("day", 2).add_range("old", end="2020-01-01"),
                },
                collections=["_default"],
                sort=["-_score"],
                timeout=TIMEOUT,
                show_request=True,
                raw={"x": 1},
            ),
        )
        rows = list(result.rows())
        expect.assertEqual([row.id for row in rows], ["key-0", "key-1"])
        expect.assertEqual(rows[0].score, 1.5)
        expect.assertEqual(rows[0].fields, {"name": "n"})
        metadata = result.metadata()
        expect.assertEqual(metadata.metrics().total_rows(), 2)
        expect.assertEqual(metadata.metrics().max_score(), 1.5)
        expect.assertEqual(result.facets()["types"].total, 3)
    finally:
        context.control("DELETE", "/scripts")


@check("Scripted errors: of partitions beside hits, or of the whole query")
def scripted_errors(context: Context) -> None:
    script = {"service": "search", "match": "scripted/query", "errors": [{"msg": "no power"}]}
    request = SearchRequest.create(MatchAllQuery())
    try:
        context.control("POST", "/scripts", script | {"rows": [{"id": "a", "score": 1}]})
        result = context.cluster.search("scripted", request)
        expect.assertEqual([row.id for row in result.rows()], ["a"])
        expect.assertEqual(result.metadata().errors(), {"0": "no power"})
        for status in (None, 200, 500):
            context.control("DELETE", "/scripts")
            context.control("POST", "/scripts", script | {"status": status})
            if status == 200:
                expect.assertEqual(list(context.cluster.search("scripted", request).rows()), [])
                continue
            with raises(CouchbaseException) as raised:
                list(context.cluster.search("scripted", request).rows())
            expect.assertIn("no power", str(raised.exception))
    finally:
        context.control("DELETE", "/scripts")
