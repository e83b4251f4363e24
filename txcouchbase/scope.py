"""`TxScope`: a scope of a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from txcouchbase.collection import TxCollection

if TYPE_CHECKING:
    from txcouchbase.bucket import TxBucket

__all__ = ["Scope", "TxScope"]


class TxScope:
    """A scope of a bucket.

    Args:
        bucket: The bucket, as `TxBucket.scope` does.
        name: The name of the scope.
    """

    def __init__(self, bucket: TxBucket, name: str) -> None:
        self._bucket = bucket
        self._name = name

    @property
    def name(self) -> str:
        """The name of the scope."""
        return self._name

    @property
    def bucket_name(self) -> str:
        """The name of the bucket."""
        return self._bucket.name

    @staticmethod
    def default_name() -> str:
        """The name of the default scope."""
        return "_default"

    def collection(self, name: str) -> TxCollection:
        """A collection of this scope."""
        return TxCollection(self, name)


Scope = TxScope
