"""`TxBinaryCollection`: counters and binary values as Deferreds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.result import CounterResult, MutationResult
from twisted.internet.defer import Deferred

from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.keyvalue import binary_value, read_counter

if TYPE_CHECKING:
    from couchbase.options import (
        AppendOptions,
        DecrementOptions,
        IncrementOptions,
        PrependOptions,
    )

    from txcouchbase.collection import TxCollection

__all__ = ["BinaryCollection", "TxBinaryCollection"]


class TxBinaryCollection:
    """The operations of a collection on counters and on binary values.

    Args:
        collection: The collection, as `TxCollection.binary` does.
    """

    def __init__(self, collection: TxCollection) -> None:
        self._collection = collection

    def increment(
        self, key: str, *opts: IncrementOptions, **kwargs: Any
    ) -> Deferred[CounterResult]:
        """Add to a counter, which `initial` creates where it is missing."""
        return self._count("increment", key, opts, kwargs)

    def decrement(
        self, key: str, *opts: DecrementOptions, **kwargs: Any
    ) -> Deferred[CounterResult]:
        """Subtract from a counter, which never falls below zero."""
        return self._count("decrement", key, opts, kwargs)

    def append(
        self, key: str, value: str | bytes | bytearray, *opts: AppendOptions, **kwargs: Any
    ) -> Deferred[MutationResult]:
        """Add bytes at the end of a document."""
        return self._join("append", key, value, opts, kwargs)

    def prepend(
        self, key: str, value: str | bytes | bytearray, *opts: PrependOptions, **kwargs: Any
    ) -> Deferred[MutationResult]:
        """Add bytes at the start of a document."""
        return self._join("prepend", key, value, opts, kwargs)

    def _count(
        self, name: str, key: str, opts: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Deferred[Any]:
        collection = self._collection
        options = collection._options(opts, kwargs)
        read_counter(options)
        return collection._start(options.operation(OPERATIONS[name], collection._keyspace, key))

    def _join(
        self, name: str, key: str, value: Any, opts: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Deferred[Any]:
        collection = self._collection
        options = collection._options(opts, kwargs)
        return collection._start(
            options.operation(OPERATIONS[name], collection._keyspace, key, binary_value(value))
        )


BinaryCollection = TxBinaryCollection
