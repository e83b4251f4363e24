"""What management says about each node."""

from __future__ import annotations

import sys
from typing import Any

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.kv.bootstrap import VERSION
from txcouchbase.testing.topology import Member

__all__ = ["MEMORY_QUOTA", "nodes"]

MEMORY_QUOTA = 64 * 1024
"""MiB that buckets may have together. The node does not take them: it holds what is stored."""

_SERVICES = {
    "kv": ("kv",),
    "n1ql": ("n1ql", "index"),
    "fts": ("fts",),
    "cbas": ("cbas",),
    "eventingAdminPort": ("eventing",),
}
"""Names of services, by the names of their ports in the cluster map."""

_PORTS = {"kv": "direct", "mgmtSSL": "httpsMgmt", "capiSSL": "httpsCAPI"}


def nodes(state: ClusterState, asked: int) -> list[dict[str, Any]]:
    """The nodes of the cluster, as they are in the answers about pools and buckets.

    :param asked: the number of the one that answers.
    """
    return [_node(state.host, member, asked) for member in state.topology.members]


def _node(host: str, member: Member, asked: int) -> dict[str, Any]:
    # Clients take a missing field among these for a reason to abort.
    ports = member.services
    address = f"{host}:{ports.get('mgmt', 0)}"
    shown: dict[str, Any] = {
        "hostname": address,
        "configuredHostname": address,
        "otpNode": f"ns_{member.number + 1}@{host}",
        "nodeUUID": member.uuid,
        "version": VERSION.decode(),
        "os": f"txcouchbase embedded node on {sys.platform}",
        "status": "healthy" if member.running else "unhealthy",
        "clusterMembership": "active",
        "recoveryType": "none",
        "serverGroup": member.group,
        "services": [name for port in _SERVICES if port in ports for name in _SERVICES[port]],
        "ports": {name: ports[port] for port, name in _PORTS.items() if port in ports},
    }
    if member.number == asked:
        shown["thisNode"] = True
    return shown
