"""Indexes that were searched, and so have been built; they are no part of what is stored."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.mapping import Mapping
from txcouchbase.testing.search.turns import Turns

__all__ = ["BuiltIndex", "BuiltIndexes"]


class BuiltIndex:
    """One index, with the searches that use it.

    :raises SearchRefused: for a definition with something that the node does not evaluate.
    """

    def __init__(self, definition: dict[str, Any]) -> None:
        # A new definition has new parameters; switching something does not change them.
        self._params = definition["params"]
        self.uuid = uuid4().hex[:8]
        self.mapping = Mapping(self._params)
        self.mapping.check()
        self.turns = Turns()
        self.documents = Documents(self.mapping, self.turns.pace)

    def is_of(self, definition: dict[str, Any]) -> bool:
        """Whether it was built by a definition."""
        return self._params is definition["params"]


class BuiltIndexes:
    """Indexes by their whole names. A copy, as snapshots are made of, is empty."""

    def __init__(self) -> None:
        self._built: dict[str, BuiltIndex] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> BuiltIndexes:
        return BuiltIndexes()

    def get(self, definition: dict[str, Any]) -> BuiltIndex:
        """The index of a definition, built anew if that has changed.

        :raises SearchRefused: as `BuiltIndex`.
        """
        name = definition["name"]
        found = self._built.get(name)
        if found is None or not found.is_of(definition):
            found = self._built[name] = BuiltIndex(definition)
        return found

    def forget(self, name: str) -> None:
        """Let go of an index that is no more."""
        self._built.pop(name, None)
