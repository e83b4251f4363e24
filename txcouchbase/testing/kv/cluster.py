"""What all connections to a node share, and the cluster map that it shows to clients. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from uuid import uuid4

from txcouchbase.testing.kv.bucket import VBUCKETS, Bucket

__all__ = ["ClusterState"]

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
]


class ClusterState:
    """Credentials, buckets and services.

    :param username: the one user that may log in.
    :param password: the user's password; it appears in no log line.
    :param buckets: names of the buckets.
    :param seconds: a clock: seconds since the epoch.
    """

    def __init__(
        self,
        username: str,
        password: str,
        buckets: Iterable[str],
        seconds: Callable[[], float],
    ) -> None:
        self.username = username
        self.password = password
        self.seconds = seconds
        self.buckets = {name: Bucket(name) for name in buckets}
        self.uuid = uuid4().hex
        self.host = "127.0.0.1"
        self.services: dict[str, int] = {}
        """Ports by the names of the cluster map: ``kv``, ``mgmt``, ``n1ql``, ``fts``, ..."""
        self._epoch = 1
        self._revision = 1
        self._rendered: dict[str | None, bytes] = {}

    def serve(self, services: dict[str, int]) -> None:
        """Say which services there are from now on, by port."""
        # Clients ignore a map that is not newer than theirs, across restarts on one port too.
        self._epoch = max(self._epoch + 1, int(self.seconds()))
        self.services = dict(services)
        self.changed()

    def changed(self) -> None:
        """Give the next cluster map a higher revision."""
        self._revision += 1
        self._rendered.clear()

    def config(self, bucket: Bucket | None) -> dict[str, object]:
        """The cluster map: of one bucket, or of the cluster alone."""
        node = {"services": self.services, "thisNode": True, "hostname": self.host}
        config: dict[str, object] = {
            "rev": self._revision,
            "revEpoch": self._epoch,
            "nodesExt": [node],
            "clusterCapabilitiesVer": [1, 0],
            "clusterCapabilities": {},
        }
        if bucket is not None:
            config |= {
                "name": bucket.name,
                "uuid": bucket.uuid,
                "uri": f"/pools/default/buckets/{bucket.name}",
                "streamingUri": f"/pools/default/bucketsStreaming/{bucket.name}",
                "bucketCapabilitiesVer": "",
                "bucketCapabilities": BUCKET_CAPABILITIES,
                "collectionsManifestUid": f"{bucket.manifest.uid:x}",
                "nodeLocator": "vbucket",
                "nodes": [
                    {
                        "hostname": f"{self.host}:{self.services.get('mgmt', 0)}",
                        "ports": {"direct": self.services.get("kv", 0)},
                    }
                ],
                "vBucketServerMap": {
                    "hashAlgorithm": "CRC",
                    "numReplicas": 0,
                    "serverList": [f"{self.host}:{self.services.get('kv', 0)}"],
                    "vBucketMap": [[0]] * VBUCKETS,
                },
            }
        return config

    def config_bytes(self, bucket: Bucket | None) -> bytes:
        """`config` as JSON; kept until something changes, since clients ask again and again."""
        name = None if bucket is None else bucket.name
        rendered = self._rendered.get(name)
        if rendered is None:
            rendered = json.dumps(self.config(bucket), separators=(",", ":")).encode()
            self._rendered[name] = rendered
        return rendered
