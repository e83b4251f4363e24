"""The query service: statements, and every option of a query."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    AuthenticationException,
    CasMismatchException,
    CouchbaseException,
    DocumentExistsException,
    InvalidArgumentException,
    ParsingFailedException,
    QueryIndexAlreadyExistsException,
    UnAmbiguousTimeoutException,
)
from couchbase.management.users import Role, User
from couchbase.mutation_state import MutationState
from couchbase.n1ql import QueryProfile, QueryScanConsistency, QueryStatus
from couchbase.options import QueryOptions, UpsertOptions
from couchbase.serializer import DefaultJsonSerializer

from tests.conformance.checks import Context, check, expect, raises


def rows(context: Context, statement: str, *arguments: Any, **options: Any) -> list[Any]:
    """The rows of a statement."""
    if options:
        arguments = (*arguments, QueryOptions(**options))
    return list(context.cluster.query(statement, *arguments).rows())


def keyspace(context: Context, documents: dict[str, Any] | None = None) -> str:
    """The path of a new collection that has a primary index."""
    path = f"`{context.bucket_name}`.`_default`.`{context.unique('query')}`"
    rows(context, f"CREATE COLLECTION {path}")
    rows(context, f"CREATE PRIMARY INDEX ON {path}")
    for key, value in (documents or {}).items():
        rows(context, f"INSERT INTO {path} (KEY, VALUE) VALUES ($1, $2)", key, value)
    return path


def code_of(error: BaseException) -> int | None:
    """The server's code of an error of a query."""
    assert isinstance(error, CouchbaseException) and error.error_context is not None
    code: int | None = error.error_context.first_error_code
    return code


# Statements.


@check("SELECT without FROM, with expressions, aliases and RAW")
def expressions(context: Context) -> None:
    expect.assertEqual(rows(context, "SELECT 1 + 1 AS two, 'a' || 'b'"), [{"two": 2, "$1": "ab"}])
    expect.assertEqual(rows(context, "SELECT RAW {'a': [1, NULL, true]}"), [{"a": [1, None, True]}])
    expect.assertEqual(rows(context, "SELECT MISSING AS gone, NULL AS here"), [{"here": None}])


@check("Rows stream: what is not read costs nothing")
def streaming(context: Context) -> None:
    result = context.cluster.query("SELECT RAW n FROM ARRAY_RANGE(0, 5000) AS n")
    expect.assertEqual(list(result.rows()), list(range(5000)))


@check("INSERT, UPSERT, UPDATE and DELETE change documents, and RETURNING shows them")
def mutations(context: Context) -> None:
    path = keyspace(context)
    insert = f"INSERT INTO {path} (KEY, VALUE) VALUES ('a', {{'n': 1}}) RETURNING META().id, n"
    expect.assertEqual(rows(context, insert), [{"id": "a", "n": 1}])
    upsert = f"UPSERT INTO {path} (KEY, VALUE) VALUES ('a', {{'n': 2}}), ('b', {{'n': 3}})"
    expect.assertEqual(rows(context, upsert), [])
    update = f"UPDATE {path} AS t SET t.n = t.n * 10, t.new = true WHERE t.n > 2 RETURNING t.*"
    expect.assertEqual(rows(context, update), [{"n": 30, "new": True}])
    delete = f"DELETE FROM {path} AS t USE KEYS 'a' RETURNING RAW t.n"
    expect.assertEqual(rows(context, delete), [2])
    expect.assertEqual(rows(context, f"SELECT RAW META().id FROM {path}"), ["b"])


@check("Documents of key-value operations are queried, and those of queries are read by key")
def both_services(context: Context) -> None:
    name = context.unique("shared")
    rows(context, f"CREATE COLLECTION `{context.bucket_name}`.`_default`.`{name}`")
    collection = context.bucket.scope("_default").collection(name)
    collection.upsert("by-kv", {"from": "kv"})
    path = f"`{context.bucket_name}`.`_default`.`{name}`"
    found = rows(context, f"SELECT t.*, META(t).id FROM {path} AS t USE KEYS 'by-kv'")
    expect.assertEqual(found, [{"from": "kv", "id": "by-kv"}])
    rows(context, f"INSERT INTO {path} (KEY, VALUE) VALUES ('by-query', {{'from': 'query'}})")
    result = collection.get("by-query")
    expect.assertEqual(result.content_as[dict], {"from": "query"})
    cas = rows(context, f"SELECT RAW META(t).cas FROM {path} AS t USE KEYS 'by-query'")
    expect.assertEqual(cas, [result.cas])


@check("INSERT of a key that exists is error 12009 with the reason 17012")
def duplicate_key(context: Context) -> None:
    path = keyspace(context, {"a": 1})
    with raises(DocumentExistsException) as caught:
        rows(context, f"INSERT INTO {path} (KEY, VALUE) VALUES ('a', 2)")
    expect.assertEqual(code_of(caught.exception), 12009)


@check("A locked document is not changed: error 12009")
def locked(context: Context) -> None:
    key = context.unique("locked")
    context.collection.upsert(key, {"n": 1})
    cas = context.collection.get_and_lock(key, timedelta(seconds=10)).cas
    try:
        with raises(CouchbaseException) as caught:
            rows(context, f"UPDATE `{context.bucket_name}` USE KEYS $1 SET n = 2", key)
        expect.assertEqual(code_of(caught.exception), 12009)
        expect.assertNotIsInstance(caught.exception, CasMismatchException)
    finally:
        context.collection.unlock(key, cas)
    expect.assertEqual(context.collection.get(key).content_as[dict], {"n": 1})


@check("META().expiration: set by OPTIONS and by SET, kept with preserve_expiry")
def expiry(context: Context) -> None:
    path = keyspace(context)
    options = "{'expiration': 3600}"
    insert = f"INSERT INTO {path} (KEY, VALUE, OPTIONS) VALUES ('a', {{}}, {options})"
    rows(context, insert)
    read = f"SELECT RAW META(t).expiration FROM {path} AS t USE KEYS 'a'"
    (first,) = rows(context, read)
    expect.assertAlmostEqual(first, time.time() + 3600, delta=60)
    rows(context, f"UPDATE {path} AS t USE KEYS 'a' SET t.n = 1", preserve_expiry=True)
    expect.assertEqual(rows(context, read), [first])
    rows(context, f"UPDATE {path} AS t USE KEYS 'a' SET t.n = 1, META(t).expiration = 7200")
    expect.assertAlmostEqual(rows(context, read)[0], time.time() + 7200, delta=60)
    rows(context, f"UPDATE {path} AS t USE KEYS 'a' SET t.n = 1")
    expect.assertEqual(rows(context, read), [0])


@check("GROUP BY, UNNEST, ORDER BY, DISTINCT, joins and subqueries")
def queries(context: Context) -> None:
    path = keyspace(
        context,
        {
            "1": {"kind": "a", "tags": ["x", "y"]},
            "2": {"kind": "b", "tags": ["x"]},
            "3": {"kind": "a", "parent": "1"},
        },
    )
    grouped = f"SELECT kind, COUNT(*) AS n FROM {path} GROUP BY kind ORDER BY kind DESC"
    expect.assertEqual(rows(context, grouped), [{"kind": "b", "n": 1}, {"kind": "a", "n": 2}])
    tags = f"SELECT DISTINCT RAW g FROM {path} AS t UNNEST t.tags AS g ORDER BY g"
    expect.assertEqual(rows(context, tags), ["x", "y"])
    parents = f"SELECT RAW p.kind FROM {path} AS t JOIN {path} AS p ON KEYS t.parent"
    expect.assertEqual(rows(context, parents), ["a"])
    within = f"SELECT RAW META(t).id FROM {path} AS t WHERE 'y' IN (SELECT RAW g FROM t.tags AS g)"
    expect.assertEqual(rows(context, within), ["1"])


@check("A syntax error is error 3000, and so is what the node does not understand")
def syntax_error(context: Context) -> None:
    with raises(ParsingFailedException) as caught:
        rows(context, "SELEKT nonsense")
    expect.assertEqual(code_of(caught.exception), 3000)


@check("A keyspace without an index is error 4000; USE KEYS needs none")
def no_index(context: Context) -> None:
    path = f"`{context.bucket_name}`.`_default`.`{context.unique('bare')}`"
    rows(context, f"CREATE COLLECTION {path}")
    with raises(CouchbaseException) as caught:
        rows(context, f"SELECT * FROM {path}")
    expect.assertEqual(code_of(caught.exception), 4000)
    expect.assertEqual(rows(context, f"SELECT * FROM {path} AS t USE KEYS 'a'"), [])


@check("An unknown keyspace is error 12003")
def unknown_keyspace(context: Context) -> None:
    with raises(CouchbaseException) as caught:
        rows(context, "SELECT * FROM `no-such-bucket`")
    expect.assertEqual(code_of(caught.exception), 12003)
    expect.assertNotIsInstance(caught.exception, ParsingFailedException)


@check("CREATE INDEX of a name that exists is error 4300, also as a statement")
def index_exists(context: Context) -> None:
    path = keyspace(context)
    with raises(QueryIndexAlreadyExistsException) as caught:
        rows(context, f"CREATE PRIMARY INDEX ON {path}")
    expect.assertEqual(code_of(caught.exception), 4300)


@check("An error after rows have left ends the answer with status and errors")
def late_error(context: Context) -> None:
    statement = (
        "SELECT CASE WHEN n < 20000 THEN n ELSE REPEAT('x', 1000000000) END AS v "
        "FROM ARRAY_RANGE(0, 30000) AS n"
    )
    with raises(CouchbaseException) as caught:
        rows(context, statement)
    expect.assertNotEqual(code_of(caught.exception), 0)


@check("A user without the role query_select is refused: error 13014")
def permissions(context: Context) -> None:
    path = keyspace(context, {"a": {"n": 1}})
    name = context.unique("reader")
    roles = [Role("query_select", bucket=context.bucket_name), Role("query_system_catalog")]
    context.cluster.users().upsert_user(User(name, password="secret-1", roles=roles))
    cluster = context.connect(name, "secret-1")
    select = f"SELECT RAW n FROM {path} USE KEYS 'a'"
    expect.assertEqual(list(cluster.query(select).rows()), [1])
    with raises(AuthenticationException) as caught:
        cluster.query(f"DELETE FROM {path} USE KEYS 'a'").execute()
    expect.assertEqual(code_of(caught.exception), 13014)
    cluster.close()
    context.cluster.users().drop_user(name)


@check("system:keyspaces lists what there is")
def catalog(context: Context) -> None:
    buckets = rows(context, "SELECT RAW name FROM system:buckets")
    expect.assertIn(context.bucket_name, buckets)
    scopes = "SELECT RAW s.name FROM system:scopes AS s WHERE s.`bucket` = $1"
    expect.assertIn("_default", rows(context, scopes, context.bucket_name))


# Options.


@check("positional_parameters stand for ? and $1")
def positional_parameters(context: Context) -> None:
    expect.assertEqual(rows(context, "SELECT RAW [$1, $2]", 1, "b"), [[1, "b"]])
    found = rows(context, "SELECT RAW [?, ?]", positional_parameters=[{"a": None}, [2]])
    expect.assertEqual(found, [[{"a": None}, [2]]])


@check("named_parameters stand for $name; one that lacks is an error")
def named_parameters(context: Context) -> None:
    found = rows(
        context, "SELECT RAW $name || $other", named_parameters={"name": "a", "other": "b"}
    )
    expect.assertEqual(found, ["ab"])
    with raises(CouchbaseException) as caught:
        rows(context, "SELECT RAW $name")
    expect.assertEqual(code_of(caught.exception), 5010)


@check("metrics: counts and times of the answer, counts of sorted rows and mutations")
def metrics(context: Context) -> None:
    result = context.cluster.query(
        "SELECT RAW n FROM [3, 1, 2] AS n ORDER BY n", QueryOptions(metrics=True)
    )
    expect.assertEqual(list(result.rows()), [1, 2, 3])
    found = result.metadata().metrics()
    expect.assertEqual(
        (found.result_count().value, found.result_size().value, found.sort_count().value), (3, 3, 3)
    )
    expect.assertGreater(found.elapsed_time(), timedelta(0))
    expect.assertGreater(found.execution_time(), timedelta(0))
    expect.assertEqual((found.error_count().value, found.warning_count().value), (0, 0))
    path = keyspace(context)
    insert = f"INSERT INTO {path} (KEY, VALUE) VALUES ('a', 1), ('b', 2)"
    result = context.cluster.query(insert, QueryOptions(metrics=True))
    expect.assertEqual(list(result.rows()), [])
    expect.assertEqual(result.metadata().metrics().mutation_count().value, 2)


@check("Without metrics there are none; status, signature, request_id and warnings are there")
def metadata(context: Context) -> None:
    result = context.cluster.query("SELECT 1 AS one, x.* FROM [{}] AS x")
    expect.assertEqual(list(result.rows()), [{"one": 1}])
    found = result.metadata()
    expect.assertIsNone(found.metrics())
    expect.assertEqual(found.status(), QueryStatus.SUCCESS)
    expect.assertEqual(found.signature(), {"one": "number", "*": "*"})
    expect.assertTrue(found.request_id())
    expect.assertEqual((found.warnings(), found.errors()), ([], []))
    expect.assertIsNone(found.profile())


@check("profile: phases and timings")
def profile(context: Context) -> None:
    for level in (QueryProfile.PHASES, QueryProfile.TIMINGS, QueryProfile.OFF):
        result = context.cluster.query("SELECT 1", QueryOptions(profile=level))
        result.execute()
        found = result.metadata().profile()
        if level is QueryProfile.OFF:
            expect.assertIsNone(found)
            continue
        expect.assertIn("phaseTimes", found)
        expect.assertEqual("executionTimings" in found, level is QueryProfile.TIMINGS)


@check("client_context_id comes back")
def client_context_id(context: Context) -> None:
    result = context.cluster.query("SELECT 1", QueryOptions(client_context_id="my-own-id"))
    result.execute()
    expect.assertEqual(result.metadata().client_context_id(), "my-own-id")


@check("read_only: a statement that writes is error 1000")
def read_only(context: Context) -> None:
    path = keyspace(context)
    expect.assertEqual(rows(context, f"SELECT * FROM {path}", read_only=True), [])
    with raises(CouchbaseException) as caught:
        rows(context, f"INSERT INTO {path} (KEY, VALUE) VALUES ('a', 1)", read_only=True)
    expect.assertEqual(code_of(caught.exception), 1000)


@check("scan_consistency and scan_wait: a query sees what was written before it")
def scan_consistency(context: Context) -> None:
    path = keyspace(context, {"a": 1})
    for consistency in (QueryScanConsistency.NOT_BOUNDED, QueryScanConsistency.REQUEST_PLUS):
        found = rows(
            context,
            f"SELECT RAW t FROM {path} AS t",
            scan_consistency=consistency,
            scan_wait=timedelta(milliseconds=200),
        )
        expect.assertEqual(found, [1])


@check("consistent_with: a query sees the mutations of a state")
def consistent_with(context: Context) -> None:
    key = context.unique("consistent")
    result = context.collection.upsert(key, {"n": 1}, UpsertOptions())
    found = rows(
        context,
        f"SELECT RAW n FROM `{context.bucket_name}` USE KEYS $1",
        key,
        consistent_with=MutationState(result),
    )
    expect.assertEqual(found, [1])


@check("adhoc=False: the statement is prepared, and executed by its name the next time")
def prepared(context: Context) -> None:
    for number in range(3):
        found = rows(context, "SELECT RAW $1 + 1", number, adhoc=False)
        expect.assertEqual(found, [number + 1])
    texts = rows(context, "SELECT RAW p.statement FROM system:prepareds AS p")
    expect.assertIn("PREPARE SELECT RAW $1 + 1", texts)


@check("adhoc=False: an error of planning is reported as for other statements")
def prepared_error(context: Context) -> None:
    with raises(ParsingFailedException):
        rows(context, "SELEKT", adhoc=False)


@check("Aggregates in WHERE are an error of planning, 4000")
def aggregates_in_where(context: Context) -> None:
    with raises(CouchbaseException) as caught:
        rows(context, "SELECT 1 FROM [1] AS x WHERE COUNT(*) > 1")
    expect.assertEqual(code_of(caught.exception), 4000)


@check("PREPARE and EXECUTE as statements; DELETE FROM system:prepareds forgets one")
def prepare_and_execute(context: Context) -> None:
    name = context.unique("prepared").replace("-", "_")
    (plan,) = rows(context, f"PREPARE {name} FROM SELECT RAW $1 * 2")
    expect.assertEqual(plan["name"], name)
    expect.assertEqual(rows(context, f"EXECUTE {name} USING [21]"), [42])
    expect.assertEqual(rows(context, f"EXECUTE {name}", 4), [8])
    rows(context, "DELETE FROM system:prepareds AS p WHERE p.name = $1", name)
    # The SDK never comes back from error 4040, so it is not asked to execute it again.
    names = rows(context, "SELECT RAW p.name FROM system:prepareds AS p")
    expect.assertNotIn(name, names)


@check("timeout: a query that takes longer ends with UnAmbiguousTimeout")
def timeout(context: Context) -> None:
    statement = (
        "SELECT COUNT(*) FROM ARRAY_RANGE(0, 2000) AS a, ARRAY_RANGE(0, 2000) AS b, "
        "ARRAY_RANGE(0, 2000) AS c"
    )
    with raises((UnAmbiguousTimeoutException, AmbiguousTimeoutException)):
        rows(context, statement, read_only=True, timeout=timedelta(seconds=1))
    # And the service is free again.
    expect.assertEqual(rows(context, "SELECT RAW 1"), [1])


@check("query_context: names of collections are relative to a scope, as in scope.query")
def query_context(context: Context) -> None:
    path = keyspace(context, {"a": {"n": 1}})
    name = path.rpartition(".")[2]
    statement = f"SELECT RAW n FROM {name} USE KEYS 'a'"
    scope = context.bucket.scope("_default")
    expect.assertEqual(list(scope.query(statement).rows()), [1])
    given = f"default:`{context.bucket_name}`.`_default`"
    expect.assertEqual(rows(context, statement, query_context=given), [1])
    with raises(CouchbaseException) as caught:
        rows(context, statement)
    expect.assertEqual(code_of(caught.exception), 12003)
    result = scope.query("SELECT RAW $1", QueryOptions(positional_parameters=[5], adhoc=False))
    expect.assertEqual(list(result.rows()), [5])


@check("max_parallelism, pipeline_batch, pipeline_cap, scan_cap, flex_index and use_replica")
def tuning(context: Context) -> None:
    found = rows(
        context,
        "SELECT RAW 1",
        max_parallelism=2,
        pipeline_batch=10,
        pipeline_cap=20,
        scan_cap=30,
        flex_index=True,
        use_replica=True,
    )
    expect.assertEqual(found, [1])


@check("raw: any parameter of the service; one that it does not know is error 1065")
def raw(context: Context) -> None:
    found = rows(context, "SELECT RAW 1", raw={"pretty": True, "memory_quota": 100})
    expect.assertEqual(found, [1])
    with raises(InvalidArgumentException) as caught:
        rows(context, "SELECT RAW 1", raw={"no_such_parameter": 1})
    expect.assertEqual(code_of(caught.exception), 1065)
    with raises(CouchbaseException) as caught:
        rows(context, "SELECT RAW 1", raw={"max_parallelism": "many"})
    expect.assertEqual(code_of(caught.exception), 1070)


@check("serializer: what reads the rows")
def serializer(context: Context) -> None:
    class Loud(DefaultJsonSerializer):  # type: ignore[misc]
        def deserialize(self, value: bytes) -> Any:
            return {"read": super().deserialize(value)}

    expect.assertEqual(rows(context, "SELECT RAW 1", serializer=Loud()), [{"read": 1}])


@check("What is not done is refused by name")
def refused(context: Context) -> None:
    for statement in ("SAVEPOINT s", "MERGE INTO a USING b", "SELECT ROW_NUMBER() OVER ()"):
        with raises(CouchbaseException) as caught:
            rows(context, statement)
        expect.assertEqual(code_of(caught.exception), 1020)
