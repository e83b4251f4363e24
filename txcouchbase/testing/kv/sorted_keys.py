"""The sorted keys of a collection, which scans choose from. No I/O."""

from __future__ import annotations

from bisect import bisect_left

from txcouchbase.testing.kv.bucket import Bucket, Document, vbucket_of
from txcouchbase.testing.kv.manifest import leb128

__all__ = ["SortedKeys"]


class SortedKeys:
    """The keys of a collection by vBuckets, sorted. Some may be gone by now.

    A client scans one vBucket after another, and others may write in between: all keys are looked
    at once, then those that have come since.
    """

    def __init__(self, bucket: Bucket, collection: int) -> None:
        self._bucket = bucket
        self._prefix = leb128(collection)
        self._keys: list[list[bytes]] = []
        self._seqnos: list[int] = []
        self._history: list[int] = []
        self._first: Document | None = None

    def within(self, vbucket: int) -> list[bytes]:
        """Those of one vBucket."""
        bucket = self._bucket
        # Sequence numbers tell what is new, unless they begin again, or a snapshot was restored,
        # which puts other objects in the place of all documents.
        first = next(iter(bucket.documents.values()), None)
        if first is None or first is not self._first or self._history != bucket.vbucket_uuids:
            self._first, self._history = first, list(bucket.vbucket_uuids)
            self._sort_all()
        elif self._seqnos != bucket.seqnos:
            self._add_new()
        self._seqnos = list(bucket.seqnos)
        return self._keys[vbucket]

    def _sort_all(self) -> None:
        count, prefix = self._bucket.vbuckets, self._prefix
        self._keys = [[] for _ in range(count)]
        for wire in self._bucket.documents:
            if wire.startswith(prefix):
                key = wire[len(prefix) :]
                self._keys[vbucket_of(key, count)].append(key)
        for found in self._keys:
            found.sort()

    def _add_new(self) -> None:
        # New keys are the last ones of the dict. One that was not written since was there before,
        # and so was all that stands before it.
        for wire, document in reversed(self._bucket.documents.items()):
            vbucket = self._bucket.vbucket_of(wire)
            if document.seqno <= self._seqnos[vbucket]:
                return
            if wire.startswith(self._prefix):
                keys, key = self._keys[vbucket], wire[len(self._prefix) :]
                at = bisect_left(keys, key)
                if keys[at : at + 1] != [key]:
                    keys.insert(at, key)
