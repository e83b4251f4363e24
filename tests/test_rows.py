"""Queries of all services through real workers give what the SDK's own blocking API gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import couchbase.search as search
from couchbase.analytics import AnalyticsQuery, AnalyticsScanConsistency
from couchbase.cluster import Cluster
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    CouchbaseException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from couchbase.management.views import DesignDocumentNamespace
from couchbase.mutation_state import MutationState
from couchbase.n1ql import N1QLQuery, QueryProfile, QueryScanConsistency
from couchbase.options import (
    QueryOptions,
)
from couchbase.result import AnalyticsResult, QueryResult, SearchResult, ViewResult
from couchbase.serializer import DefaultJsonSerializer
from couchbase.vector_search import VectorQuery, VectorSearch
from couchbase.views import ViewErrorMode, ViewOrdering, ViewQuery, ViewScanConsistency
from twisted.internet.defer import CancelledError, inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.support import ServerTestCase, posted, until
from txcouchbase.cluster import (
    BatchedAnalyticsResult,
    BatchedQueryResult,
    BatchedSearchResult,
    BatchedViewResult,
    TxCluster,
)
from txcouchbase.exceptions import PoolClosed
from txcouchbase.testing import Fault, Script
from txcouchbase.workers import PoolConfig

Ask = Callable[[Any, Any], Any]
"""Calls a method of a cluster and its bucket, ours or the SDK's."""

SERVICES = ("query", "analytics", "search", "views")
BROKEN = b'{"error": "no such index", "status": "fail"}'
SECONDS = timedelta(seconds=20)

HITS = [
    {
        "index": "i_1",
        "id": "a",
        "score": 1.5,
        "sort": ["_score"],
        "locations": {"f": {"t": [{"pos": 1, "start": 0, "end": 3, "array_positions": None}]}},
        "fragments": {"f": ["<mark>t</mark>"]},
        "fields": {"n": 1, "deep": {"er": [1]}},
        "explanation": {"value": 1.5},
    },
    {"index": "i_1", "id": "b", "score": 0},
]
FACETS = {
    "kinds": {
        "field": "kind",
        "total": 5,
        "missing": 1,
        "other": 1,
        "terms": [{"term": "hotel", "count": 3}],
    }
}
ODD = (
    r'[1, "two", null, true, [], {"": ""}, 1180591620717411303424, -0, -0.0, 1e300, "\u00e4\u2028",'
    r' {"a": {"b": []}, "a": 2}, "\ud83d\ude00", 0.1000000000000000055511151231257827, "x\u0000"]'
)
ODD_BODY = f'{{"requestID": "r", "results": {ODD}, "status": "success"}}'.encode()


class CamelSerializer(DefaultJsonSerializer):
    """An application's own."""

    def deserialize(self, value: bytes) -> Any:
        return ("mine", json.loads(value))


def scripts() -> list[Script]:
    return [
        Script("query", match="odd rows", body=ODD_BODY),
        Script("query", match="in the middle", rows=[1, 2], errors=[{"code": 12003, "msg": "no"}]),
        Script("query", match="cut off", rows=[{"n": n} for n in range(99)], cut_after=50),
        Script(
            "query",
            match="with warnings",
            rows=[1],
            metadata={"warnings": [{"code": 1, "msg": "careful"}], "profile": {"phases": {}}},
        ),
        Script("query", match="no options", rows=[1]),
        Script("analytics", match="SELECT", body=ODD_BODY),
        Script("analytics", match="bad", errors=[{"code": 24045, "msg": "cannot find dataset"}]),
        Script("search", match="/index/hits/", rows=HITS, metadata={"facets": FACETS}),
        Script("search", match="/index/broken/", status=400, body=BROKEN),
        Script(
            "views",
            match="_view/by_kind",
            rows=[{"id": "a", "key": [1, "x"], "value": None}, {"id": "b", "key": "k", "value": 1}],
            metadata={"total_rows": 7},
        ),
        Script("views", match="_view/reduced", rows=[{"key": None, "value": 12}]),
    ]


ANSWERS: dict[str, Ask] = {
    "rows": lambda c, b: c.query("SELECT n, n * 2 AS d FROM ARRAY_RANGE(0, 2500) AS n"),
    "none": lambda c, b: c.query("SELECT 1 AS a WHERE FALSE"),
    "odd": lambda c, b: c.query("odd rows"),
    "metrics": lambda c, b: c.query("SELECT 1 AS a", QueryOptions(metrics=True)),
    "warnings": lambda c, b: c.query("with warnings"),
    "positional": lambda c, b: c.query("SELECT $1 AS a, $2 AS b", 1, ["x"]),
    "named": lambda c, b: c.query("SELECT $a AS a", QueryOptions(named_parameters={"a": 1}), b=2),
    "prepared": lambda c, b: c.query("SELECT 3 AS a", QueryOptions(adhoc=False)),
    "scope": lambda c, b: b.scope("_default").query("SELECT 4 AS a"),
    "syntax": lambda c, b: c.query("SELEC"),
    "keyspace": lambda c, b: c.query("SELECT * FROM nowhere.at.all"),
    "middle": lambda c, b: c.query("in the middle"),
    "cut": lambda c, b: c.query("cut off", read_only=True, timeout=timedelta(seconds=1)),
    "wrong parameter": lambda c, b: c.query("SELECT $a", named_parameters={"a": {1}}),
    "analytics": lambda c, b: c.analytics_query("SELECT odd"),
    "analytics scope": lambda c, b: b.scope("_default").analytics_query("SELECT odd"),
    "analytics error": lambda c, b: c.analytics_query("bad"),
    "search": lambda c, b: c.search_query("hits", search.MatchQuery("x")),
    "search scope": lambda c, b: b.scope("_default").search("hits", vectors()),
    "search error": lambda c, b: c.search_query("broken", search.MatchQuery("x")),
    "view": lambda c, b: b.view_query("design", "by_kind"),
    "reduced": lambda c, b: b.view_query("design", "reduced"),
    "no view": lambda c, b: b.view_query("design", "missing"),
    "bad option": lambda c, b: c.query("SELECT 1", scan_consistency="sometimes"),
    "bad fields": lambda c, b: c.search_query("hits", search.MatchQuery("x"), fields="all"),
    "bad keys": lambda c, b: b.view_query("design", "by_kind", keys="k"),
}

CONTEXT = ("statement", "http_status", "first_error_code", "first_error_message", "http_body")


def vectors() -> search.SearchRequest:
    found = search.SearchRequest.create(search.MatchQuery("x"))
    return found.with_vector_search(VectorSearch.from_vector_query(VectorQuery("v", [0.1, 0.2])))


VARYING = ("requestid", "clientcontextid", "elapsedtime", "executiontime", "took")


ROWS = r'"(results|hits|rows)": ?\[[^]]*\]'
"""The body that an error shows has no rows where these came straight from the service."""

IDENTIFIERS = r'"(requestID|clientContextID)": ?"[^"]*"|"(elapsed|execution)Time": ?"[^"]*"'


def plain(value: Any) -> Any:
    """What two answers have in common: without what differs from request to request."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k.lower().replace("_", "") not in VARYING}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if hasattr(value, "__dict__"):
        return [type(value).__name__, plain(vars(value))]
    return repr(value)


def outcome(result: Any, rows: Any = ()) -> Any:
    """What of a result or an exception has to be the same on both ways."""
    if isinstance(result, CouchbaseException):
        context = result.error_context
        fields = context._get_base() if context is not None else {}
        if "http_body" in fields:
            body = re.sub(f"{IDENTIFIERS}|{ROWS}", "", fields["http_body"])
            fields = {**fields, "http_body": body}
        return (
            type(result),
            result.message,
            result.error_code,
            type(context),
            {name: fields.get(name) for name in CONTEXT},
        )
    if isinstance(result, BaseException):
        return type(result), str(result)
    metadata = result.metadata()
    return (
        plain(rows),
        type(metadata),
        plain(metadata._raw),
        plain(result.facets()) if isinstance(result, SearchResult) else None,
    )


class BesideTheSDK(ServerTestCase):
    """A cluster of the SDK's blocking API beside ours, and scripted answers for both."""

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        if self.node is None:
            self.skipTest("the answers are scripted")
        for script in scripts():
            self.node.scripts.add(script)
        options = self.options(enable_tracing=False, enable_metrics=False)
        self.sdk = yield deferToThread(Cluster, self.connstr, options)
        self.addCleanup(deferToThread, self.sdk.close)
        self.sdk_bucket = yield deferToThread(self.sdk.bucket, self.bucket_name)


class SameAsTheSDK(BesideTheSDK):
    """The same calls, here and there."""

    def ask_sdk(self, ask: Ask) -> Any:
        """In a thread."""
        try:
            result = ask(self.sdk, self.sdk_bucket)
            return outcome(result, list(result))
        except Exception as error:
            return outcome(error)

    @inlineCallbacks
    def ask_us(self, cluster: TxCluster, ask: Ask) -> Any:
        try:
            result = yield ask(cluster, cluster.bucket(self.bucket_name))
            return outcome(result, list(result))
        except Exception as error:
            return outcome(error)

    @inlineCallbacks
    def answers(self, client: str, rows: str) -> Any:
        config = PoolConfig(min_workers=1, max_workers=1, client=client, rows=rows)
        cluster = self.cluster(config)
        for name, ask in ANSWERS.items():
            theirs = yield deferToThread(self.ask_sdk, ask)
            ours = yield self.ask_us(cluster, ask)
            context = ours[-1] if rows == "http" else None
            if isinstance(context, dict) and context.get("http_body", "") is None:
                # Of an answer that breaks off within its rows nothing is kept.
                theirs[-1]["http_body"] = None
            self.assertEqual(ours, theirs, name)

    def test_answers(self) -> Any:
        return self.answers("raw", "http")

    def test_answers_that_the_sdk_gathered(self) -> Any:
        return self.answers("raw", "sdk")

    def test_answers_through_threads(self) -> Any:
        return self.answers("sync", "sdk")


def query_options(state: MutationState) -> dict[str, Any]:
    return {
        "read_only": True,
        "scan_consistency": QueryScanConsistency.REQUEST_PLUS,
        "consistent_with": state,
        "adhoc": False,
        "client_context_id": "mine",
        "max_parallelism": 3,
        "pipeline_batch": 4,
        "pipeline_cap": 5,
        "profile": QueryProfile.TIMINGS,
        "query_context": "`default`.`other`",
        "raw": {"odd": [1]},
        "scan_cap": 6,
        "scan_wait": timedelta(milliseconds=700),
        "metrics": True,
        "flex_index": True,
        "preserve_expiry": True,
        "use_replica": True,
        "positional_parameters": [1, {"a": None}],
        "named_parameters": {"p": "q"},
        "timeout": SECONDS,
    }


def analytics_options(_: MutationState) -> dict[str, Any]:
    return {
        "read_only": True,
        "scan_consistency": AnalyticsScanConsistency.REQUEST_PLUS,
        "client_context_id": "mine",
        "metrics": True,
        "priority": True,
        "query_context": "default:`default`.`other`",
        "raw": {"odd": [1]},
        "positional_parameters": [1],
        "named_parameters": {"p": "q"},
        "timeout": SECONDS,
    }


def search_options(state: MutationState) -> dict[str, Any]:
    return {
        "limit": 3,
        "skip": 1,
        "explain": True,
        "fields": ["a", "b"],
        "highlight_style": search.HighlightStyle.Html,
        "highlight_fields": ["a"],
        "scan_consistency": search.SearchScanConsistency.NOT_BOUNDED,
        "consistent_with": state,
        "raw": {"odd": [1]},
        "disable_scoring": True,
        "collections": ["c"],
        "include_locations": True,
        "client_context_id": "mine",
        "facets": {"kinds": search.TermFacet("kind", 3)},
        "sort": [search.SortField("a", desc=True), search.SortID()],
        "show_request": True,
        "vector_query_combination": "and",
        "log_request": True,
        "log_response": True,
        "timeout": SECONDS,
    }


def view_options(_: MutationState) -> dict[str, Any]:
    return {
        "scan_consistency": ViewScanConsistency.REQUEST_PLUS,
        "skip": 1,
        "limit": 2,
        "startkey": [1],
        "endkey": [2, "x"],
        "startkey_docid": "a",
        "endkey_docid": "b",
        "inclusive_end": False,
        "group": True,
        "group_level": 2,
        "key": "k",
        "keys": ["k", 1],
        "reduce": True,
        "order": ViewOrdering.DESCENDING,
        "on_error": ViewErrorMode.CONTINUE,
        "namespace": DesignDocumentNamespace.DEVELOPMENT,
        "debug": True,
        "client_context_id": "mine",
        "raw": {"odd": "1"},
        "query_string": ["limit=9"],
        "full_set": True,
        "timeout": SECONDS,
    }


STAY_HERE = {"serializer", "span", "parent_span", "scope_name"}
"""Objects of the application, and what the SDK itself leaves out."""

OPTIONS: dict[str, tuple[Any, Any, Callable[[Any, Any, Any], Any]]] = {
    "query": (N1QLQuery, query_options, lambda c, b, o: c.query("no options", **o)),
    "analytics": (
        AnalyticsQuery,
        analytics_options,
        lambda c, b, o: c.analytics_query("SELECT 1", **o),
    ),
    "search": (
        search.SearchQueryBuilder,
        search_options,
        lambda c, b, o: c.search_query("hits", search.MatchQuery("x"), **o),
    ),
    "views": (ViewQuery, view_options, lambda c, b, o: b.view_query("d", "by_kind", **o)),
}


class OptionsArrive(BesideTheSDK):
    """The request that arrives is that of the SDK, option by option."""

    @inlineCallbacks
    def test_all_options(self) -> Any:
        assert self.node is not None
        cluster = self.cluster()
        bucket = cluster.bucket(self.bucket_name)
        stored = yield bucket.default_collection().upsert(self.key("k"), 1)
        state = MutationState(stored)
        for service, (builder, every, ask) in OPTIONS.items():
            options = every(state)
            self.assertEqual(
                set(options),
                set(builder._VALID_OPTS) - STAY_HERE,
                service,
            )
            groups = [{name: value} for name, value in options.items()]
            for given in (*groups, {}):
                with self.node.recording() as record:
                    yield deferToThread(
                        lambda given=given, ask=ask: list(ask(self.sdk, self.sdk_bucket, given))
                    )
                    yield ask(cluster, bucket, given)
                sent = posted(record, service)
                self.assertEqual(len(sent) % 2, 0)
                half = len(sent) // 2
                for theirs, ours in zip(sent[:half], sent[half:], strict=True):
                    self.assertEqual(ours.operation, theirs.operation)
                    self.assertEqual(comparable(ours), comparable(theirs), given)
                    if "client_context_id" in given and service in SERVICES[:2]:
                        self.assertIn(b"mine", ours.body)

    @inlineCallbacks
    def test_timeouts_arrive(self) -> Any:
        assert self.node is not None
        timeouts = {"query_timeout": timedelta(seconds=31)}
        cluster = self.cluster(**timeouts)
        bucket = cluster.bucket(self.bucket_name)
        yield cluster.on_connect()
        with self.node.recording() as record:
            yield cluster.query("SELECT 1")
            yield cluster.query("SELECT 1", timeout=timedelta(seconds=5))
            yield cluster.analytics_query("SELECT 1", timeout=timedelta(seconds=6))
            yield cluster.search_query("hits", search.MatchQuery("x"), timeout=SECONDS)
            yield bucket.view_query("d", "by_kind", timeout=SECONDS)
        asked = [request for service in SERVICES for request in posted(record, service)]
        self.assertEqual([r.service for r in asked], [*SERVICES[:1], *SERVICES])
        for given, request in zip((31, 5, 6, 20), asked, strict=False):
            sent = milliseconds(request.options)
            self.assertTrue((given - 3) * 1000 < sent <= given * 1000, (given, sent))


def comparable(request: Any) -> Any:
    options = dict(request.options)
    # The SDK does not send what it was told of a view's `stale`; tests/test_views.py looks at ours.
    for name in ("client_context_id", "timeout", "stale"):
        options.pop(name, None)
    if isinstance(options.get("ctl"), dict):
        options["ctl"] = {k: v for k, v in options["ctl"].items() if k != "timeout"}
    return options


def milliseconds(options: dict[str, Any]) -> int:
    if "ctl" in options:
        return int(options["ctl"]["timeout"])
    return int(options.get("timeout", "0ms")[:-2])


class ResultTests(ServerTestCase):
    """What a result is, and when there is none."""

    @inlineCallbacks
    def test_results(self) -> Any:
        if self.node is None:
            self.skipTest("the answers are scripted")
        for script in scripts():
            self.node.scripts.add(script)
        cluster = self.cluster()
        bucket = cluster.bucket(self.bucket_name)
        # Nothing is connected yet: the queries wait.
        waits = cluster.query("SELECT RAW n FROM ARRAY_RANGE(0, 10) AS n")
        view = yield bucket.view_query("design", "by_kind")
        result = yield waits
        self.assertIsInstance(result, QueryResult)
        self.assertIsInstance(result, BatchedQueryResult)
        self.assertEqual(list(result), list(range(10)))
        self.assertEqual(list(result.rows()), list(result))
        self.assertEqual(result.execute(), list(range(10)))
        self.assertEqual(len(result), 10)
        rows = result.rows()
        self.assertEqual((rows[3], rows[-1], list(rows[2:4]), len(rows)), (3, 9, [2, 3], 10))
        self.assertIn(7, rows)
        self.assertRaises(IndexError, lambda: rows[10])
        empty = yield cluster.query("SELECT 1 AS a WHERE FALSE")
        self.assertEqual((len(empty), list(empty), bool(empty)), (0, [], True))

        self.assertIsInstance(view, ViewResult)
        self.assertIsInstance(view, BatchedViewResult)
        self.assertEqual((view.total_rows, view.indexed_rows), (7, 7))
        self.assertEqual((view.rows()[0].key, view.rows()[0].id), ([1, "x"], "a"))
        found = yield cluster.search("hits", vectors())
        self.assertIsInstance(found, SearchResult)
        self.assertIsInstance(found, BatchedSearchResult)
        self.assertEqual([row.fields for row in found], [row.fields for row in found])
        self.assertEqual(found.facets()["kinds"].terms[0].term, "hotel")
        analysed = yield cluster.analytics_query("SELECT x")
        self.assertIsInstance(analysed, AnalyticsResult)
        self.assertIsInstance(analysed, BatchedAnalyticsResult)

        mine = yield cluster.query("SELECT RAW 1", serializer=CamelSerializer())
        self.assertEqual(list(mine), [("mine", 1)])
        shared = self.cluster(cluster.pool, serializer=CamelSerializer())
        mine = yield shared.query("SELECT RAW 1")
        self.assertEqual(list(mine), [("mine", 1)])

        self.assertRaises(InvalidArgumentException, cluster.query, "")
        self.assertRaises(InvalidArgumentException, cluster.query, None)
        yield cluster.close()
        yield self.assertFailure(cluster.query("SELECT 1"), PoolClosed)

    @inlineCallbacks
    def test_deadlines_and_cancelling(self) -> Any:
        if self.node is None:
            self.skipTest("the server is silent on demand")
        for rows in ("http", "sdk"):
            cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, rows=rows))
            yield self.deadlines_and_cancelling(cluster, rows)

    @inlineCallbacks
    def deadlines_and_cancelling(self, cluster: TxCluster, rows: str) -> Any:
        assert self.node is not None
        yield cluster.on_connect()
        silence = self.node.faults.add(Fault("query", operation="^POST", effect="silence"))
        short = timedelta(milliseconds=300)
        error = yield self.assertFailure(
            cluster.query("SELECT 1", timeout=short), AmbiguousTimeoutException
        )
        self.assertEqual(error.error_code, 13)
        yield self.assertFailure(
            cluster.query("SELECT 1", timeout=short, read_only=True), UnAmbiguousTimeoutException
        )
        abandoned = cluster.query("SELECT 1", timeout=timedelta(seconds=1))
        yield until(lambda: silence.struck == 3)
        abandoned.cancel()
        yield self.assertFailure(abandoned, CancelledError)
        if rows == "sdk":
            # Its slot is busy until the SDK answers the worker.
            self.assertEqual(cluster.pool.workers[0].load, 1)
        yield until(lambda: not cluster.pool.workers[0].load)
        self.node.faults.clear()
        result = yield cluster.query("SELECT RAW 5")
        self.assertEqual(list(result), [5])
