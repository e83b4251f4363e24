"""Scopes and collections of one bucket, and the numbers by which the wire knows them.

Collection 0 is ``_default._default``. A collection's number precedes every key as an unsigned
LEB128. Numbers below 8 are reserved, and numbers are never used twice. Source: kv_engine
``docs/Collections.md``.
"""

from __future__ import annotations

import json
import re

from txcouchbase.testing.kv.status import Refused, Status

__all__ = ["DEFAULT", "NO_EXPIRY", "Manifest", "leb128", "split_leb128"]

DEFAULT = "_default"
NO_EXPIRY = -1
"""A longest life that stands for none, whatever the bucket says."""

FIRST_ID = 8
NAME = re.compile(r"[A-Za-z0-9\-][A-Za-z0-9_\-%]{0,250}\Z")


def leb128(number: int) -> bytes:
    """A number of 32 bits as it precedes a key."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def split_leb128(key: bytes) -> tuple[int, int]:
    """The number before a key, and how many bytes it takes.

    :raises Refused: EINVAL where there is no number, or one of more than 32 bits.
    """
    number = 0
    for index, byte in enumerate(key[:5]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if number > 0xFFFFFFFF:
                break
            return number, index + 1
    raise Refused(Status.EINVAL)


class Manifest:
    """The scopes and collections of a bucket; `uid` grows with every change."""

    def __init__(self) -> None:
        self.uid = 0
        self._next_scope = FIRST_ID
        self._next_collection = FIRST_ID
        self._scope_ids: dict[str, int] = {DEFAULT: 0}
        self._collections: dict[str, dict[str, int]] = {DEFAULT: {DEFAULT: 0}}
        self._expiries: dict[int, int] = {}
        self._history: set[int] = set()
        self.live: set[int] = {0}
        """Numbers of the collections that exist."""

    def scopes(self) -> dict[str, dict[str, int]]:
        """Collection numbers by scope and name; a copy."""
        return {scope: dict(names) for scope, names in self._collections.items()}

    def scope_id(self, scope: str) -> int:
        """The number of a scope.

        :raises Refused: UNKNOWN_SCOPE.
        """
        found = self._scope_ids.get(scope or DEFAULT)
        if found is None:
            raise Refused(Status.UNKNOWN_SCOPE, self.unknown())
        return found

    def collection_id(self, scope: str, collection: str) -> int:
        """The number of a collection.

        :raises Refused: UNKNOWN_SCOPE, UNKNOWN_COLLECTION.
        """
        self.scope_id(scope)
        found = self._collections[scope or DEFAULT].get(collection or DEFAULT)
        if found is None:
            raise Refused(Status.UNKNOWN_COLLECTION, self.unknown())
        return found

    def names_of(self, collection_id: int) -> tuple[str, str] | None:
        """The scope and name of a collection; None if there is none of that number."""
        for scope, collections in self._collections.items():
            for name, number in collections.items():
                if number == collection_id:
                    return scope, name
        return None

    def max_expiry(self, collection_id: int) -> int | None:
        """The longest life of documents in a collection in seconds.

        :returns: 0 for no limit, None where the bucket's limit holds.
        """
        expiry = self._expiries.get(collection_id)
        return None if expiry is None else max(expiry, 0)

    @property
    def has_limits(self) -> bool:
        """Whether any collection limits the life of its documents."""
        return bool(self._expiries)

    def create_scope(self, scope: str) -> int:
        """Add a scope.

        :returns: the new uid of the manifest.
        :raises ValueError: for a name that exists, or that the server would not take.
        """
        _check_name(scope)
        if scope in self._scope_ids:
            raise ValueError(f"scope {scope!r} exists")
        self._scope_ids[scope] = self._next_scope
        self._next_scope += 1
        self._collections[scope] = {}
        return self._changed()

    def create_collection(
        self, scope: str, collection: str, max_expiry: int = 0, history: bool = False
    ) -> int:
        """Add a collection to a scope that exists.

        :param max_expiry: the longest life of its documents in seconds; 0 for what the bucket
            says, ``NO_EXPIRY`` for no limit.
        :param history: whether the history of its documents is kept.
        :returns: the new uid of the manifest.
        :raises LookupError: for an unknown scope.
        :raises ValueError: for a name that exists, or that the server would not take.
        """
        _check_name(collection)
        if scope not in self._collections:
            raise LookupError(f"no scope {scope!r}")
        if collection in self._collections[scope]:
            raise ValueError(f"collection {scope}.{collection} exists")
        number = self._next_collection
        self._next_collection += 1
        self._collections[scope][collection] = number
        self.live.add(number)
        self._set(number, max_expiry, history)
        return self._changed()

    def update_collection(
        self,
        scope: str,
        collection: str,
        max_expiry: int | None = None,
        history: bool | None = None,
    ) -> int:
        """Change a collection; None leaves a property as it is.

        :returns: the new uid of the manifest.
        :raises LookupError: if it does not exist.
        """
        number = self._collections.get(scope, {}).get(collection)
        if number is None:
            raise LookupError(f"no collection {scope}.{collection}")
        self._set(
            number,
            self._expiries.get(number, 0) if max_expiry is None else max_expiry,
            number in self._history if history is None else history,
        )
        return self._changed()

    def _set(self, number: int, max_expiry: int, history: bool) -> None:
        self._forget(number)
        if max_expiry:
            self._expiries[number] = max_expiry
        if history:
            self._history.add(number)

    def _forget(self, number: int) -> None:
        self._expiries.pop(number, None)
        self._history.discard(number)

    def drop_collection(self, scope: str, collection: str) -> int:
        """Take a collection out.

        :returns: the number that it had.
        :raises LookupError: if it does not exist.
        """
        number = self._collections.get(scope, {}).pop(collection, None)
        if number is None:
            raise LookupError(f"no collection {scope}.{collection}")
        self.live.discard(number)
        self._forget(number)
        self._changed()
        return number

    def drop_scope(self, scope: str) -> list[int]:
        """Take a scope out, with its collections.

        :returns: the numbers of the collections that went with it.
        :raises LookupError: if it does not exist.
        :raises ValueError: for the default scope, which no server drops.
        """
        if scope == DEFAULT:
            raise ValueError("the default scope cannot be dropped")
        if self._scope_ids.pop(scope, None) is None:
            raise LookupError(f"no scope {scope!r}")
        numbers = list(self._collections.pop(scope).values())
        self.live.difference_update(numbers)
        for number in numbers:
            self._forget(number)
        self._changed()
        return numbers

    def restore(self, stored: Manifest) -> None:
        """Take over what another manifest holds, which must not be used any more.

        Its uid grows, and numbers that were used since then stay used.
        """
        self._scope_ids = stored._scope_ids
        self._collections = stored._collections
        self._expiries = stored._expiries
        self._history = stored._history
        self.live = stored.live
        self._changed()

    def outgrow(self, other: Manifest) -> None:
        """Use no uid and no number any more that another manifest may have used."""
        self.uid = max(self.uid, other.uid)
        self._next_scope = max(self._next_scope, other._next_scope)
        self._next_collection = max(self._next_collection, other._next_collection)
        self._changed()

    def as_dict(self) -> dict[str, object]:
        """The manifest as a server's JSON has it: numbers are hexadecimal strings."""
        return {
            "uid": f"{self.uid:x}",
            "scopes": [
                {
                    "name": scope,
                    "uid": f"{self._scope_ids[scope]:x}",
                    "collections": [
                        {"name": name, "uid": f"{number:x}", "history": number in self._history}
                        | ({"maxTTL": self._expiries[number]} if number in self._expiries else {})
                        for name, number in collections.items()
                    ],
                }
                for scope, collections in self._collections.items()
            ],
        }

    def unknown(self) -> bytes:
        """The body that goes with UNKNOWN_SCOPE and UNKNOWN_COLLECTION."""
        return json.dumps({"manifest_uid": f"{self.uid:x}"}).encode()

    def _changed(self) -> int:
        self.uid += 1
        return self.uid


def _check_name(name: str) -> None:
    if not NAME.match(name):
        raise ValueError(f"not a name for a scope or collection: {name!r}")
