"""Several nodes: replica reads, and what clients see of nodes that die, leave and come."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    DocumentNotFoundException,
    DocumentUnretrievableException,
    PathNotFoundException,
    UnAmbiguousTimeoutException,
)
from couchbase.management.buckets import CreateBucketSettings
from couchbase.options import (
    GetAllReplicasOptions,
    GetAnyReplicaOptions,
    GetOptions,
    LookupInAllReplicasOptions,
    LookupInAnyReplicaOptions,
    QueryOptions,
)
from couchbase.replica_reads import ReadPreference
from couchbase.subdocument import exists, get

from tests.conformance.checks import Context, check, eventually, expect, raises

_BRIEFLY = timedelta(seconds=1)


def _recorded(context: Context, operation: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = context.control("GET", f"/record?operation={operation}&key={key}")
    return found


def _recording(context: Context) -> None:
    context.control("DELETE", "/record")
    context.control("PUT", "/record", {"on": True})


def _copies(context: Context, key: str) -> list[int]:
    copies: list[int] = context.control("GET", f"/documents/{key}/copies")
    return copies


def _until(read: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What is read, as soon as it can be; clients look for a new map every 2.5 s."""
    end = time.monotonic() + seconds
    while True:
        try:
            return read()
        except UnAmbiguousTimeoutException:
            if time.monotonic() > end:
                raise


def _stored(context: Context) -> str:
    key = context.unique("replicated")
    context.collection.upsert(key, {"n": 1})
    return key


@check("get_any_replica gets a document from one of its copies, or finds that there is none")
def any_replica(context: Context) -> None:
    key = _stored(context)
    found = context.collection.get_any_replica(key)
    expect.assertEqual(found.content_as[dict], {"n": 1})
    expect.assertIsInstance(found.is_replica, bool)
    with raises(DocumentUnretrievableException):
        context.collection.get_any_replica(context.unique("none"))


@check("get_all_replicas gets the active copy and each replica, each from its own node")
def all_replicas(context: Context) -> None:
    key = _stored(context)
    _recording(context)
    found = list(context.collection.get_all_replicas(key))
    expect.assertEqual([result.content_as[dict] for result in found], [{"n": 1}] * 2)
    expect.assertEqual({result.is_replica for result in found}, {True, False})
    expect.assertEqual(len({result.cas for result in found}), 1)
    active, replica = _copies(context, key)
    expect.assertEqual([r["node"] for r in _recorded(context, "GET", key)], [active])
    expect.assertEqual([r["node"] for r in _recorded(context, "GET_REPLICA", key)], [replica])
    context.control("PUT", "/record", {"on": False})
    with raises(DocumentNotFoundException):
        list(context.collection.get_all_replicas(context.unique("none")))


@check("lookup_in_any_replica and lookup_in_all_replicas look into copies, with errors by path")
def lookups(context: Context) -> None:
    collection, key = context.collection, _stored(context)
    specs = [get("n"), exists("none"), get("none")]
    any_copy = collection.lookup_in_any_replica(key, specs)
    _recording(context)
    found = [any_copy, *collection.lookup_in_all_replicas(key, specs)]
    for result in found:
        expect.assertEqual((result.content_as[int](0), result.exists(1)), (1, False))
        with raises(PathNotFoundException):
            result.content_as[int](2)
    expect.assertEqual({result.is_replica for result in found[1:]}, {True, False})
    asked = {
        (request["node"], request["options"].get("replica_read", False))
        for request in _recorded(context, "SUBDOC_MULTI_LOOKUP", key)
    }
    active, replica = _copies(context, key)
    expect.assertEqual(asked, {(active, False), (replica, True)})
    context.control("PUT", "/record", {"on": False})
    with raises(DocumentUnretrievableException):
        collection.lookup_in_any_replica(context.unique("none"), specs)
    with raises(DocumentNotFoundException):
        list(collection.lookup_in_all_replicas(context.unique("none"), specs))


@check("a preferred server group has all the reads that it has copies for")
def server_groups(context: Context) -> None:
    cluster = context.connect(preferred_server_group="Group 2")
    collection = cluster.bucket(context.bucket_name).default_collection()
    within: dict[str, Any] = {"read_preference": ReadPreference.SELECTED_SERVER_GROUP}
    groups = {node["number"]: node["group"] for node in context.control("GET", "/nodes")}
    expect.assertEqual(groups, {0: "Group 1", 1: "Group 2", 2: "Group 3"})
    keys = [context.unique("grouped") for _ in range(20)]
    for key in keys:
        collection.upsert(key, {"n": 1})
    here = {key: 1 in _copies(context, key) for key in keys}
    expect.assertEqual(set(here.values()), {True, False})
    _recording(context)
    for key, has in here.items():
        if has:
            collection.get_any_replica(key, GetAnyReplicaOptions(**within))
            expect.assertEqual(
                len(list(collection.get_all_replicas(key, GetAllReplicasOptions(**within)))), 1
            )
            options = LookupInAllReplicasOptions(**within)
            expect.assertEqual(
                len(list(collection.lookup_in_all_replicas(key, [get("n")], options))), 1
            )
        else:
            with raises(DocumentUnretrievableException):
                collection.get_any_replica(key, GetAnyReplicaOptions(**within))
            with raises(DocumentUnretrievableException):
                options = LookupInAnyReplicaOptions(**within)
                collection.lookup_in_any_replica(key, [get("n")], options)
    asked = [r for r in context.control("GET", "/record?service=kv") if r["key"] in here]
    expect.assertEqual({request["node"] for request in asked}, {1})
    context.control("PUT", "/record", {"on": False})
    cluster.close()


@check("with fewer nodes than copies some are missing; a bucket without replicas has one copy")
def missing_replicas(context: Context) -> None:
    for replicas, copies in ((0, 1), (3, 3)):
        name = context.unique("bucket")
        settings = CreateBucketSettings(name=name, ram_quota_mb=100, num_replicas=replicas)
        context.cluster.buckets().create_bucket(settings)
        shown = context.http(context.mgmt_port, "GET", f"/pools/default/buckets/{name}")
        expect.assertEqual(shown["vBucketServerMap"]["numReplicas"], replicas)
        expect.assertEqual(len(shown["vBucketServerMap"]["vBucketMap"][0]), replicas + 1)
        collection = context.cluster.bucket(name).default_collection()
        collection.upsert("k", 1)
        expect.assertEqual(len(list(collection.get_all_replicas("k"))), copies)
        context.cluster.buckets().drop_bucket(name)


@check("management, ping and cluster_info tell of all nodes")
def nodes(context: Context) -> None:
    expect.assertEqual(len(context.cluster.cluster_info().nodes), 3)
    # To the other nodes the SDK connects when it has the bucket's map, in the background.
    ends = time.monotonic() + 10
    while True:
        found = context.cluster.ping().endpoints
        states = {report.state.value for reports in found.values() for report in reports}
        if states == {"ok"} or time.monotonic() > ends:
            break
    expect.assertEqual(states, {"ok"}, found)
    for kind, reports in found.items():
        expect.assertEqual(len({report.remote for report in reports}), 3, kind)
    for path in ("/pools/default", "/pools/nodes", "/pools/default/buckets/default"):
        shown = context.http(context.mgmt_port, "GET", path)["nodes"]
        expect.assertEqual(len({node["hostname"] for node in shown}), 3, path)
        expect.assertEqual([node.get("thisNode", False) for node in shown], [True, False, False])
    described = context.http(context.mgmt_port, "GET", "/pools/default/nodeServices")
    ports = context.control("GET", "/nodes")
    expect.assertEqual(
        [node["services"] for node in described["nodesExt"]], [node["ports"] for node in ports]
    )
    other = context.http(ports[2]["ports"]["mgmt"], "GET", "/pools/default/nodeServices")
    expect.assertEqual(["thisNode" in node for node in other["nodesExt"]], [False, False, True])


@check("queries may be asked to read from replicas")
def use_replica(context: Context) -> None:
    rows = context.cluster.query("SELECT 1 AS one", QueryOptions(use_replica=True)).rows()
    expect.assertEqual(list(rows), [{"one": 1}])


@check("while the active node is down only its replicas can be read")
def a_node_that_is_down(context: Context) -> None:
    collection, key = context.collection, _stored(context)
    active = _copies(context, key)[0]
    context.control("POST", f"/nodes/{active}/kill")
    with raises(UnAmbiguousTimeoutException):
        collection.get(key, GetOptions(timeout=timedelta(milliseconds=300)))
    found = collection.get_any_replica(key, GetAnyReplicaOptions(timeout=_BRIEFLY))
    expect.assertTrue(found.is_replica)
    context.control("POST", f"/nodes/{active}/restart")
    expect.assertEqual(
        _until(lambda: collection.get(key, GetOptions(timeout=_BRIEFLY))).content_as[dict],
        {"n": 1},
    )


@check("clients follow a node that is failed over, and one that is added")
def moves(context: Context) -> None:
    collection = context.collection
    keys = [_stored(context) for _ in range(10)]
    moved = _copies(context, keys[0])[0]
    context.control("POST", f"/nodes/{moved}/fail_over")
    for key in keys:
        expect.assertNotIn(moved, _copies(context, key))
        expect.assertEqual(collection.get(key).content_as[dict], {"n": 1})
    number = context.control("POST", "/nodes")["number"]
    for key in keys:
        expect.assertEqual(collection.get(key).content_as[dict], {"n": 1})
        collection.upsert(key, {"n": 2})
        eventually(lambda key=key: len(list(collection.get_all_replicas(key))) == 2)
    _recording(context)
    for key in keys:
        collection.get(key)
    used = {request["node"] for request in context.control("GET", "/record?operation=GET")}
    expect.assertIn(number, used)
    expect.assertNotIn(moved, used)
    context.control("PUT", "/record", {"on": False})
