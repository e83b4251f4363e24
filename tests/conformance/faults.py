"""What the SDK makes of faults, scripted answers and restarts that tests ask for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    CouchbaseException,
    DocumentLockedException,
    DocumentNotFoundException,
    InternalServerFailureException,
    ParsingFailedException,
    RequestCanceledException,
    TemporaryFailException,
    UnAmbiguousTimeoutException,
)
from couchbase.options import (
    GetOptions,
    IncrementOptions,
    InsertOptions,
    PingOptions,
    QueryOptions,
    RemoveOptions,
    ReplaceOptions,
    TouchOptions,
    UpsertOptions,
)

from tests.conformance.checks import Context, check, expect, raises

SHORT = timedelta(milliseconds=700)


@contextmanager
def fault(context: Context, **fields: Any) -> Iterator[None]:
    """A fault that ends with the block, in which it must have struck."""
    number = context.control("POST", "/faults", fields)["number"]
    try:
        yield
    finally:
        active = context.control("GET", "/faults")
        context.control("DELETE", f"/faults/{number}")
    expect.assertGreater(next(one["struck"] for one in active if one["number"] == number), 0)


@contextmanager
def script(context: Context, **fields: Any) -> Iterator[None]:
    """A script that ends with the block, in which it must have answered."""
    number = context.control("POST", "/scripts", fields)["number"]
    try:
        yield
    finally:
        active = context.control("GET", "/scripts")
        context.control("DELETE", f"/scripts/{number}")
    expect.assertGreater(next(one["answered"] for one in active if one["number"] == number), 0)


def recorded(context: Context, query: str, action: Any) -> list[dict[str, Any]]:
    """The requests that arrived during an action."""
    context.control("DELETE", "/record")
    context.control("PUT", "/record", {"on": True})
    try:
        action()
    finally:
        context.control("PUT", "/record", {"on": False})
    return list(context.control("GET", f"/record?{query}"))


@check("a read that is answered too late is an unambiguous time-out, a write an ambiguous one")
def late(context: Context) -> None:
    context.collection.upsert("late", 1)
    with fault(context, service="kv", operation="^GET$", delay=1.5):
        with raises(UnAmbiguousTimeoutException):
            context.collection.get("late", GetOptions(timeout=SHORT))
    with fault(context, service="kv", operation="^SET$", delay=1.5):
        with raises(AmbiguousTimeoutException):
            context.collection.upsert("late", 2, UpsertOptions(timeout=SHORT))
    # It was carried out all the same.
    expect.assertEqual(context.collection.get("late").content_as[int], 2)


@check("an answer that is a little late is an answer")
def a_little_late(context: Context) -> None:
    with fault(context, service="kv", operation="^SET$", delay=0.3):
        started = time.monotonic()
        context.collection.upsert("little", 1)
        expect.assertGreaterEqual(time.monotonic() - started, 0.3)


@check("temporary failures are retried until the time is up, and then named")
def temporary(context: Context) -> None:
    context.collection.upsert("tmp", 1)
    refusal = {"service": "kv", "effect": "refuse", "status": "TMPFAIL"}
    with fault(context, operation="^SET$", times=2, **refusal):
        context.collection.upsert("tmp", 2)
    with fault(context, operation="^SET$", **refusal):
        with raises(CouchbaseException) as raised:
            context.collection.upsert("tmp", 3, UpsertOptions(timeout=SHORT))
        expect.assertIsInstance(
            raised.exception, (TemporaryFailException, AmbiguousTimeoutException)
        )
    expect.assertEqual(context.collection.get("tmp").content_as[int], 2)
    with fault(context, service="kv", operation="^SET$", effect="refuse", status="EBUSY"):
        with raises(TemporaryFailException):
            context.collection.upsert("tmp", 4, UpsertOptions(timeout=SHORT))


@check("a locked document refuses writes until its lock ends, and then the error says so")
def locked(context: Context) -> None:
    context.collection.upsert("locked", 1)
    lock = context.collection.get_and_lock("locked", timedelta(seconds=20))
    with raises(CouchbaseException) as raised:
        context.collection.upsert("locked", 2, UpsertOptions(timeout=SHORT))
    expect.assertIsInstance(raised.exception, (DocumentLockedException, AmbiguousTimeoutException))
    context.collection.unlock("locked", lock.cas)
    with fault(context, service="kv", operation="^SET$", effect="refuse", status="LOCKED", times=1):
        context.collection.upsert("locked", 3)


@check("a connection that ends in the middle of a frame: reads are retried, writes canceled")
def dropped(context: Context) -> None:
    context.collection.upsert("dropped", {"n": 1})
    drop = {"service": "kv", "effect": "drop", "size": 30, "times": 1}
    with fault(context, operation="^GET$", **drop):
        expect.assertEqual(context.collection.get("dropped").content_as[dict], {"n": 1})
    with fault(context, operation="^SET$", **drop):
        with raises(RequestCanceledException):
            context.collection.upsert("dropped", {"n": 2}, UpsertOptions(timeout=SHORT))
    context.collection.get("dropped", GetOptions(timeout=timedelta(seconds=5)))


@check("an answer that never comes is a time-out, and the connection is of use afterwards")
def silent(context: Context) -> None:
    context.collection.upsert("silent", 1)
    with fault(context, service="kv", operation="^GET$", effect="silence", times=1):
        with raises(UnAmbiguousTimeoutException):
            context.collection.get("silent", GetOptions(timeout=SHORT))
    expect.assertEqual(context.collection.get("silent").content_as[int], 1)


@check("HTTP: a late answer, a dropped one, a broken body")
def http_faults(context: Context) -> None:
    cluster = context.cluster
    options = QueryOptions(timeout=SHORT, read_only=True)
    with fault(context, service="query", operation="/query/service", delay=1.5):
        with raises(UnAmbiguousTimeoutException):
            cluster.query("SELECT 1", options).execute()
    with fault(context, service="query", operation="/query/service", delay=1.5):
        with raises(AmbiguousTimeoutException):
            cluster.query("SELECT 1", QueryOptions(timeout=SHORT)).execute()
    for effect in ("drop", "truncate", "garble"):
        size = 0 if effect == "garble" else 20
        with fault(context, service="query", effect=effect, size=size):
            with raises(CouchbaseException):
                cluster.query("SELECT 1", QueryOptions(timeout=SHORT)).execute()
    expect.assertEqual(cluster.query("SELECT RAW 1").execute(), [1])


@check("HTTP: status codes of services that are refused")
def http_refusals(context: Context) -> None:
    buckets = context.cluster.buckets()
    refusal = {"service": "mgmt", "operation": "/pools/default/buckets", "effect": "refuse"}
    with fault(context, status=500, **refusal):
        with raises(InternalServerFailureException):
            buckets.get_all_buckets()
    expect.assertTrue(buckets.get_all_buckets())


@check("a scripted query: rows, metadata, warnings; an error before and after rows")
def scripted_query(context: Context) -> None:
    cluster = context.cluster
    warnings = [{"code": 7, "msg": "mind the gap"}]
    with script(
        context,
        service="query",
        match="GOLDEN HOTELS",
        rows=[{"n": 1}, {"n": 2}],
        metadata={"warnings": warnings},
    ):
        result = cluster.query("GOLDEN HOTELS")
        expect.assertEqual(result.execute(), [{"n": 1}, {"n": 2}])
        found = result.metadata().warnings()
        expect.assertEqual([(one.code(), one.message()) for one in found], [(7, "mind the gap")])
    for rows in ([], [1, 2]):
        errors = [{"code": 3000, "msg": "as scripted"}]
        with script(context, service="query", match="SELECT", rows=rows, errors=errors):
            with raises(ParsingFailedException) as raised:
                cluster.query("SELECT 1").execute()
            expect.assertIn("as scripted", str(raised.exception.context))


@check("a scripted query that is prepared, too")
def scripted_prepared(context: Context) -> None:
    with script(context, service="query", match="GOLDEN HOTELS", rows=[1]):
        for _ in range(3):
            result = context.cluster.query("GOLDEN HOTELS", QueryOptions(adhoc=False))
            expect.assertEqual(result.execute(), [1])


@check("scripted rows that are cut off in the middle, and that come late")
def scripted_trouble(context: Context) -> None:
    options = QueryOptions(timeout=SHORT)
    with script(context, service="query", match="SELECT", rows=[1, 2, 3], cut_after=2):
        with raises(CouchbaseException):
            context.cluster.query("SELECT 1", options).execute()
    with script(context, service="query", match="SELECT", rows=[1], delay=1.5):
        with raises(AmbiguousTimeoutException):
            context.cluster.query("SELECT 1", options).execute()


@check("a scripted answer of a service without rows")
def scripted_body(context: Context) -> None:
    body = json.dumps([])
    with script(context, service="mgmt", match="^GET /settings/rbac/groups", body=body):
        expect.assertEqual(list(context.cluster.users().get_all_groups()), [])


@check("the record tells what options arrived: key-value")
def record_of_options(context: Context) -> None:
    collection = context.collection
    hour = timedelta(hours=1)

    def act() -> None:
        collection.upsert("r", 1, UpsertOptions(expiry=hour))
        collection.upsert("r", 2, UpsertOptions(preserve_expiry=True))
        cas = collection.get("r").cas
        collection.replace("r", 3, ReplaceOptions(cas=cas))
        collection.touch("r", hour, TouchOptions())
        collection.remove("r", RemoveOptions())
        collection.insert("r", 1, InsertOptions(expiry=hour))
        collection.remove("r")
        collection.binary().increment("r-count", IncrementOptions(expiry=hour))
        collection.remove("r-count")

    found = recorded(context, "service=kv", act)
    by_name = [(one["operation"], one["options"]) for one in found if one["key"] == "r"]
    expect.assertEqual(
        [name for name, _ in by_name],
        ["SET", "SET", "GET", "REPLACE", "TOUCH", "DELETE", "ADD", "DELETE"],
    )
    options = [options for _, options in by_name]
    expect.assertEqual(options[0]["expiry"], 3600)
    expect.assertTrue(options[1]["preserve_expiry"])
    expect.assertIn("cas", options[3])
    expect.assertEqual(options[4], {"expiry": 3600})
    expect.assertEqual(options[6]["expiry"], 3600)
    (count,) = [one["options"] for one in found if one["operation"] == "INCREMENT"]
    expect.assertEqual((count["delta"], count["expiry"]), (1, 3600))


@check("the record tells what options arrived: query")
def record_of_query(context: Context) -> None:
    def act() -> None:
        context.cluster.query(
            "SELECT RAW $n",
            QueryOptions(
                named_parameters={"n": 7},
                read_only=True,
                metrics=True,
                client_context_id="mine",
                max_parallelism=3,
                raw={"pretty": False},
            ),
        ).execute()

    (one,) = recorded(context, "service=query&operation=POST%20/query/service", act)
    sent = one["options"]
    expect.assertEqual(sent["statement"], "SELECT RAW $n")
    expect.assertEqual(sent["$n"], 7)
    expect.assertIs(sent["readonly"], True)
    expect.assertEqual(sent["client_context_id"], "mine")
    expect.assertEqual(sent["max_parallelism"], "3")
    expect.assertIs(sent["pretty"], False)
    expect.assertEqual(one["account"], context.username)


@check("a node that hangs: operations time out, and go on once it does")
def held(context: Context) -> None:
    context.collection.upsert("held", 1)
    context.control("POST", "/hold")
    try:
        with raises(UnAmbiguousTimeoutException):
            context.collection.get("held", GetOptions(timeout=SHORT))
    finally:
        context.control("POST", "/release")
    found = context.collection.get("held", GetOptions(timeout=timedelta(seconds=5)))
    expect.assertEqual(found.content_as[int], 1)


@check("a node that is killed and comes back: the same client goes on, with data and without")
def killed(context: Context) -> None:
    cluster = context.connect()
    collection = cluster.bucket(context.bucket_name).default_collection()
    collection.upsert("killed", 1)
    context.control("POST", "/kill")
    with raises(UnAmbiguousTimeoutException):
        collection.get("killed", GetOptions(timeout=SHORT))
    context.control("POST", "/restart", {"keep_data": True})
    patient = GetOptions(timeout=timedelta(seconds=10))
    expect.assertEqual(collection.get("killed", patient).content_as[int], 1)
    expect.assertEqual(cluster.query("SELECT RAW 1").execute(), [1])
    snapshot = context.control("POST", "/snapshots")["number"]
    context.control("POST", "/restart", {"keep_data": False})
    with raises(DocumentNotFoundException):
        collection.get("killed", patient)
    context.control("POST", f"/snapshots/{snapshot}/restore")
    expect.assertEqual(collection.get("killed", patient).content_as[int], 1)
    cluster.close()


@check("ping reports every service of the node")
def pinged(context: Context) -> None:
    # The checks before may have cut its connections.
    context.cluster.wait_until_ready(timedelta(seconds=10))
    report = context.cluster.ping(PingOptions(timeout=timedelta(seconds=5)))
    states = {
        kind.value: {endpoint.state.value for endpoint in endpoints}
        for kind, endpoints in report.endpoints.items()
    }
    for service in ("key_value", "query", "search", "analytics", "view", "management"):
        expect.assertEqual(states.get(service), {"ok"}, states)
