"""The analytics service: its manager, and queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from couchbase.analytics import AnalyticsScanConsistency
from couchbase.exceptions import (
    AnalyticsLinkExistsException,
    AnalyticsLinkNotFoundException,
    CouchbaseException,
    DatasetAlreadyExistsException,
    DatasetNotFoundException,
    DataverseAlreadyExistsException,
    DataverseNotFoundException,
    InternalServerFailureException,
    InvalidArgumentException,
    ParsingFailedException,
    QueryIndexAlreadyExistsException,
    QueryIndexNotFoundException,
)
from couchbase.management.logic.analytics_mgmt_types import (
    AnalyticsDataType,
    AnalyticsEncryptionLevel,
    AnalyticsLinkType,
    AzureBlobExternalAnalyticsLink,
    CouchbaseAnalyticsEncryptionSettings,
    CouchbaseRemoteAnalyticsLink,
    S3ExternalAnalyticsLink,
)
from couchbase.management.options import (
    ConnectLinkOptions,
    CreateAnalyticsIndexOptions,
    CreateDatasetOptions,
    CreateDataverseOptions,
    CreateLinkAnalyticsOptions,
    DisconnectLinkOptions,
    DropAnalyticsIndexOptions,
    DropDatasetOptions,
    DropDataverseOptions,
    DropLinkAnalyticsOptions,
    GetAllAnalyticsIndexesOptions,
    GetAllDatasetOptions,
    GetLinksAnalyticsOptions,
    GetPendingMutationsOptions,
    ReplaceLinkAnalyticsOptions,
)
from couchbase.options import AnalyticsOptions

from tests.conformance.checks import Context, check, expect, raises

TIMEOUT = timedelta(seconds=5)


def new_dataverse(context: Context) -> str:
    """The name of a new dataverse of two parts."""
    name = f"{context.unique('verse')}/inner"
    context.cluster.analytics_indexes().create_dataverse(name)
    return name


@check("A dataverse that exists is refused (24039) unless that is ignored; so is one that is not")
def dataverses(context: Context) -> None:
    manager = context.cluster.analytics_indexes()
    for name in (context.unique("verse"), f"{context.unique('verse')}/inner"):
        manager.create_dataverse(name, CreateDataverseOptions(timeout=TIMEOUT))
        with raises(DataverseAlreadyExistsException):
            manager.create_dataverse(name)
        manager.create_dataverse(name, CreateDataverseOptions(ignore_if_exists=True))
        manager.drop_dataverse(name, DropDataverseOptions(timeout=TIMEOUT))
        with raises(DataverseNotFoundException):
            manager.drop_dataverse(name)
        manager.drop_dataverse(name, DropDataverseOptions(ignore_if_not_exists=True))


@check("A dataset is created on a bucket, listed, and dropped; 24040 and 24025 say what is wrong")
def datasets(context: Context) -> None:
    manager, bucket = context.cluster.analytics_indexes(), context.bucket_name
    dataverse, name = new_dataverse(context), context.unique("set")
    options = CreateDatasetOptions(dataverse_name=dataverse, timeout=TIMEOUT)
    manager.create_dataset(name, bucket, options)
    with raises(DatasetAlreadyExistsException):
        manager.create_dataset(name, bucket, dataverse_name=dataverse)
    options = CreateDatasetOptions(dataverse_name=dataverse, ignore_if_exists=True)
    manager.create_dataset(name, bucket, options)
    manager.create_dataset(name, bucket)
    listed = {
        (each.dataverse_name, each.dataset_name): each
        for each in manager.get_all_datasets(GetAllDatasetOptions(timeout=TIMEOUT))
    }
    expect.assertEqual(set(listed), {(dataverse, name), ("Default", name)})
    expect.assertEqual(listed[(dataverse, name)].bucket_name, bucket)
    expect.assertEqual(listed[(dataverse, name)].link_name, "Local")
    manager.drop_dataset(name)
    manager.drop_dataset(name, DropDatasetOptions(dataverse_name=dataverse, timeout=TIMEOUT))
    with raises(DatasetNotFoundException):
        manager.drop_dataset(name)
    manager.drop_dataset(name, DropDatasetOptions(ignore_if_not_exists=True))
    expect.assertEqual(list(manager.get_all_datasets()), [])
    with raises(CouchbaseException) as raised:
        manager.create_dataset(name, "nobody")
    expect.assertIn("does not exist", str(raised.exception))
    with raises(DataverseNotFoundException):
        manager.create_dataset(name, bucket, dataverse_name="nobody")
    manager.drop_dataverse(dataverse)


@check("A dataset of some documents: its condition is kept, whatever signs it has")
def condition(context: Context) -> None:
    name, condition = context.unique("set"), '`type` = "a;b"'
    # The SDK's own option fails in the SDK before anything is sent.
    statement = f"CREATE DATASET `{name}` ON `{context.bucket_name}` WHERE {condition};"
    expect.assertEqual(list(context.cluster.analytics_query(statement).rows()), [])
    statement = f"SELECT d.* FROM Metadata.`Dataset` d WHERE d.DatasetName = '{name}'"
    (row,) = context.cluster.analytics_query(statement).rows()
    expect.assertEqual(row["Filter"], condition)
    context.cluster.analytics_indexes().drop_dataset(name)


@check("An index on fields of a dataset is created, listed beside the primary one, and dropped")
def indexes(context: Context) -> None:
    manager, name, index = context.cluster.analytics_indexes(), "set", context.unique("index")
    dataverse = new_dataverse(context)
    manager.create_dataset(name, context.bucket_name, dataverse_name=dataverse)
    fields = {
        "name": AnalyticsDataType.STRING,
        "age": AnalyticsDataType.INT64,
        "size.x": AnalyticsDataType.DOUBLE,
    }
    options = CreateAnalyticsIndexOptions(dataverse_name=dataverse, timeout=TIMEOUT)
    manager.create_index(index, name, fields, options)
    with raises(QueryIndexAlreadyExistsException):
        manager.create_index(index, name, fields, options)
    manager.create_index(
        index,
        name,
        fields,
        CreateAnalyticsIndexOptions(dataverse_name=dataverse, ignore_if_exists=True),
    )
    listed = {
        each.name: each
        for each in manager.get_all_indexes(GetAllAnalyticsIndexesOptions(timeout=TIMEOUT))
        if each.dataverse_name == dataverse
    }
    expect.assertEqual(set(listed), {name, index})
    expect.assertTrue(listed[name].is_primary)
    expect.assertFalse(listed[index].is_primary)
    expect.assertEqual(listed[index].dataset_name, name)
    dropping = DropAnalyticsIndexOptions(dataverse_name=dataverse, timeout=TIMEOUT)
    manager.drop_index(index, name, dropping)
    with raises(QueryIndexNotFoundException):
        manager.drop_index(index, name, dropping)
    dropping = DropAnalyticsIndexOptions(dataverse_name=dataverse, ignore_if_not_exists=True)
    manager.drop_index(index, name, dropping)
    with raises(DatasetNotFoundException):
        manager.create_index(index, "nobody", fields, options)
    manager.drop_dataverse(dataverse)


@check("A connected link fills its datasets: they have pending mutations, here none")
def connect(context: Context) -> None:
    manager, dataverse = context.cluster.analytics_indexes(), context.unique("verse")
    options = GetPendingMutationsOptions(timeout=TIMEOUT)
    manager.create_dataverse(dataverse)
    manager.create_dataset("set", context.bucket_name, dataverse_name=dataverse)
    expect.assertEqual(manager.get_pending_mutations(options), {})
    manager.connect_link(
        ConnectLinkOptions(dataverse_name=dataverse, link_name="Local", force=True)
    )
    expect.assertEqual(manager.get_pending_mutations(options), {f"{dataverse}.set": 0})
    manager.disconnect_link(
        DisconnectLinkOptions(dataverse_name=dataverse, link_name="Local", timeout=TIMEOUT)
    )
    expect.assertEqual(manager.get_pending_mutations(options), {})
    manager.connect_link()
    manager.disconnect_link()
    with raises(AnalyticsLinkNotFoundException):
        manager.connect_link(dataverse_name=dataverse, link_name="nobody")
    with raises(AnalyticsLinkNotFoundException):
        manager.disconnect_link(dataverse_name=dataverse, link_name="nobody")
    manager.drop_dataverse(dataverse)


def shown_links(context: Context, scope: str) -> list[Any]:
    """The links of a scope without the SDK, which fails to read those to another cluster."""
    services = context.http(context.mgmt_port, "GET", "/pools/default/nodeServices")
    port = services["nodesExt"][0]["services"]["cbas"]
    shown: list[Any] = context.http(port, "GET", f"/analytics/link/{quote(scope, safe='')}")
    return shown


def links_of(dataverse: str) -> list[Any]:
    """One link of each type."""
    # This version of the SDK sends no other level than this, whatever it is given.
    none = CouchbaseAnalyticsEncryptionSettings(AnalyticsEncryptionLevel.NONE)
    return [
        CouchbaseRemoteAnalyticsLink(dataverse, "remote", "host", none, "user", "secret"),
        S3ExternalAnalyticsLink(dataverse, "s3", "id", "us-east-1", "secret", "token", "http://e"),
        AzureBlobExternalAnalyticsLink(dataverse, "azure", "secret", None, None, None, "e", "s"),
        AzureBlobExternalAnalyticsLink(dataverse, "account", None, "name", "secret"),
    ]


@check("Links of every type are created, shown without their secrets, replaced and dropped")
def links(context: Context) -> None:
    manager = context.cluster.analytics_indexes()
    compound, simple = new_dataverse(context), context.unique("verse")
    manager.create_dataverse(simple)
    for dataverse in (compound, simple):
        for link in links_of(dataverse):
            manager.create_link(link, CreateLinkAnalyticsOptions(timeout=TIMEOUT))
            with raises(AnalyticsLinkExistsException):
                manager.create_link(link)
            if link.link_type() is not AnalyticsLinkType.CouchbaseRemote:
                options = GetLinksAnalyticsOptions(dataverse_name=dataverse, name=link.name())
                (read,) = manager.get_links(options)
                expect.assertEqual(read.name(), link.name())
                expect.assertEqual(read.dataverse_name(), dataverse)
                expect.assertEqual(read.link_type(), link.link_type())
            manager.replace_link(link, ReplaceLinkAnalyticsOptions(timeout=TIMEOUT))
        for kind, count in ((AnalyticsLinkType.S3External, 1), ("azureblob", 2)):
            options = GetLinksAnalyticsOptions(
                dataverse_name=dataverse, link_type=kind, timeout=TIMEOUT
            )
            expect.assertEqual(len(list(manager.get_links(options))), count)
        shown = {link["name"]: link for link in shown_links(context, dataverse)}
        expect.assertEqual(len(shown), 4)
        expect.assertEqual(shown["remote"]["activeHostname"], "host")
        expect.assertEqual(shown["remote"]["encryption"], "none")
        for secret in ("secret", "token"):
            expect.assertNotIn(f"'{secret}'", str(shown))
    options = GetLinksAnalyticsOptions(link_type=AnalyticsLinkType.S3External)
    expect.assertEqual(len(list(manager.get_links(options))), 2)
    for dataverse in (compound, simple):
        for link in links_of(dataverse):
            manager.drop_link(link.name(), dataverse, DropLinkAnalyticsOptions(timeout=TIMEOUT))
            with raises(AnalyticsLinkNotFoundException):
                manager.drop_link(link.name(), dataverse)
            with raises(AnalyticsLinkNotFoundException):
                manager.replace_link(link)
        manager.drop_dataverse(dataverse)
    for link in links_of(simple):
        with raises(DataverseNotFoundException):
            manager.create_link(link)
    with raises(InvalidArgumentException):
        manager.create_link(S3ExternalAnalyticsLink(simple, "s3", "", "us-east-1", "secret"))


@check("A query of a dataset that does not exist fails with DatasetNotFound (24045)")
def query_missing(context: Context) -> None:
    with raises(DatasetNotFoundException):
        list(context.cluster.analytics_query("SELECT VALUE n FROM nobody n").rows())


@check("What is no statement fails with the error of the parser (24000)")
def query_nonsense(context: Context) -> None:
    with raises(CouchbaseException) as raised:
        list(context.cluster.analytics_query("SELEKT nonsense").rows())
    expect.assertIn("24000", str(raised.exception))
    expect.assertNotIsInstance(raised.exception, ParsingFailedException)


@check("Documents are read through datasets once their link is connected, with every option")
def query(context: Context) -> None:
    manager, collection = context.cluster.analytics_indexes(), context.collection
    for number in range(4):
        collection.upsert(f"analytics-{number}", {"n": number, "kind": "xy"[number % 2]})
    manager.create_dataset("present", context.bucket_name)

    def rows(statement: str) -> list[Any]:
        return list(context.cluster.analytics_query(statement).rows())

    rows(f"CREATE DATASET `half` ON `{context.bucket_name}` WHERE kind = 'y'")
    expect.assertEqual(rows("SELECT VALUE p FROM present p"), [])
    manager.connect_link()
    expect.assertEqual(rows("SELECT VALUE h.n FROM Default.`half` AS h ORDER BY h.n"), [1, 3])
    options = AnalyticsOptions(
        client_context_id="my-id",
        positional_parameters=[1],
        named_parameters={"top": 3},
        priority=True,
        read_only=True,
        scan_consistency=AnalyticsScanConsistency.REQUEST_PLUS,
        metrics=True,
        raw={"max-warnings": 3},
        timeout=TIMEOUT,
    )
    statement = "SELECT VALUE p.n FROM present p WHERE p.n BETWEEN $1 AND $top ORDER BY p.n DESC"
    result = context.cluster.analytics_query(statement, options)
    expect.assertEqual(list(result.rows()), [3, 2, 1])
    metadata = result.metadata()
    expect.assertEqual(metadata.client_context_id(), "my-id")
    expect.assertEqual(metadata.status().value, "success")
    expect.assertEqual(metadata.signature(), {"*": "*"})
    expect.assertEqual(metadata.warnings(), [])
    expect.assertGreaterEqual(metadata.metrics().processed_objects().value, 4)
    expect.assertEqual(metadata.metrics().result_count().value, 3)
    joined = "SELECT h.n, COUNT(*) AS c FROM `half` h JOIN present p ON p.n < h.n GROUP BY h.n"
    found = rows(f"SELECT VALUE j FROM ({joined}) j ORDER BY j.n")
    expect.assertEqual(found, [{"n": 1, "c": 1}, {"n": 3, "c": 3}])
    rows(f"ALTER COLLECTION `{context.bucket_name}`.`_default`.`_default` ENABLE ANALYTICS")
    of_scope = context.bucket.default_scope().analytics_query(
        "SELECT VALUE COUNT(*) FROM _default WHERE kind = $1", positional_parameters=["x"]
    )
    expect.assertEqual(list(of_scope.rows()), [2])
    rows(f"ALTER COLLECTION `{context.bucket_name}` DISABLE ANALYTICS")
    rows(f"DROP ANALYTICS SCOPE `{context.bucket_name}`.`_default`")
    manager.disconnect_link()
    with raises(InternalServerFailureException) as raised:
        rows("SELECT * FROM present")
    expect.assertIn("disconnected", str(raised.exception))
    for name in ("present", "half"):
        manager.drop_dataset(name)
    for number in range(4):
        collection.remove(f"analytics-{number}")


@check("What the evaluator does not do is refused by name")
def query_refused(context: Context) -> None:
    for statement, name in (
        ("SELECT RANK() OVER (ORDER BY n) FROM [] n", "window functions"),
        ("INSERT INTO present ([1])", "INSERT"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
    ):
        with raises(InternalServerFailureException) as raised:
            list(context.cluster.analytics_query(statement).rows())
        expect.assertIn(name, str(raised.exception))
        expect.assertIn("script an answer", str(raised.exception))


@check("Metadata can be queried, and a readonly request cannot change anything")
def query_metadata(context: Context) -> None:
    statement = "SELECT VALUE d FROM Metadata.`Dataverse` d WHERE d.DataverseName = 'Default'"
    result = context.cluster.analytics_query(statement)
    expect.assertEqual([row["DataverseName"] for row in result.rows()], ["Default"])
    expect.assertEqual(result.metadata().metrics().result_count().value, 1)
    options = AnalyticsOptions(read_only=True)
    with raises(CouchbaseException) as raised:
        list(context.cluster.analytics_query("DROP DATAVERSE x", options).rows())
    expect.assertIn("prohibited", str(raised.exception))


@check("A scripted answer has rows, metrics and warnings as the SDK reads them, with every option")
def scripted(context: Context) -> None:
    metadata = {
        "warnings": [{"code": 24000, "msg": "beware"}],
        "signature": {"*": "*"},
        "metrics": {"processedObjects": 7},
    }
    script = {"service": "analytics", "match": "FROM scripted", "rows": [{"n": 1}, {"n": 2}]}
    context.control("POST", "/scripts", script | {"metadata": metadata})
    options = AnalyticsOptions(
        client_context_id="my-id",
        positional_parameters=[1],
        named_parameters={"a": 2},
        priority=True,
        read_only=True,
        scan_consistency=AnalyticsScanConsistency.REQUEST_PLUS,
        raw={"x": 1},
        timeout=TIMEOUT,
    )
    try:
        scope = context.bucket.default_scope()
        for ask in (context.cluster.analytics_query, scope.analytics_query):
            result = ask("SELECT VALUE n FROM scripted", options)
            expect.assertEqual(list(result.rows()), [{"n": 1}, {"n": 2}])
            read = result.metadata()
            expect.assertEqual(read.client_context_id(), "my-id")
            expect.assertEqual(read.metrics().processed_objects().value, 7)
            expect.assertEqual(read.metrics().result_count().value, 2)
            expect.assertEqual(read.metrics().warning_count().value, 1)
            expect.assertEqual(read.warnings()[0].message(), "beware")
    finally:
        context.control("DELETE", "/scripts")


@check("Scripted errors, with rows and without, and states other than success")
def scripted_errors(context: Context) -> None:
    script: dict[str, Any] = {"service": "analytics", "match": "FROM scripted"}
    error = {"errors": [{"code": 23007, "msg": "no power"}]}
    try:
        for more in (
            error,
            error | {"rows": [1]},
            error | {"status": 500},
            error | {"status": 200},
            {"metadata": {"status": "timedout"}},
        ):
            context.control("POST", "/scripts", script | more)
            with raises(CouchbaseException) as raised:
                list(context.cluster.analytics_query("SELECT 1 FROM scripted").rows())
            expect.assertRegex(str(raised.exception), "no power|timedout")
            context.control("DELETE", "/scripts")
    finally:
        context.control("DELETE", "/scripts")
