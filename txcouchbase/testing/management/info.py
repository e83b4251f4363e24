"""The cluster and its nodes, as management shows them.

Source: Couchbase documentation, *Cluster Initialization and Provisioning API*. What would change
the nodes of the cluster, and configurations that are streamed, are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.kv.bootstrap import VERSION
from txcouchbase.testing.management.buckets import MAX_BUCKETS, MEBIBYTE
from txcouchbase.testing.management.nodes import MEMORY_QUOTA, nodes

__all__ = ["ROUTES"]

_NOT_IMPLEMENTED = 501


def _alive(state: ClusterState, call: Call) -> Answer:
    """What clients ask for to see whether the service lives."""
    return json_answer({})


def _pools(state: ClusterState, call: Call) -> Answer:
    assert call.account is not None
    return json_answer(
        {
            "pools": [
                {
                    "name": "default",
                    "uri": f"/pools/default?uuid={state.uuid}",
                    "streamingUri": f"/poolsStreaming/default?uuid={state.uuid}",
                }
            ],
            "uuid": state.uuid,
            "isAdminCreds": call.account.may("admin"),
            "isEnterprise": True,
            "isDeveloperPreview": False,
            "implementationVersion": VERSION.decode(),
            "componentsVersion": {"ns_server": VERSION.decode()},
        }
    )


def _pool(state: ClusterState, call: Call) -> Answer:
    account = call.account
    return json_answer(
        {
            "name": "default",
            "clusterName": "",
            "nodes": nodes(state, call.node),
            "buckets": {
                "uri": "/pools/default/buckets",
                "terseBucketsBase": "/pools/default/b/",
                "terseStreamingBucketsBase": "/pools/default/bs/",
            },
            "bucketNames": [
                {"bucketName": bucket.name, "uuid": bucket.uuid}
                for bucket in state.buckets.values()
                if account is not None and account.may("settings", bucket.name)
            ],
            "nodeServicesUri": "/pools/default/nodeServices",
            "balanced": True,
            "rebalanceStatus": "none",
            "maxBucketCount": MAX_BUCKETS,
            "memoryQuota": MEMORY_QUOTA,
            "storageTotals": {
                "ram": {
                    "quotaTotal": MEMORY_QUOTA * MEBIBYTE,
                    "quotaUsed": MEBIBYTE
                    * sum(bucket.settings.ram_quota for bucket in state.buckets.values()),
                }
            },
        }
    )


def _nodes(state: ClusterState, call: Call) -> Answer:
    return json_answer({"name": "default", "nodes": nodes(state, call.node)})


def _services(state: ClusterState, call: Call) -> Answer:
    return Answer(state.config_bytes(None, call.node))


def _tasks(state: ClusterState, call: Call) -> Answer:
    return json_answer([{"type": "rebalance", "status": "notRunning"}])


def _not_done(state: ClusterState, call: Call) -> Answer:
    text = f"the embedded node does not do this: {call.method} {unquote(call.path)}"
    raise HttpRefused(_NOT_IMPLEMENTED, {"errors": {"_": text}})


ROUTES: Sequence[Route] = (
    Route("GET", "/", _alive, login=False),
    Route("GET", "/pools", _pools),
    Route("GET", "/pools/default", _pool),
    Route("GET", "/pools/nodes", _nodes),
    Route("GET", "/pools/default/nodeServices", _services),
    Route("GET", "/pools/default/tasks", _tasks),
    Route("GET", "/poolsStreaming/default", _not_done),
    Route("GET", "/pools/default/bs/{bucket}", _not_done),
    Route("GET", "/pools/default/bucketsStreaming/{bucket}", _not_done),
    Route("POST", "/pools/default", _not_done),
    Route("POST", "/settings/developerPreview", _not_done),
    Route("POST", "/controller/{what}", _not_done),
    Route("POST", "/node/controller/{what}", _not_done),
)
