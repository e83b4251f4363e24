"""What a worker sends to a service is what the SDK sends, option by option."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import couchbase.search as search
from couchbase.cluster import Cluster
from couchbase.exceptions import InvalidArgumentException
from couchbase.logic.bucket_req_builder import BucketRequestBuilder
from couchbase.logic.cluster_req_builder import ClusterRequestBuilder
from couchbase.logic.scope_req_builder import ScopeRequestBuilder
from couchbase.management.views import DesignDocumentNamespace
from couchbase.mutation_state import MutationState
from couchbase.n1ql import QueryProfile, QueryScanConsistency
from couchbase.options import VectorSearchOptions
from couchbase.vector_search import (
    VectorQuery,
    VectorQueryCombination,
    VectorSearch,
)
from couchbase.views import ViewErrorMode, ViewOrdering, ViewScanConsistency
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.support import ServerTestCase
from tests.test_rows import (
    analytics_options,
    query_options,
    search_options,
    view_options,
)
from txcouchbase.row_requests import (
    AnalyticsRequest,
    QueryRequest,
    RowRequest,
    SearchRequest,
    ViewRequest,
)
from txcouchbase.settings import FacadeSettings
from txcouchbase.testing import Script
from txcouchbase.testing.http.calls import Call
from txcouchbase.workers.service_requests import ServiceRequest, service_request

Options = dict[str, Any]

NAMES = {
    "query": "query",
    "analytics": "analytics_query",
    "search": "search_query",
    "views": "view_query",
}

OTHER_VALUES: dict[str, Callable[[MutationState], list[Options]]] = {
    "query": lambda state: [
        {"metrics": False, "read_only": False, "flex_index": False, "preserve_expiry": False},
        {"use_replica": False, "profile": QueryProfile.OFF, "adhoc": True},
        {"scan_consistency": QueryScanConsistency.NOT_BOUNDED, "scan_wait": timedelta(seconds=1)},
        {"scan_consistency": QueryScanConsistency.REQUEST_PLUS, "scan_wait": timedelta(seconds=1)},
        {"consistent_with": state, "scan_wait": timedelta(seconds=1)},
        {"profile": QueryProfile.PHASES, "timeout": timedelta(seconds=5)},
        {"timeout": timedelta(milliseconds=5001)},
        {"raw": {"statement": "SELECT 2", "client_context_id": "raw", "b": {"b": [1.5], "a": 1}}},
        {"positional_parameters": ["\u00e4\u2028\x7f\x00", -1, 1e300, 0.1, None, True, {}]},
        {"named_parameters": {"$already": 1, "not": 2}},
    ],
    "analytics": lambda state: [{"priority": False, "read_only": False, "metrics": False}],
    "search": lambda state: [
        {"explain": False, "limit": 0, "skip": 0, "disable_scoring": False, "fields": []},
        {"include_locations": False, "show_request": False, "collections": [], "sort": ["_score"]},
        {"highlight_style": search.HighlightStyle.Ansi},
        {"raw": {"ctl": {"mine": 1}}},
    ],
    "views": lambda state: [
        {"inclusive_end": True, "group": False, "reduce": False, "full_set": False, "debug": False},
        {"order": ViewOrdering.ASCENDING, "on_error": ViewErrorMode.STOP, "limit": 0, "skip": 0},
        {"namespace": DesignDocumentNamespace.PRODUCTION, "raw": {"z": "1", "a": "2"}},
        {"key": "a b~`@\u00e4*+-._&=/?#%", "keys": ["k", {"b": 1, "a": [2]}]},
    ],
}
"""Beside those of `tests.test_rows`, each of which comes alone."""


class Case:
    """One query: what the SDK sent, and what it becomes here."""

    def __init__(self, service: str, request: RowRequest[Any, Any], options: Options) -> None:
        self.service = service
        self.given = request.wire
        self.options = options
        self.milliseconds = round((request.timeout or request.default_timeout) * 1000)
        self.sent: Call | None = None

    def ours(self) -> ServiceRequest | None:
        return service_request(NAMES[self.service], self.given, self.milliseconds)


def vectors(combination: VectorQueryCombination | None = None) -> search.SearchRequest:
    found = search.SearchRequest.create(search.MatchQuery("x"))
    queries = [VectorQuery("v", [0.1, 0.2]), VectorQuery("v", [0.3, 0.4])]
    options = VectorSearchOptions(vector_query_combination=combination) if combination else None
    return found.with_vector_search(VectorSearch(queries, options))


class SentAsTheSDKDoes(ServerTestCase):
    """Every option of each service, alone and with all others."""

    @inlineCallbacks
    def test_all_options(self) -> Any:
        if self.node is None:
            self.skipTest("the node tells what arrived")
        arrived: list[Call] = []

        def rows(call: Call) -> list[Any]:
            arrived.append(call)
            return []

        for service in NAMES:
            self.node.scripts.add(Script(service, rows=rows))
        cases: list[Case] = yield deferToThread(self.ask, arrived)
        self.assertGreater(len(cases), 90)
        for case in cases:
            self.compare(case)

    def ask(self, arrived: list[Call]) -> list[Case]:
        """In a thread."""
        cluster = Cluster(self.connstr, self.options(enable_tracing=False, enable_metrics=False))
        bucket = cluster.bucket(self.bucket_name)
        scope = bucket.scope("_default")
        stored = bucket.default_collection().upsert(self.key("k"), 1)
        state = MutationState(stored)
        settings = FacadeSettings(self.connstr, (self.options(),), {})
        whole = ClusterRequestBuilder()
        scoped = ScopeRequestBuilder(self.bucket_name, "_default")
        of_bucket = BucketRequestBuilder(self.bucket_name)
        cases = []

        def ask(
            service: str,
            make: Any,
            builder: Any,
            method: Callable[..., Any],
            args: tuple[Any, ...],
            options: Options,
        ) -> None:
            case = Case(service, make(settings, builder, args, dict(options)), options)
            arrived.clear()
            list(method(*args, **options))
            if case.ours() is not None:
                (case.sent,) = arrived
            cases.append(case)

        def each(service: str, every: Callable[[MutationState], Options]) -> list[Options]:
            options = every(state)
            alone = [{name: value} for name, value in options.items()]
            # Which one the SDK refuses of two kinds of consistency depends on its sets' order.
            together = [
                {name: options[name] for name in options if name not in ("adhoc", left_out)}
                for left_out in ("scan_consistency", "consistent_with")
            ]
            return [*alone, *together, *OTHER_VALUES[service](state), {}]

        try:
            for options in each("query", query_options):
                ask("query", QueryRequest, whole, cluster.query, ("SELECT 1",), options)
            for options in each("analytics", analytics_options):
                method = cluster.analytics_query
                ask("analytics", AnalyticsRequest, whole, method, ("SELECT 1",), options)
            match = search.MatchQuery("x")
            for options in each("search", search_options):
                ask("search", SearchRequest, whole, cluster.search_query, ("i", match), options)
            for options in each("views", view_options):
                ask("views", ViewRequest, of_bucket, bucket.view_query, ("d", "v"), options)
            ask("query", QueryRequest, scoped, scope.query, ("SELECT 1",), {})
            ask("analytics", AnalyticsRequest, scoped, scope.analytics_query, ("SELECT 1",), {})
            for request in (vectors(), vectors(VectorQueryCombination.AND)):
                ask("search", SearchRequest, whole, cluster.search, ("i", request), {})
                ask("search", SearchRequest, scoped, scope.search, ("i", request), {})
        finally:
            cluster.close()
        return cases

    def compare(self, case: Case) -> None:
        ours, theirs = case.ours(), case.sent
        if theirs is None:
            self.assertEqual(case.options, {"adhoc": False})
            return
        assert ours is not None
        self.assertEqual(ours.service, case.service)
        path, _, query = ours.path.partition("?")
        self.assertEqual(path, theirs.path, case.options)
        arguments = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        if "consistency" in case.given:  # the SDK does not send it
            self.assertEqual(arguments.pop("stale"), "false")
        self.assertEqual(arguments, theirs.arguments, case.options)
        self.compare_bodies(case, ours, theirs)
        for name in ("content-type", "analytics-priority"):
            self.assertEqual(ours.headers.get(name), theirs.headers.get(name), case.options)
        identifier = ours.headers["client-context-id"]
        self.assertEqual(ours.context["client_context_id"], identifier)
        if "client_context_id" in case.options:
            self.assertEqual(identifier, "mine")
            self.assertEqual(theirs.headers["client-context-id"], "mine")
        reads = case.options.get("read_only") is True
        self.assertIs(ours.readonly, reads)

    def compare_bodies(self, case: Case, ours: ServiceRequest, theirs: Call) -> None:
        here, there = json.loads(ours.body), theirs.json()
        if case.service in ("query", "analytics"):
            identifiers = here.pop("client_context_id"), there.pop("client_context_id")
            if "client_context_id" in {**case.options, **case.options.get("raw", {})}:
                self.assertEqual(*identifiers)
            limit = here.pop("timeout")
            margin = 500 if case.service == "query" and case.milliseconds > 5000 else 0
            self.assertEqual(limit, f"{case.milliseconds - margin}ms")
            # The SDK sends timeouts of analytics a thousandfold.
            if case.service == "query" or "timeout" not in case.options:
                self.assertEqual(there["timeout"], limit)
            there.pop("timeout")
        elif "ctl" in here and "timeout" in here["ctl"]:
            self.assertEqual(here["ctl"]["timeout"], case.milliseconds)
        self.assertEqual(here, there, case.options)
        self.assertNotIn(b'": ', ours.body)
        self.assertEqual(list(here), sorted(here))


class Requests(SynchronousTestCase):
    def sent(self, name: str, **arguments: Any) -> ServiceRequest:
        request = service_request(name, arguments, 1000)
        assert request is not None
        return request

    def test_what_is_left_to_the_sdk(self) -> None:
        self.assertIsNone(service_request("query", {"statement": "x", "adhoc": False}, 1))
        self.assertIsNone(service_request("view_query", {"statement": "x"}, 1))

    def test_where_the_sdk_sends_something_else(self) -> None:
        either = self.sent(
            "search_query",
            index_name="i",
            query=b"{}",
            vector_search=b"[]",
            vector_query_combination="or",
        )
        self.assertEqual(json.loads(either.body)["knn_operator"], "or")
        large = self.sent("query", statement="x", positional_parameters=[b"1180591620717411303424"])
        self.assertEqual(json.loads(large.body)["args"], [2**70])
        view = {"bucket_name": "b", "document_name": "d", "view_name": "v"}
        for value in ViewScanConsistency:
            request = self.sent("view_query", **view, consistency=value.to_str())
            self.assertEqual(request.path, f"/b/_design/d/_view/v?stale={value.value}")

    def test_paths_that_have_to_be_escaped(self) -> None:
        view = {"bucket_name": "b", "document_name": "d\r\nx", "view_name": "\u00e4/%20#"}
        request = self.sent("view_query", **view, raw={"a": "b c"}, key="\t[")
        self.assertEqual(request.path, "/b/_design/d%0D%0Ax/_view/%C3%A4/%20%23?key=%09%5b&a=b%20c")
        self.assertEqual(request.context["query_string"], ["key=%09%5b", "a=b c"])

    def test_what_is_no_json_is_refused(self) -> None:
        for part in (b"NaN", b'"\\ud83d"', b"", b"[1", b'"\xff"', b"1e999", b"[" * 100_000):
            for arguments in (
                {"positional_parameters": [part]},
                {"named_parameters": {"a": part}},
                {"raw": {"a": part}},
            ):
                self.assertRaises(
                    InvalidArgumentException, self.sent, "query", statement="x", **arguments
                )

    def test_identifiers_are_unique(self) -> None:
        seen = {self.sent("query", statement="x").headers["client-context-id"] for _ in range(9)}
        self.assertEqual(len(seen), 9)
