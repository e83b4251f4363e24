"""Whether an index has what a query wants to see, by the mutation tokens that the client has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.sources import Held

if TYPE_CHECKING:
    from txcouchbase.testing.kv.bucket import Bucket

__all__ = ["check_consistency"]


def check_consistency(bucket: Bucket, held: Held | None, vectors: dict[str, int]) -> None:
    """Check that what was written is what the index will have when the query runs.

    :param held: what an index has whose ingest is paused.
    :param vectors: sequence numbers by vBucket and its UUID, such as ``17/123``.
    :raises SearchRefused: 400 for another history of the vBucket; 412 for what the index does not
        get, for which a server waits until the query's time is over.
    """
    seqnos = bucket.seqnos if held is None else held.seqnos
    for token, seqno in vectors.items():
        vbucket, _, uuid = token.partition("/")
        if not (vbucket.isdecimal() and int(vbucket) < len(seqnos)):
            raise SearchRefused(f"pindex_consistency: no vBucket {vbucket!r}")
        number = int(vbucket)
        if uuid not in ("", str(bucket.vbucket_uuids[number])):
            raise SearchRefused(f"pindex_consistency mismatched partition: {number}")
        if seqno > seqnos[number]:
            reason = "no mutation has that number" if held is None else "ingest is paused"
            raise SearchRefused(
                f"pindex_consistency: partition {number} is at {seqnos[number]} and will not reach"
                f" {seqno}: {reason}",
                412,
            )
