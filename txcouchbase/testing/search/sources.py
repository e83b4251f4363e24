"""Where an index has its documents from: its bucket as it is now, or as it was at a pause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState
    from txcouchbase.testing.kv.bucket import Bucket

__all__ = ["Held", "Source", "Stored", "bucket_of", "documents_of", "held_of"]

Names = dict[int, tuple[str, str]]
"""Scopes and collections by the numbers that precede keys."""


class Stored(Protocol):
    """What an index needs of a document."""

    @property
    def tail(self) -> bytes:
        """Twelve bytes, and its value."""

    @property
    def expiry(self) -> int:
        """Seconds since the epoch; 0 for never."""


@dataclass(frozen=True, slots=True)
class _AsItWas:
    tail: bytes
    # Nothing is taken out of an index while it takes no changes in.
    expiry: int = 0


@dataclass(frozen=True)
class Source:
    """Documents to be indexed.

    :param version: the same as long as no document changes.
    :param names: the collections.
    :param now: seconds since the epoch.
    """

    version: object
    names: Names
    now: float
    stored: Mapping[bytes, Stored] = field(repr=False)

    def documents(self) -> Iterator[tuple[bytes, Stored]]:
        """Keys as they are on the wire, and documents; the bucket may change meanwhile."""
        for key in list(self.stored):
            document = self.stored.get(key)
            if document is not None:
                yield key, document


@dataclass(frozen=True)
class Held:
    """What a bucket held when the ingest of an index was paused.

    :param seqnos: the sequence numbers of its vBuckets.
    """

    version: object
    seqnos: tuple[int, ...]
    names: Names
    stored: Mapping[bytes, Stored] = field(repr=False)

    def __deepcopy__(self, memo: dict[int, object]) -> Held:
        return self


def bucket_of(state: ClusterState, definition: dict[str, Any]) -> Bucket | None:
    """The bucket of an index; None if there is none."""
    return state.buckets.get(definition.get("sourceName", ""))


def documents_of(state: ClusterState, definition: dict[str, Any]) -> Source:
    """Where an index has its documents from at this moment."""
    now, bucket = state.seconds(), bucket_of(state, definition)
    held = held_of(state, definition)
    if held is not None:
        return Source(held.version, held.names, now, held.stored)
    if bucket is None:
        return Source(None, {}, now, {})
    return Source(_version(bucket), _names(bucket), now, bucket.documents)


def held_of(
    state: ClusterState, definition: dict[str, Any], *, pausing: bool = False
) -> Held | None:
    """What an index has whose ingest is paused; None for others.

    :param pausing: it is paused at this moment.
    """
    indexes, name = state.search_indexes, definition["name"]
    bucket = bucket_of(state, definition)
    if bucket is None or not (pausing or not indexes.allows(name, "canWrite")):
        return None
    if name not in indexes.held:
        now = state.seconds()
        stored = {
            key: _AsItWas(document.tail)
            for key, document in bucket.documents.items()
            if not 0 < document.expiry <= now
        }
        version = ("held", *_version(bucket))
        indexes.held[name] = Held(version, tuple(bucket.seqnos), _names(bucket), stored)
    return indexes.held[name]


def _version(bucket: Bucket) -> tuple[object, ...]:
    return (
        bucket.uuid,
        bucket.manifest.uid,
        len(bucket.documents),
        *bucket.vbucket_uuids,
        *bucket.seqnos,
    )


def _names(bucket: Bucket) -> Names:
    return {
        number: (scope, name)
        for scope, collections in bucket.manifest.scopes().items()
        for name, number in collections.items()
    }
