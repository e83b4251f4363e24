"""`TxBinaryCollection` and `TxRawBinaryCollection`: counters and binary values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from couchbase.result import CounterResult, MutationResult
from twisted.internet.defer import Deferred

from txcouchbase.client import raw
from txcouchbase.multi_result import MultiCounterResult, MultiMutationResult

if TYPE_CHECKING:
    from couchbase.options import (
        AppendMultiOptions,
        AppendOptions,
        DecrementMultiOptions,
        DecrementOptions,
        IncrementMultiOptions,
        IncrementOptions,
        PrependMultiOptions,
        PrependOptions,
    )

    from txcouchbase.base_collection import BaseCollection

__all__ = ["BinaryCollection", "BinaryMethods", "TxBinaryCollection", "TxRawBinaryCollection"]


class BaseBinaryCollection:
    """What the methods on counters and on binary values stand on.

    Args:
        collection: The collection, as its method `binary` does.
    """

    def __init__(self, collection: BaseCollection) -> None:
        self._collection = collection


class BinaryMethods(BaseBinaryCollection):
    """The methods on counters and on binary values; see `KeyValueMethods`.

    Each changes what is there, so that with `retry_ambiguous=True` it may happen twice: do not
    use it where a counter has to be exact.
    """

    def increment(
        self, /, key: str, *opts: IncrementOptions, retry_ambiguous: bool = False, **kwargs: Any
    ) -> Deferred[CounterResult]:
        """Add to a counter, which `initial` creates where it is missing."""
        return self._collection._start("increment", key, opts, kwargs, retry_ambiguous)

    def decrement(
        self, /, key: str, *opts: DecrementOptions, retry_ambiguous: bool = False, **kwargs: Any
    ) -> Deferred[CounterResult]:
        """Subtract from a counter, which never falls below zero."""
        return self._collection._start("decrement", key, opts, kwargs, retry_ambiguous)

    def append(
        self,
        /,
        key: str,
        value: str | bytes | bytearray,
        *opts: AppendOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MutationResult]:
        """Add bytes at the end of a document."""
        return self._collection._start("append", key, opts, kwargs, retry_ambiguous, value)

    def prepend(
        self,
        /,
        key: str,
        value: str | bytes | bytearray,
        *opts: PrependOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MutationResult]:
        """Add bytes at the start of a document."""
        return self._collection._start("prepend", key, opts, kwargs, retry_ambiguous, value)

    def increment_multi(
        self,
        /,
        keys: Iterable[str],
        *opts: IncrementMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiCounterResult]:
        """Add to many counters; see `MultiMethods`."""
        return self._collection._start_multi("increment", keys, opts, kwargs, retry_ambiguous)

    def decrement_multi(
        self,
        /,
        keys: Iterable[str],
        *opts: DecrementMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiCounterResult]:
        """Subtract from many counters; see `MultiMethods`."""
        return self._collection._start_multi("decrement", keys, opts, kwargs, retry_ambiguous)

    def append_multi(
        self,
        /,
        keys_and_values: Mapping[str, str | bytes | bytearray],
        *opts: AppendMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiMutationResult]:
        """Add bytes at the end of many documents; see `MultiMethods`."""
        return self._collection._start_multi(
            "append", keys_and_values, opts, kwargs, retry_ambiguous
        )

    def prepend_multi(
        self,
        /,
        keys_and_values: Mapping[str, str | bytes | bytearray],
        *opts: PrependMultiOptions,
        retry_ambiguous: bool = False,
        **kwargs: Any,
    ) -> Deferred[MultiMutationResult]:
        """Add bytes at the start of many documents; see `MultiMethods`."""
        return self._collection._start_multi(
            "prepend", keys_and_values, opts, kwargs, retry_ambiguous
        )


class TxRawBinaryCollection(BaseBinaryCollection):
    """The methods of `BinaryMethods`, each of which returns an `AsyncResult`."""

    increment = raw(BinaryMethods.increment)
    decrement = raw(BinaryMethods.decrement)
    append = raw(BinaryMethods.append)
    prepend = raw(BinaryMethods.prepend)
    increment_multi = raw(BinaryMethods.increment_multi)
    decrement_multi = raw(BinaryMethods.decrement_multi)
    append_multi = raw(BinaryMethods.append_multi)
    prepend_multi = raw(BinaryMethods.prepend_multi)


# The two forms differ in what their methods return, on purpose.
class TxBinaryCollection(BinaryMethods, TxRawBinaryCollection):  # type: ignore[misc]
    """The methods of `BinaryMethods`, each of which returns a Deferred."""


BinaryCollection = TxBinaryCollection
