"""`StructureMethods`: a collection's data structures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import couchbase.subdocument as subdocument
from couchbase.result import OperationResult
from twisted.internet.defer import Deferred

from txcouchbase.base_collection import BaseCollection
from txcouchbase.compositions import (
    LAST,
    Attempts,
    Steps,
    if_new,
    operation_result,
    popped,
    taken_out,
    value_of,
    whole,
)

__all__ = ["StructureMethods"]


class StructureMethods(BaseCollection):
    """Documents as lists, maps, sets and queues: the SDK's methods on collections.

    The SDK calls them deprecated in favour of `couchbase_list` and so on. Where the document is
    missing it is an error, or with `create=True` an empty one is stored first. Keywords are
    options of the operation that each ends with (`lookup_in`, `mutate_in`, or `get`), `timeout` is
    for all operations of a call together. They are made of several operations, between which
    others on the document can come, so that `retry_ambiguous` and `quiet` are not for them. To
    cancel cancels what is under way; what was sent may be carried out all the same.

    Errors: DocumentNotFoundException; PathMismatchException if the document is something else.
    """

    # -- lists ----------------------------------------------------------------------------

    def list_append(
        self, /, key: str, value: Any, create: bool | None = False, **kwargs: Any
    ) -> Deferred[OperationResult]:
        """Add an item at the end of a list."""
        spec = subdocument.array_append("", value)
        return _change(self, "list_append", key, spec, kwargs, list if create else None)

    def list_prepend(
        self, /, key: str, value: Any, create: bool | None = False, **kwargs: Any
    ) -> Deferred[OperationResult]:
        """Add an item at the start of a list."""
        spec = subdocument.array_prepend("", value)
        return _change(self, "list_prepend", key, spec, kwargs, list if create else None)

    def list_set(
        self, /, key: str, index: int, value: Any, **kwargs: Any
    ) -> Deferred[OperationResult]:
        """Replace an item of a list.

        Errors: IndexError if there is none at the index.
        """
        spec = subdocument.replace(f"[{index}]", value)
        return _change(self, "list_set", key, spec, kwargs, place=index)

    def list_get(self, /, key: str, index: int, **kwargs: Any) -> Deferred[Any]:
        """Fetch an item of a list; None if there is none at the index, as the SDK does."""
        return _look(self, "list_get", key, subdocument.get(f"[{index}]"), kwargs)

    def list_remove(self, /, key: str, index: int, **kwargs: Any) -> Deferred[OperationResult]:
        """Remove an item of a list.

        Errors: IndexError if there is none at the index.
        """
        spec = subdocument.remove(f"[{index}]")
        return _change(self, "list_remove", key, spec, kwargs, place=index)

    def list_size(self, /, key: str, **kwargs: Any) -> Deferred[int]:
        """The number of items of a list."""
        return _look(self, "list_size", key, subdocument.count(""), kwargs)

    # -- maps -----------------------------------------------------------------------------

    def map_add(
        self, /, key: str, mapkey: str, value: Any, create: bool | None = False, **kwargs: Any
    ) -> Deferred[OperationResult]:
        """Set the value of a key of a map. The key is a path in the document, as in the SDK.

        Errors: IndexError if a part of the path is missing.
        """
        spec = subdocument.upsert(mapkey, value)
        return _change(self, "map_add", key, spec, kwargs, dict if create else None, mapkey)

    def map_get(self, /, key: str, mapkey: str, **kwargs: Any) -> Deferred[Any]:
        """Fetch the value of a key of a map; None if it has none, as the SDK does."""
        return _look(self, "map_get", key, subdocument.get(mapkey), kwargs)

    def map_remove(self, /, key: str, mapkey: str, **kwargs: Any) -> Deferred[OperationResult]:
        """Remove a key of a map.

        Errors: IndexError if it has none.
        """
        return _change(self, "map_remove", key, subdocument.remove(mapkey), kwargs, place=mapkey)

    def map_size(self, /, key: str, **kwargs: Any) -> Deferred[int]:
        """The number of keys of a map."""
        return _look(self, "map_size", key, subdocument.count(""), kwargs)

    # -- sets -----------------------------------------------------------------------------

    def set_add(
        self, /, key: str, value: Any, create: bool | None = False, **kwargs: Any
    ) -> Deferred[OperationResult | None]:
        """Add a value to a set; fires with None if it is there already.

        Errors: InvalidValueException if the value is a list or a map.
        """
        spec = subdocument.array_addunique("", value)
        steps = Steps(self, "set_add", key, kwargs, list if create else None)
        return self._compose("set_add", if_new(steps.step("mutate_in", spec)))

    def set_remove(
        self, /, key: str, value: Any, **kwargs: Any
    ) -> Deferred[OperationResult | None]:
        """Remove a value from a set; fires with None if it is not there.

        All calls of it and of `queue_pop` on a document that share a pool take turns, one after
        another; the wait counts for `timeout`. When another client has changed the set meanwhile
        it is tried again, within `timeout`, or for ten seconds.

        Errors: UnAmbiguousTimeoutException if others were faster all the time.
        """
        steps = Steps(self, "set_remove", key, kwargs)
        attempts = Attempts(
            self._pool.reactor,
            kwargs.get("timeout"),
            f"Unable to remove {value} from the set {key}.",
        )
        started = steps.in_turn(partial(taken_out, steps, value, attempts), attempts, "get")
        return self._compose("set_remove", started)

    def set_contains(self, /, key: str, value: Any, **kwargs: Any) -> Deferred[bool]:
        """Tell whether a value is in a set."""
        steps = Steps(self, "set_contains", key, kwargs)
        return self._compose("set_contains", whole(steps.step("get"), lambda items: value in items))

    def set_size(self, /, key: str, **kwargs: Any) -> Deferred[int]:
        """The number of values of a set."""
        return _look(self, "set_size", key, subdocument.count(""), kwargs)

    # -- queues ---------------------------------------------------------------------------

    def queue_push(
        self, /, key: str, value: Any, create: bool | None = False, **kwargs: Any
    ) -> Deferred[OperationResult]:
        """Add an item to a queue."""
        spec = subdocument.array_prepend("", value)
        return _change(self, "queue_push", key, spec, kwargs, list if create else None)

    def queue_pop(self, /, key: str, **kwargs: Any) -> Deferred[Any]:
        """Take the oldest item of a queue; fires with it. No two callers get the same.

        Calls take turns, and when another client has changed the queue meanwhile it is tried again,
        as `set_remove` does.

        Errors: QueueEmpty if there is none; as `set_remove`.
        """
        steps = Steps(self, "queue_pop", key, kwargs)
        attempts = Attempts(
            self._pool.reactor, kwargs.get("timeout"), f"Unable to pop from the queue {key}."
        )
        started = steps.in_turn(partial(popped, steps, attempts), attempts, "lookup_in", LAST)
        return self._compose("queue_pop", started)

    def queue_size(self, /, key: str) -> Deferred[int]:
        """The number of items of a queue."""
        return _look(self, "queue_size", key, subdocument.count(""), {})


def _change(
    collection: BaseCollection,
    name: str,
    key: str,
    spec: Any,
    options: dict[str, Any],
    empty: Callable[[], Any] | None = None,
    place: Any = None,
) -> Deferred[OperationResult]:
    started = Steps(collection, name, key, options, empty).step("mutate_in", spec)
    return collection._compose(name, operation_result(started, place))


def _look(
    collection: BaseCollection, name: str, key: str, spec: Any, options: dict[str, Any]
) -> Deferred[Any]:
    return collection._compose(
        name, value_of(Steps(collection, name, key, options).step("lookup_in", spec))
    )
