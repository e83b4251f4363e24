"""The cluster map, from which clients know where services and documents are. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.topology import NOWHERE, Member

__all__ = ["bucket_map", "cluster_map"]

BUCKET_CAPABILITIES = [
    "collections",
    "durableWrite",
    "tombstonedUserXAttrs",
    "couchapi",
    "cbhello",
    "touch",
    "cccp",
    "nodesExt",
    "xattr",
    "preserveExpiry",
    "subdoc.DocumentMacroSupport",
    "subdoc.ReviveDocument",
    "subdoc.ReplicaRead",
]


CLUSTER_CAPABILITIES = {
    "n1ql": ["enhancedPreparedStatements", "readFromReplica"],
    "search": ["scopedSearchIndex", "vectorSearch"],
}


def cluster_map(
    members: Sequence[Member], host: str, node: int, epoch: int, revision: int
) -> dict[str, Any]:
    """The part that is about the cluster as a whole.

    :param members: all nodes that are in it.
    :param node: the number of the one that tells it.
    :param epoch: with the revision what clients go by: they follow the map that is newer.
    """
    return {
        "rev": revision,
        "revEpoch": epoch,
        "nodesExt": [_extended(member, host, node) for member in members],
        "clusterCapabilitiesVer": [1, 0],
        "clusterCapabilities": CLUSTER_CAPABILITIES,
    }


def _extended(member: Member, host: str, node: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"services": member.services}
    if member.number == node:
        shown["thisNode"] = True
    return shown | {"hostname": host, "serverGroup": member.group}


def bucket_map(bucket: Bucket, members: Sequence[Member], host: str) -> dict[str, Any]:
    """The part that is about one bucket."""
    places = {member.number: place for place, member in enumerate(members)}
    places[NOWHERE] = -1
    return {
        "name": bucket.name,
        "uuid": bucket.uuid,
        "uri": f"/pools/default/buckets/{bucket.name}",
        "streamingUri": f"/pools/default/bucketsStreaming/{bucket.name}",
        "bucketCapabilitiesVer": "",
        "bucketCapabilities": BUCKET_CAPABILITIES
        + ["nonDedupedHistory"] * bucket.settings.magma
        + ["rangeScan"] * (not bucket.settings.ephemeral),
        "collectionsManifestUid": f"{bucket.manifest.uid:x}",
        "nodeLocator": "vbucket",
        "storageBackend": bucket.settings.storage,
        "nodes": [
            {
                "hostname": f"{host}:{member.services.get('mgmt', 0)}",
                "ports": {"direct": member.services.get("kv", 0)},
            }
            for member in members
        ],
        "vBucketServerMap": {
            "hashAlgorithm": "CRC",
            "numReplicas": bucket.settings.replicas,
            "serverList": [f"{host}:{member.services.get('kv', 0)}" for member in members],
            "vBucketMap": [[places[number] for number in chain] for chain in bucket.copies.chains],
        },
    }
