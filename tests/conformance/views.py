"""The view service: its manager, and queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.error import HTTPError

from couchbase.exceptions import (
    CouchbaseException,
    DesignDocumentNotFoundException,
    InvalidArgumentException,
)
from couchbase.management.logic.view_index_mgmt_types import (
    DesignDocument,
    DesignDocumentNamespace,
    View,
)
from couchbase.management.options import (
    DropDesignDocumentOptions,
    GetAllDesignDocumentsOptions,
    GetDesignDocumentOptions,
    PublishDesignDocumentOptions,
    UpsertDesignDocumentOptions,
)
from couchbase.options import ViewOptions
from couchbase.views import ViewErrorMode, ViewOrdering, ViewScanConsistency

from tests.conformance.checks import Context, check, expect, raises

DEVELOPMENT = DesignDocumentNamespace.DEVELOPMENT
PRODUCTION = DesignDocumentNamespace.PRODUCTION
TIMEOUT = timedelta(seconds=5)
MAP = "function (doc, meta) { emit(meta.id, doc.n / 2); }"


def stored(context: Context, namespace: DesignDocumentNamespace, **views: View) -> str:
    """The name of a new design document."""
    name = context.unique("design")
    views = views or {"by_id": View(MAP, "_count")}
    context.bucket.view_indexes().upsert_design_document(DesignDocument(name, views), namespace)
    return name


@check("A design document is stored and read back, in each namespace its own")
def upsert_and_get(context: Context) -> None:
    manager = context.bucket.view_indexes()
    name = context.unique("design")
    manager.upsert_design_document(
        DesignDocument(name, {"one": View(MAP)}),
        DEVELOPMENT,
        UpsertDesignDocumentOptions(timeout=TIMEOUT),
    )
    with raises(DesignDocumentNotFoundException):
        manager.get_design_document(name, PRODUCTION)
    options = GetDesignDocumentOptions(timeout=TIMEOUT)
    read = manager.get_design_document(name, DEVELOPMENT, options)
    expect.assertEqual(read.name, name)
    expect.assertEqual(read.get_view("one").map, MAP)
    expect.assertIsNone(read.get_view("one").reduce)
    manager.upsert_design_document(DesignDocument(name, {"two": View(MAP, "_stats")}), DEVELOPMENT)
    changed = manager.get_design_document(name, DEVELOPMENT)
    expect.assertEqual(list(changed.views), ["two"])
    expect.assertEqual(changed.get_view("two").reduce, "_stats")
    manager.drop_design_document(name, DEVELOPMENT, DropDesignDocumentOptions(timeout=TIMEOUT))
    with raises(DesignDocumentNotFoundException):
        manager.get_design_document(name, DEVELOPMENT)


@check("All design documents of a namespace are listed with their revisions")
def get_all(context: Context) -> None:
    manager = context.bucket.view_indexes()
    options = GetAllDesignDocumentsOptions(timeout=TIMEOUT)
    name = stored(context, DEVELOPMENT)
    listed = {each.name: each for each in manager.get_all_design_documents(DEVELOPMENT, options)}
    expect.assertIn(name, listed)
    expect.assertTrue(listed[name].rev.startswith("1-"), listed[name].rev)
    published = {each.name for each in manager.get_all_design_documents(PRODUCTION)}
    expect.assertNotIn(name, published)
    manager.drop_design_document(name, DEVELOPMENT)


@check("Publishing copies a design document from development to production")
def publish(context: Context) -> None:
    manager = context.bucket.view_indexes()
    name = stored(context, DEVELOPMENT)
    manager.publish_design_document(name, PublishDesignDocumentOptions(timeout=TIMEOUT))
    read = manager.get_design_document(name, PRODUCTION)
    expect.assertEqual(read.get_view("by_id").reduce, "_count")
    manager.drop_design_document(name, DEVELOPMENT)
    manager.drop_design_document(name, PRODUCTION)
    with raises(DesignDocumentNotFoundException):
        manager.publish_design_document(name)


@check("Dropping a design document that does not exist fails with DesignDocumentNotFound")
def drop_missing(context: Context) -> None:
    with raises(DesignDocumentNotFoundException):
        context.bucket.view_indexes().drop_design_document("nobody", PRODUCTION)


@check("A map function that is no JavaScript, and an unknown built-in reduce, are refused (400)")
def upsert_refused(context: Context) -> None:
    manager = context.bucket.view_indexes()
    for view, reason in (
        (View("function (doc) { emit(doc.n, null);"), "Syntax error in the map function"),
        (View(MAP, "_median"), "Invalid built-in reduce function"),
    ):
        with raises(InvalidArgumentException) as raised:
            manager.upsert_design_document(DesignDocument("bad", {"v": view}), PRODUCTION)
        expect.assertIn(reason, str(raised.exception))


def rows_of(context: Context, design: str, view: str, **options: Any) -> list[Any]:
    """What a query returns."""
    return list(context.bucket.view_query(design, view, ViewOptions(**options)).rows())


@check("A query of an unknown design document or view fails with DesignDocumentNotFound (404)")
def query_missing(context: Context) -> None:
    with raises(DesignDocumentNotFoundException):
        rows_of(context, "nobody", "by_id")
    name = stored(context, PRODUCTION)
    with raises(DesignDocumentNotFoundException):
        rows_of(context, name, "nothing")
    context.bucket.view_indexes().drop_design_document(name, PRODUCTION)


@check("A view that no function of Python was given for fails with the service's error")
def query(context: Context) -> None:
    name = stored(context, PRODUCTION)
    with raises(CouchbaseException) as raised:
        rows_of(context, name, "by_id")
    expect.assertIn("script an answer", str(raised.exception))
    context.bucket.view_indexes().drop_design_document(name, PRODUCTION)


@check("A view has rows in the order of their keys; each option of a query does what it says")
def query_evaluated(context: Context) -> None:
    view = {"design": context.unique("design"), "view": "by_kind", "reduce": "_stats"}
    for design in (view["design"], f"dev_{view['design']}"):
        mapped = view | {"design": design, "function": "tests.mapfunctions:by_kind"}
        context.control("POST", "/views", mapped)
    with raises(HTTPError):
        context.control("POST", "/views", view | {"function": "tests.mapfunctions:nothing"})
    kinds = ["x", "x", "y", "y", "y"]
    for number, kind in enumerate(kinds):
        context.collection.upsert(f"view-{number}", {"kind": kind, "n": number})

    def ids(**options: Any) -> str:
        rows = rows_of(context, view["design"], "by_kind", reduce=False, **options)
        return "".join(row.id[-1] for row in rows)

    latest = {"scan_consistency": ViewScanConsistency.REQUEST_PLUS, "on_error": ViewErrorMode.STOP}
    descending = ViewOrdering.DESCENDING
    y = ["y", "view-2"]
    for options, found in (
        (latest, "01234"),
        ({"skip": 1, "limit": 2, "order": ViewOrdering.ASCENDING}, "12"),
        ({"key": y}, "2"),
        ({"keys": [["y", "view-4"], ["z"], ["x", "view-0"]]}, "40"),
        ({"startkey": y, "endkey": ["y", "view-3"], "inclusive_end": False}, "2"),
        ({"startkey": ["y", {}], "endkey": y, "order": descending}, "432"),
        ({"startkey": y, "startkey_docid": "view-9"}, "34"),
        ({"endkey": y, "endkey_docid": "view-1"}, "01"),
        ({"namespace": DEVELOPMENT, "full_set": True, "limit": 1}, "0"),
        ({"raw": {"limit": "2"}}, "01"),
        ({"query_string": ["skip=3"]}, "34"),
    ):
        expect.assertEqual(ids(**options), found, options)
    query = ViewOptions(reduce=False, debug=True, limit=1)
    result = context.bucket.view_query(view["design"], "by_kind", query)
    (row,) = result.rows()
    expect.assertEqual((row.id, row.key, row.value), ("view-0", ["x", "view-0"], 0))
    expect.assertEqual(result.metadata().total_rows(), len(kinds))
    expect.assertIn("main_group", str(result.metadata().debug_info()))
    (row,) = rows_of(context, view["design"], "by_kind")
    expect.assertEqual((row.id, row.key), (None, None))
    expect.assertEqual(row.value, {"sum": 10, "count": 5, "min": 0, "max": 4, "sumsqr": 30})
    rows = rows_of(context, view["design"], "by_kind", group_level=1)
    expect.assertEqual([(row.key, row.value["sum"]) for row in rows], [(["x"], 1), (["y"], 9)])
    rows = rows_of(context, view["design"], "by_kind", group=True, limit=3)
    expect.assertEqual(rows[2].key, y)
    for number in range(len(kinds)):
        context.collection.remove(f"view-{number}")


@check("Parameters that do not go together are refused (400, query_parse_error)")
def query_refused(context: Context) -> None:
    name = stored(context, PRODUCTION, plain=View(MAP))
    for options in ({"group": True}, {"reduce": True}, {"key": "a", "keys": ["a", "b"]}):
        with raises(InvalidArgumentException) as raised:
            rows_of(context, name, "plain", **options)
        expect.assertIn("query_parse_error", str(raised.exception))
    context.bucket.view_indexes().drop_design_document(name, PRODUCTION)


@check("A scripted answer has rows and their total as the SDK reads them, with every option")
def scripted(context: Context) -> None:
    rows = [{"id": f"k{number}", "key": [number], "value": {"n": number}} for number in range(3)]
    script = {"service": "views", "match": "_design/scripted/_view/by_id", "rows": rows}
    metadata = {"total_rows": 10, "debug_info": {"local": {}}}
    context.control("POST", "/scripts", script | {"metadata": metadata})
    try:
        result = context.bucket.view_query(
            "scripted",
            "by_id",
            ViewOptions(
                limit=3,
                skip=0,
                startkey=[0],
                endkey=[9],
                startkey_docid="a",
                endkey_docid="z",
                inclusive_end=True,
                scan_consistency=ViewScanConsistency.REQUEST_PLUS,
                order=ViewOrdering.ASCENDING,
                on_error=ViewErrorMode.STOP,
                full_set=True,
                debug=True,
                timeout=TIMEOUT,
                raw={"connection_timeout": "1000"},
            ),
        )
        read = list(result.rows())
        expect.assertEqual([row.id for row in read], ["k0", "k1", "k2"])
        expect.assertEqual(read[1].key, [1])
        expect.assertEqual(read[2].value, {"n": 2})
        expect.assertEqual(result.metadata().total_rows(), 10)
        reduced = rows_of(context, "scripted", "by_id", reduce=True, group_level=1)
        expect.assertEqual(len(reduced), 3)
    finally:
        context.control("DELETE", "/scripts")


@check("Scripted errors: of a node beside rows, or of the whole query")
def scripted_errors(context: Context) -> None:
    script = {"service": "views", "match": "_design/scripted/", "errors": [{"msg": "no power"}]}
    try:
        context.control("POST", "/scripts", script | {"rows": [{"key": 1, "value": 2}]})
        expect.assertEqual(len(rows_of(context, "scripted", "by_id")), 1)
        for status in (None, 200, 500):
            context.control("DELETE", "/scripts")
            context.control("POST", "/scripts", script | {"status": status})
            if status == 200:
                expect.assertEqual(rows_of(context, "scripted", "by_id"), [])
                continue
            with raises(CouchbaseException) as raised:
                rows_of(context, "scripted", "by_id")
            expect.assertIn("no power", str(raised.exception))
    finally:
        context.control("DELETE", "/scripts")
