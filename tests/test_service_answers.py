"""What a service's answer means here is what it means to the SDK."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

import msgspec
from couchbase.cluster import Cluster
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    CouchbaseException,
    InternalServerFailureException,
    ParsingFailedException,
    ServiceUnavailableException,
    UnAmbiguousTimeoutException,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.support import ServerTestCase
from txcouchbase.amp import wire
from txcouchbase.amp.errors import decode_error, encode_error
from txcouchbase.testing import Fault, Script
from txcouchbase.workers.answers import AnswerReader, MalformedAnswer
from txcouchbase.workers.raw_client import RawClient
from txcouchbase.workers.service_answers import Exchange, failed, last_of, row_maker
from txcouchbase.workers.service_requests import service_request

NAMES = {
    "query": "query",
    "analytics": "analytics_query",
    "search": "search_query",
    "views": "view_query",
}
MEMBERS = {"query": "results", "analytics": "results", "search": "hits", "views": "rows"}

METRICS = {
    "resultCount": 1,
    "resultSize": 2,
    "elapsedTime": "1h2m3.000000004s",
    "executionTime": "500.25\u00b5s",
}
QUERY_ERRORS = [
    (code, "told")
    for code in (
        *(1, 1080, 1191, 1192, 1193, 1194, 3000, 4000, 4060, 4080, 4090, 4300, 4999, 5001),
        *(12000, 12003, 12004, 12016, 12999, 13000, 13014, 14000, 14999, 15000, 2**64 - 1),
    )
] + [
    (1065, "Unrecognized parameter in request: preserve_expiry"),
    (1065, "Unrecognized parameter in request: other"),
    (5000, "The INDEX x Already Exists"),
    (5000, "Index does not exist"),
    (5000, "an Index that was Not Found"),
    (5000, "Bucket Not Found"),
    (5000, "Limit for number of indexes that can be created per scope has been reached"),
    (5000, ""),
    (12009, "CAS mismatch"),
    (12009, "no"),
    (12003, "Keyspace not found in CB datastore"),
    (12021, "Scope not found in CB datastore"),
    (4000, "No index available on keyspace"),
]
ANALYTICS_ERRORS = (
    *(1, 21002, 23007, 24000, 24006, 24025, 24034, 24039, 24040, 24044, 24045, 24999, 25000, 0),
)
SEARCH_ERRORS = [
    *((400, text) for text in ("index not found", "no planPIndexes for indexName", "other", "")),
    (400, "pindex_consistency mismatched partition"),
    (400, "num_fts_indexes (active + pending)"),
    *((429, text) for text in ("num_concurrent_requests", "num_queries_per_min", "other")),
    *((429, text) for text in ("ingress_mib_per_min", "egress_mib_per_min")),
    *((status, "index not found") for status in (401, 403, 404, 412, 500, 503)),
]
COUNTS = {"field": "t", "total": 3, "missing": 1, "other": 2}
FACETS: dict[str, Any] = {
    "z terms": {**COUNTS, "terms": None},
    "terms": {
        **COUNTS,
        "terms": [{"term": "x", "count": 1}],
    },
    "numbers": {
        **COUNTS,
        "numeric_ranges": [
            {"name": "low", "max": 3, "count": 1},
            {"name": "high", "min": 3.5, "count": 1},
            {"name": "odd", "min": "3", "max": None, "count": 1},
        ],
    },
    "dates": {
        **COUNTS,
        "date_ranges": [{"name": "d", "start": "2020-01-01", "end": 3, "count": 1}],
    },
}
END = {"pos": 5, "start": 7, "end": 8}
HITS: list[Any] = [
    {
        "index": "i_1",
        "id": "\u00e4",
        "score": 1.5,
        "sort": ["_score"],
        "locations": {
            "g": {"b": [{"pos": 1, "start": 0, "end": 1, "array_positions": [0, 2]}], "a": [END]},
            "f": {"t": [{"pos": 2, "start": 0, "end": 1, "array_positions": None}]},
            "e": {"t": [{"pos": 3, "start": 1, "end": 2}, {"pos": 4, "start": 1, "end": 2}]},
        },
        "fragments": {"t": ["<mark>x</mark>"], "s": []},
        "fields": {"t": "x", "n": [1, {"b": None, "a": 1.0}]},
        "explanation": {"value": 1},
    },
    {"index": "i_1", "id": "b", "score": 1, "fields": None, "explanation": [], "locations": None},
    {},
]
SEARCHED: dict[str, Any] = {
    "status": {"total": 3, "failed": 1, "successful": 2, "errors": {"i_2": "bad", "i_1": "worse"}},
    "hits": HITS,
    "total_hits": 3,
    "max_score": 1,
    "took": 12345,
    "facets": FACETS,
}
WARNING = {"code": 3, "msg": "careful", "more": 1}

Answers = list[tuple[int, Any]]
"""Status and body, as a value of JSON or as bytes."""

ANSWERS: dict[str, Answers] = {
    "query": [
        (
            200,
            {
                "requestID": "r",
                "clientContextID": "c",
                "signature": {"b": 1, "a": "\u00e4"},
                "results": [1, {"b": 2, "a": []}, None],
                "profile": [{"z": 1, "y": 2.0}],
                "metrics": {**METRICS, "sortCount": 4, "mutationCount": 5, "warningCount": 6},
                "warnings": [WARNING],
                "status": "success",
            },
        ),
        (200, {"status": "success", "errors": [WARNING], "metrics": METRICS}),
        (200, {"status": "success", "errors": [], "warnings": [], "signature": None}),
        *((418, {"status": "fatal", "errors": [{"code": c, "msg": m}]}) for c, m in QUERY_ERRORS),
        *(
            (
                200,
                {"status": "x", "errors": [{"code": 12009, "msg": "m", "reason": reason}, WARNING]},
            )
            for reason in (
                *({"code": code, "retry": True} for code in (12033, 17014, 17012, 1)),
                *({}, None, 17014),
            )
        ),
        *((401, {"status": status, "errors": []}) for status in ("fatal", "timeout", "", "x")),
        (200, {"results": [1]}),
        (500, {"errors": []}),
        (200, b'{\n "results": [],\n "errors": [\n {"code": 4000, "msg": "No index available"}]}'),
        (200, b'{"errors": [{"code": 1, "msg": "no"}, {"code": 2, "msg":\n"Scope not found"}]}'),
        *((status, b"") for status in (200, 500, 503)),
        *((status, b"nonsense") for status in (200, 404, 503)),
        (200, b'{"results": [1], "status": "success"} x'),
        (200, b'{"results": [1, nonsense], "status": "success"}'),
        (200, b'{"results": [1], "status": "success"'),
    ],
    "analytics": [
        (
            200,
            {
                "requestID": "r",
                "clientContextID": "c",
                "signature": {"*": "*"},
                "results": [{"a": 1}],
                "metrics": {**METRICS, "processedObjects": 7, "errorCount": 1, "warningCount": 2},
                "warnings": [WARNING],
                "errors": [WARNING],
                "status": "success",
            },
        ),
        (200, {"status": "success"}),
        *((400, {"status": "x", "errors": [{"code": c, "msg": ""}]}) for c in ANALYTICS_ERRORS),
        *((200, {"status": s, "errors": [WARNING]}) for s in ("completed", "timedout", 3, None)),
        *((status, b"nonsense") for status in (200, 401, 503)),
        (503, b""),
    ],
    "search": [
        (200, SEARCHED),
        (200, {**SEARCHED, "hits": None, "facets": None, "max_score": -0.5}),
        (200, {**SEARCHED, "status": "other"}),
        (200, {**SEARCHED, "status": "ok", "hits": []}),
        (200, {**SEARCHED, "hits": [], "status": 3}),
        (200, {**SEARCHED, "status": {"failed": 0, "successful": 1, "errors": None}}),
        (200, {**SEARCHED, "hits": [], "facets": {"f": {"field": "x"}}}),
        *((status, {"status": "fail", "error": text}) for status, text in SEARCH_ERRORS),
        *((status, b"nonsense") for status in (200, 400, 404, 429, 500, 503)),
        *((status, b"") for status in (200, 401, 503)),
    ],
    "views": [
        (
            200,
            {
                "total_rows": 7,
                "debug_info": {"b": 1, "a": [1.0]},
                "rows": [
                    {"id": "a", "key": ["x", 1], "value": {"b": None, "a": 1}},
                    {"key": None, "value": 3},
                    {"id": 3, "key": "\u00e4", "value": -0.5},
                ],
            },
        ),
        (200, {"rows": None, "total_rows": -1, "debug_info": []}),
        (200, {"rows": [], "errors": [{"from": "a", "reason": "b"}]}),
        *((status, {"error": "e", "reason": "r"}) for status in (400, 401, 404, 500, 503)),
        *((status, b"nonsense") for status in (200, 400, 404, 500)),
        (404, b""),
    ],
}

MAY_DIFFER = {"port", "last_dispatched_to", "last_dispatched_from"}


@dataclass
class Case:
    service: str
    number: int
    status: int
    body: bytes
    timeout: int = 20_000
    theirs: Any = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Of a query that is answered so, and of no other one."""
        name = f"case{self.number}of"
        statement = {"statement": name, "named_parameters": {"p": rb'{"b": 1.0, "a": ["\u00e4"]}'}}
        view = {"bucket_name": "default", "document_name": "d", "view_name": name}
        given: dict[str, Any] = {
            "query": statement,
            "analytics": statement,
            "search": {"index_name": name, "query": b'{"match": "x"}', "limit": 3},
            "views": {**view, "key": '["a b"]', "skip": 1, "query_string": ["limit=9"]},
        }[self.service]
        return {**given, "client_context_id": "mine"}

    def exchange(self) -> Exchange:
        request = service_request(NAMES[self.service], self.arguments, self.timeout)
        assert request is not None
        return Exchange(request, "127.0.0.1", 1, "127.0.0.1:2", self.status)

    def ours(self) -> Any:
        """Rows and what comes after them, or an exception."""
        exchange = self.exchange()
        reader = AnswerReader(exchange.request.member)
        make = row_maker(self.service)
        try:
            rows: list[Any] = reader.feed(self.body)
            if make is not None:
                rows = [wire.decode(make(row)) for row in rows]
            exchange.body = reader.finish()
            rest = msgspec.json.decode(exchange.body, type=dict[str, Any])
        except (MalformedAnswer, msgspec.MsgspecError, ValueError):
            return failed(exchange, "parsing_failure")
        try:
            return rows, last_of(exchange, rest)
        except CouchbaseException as error:
            return error


def cases() -> list[Case]:
    return [
        Case(
            service,
            number,
            status,
            body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode(),
        )
        for service, answers in ANSWERS.items()
        for number, (status, body) in enumerate(answers)
    ]


def decoded(rows: list[Any]) -> list[Any]:
    """Rows whose JSON is taken for what it means."""
    return [
        json.loads(row)
        if isinstance(row, bytes)
        else {
            name: json.loads(value)
            if value and name in ("fields", "explanation", "key", "value")
            else value
            for name, value in row.items()
        }
        for row in rows
    ]


def told(error: CouchbaseException, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """What an exception tells, but for what differs from request to request."""
    assert error._context is not None and error._base is not None
    context = error._context._get_base()
    return {
        "class": type(error),
        "message": error.message,
        "code": error.error_code,
        "core": (error._base.err(), error._base.err_category(), error._base.strerror()),
        "info": {name: error._exc_info[name] for name in error._exc_info if name != "cinfo"},
        "class of the context": type(error._context),
        "names": sorted(context.keys() - set(but)),
        "context": {name: context[name] for name in context if name not in (*MAY_DIFFER, *but)},
    }


class AsTheSDKUnderstandsThem(ServerTestCase):
    """The same bytes, there and here."""

    @inlineCallbacks
    def test_all_answers(self) -> Any:
        if self.node is None:
            self.skipTest("the answers are scripted")
        asked = cases()
        for case in asked:
            match = f"case{case.number}of"
            self.node.scripts.add(
                Script(case.service, match=match, body=case.body, status=case.status)
            )
        yield deferToThread(self.ask, asked)
        for case in asked:
            self.compare(case, case.ours())

    @inlineCallbacks
    def test_no_answers(self) -> Any:
        if self.node is None:
            self.skipTest("the answers are scripted")
        self.node.scripts.add(Script("query", match="case1of", rows=range(9), cut_after=3))
        self.node.faults.add(Fault("search", effect="silence"))
        cut, silent = Case("query", 1, 200, b""), Case("search", 1, 0, b"", timeout=50)
        yield deferToThread(self.ask, [cut, silent])
        self.same(cut, failed(cut.exchange(), "request_canceled"), but=("http_body",))
        self.same(silent, failed(silent.exchange(), "ambiguous_timeout"))

    def ask(self, asked: list[Case]) -> None:
        """In a thread."""
        options = self.options(enable_tracing=False, enable_metrics=False)
        cluster = Cluster(self.connstr, options)
        try:
            cluster.bucket(self.bucket_name)
            for case in asked:
                ask = getattr(cluster._impl.connection, f"pycbc_{NAMES[case.service]}")
                result = ask(timeout=case.timeout, **case.arguments)
                rows = []
                for row in result:
                    if not isinstance(row, (bytes, dict)):
                        break
                    rows.append(row)
                last = next(result) if row is None else row
                raw = getattr(last, "raw_result", None)
                case.theirs = (rows, raw) if raw is not None else RawClient.exception(last)
        finally:
            cluster.close()

    def compare(self, case: Case, ours: Any) -> None:
        if isinstance(case.theirs, CouchbaseException):
            self.same(case, ours)
            return
        rows, last = case.theirs
        if isinstance(ours, Exception):
            self.fail(f"{case}: {ours!r}")
        self.assertEqual(decoded(ours[0]), decoded(rows), case.body)
        self.assertEqual(ours[1], last, case.body)
        wire.encode(ours[1])

    def same(self, case: Case, ours: Any, but: tuple[str, ...] = ()) -> None:
        self.assertIsInstance(ours, CouchbaseException, f"{case}: {ours}")
        if b'"results": [1' in case.body:  # rows are not kept for the body that an error shows
            but += ("http_body",)
        here, there = told(ours, but), told(case.theirs, but)
        self.assertEqual(here, there, case)
        self.assertEqual(told(decode_error(encode_error(ours)))["class"], type(ours))


class WhereTheSDKEnds(SynchronousTestCase):
    """Answers for which the SDK ends its process, or that it never answers."""

    def outcome(self, service: str, body: Any, status: int = 200) -> Any:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Case(service, 1, status, text).ours()

    def test_members_that_are_missing(self) -> None:
        for service in ("query", "analytics", "search"):
            _, whole = ANSWERS[service][0]
            places = [place for place in paths(whole) if place[0] != "hits"]
            for place in places:
                outcome = self.outcome(service, without(whole, place))
                if isinstance(outcome, Exception):
                    expected = (ParsingFailedException, InternalServerFailureException)
                    self.assertIsInstance(outcome, expected, place)
        for name in ("took", "max_score", "total_hits", "status"):
            self.assertIsInstance(
                self.outcome("search", without(SEARCHED, (name,))), ParsingFailedException
            )
        self.assertIsInstance(self.outcome("analytics", {}), ParsingFailedException)
        self.assertIsInstance(self.outcome("views", {"rows": [{}]}), ParsingFailedException)

    def test_what_is_of_another_kind(self) -> None:
        fine = {"status": "success", "metrics": METRICS}
        self.assertIsInstance(self.outcome("query", fine), tuple)
        durations = ("", "-1s", "1", "1x", ".s", "s", "1.5.5s", "9" * 99 + "s", "1 s", "\u0661s", 1)
        for name, values in {
            "elapsedTime": durations,
            "resultCount": (-1, 1.0, True, "1", None, 2**64),
        }.items():
            for value in values:
                answer = {**fine, "metrics": {**METRICS, name: value}}
                self.assertIsInstance(self.outcome("query", answer), ParsingFailedException, value)
        for body in (b"[1]", b"3", b'"x"', b"null", {"status": "success", "results": {"a": 1}}):
            self.assertIsInstance(self.outcome("query", body), ParsingFailedException, body)

    def test_bodies_that_the_sdk_s_mapping_trips_over(self) -> None:
        for errors in ("text", {"a": 1}, [1], 3):
            outcome = self.outcome("views", {"errors": errors}, 500)
            self.assertIsInstance(outcome, InternalServerFailureException)

    def test_errors_without_an_error(self) -> None:
        outcome = self.outcome("analytics", {"status": "fatal"})
        self.assertIsInstance(outcome, InternalServerFailureException)

    def test_statements_that_are_no_longer_prepared(self) -> None:
        for code in (4040, 4050, 4070):
            answer = {"status": "fatal", "errors": [{"code": code, "msg": "no"}]}
            outcome = self.outcome("query", answer)
            self.assertEqual(told(outcome)["core"][:2], (203, "couchbase.query"))

    def test_no_answers(self) -> None:
        request = service_request("query", {"statement": "x", "readonly": True}, 1)
        assert request is not None
        self.assertTrue(request.readonly)
        for error, expected in {
            "unambiguous_timeout": UnAmbiguousTimeoutException,
            "ambiguous_timeout": AmbiguousTimeoutException,
            "service_not_available": ServiceUnavailableException,
        }.items():
            found = failed(Exchange(request), error)
            assert isinstance(found, CouchbaseException) and found._context is not None
            self.assertIsInstance(found, expected)
            self.assertNotIn("hostname", found._context._get_base())


Place = tuple[Any, ...]


def paths(value: Any, above: Place = ()) -> list[Place]:
    """Where there are members, however deep."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[Place] = []
    for name, item in inside:
        found.append((*above, name))
        if isinstance(item, (dict, list)):
            found += paths(item, (*above, name))
    return found


def without(value: Any, place: Place) -> Any:
    changed = copy.deepcopy(value)
    found = changed
    for name in place[:-1]:
        found = found[name]
    del found[place[-1]]
    return changed


def replaced(value: Any, place: Place, by: Any) -> Any:
    changed = copy.deepcopy(value)
    found = changed
    for name in place[:-1]:
        found = found[name]
    found[place[-1]] = by
    return changed


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["code", "msg", "errors", "name", "a"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)
WHOLE = [
    (service, status, body)
    for service, answers in ANSWERS.items()
    for status, body in answers
    if isinstance(body, dict) and body
]


class Mutated(SynchronousTestCase):
    """Whatever a server says, it becomes rows or an exception of the SDK's."""

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(WHOLE), st.data())
    def test_members(self, whole: tuple[str, int, Any], data: Any) -> None:
        service, status, body = whole
        for _ in range(data.draw(st.integers(1, 3))):
            places = paths(body)
            if places:
                place = data.draw(st.sampled_from(places))
                body = replaced(body, place, data.draw(VALUES))
        self.look(Case(service, 1, status, json.dumps(body).encode()))

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(cases()), st.data())
    def test_bytes(self, case: Case, data: Any) -> None:
        body = bytearray(case.body or b"x")
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
        status = data.draw(st.sampled_from([case.status, 200, 400, 503]))
        self.look(Case(case.service, 1, status, bytes(body)))

    def look(self, case: Case) -> None:
        outcome = case.ours()
        if isinstance(outcome, Exception):
            self.assertIsInstance(outcome, CouchbaseException)
            self.assertIs(type(decode_error(encode_error(outcome))), type(outcome))
        else:
            wire.encode(outcome[1])
