"""Documents as data structures: `CouchbaseList`, `CouchbaseMap`, `CouchbaseQueue`, `CouchbaseSet`.

They are made by a collection's `couchbase_list(key)` and so on. Each method is made of operations
on the document (`txcouchbase.compositions`), so `retry_ambiguous` and `quiet` are not for them.
Where there is no document, one that is empty is stored first, except where it is said. To cancel
the Deferred cancels what is under way; what was sent may be carried out all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import couchbase.subdocument as subdocument
from twisted.internet.defer import Deferred

from txcouchbase.client import raw
from txcouchbase.compositions import (
    LAST,
    Attempts,
    Started,
    Steps,
    changed_at,
    done,
    gone,
    is_there,
    popped,
    taken_out,
    value_of,
    was_new,
    whole,
)

if TYPE_CHECKING:
    from txcouchbase.base_collection import BaseCollection

__all__ = [
    "CouchbaseList",
    "CouchbaseMap",
    "CouchbaseQueue",
    "CouchbaseSet",
    "TxRawCouchbaseList",
    "TxRawCouchbaseMap",
    "TxRawCouchbaseQueue",
    "TxRawCouchbaseSet",
]

T = TypeVar("T")


class _Structure:
    """A document as a data structure.

    Args:
        key: The document's key.
        collection: Where it is.
    """

    _empty: Callable[[], Any] = list

    def __init__(self, key: str, collection: BaseCollection) -> None:
        self._key = key
        self._collection = collection

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._key!r}>"

    def _steps(self, method: str, timeout: timedelta | None = None, create: bool = True) -> Steps:
        options = {} if timeout is None else {"timeout": timeout}
        empty = self._empty if create else None
        return Steps(self._collection, self._named(method), self._key, options, empty)

    def _named(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _mutate(self, method: str, spec: Any, create: bool = True) -> Started:
        return self._steps(method, create=create).step("mutate_in", spec)

    def _lookup(self, method: str, spec: Any) -> Started:
        return self._steps(method).step("lookup_in", spec)

    def _run(self, method: str, steps: Coroutine[Any, Any, T]) -> Deferred[T]:
        return self._collection._compose(self._named(method), steps)

    def _looked_up(self, method: str, spec: Any) -> Deferred[Any]:
        return self._run(method, value_of(self._lookup(method, spec)))

    def _whole(self, method: str, read: Callable[[Any], T]) -> Deferred[T]:
        return self._run(method, whole(self._steps(method).step("get"), read))

    def _changed_at(self, method: str, spec: Any, missing: str) -> Deferred[None]:
        return self._run(method, changed_at(self._mutate(method, spec, create=False), missing))

    def _cleared(self) -> Deferred[None]:
        return self._run("clear", gone(self._steps("clear", create=False).step("remove")))

    def _attempts(self, timeout: timedelta | None, message: str) -> Attempts:
        return Attempts(self._collection._pool.reactor, timeout, message)

    async def _items(self) -> AsyncIterator[Any]:
        for item in (await self._steps("__aiter__").step("get")).value:
            yield item


def _index(items: list[Any], value: Any) -> int:
    return items.index(value) if value in items else -1


class ListMethods(_Structure):
    """A document that is a list. ``async for`` goes through its items."""

    def append(self, value: Any) -> Deferred[None]:
        """Add an item at the end."""
        spec = subdocument.array_append("", value)
        return self._run("append", done(self._mutate("append", spec)))

    def prepend(self, value: Any) -> Deferred[None]:
        """Add an item at the start."""
        spec = subdocument.array_prepend("", value)
        return self._run("prepend", done(self._mutate("prepend", spec)))

    def set_at(self, index: int, value: Any) -> Deferred[None]:
        """Replace an item.

        Errors: InvalidArgumentException if the index is out of range;
            DocumentNotFoundException, no list is made.
        """
        spec = subdocument.replace(f"[{index}]", value)
        return self._changed_at("set_at", spec, f"Index: {index} is out of range.")

    def get_at(self, index: int) -> Deferred[Any]:
        """Fetch an item; None if the index is out of range, as the SDK does."""
        return self._looked_up("get_at", subdocument.get(f"[{index}]"))

    def remove_at(self, index: int) -> Deferred[None]:
        """Remove an item.

        Errors: as `set_at`.
        """
        spec = subdocument.remove(f"[{index}]")
        return self._changed_at("remove_at", spec, f"Index: {index} is out of range.")

    def size(self) -> Deferred[int]:
        """The number of items."""
        return self._looked_up("size", subdocument.count(""))

    def index_of(self, value: Any) -> Deferred[int]:
        """The index of the first item that is equal to the value, -1 if none is."""
        return self._whole("index_of", lambda items: _index(items, value))

    def get_all(self) -> Deferred[list[Any]]:
        """Fetch all items."""
        return self._whole("get_all", list)

    def clear(self) -> Deferred[None]:
        """Remove the document, if there is one."""
        return self._cleared()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items()


class TxRawCouchbaseList(_Structure):
    """The methods of `ListMethods`; each returns an `AsyncResult`."""

    append = raw(ListMethods.append)
    prepend = raw(ListMethods.prepend)
    set_at = raw(ListMethods.set_at)
    get_at = raw(ListMethods.get_at)
    remove_at = raw(ListMethods.remove_at)
    size = raw(ListMethods.size)
    index_of = raw(ListMethods.index_of)
    get_all = raw(ListMethods.get_all)
    clear = raw(ListMethods.clear)
    __aiter__ = ListMethods.__aiter__


# The two forms differ in what their methods return, on purpose.
class CouchbaseList(ListMethods, TxRawCouchbaseList):  # type: ignore[misc]
    """The methods of `ListMethods`; each returns a Deferred."""


class MapMethods(_Structure):
    """A document that is a map. A key of the map is a path in the document, as in the SDK."""

    _empty = dict

    def add(self, mapkey: str, value: Any) -> Deferred[None]:
        """Set the value of a key."""
        return self._run("add", done(self._mutate("add", subdocument.upsert(mapkey, value))))

    def get(self, mapkey: str) -> Deferred[Any]:
        """Fetch the value of a key; None if it is not in the map, as the SDK does."""
        return self._looked_up("get", subdocument.get(mapkey))

    def remove(self, mapkey: str) -> Deferred[None]:
        """Remove a key.

        Errors: InvalidArgumentException if it is not in the map; DocumentNotFoundException, no
            map is made.
        """
        spec = subdocument.remove(mapkey)
        return self._changed_at("remove", spec, f"Key: {mapkey} is not in the map.")

    def size(self) -> Deferred[int]:
        """The number of keys."""
        return self._looked_up("size", subdocument.count(""))

    def exists(self, key: str) -> Deferred[bool]:
        """Tell whether a key is in the map."""
        return self._run("exists", is_there(self._lookup("exists", subdocument.exists(key))))

    def keys(self) -> Deferred[list[str]]:
        """Fetch all keys."""
        return self._whole("keys", list)

    def values(self) -> Deferred[list[Any]]:
        """Fetch all values."""
        return self._whole("values", lambda items: list(items.values()))

    def items(self) -> Deferred[Iterator[tuple[str, Any]]]:
        """Fetch all keys with their values, to iterate over."""
        return self._whole("items", lambda items: iter(items.items()))

    def get_all(self) -> Deferred[dict[str, Any]]:
        """Fetch the whole map."""
        return self._whole("get_all", dict)

    def clear(self) -> Deferred[None]:
        """Remove the document, if there is one."""
        return self._cleared()


class TxRawCouchbaseMap(_Structure):
    """The methods of `MapMethods`; each returns an `AsyncResult`."""

    _empty = dict
    add = raw(MapMethods.add)
    get = raw(MapMethods.get)
    remove = raw(MapMethods.remove)
    size = raw(MapMethods.size)
    exists = raw(MapMethods.exists)
    keys = raw(MapMethods.keys)
    values = raw(MapMethods.values)
    items = raw(MapMethods.items)
    get_all = raw(MapMethods.get_all)
    clear = raw(MapMethods.clear)


class CouchbaseMap(MapMethods, TxRawCouchbaseMap):  # type: ignore[misc]
    """The methods of `MapMethods`; each returns a Deferred."""


class SetMethods(_Structure):
    """A document that is a list with each value once: texts, numbers, true, false and null."""

    def add(self, value: Any) -> Deferred[bool]:
        """Add a value; whether it was not there before.

        Errors: InvalidValueException if the value is a list or a map.
        """
        spec = subdocument.array_addunique("", value)
        return self._run("add", was_new(self._mutate("add", spec)))

    def remove(self, value: Any, timeout: timedelta | None = None) -> Deferred[None]:
        """Remove a value, if it is there.

        Args:
            value: The value.
            timeout: For all of it: waiting for its turn, which calls on this document that share
                the pool take one after another, and the attempts that follow when another client
                has changed the set meanwhile; for these alone ten seconds if None.

        Errors: UnAmbiguousTimeoutException if others were faster all the time.
        """
        steps = self._steps("remove", timeout)
        attempts = self._attempts(timeout, f"Unable to remove {value} from the CouchbaseSet.")
        started = steps.in_turn(partial(taken_out, steps, value, attempts), attempts, "get")
        return self._run("remove", done(started))

    def contains(self, value: Any) -> Deferred[bool]:
        """Tell whether a value is there."""
        return self._whole("contains", lambda items: value in items)

    def size(self) -> Deferred[int]:
        """The number of values."""
        return self._looked_up("size", subdocument.count(""))

    def values(self) -> Deferred[list[Any]]:
        """Fetch all values."""
        return self._whole("values", list)

    def clear(self) -> Deferred[None]:
        """Remove the document, if there is one."""
        return self._cleared()


class TxRawCouchbaseSet(_Structure):
    """The methods of `SetMethods`; each returns an `AsyncResult`."""

    add = raw(SetMethods.add)
    remove = raw(SetMethods.remove)
    contains = raw(SetMethods.contains)
    size = raw(SetMethods.size)
    values = raw(SetMethods.values)
    clear = raw(SetMethods.clear)


class CouchbaseSet(SetMethods, TxRawCouchbaseSet):  # type: ignore[misc]
    """The methods of `SetMethods`; each returns a Deferred."""


class QueueMethods(_Structure):
    """A document that is a queue: a list, the newest item first. ``async for`` goes through it."""

    def push(self, value: Any) -> Deferred[None]:
        """Add an item."""
        spec = subdocument.array_prepend("", value)
        return self._run("push", done(self._mutate("push", spec)))

    def pop(self, timeout: timedelta | None = None) -> Deferred[Any]:
        """Take the oldest item. No two callers get the same.

        Args:
            timeout: As for `SetMethods.remove`.

        Errors: QueueEmpty if there is no item; DocumentNotFoundException, no queue is made;
            UnAmbiguousTimeoutException if others were faster all the time.
        """
        steps = self._steps("pop", timeout, create=False)
        attempts = self._attempts(timeout, "Unable to pop from the CouchbaseQueue.")
        started = steps.in_turn(partial(popped, steps, attempts), attempts, "lookup_in", LAST)
        return self._run("pop", started)

    def size(self) -> Deferred[int]:
        """The number of items."""
        return self._looked_up("size", subdocument.count(""))

    def clear(self) -> Deferred[None]:
        """Remove the document, if there is one."""
        return self._cleared()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items()


class TxRawCouchbaseQueue(_Structure):
    """The methods of `QueueMethods`; each returns an `AsyncResult`."""

    push = raw(QueueMethods.push)
    pop = raw(QueueMethods.pop)
    size = raw(QueueMethods.size)
    clear = raw(QueueMethods.clear)
    __aiter__ = QueueMethods.__aiter__


class CouchbaseQueue(QueueMethods, TxRawCouchbaseQueue):  # type: ignore[misc]
    """The methods of `QueueMethods`; each returns a Deferred."""
