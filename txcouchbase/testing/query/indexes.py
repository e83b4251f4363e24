"""The indexes of the query service, as the catalog has them. No I/O.

An index holds nothing: statements read the documents themselves, in the order of their keys. But
they need an index that is online and serves them, as on a server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import uuid4

from txcouchbase.testing.query.syntax import Expression, IndexKey

__all__ = ["PRIMARY", "Place", "QueryIndex", "QueryIndexes"]

PRIMARY = "#primary"
"""The name of a primary index that was given none."""

Place = tuple[str, str, str]
"""A bucket's UUID, a scope and a collection."""


@dataclass
class QueryIndex:
    """One index.

    :param place: where it is; the UUID tells a bucket from one that had its name before.
    :param bucket: the bucket's name.
    :param keys: none for a primary index.
    :param condition: of a partial index.
    :param partition: as the catalog shows it.
    :param replicas: how many it would have.
    """

    name: str
    place: Place
    bucket: str
    keys: tuple[IndexKey, ...] = ()
    condition: Expression | None = None
    partition: str | None = None
    online: bool = True
    replicas: int = 0
    created: float = 0.0
    id: str = field(default_factory=lambda: uuid4().hex[:16])

    @property
    def primary(self) -> bool:
        """Whether it has every document of its collection."""
        return not self.keys

    @property
    def state(self) -> str:
        """The state as the catalog shows it."""
        return "online" if self.online else "deferred"


class QueryIndexes:
    """All indexes."""

    def __init__(self) -> None:
        self._indexes: dict[tuple[Place, str], QueryIndex] = {}

    def all(self) -> list[QueryIndex]:
        """All of them, in the order in which they were made."""
        return list(self._indexes.values())

    def at(self, place: Place) -> list[QueryIndex]:
        """Those of one collection."""
        return [index for index in self._indexes.values() if index.place == place]

    def find(self, place: Place, name: str) -> QueryIndex | None:
        """One of a collection by its name."""
        return self._indexes.get((place, name))

    def add(self, index: QueryIndex) -> None:
        """Take an index in.

        :raises ValueError: if its collection has one of that name.
        """
        key = (index.place, index.name)
        if key in self._indexes:
            raise ValueError(f"index {index.name!r} exists")
        self._indexes[key] = index

    def drop(self, place: Place, name: str) -> None:
        """Take an index out.

        :raises LookupError: if there is none of that name.
        """
        if self._indexes.pop((place, name), None) is None:
            raise LookupError(f"no index {name!r}")

    def build(self, place: Place, names: list[str]) -> None:
        """Bring deferred indexes online.

        :raises LookupError: if one of them does not exist; then none is built.
        """
        found = [self.find(place, name) for name in names]
        for index, name in zip(found, names, strict=True):
            if index is None:
                raise LookupError(f"no index {name!r}")
        for index in found:
            if index is not None:
                index.online = True

    def forget(self, bucket_uuid: str, scope: str | None = None, name: str | None = None) -> None:
        """Take out what was on a bucket, a scope or a collection that is gone."""
        wanted = (bucket_uuid, scope, name)
        for key, index in list(self._indexes.items()):
            parts = zip(wanted, index.place, strict=True)
            if all(part is None or part == found for part, found in parts):
                del self._indexes[key]
