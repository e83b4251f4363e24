"""Scopes of the analytics service and the collections in them, as they are stored. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from txcouchbase.testing.analytics.links import Link
from txcouchbase.testing.analytics.statements import Path

__all__ = ["Collection", "Scope", "full_source"]


def full_source(source: Path) -> Path:
    """Bucket, scope and collection of a source that may be a bucket alone."""
    return (*source, "_default", "_default")[:3]


@dataclass
class Collection:
    """A collection.

    :param link: the name of the link that fills it.
    :param source: bucket, or bucket, scope and collection.
    :param condition: which documents it takes; None for all.
    :param indexes: fields and their types by name.
    :param severed: whether it was filled by its link before that was disconnected.
    """

    number: int
    link: str
    source: Path
    condition: str | None
    indexes: dict[str, tuple[tuple[Path, str], ...]] = field(default_factory=dict)
    severed: bool = False


@dataclass
class Scope:
    """A scope.

    :param links: without the one to the node's own buckets.
    :param connected: the names of those links that are connected.
    """

    collections: dict[str, Collection] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    connected: set[str] = field(default_factory=set)

    def connect(self, link: str) -> None:
        """Let a link fill its collections."""
        self.connected.add(link)

    def disconnect(self, link: str) -> None:
        """Let a link fill its collections no more; what they have by then, servers keep."""
        if link in self.connected:
            self.connected.discard(link)
            for collection in self.collections.values():
                collection.severed |= collection.link == link
