"""How a bucket is set up, in the words of a server's management API."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DURABILITY_LEVELS", "MAX_DURABLE_REPLICAS", "BucketSettings"]

DURABILITY_LEVELS = ("none", "majority", "majorityAndPersistActive", "persistToMajority")
"""The levels of durability; their numbers are those of the protocol."""

MAX_DURABLE_REPLICAS = 2
"""A bucket with more has no durable writes."""


@dataclass
class BucketSettings:
    """What management stores for a bucket.

    The defaults are those of the buckets that a node starts with. They differ from a server's:
    no replicas, and flush is enabled, for tests that start over.

    :param bucket_type: ``membase`` (which management calls couchbase too) or ``ephemeral``.
    :param ram_quota: MiB; the node does not hold documents to it.
    :param replicas: copies on other nodes, as far as there are others. Durable writes need a
        majority of all copies, and are impossible with three replicas.
    :param storage: ``couchstore``, ``magma``, or ``undefined`` for ephemeral buckets; the node
        keeps everything in memory.
    :param max_ttl: the longest life of documents in seconds where their collection says nothing;
        0 for no limit.
    :param durability: the least durability of every write, one of `DURABILITY_LEVELS`.
    :param vbuckets: how many; clients take any number.
    :param history_seconds: how long history is kept, 0 for not limited by time.
    :param history_bytes: how much history is kept, 0 for not limited by size.
    """

    bucket_type: str = "membase"
    ram_quota: int = 256
    replicas: int = 0
    replica_index: bool = False
    flush: bool = True
    eviction: str = "valueOnly"
    conflict_resolution: str = "seqno"
    compression: str = "passive"
    storage: str = "couchstore"
    max_ttl: int = 0
    durability: str = "none"
    vbuckets: int = 64
    history_default: bool = True
    history_seconds: int = 0
    history_bytes: int = 0

    @property
    def ephemeral(self) -> bool:
        """Whether a server would keep its documents in memory only."""
        return self.bucket_type == "ephemeral"

    @property
    def magma(self) -> bool:
        """Whether a server would keep its documents with Magma, which keeps history."""
        return self.storage == "magma"
