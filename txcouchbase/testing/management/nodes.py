"""What the node says about itself."""

from __future__ import annotations

import sys
from typing import Any

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.kv.bootstrap import VERSION

__all__ = ["MEMORY_QUOTA", "node"]

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


def node(state: ClusterState) -> dict[str, Any]:
    """The node, as it is in the answers about pools and buckets.

    Clients take a missing field among these for a reason to abort.
    """
    services = [
        name for port, names in _SERVICES.items() if port in state.services for name in names
    ]
    return {
        "hostname": f"{state.host}:{state.services.get('mgmt', 0)}",
        "configuredHostname": f"{state.host}:{state.services.get('mgmt', 0)}",
        "otpNode": f"ns_1@{state.host}",
        "nodeUUID": state.uuid,
        "version": VERSION.decode(),
        "os": f"txcouchbase embedded node on {sys.platform}",
        "status": "healthy",
        "clusterMembership": "active",
        "recoveryType": "none",
        "thisNode": True,
        "serverGroup": "Group 1",
        "services": services,
        "ports": {
            name: state.services[port] for port, name in _PORTS.items() if port in state.services
        },
    }
