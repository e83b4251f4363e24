"""`Keyspace`: a collection, or a whole cluster, as operations name it on the pipe."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from txcouchbase.workers.operation import check_name

if TYPE_CHECKING:
    from txcouchbase.workers.session import Session
    from txcouchbase.workers.target import Target

__all__ = ["Keyspace"]

_numbers = itertools.count(1)


class Keyspace:
    """A collection, or a whole cluster, as operations name it on the pipe.

    Attributes:
        id: The number of this keyspace.
        order: The number under which its keys are ordered.
        target: What has to be connected before an operation can be sent.
        introduction: What tells a worker of it.
    """

    __slots__ = ("id", "introduction", "order", "target")

    def __init__(self, target: Target, cluster: Session, *place: str) -> None:
        for name in place:
            check_name(name)
        self.id = next(_numbers)
        self.target = target
        bucket, scope, collection = place or ("", "", "")
        self.order = cluster.order_number(bucket, scope, collection)
        self.introduction = (self.id, self.order, cluster.id, bucket, scope, collection)
