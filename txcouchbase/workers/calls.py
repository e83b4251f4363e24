"""Calls of the SDK's blocking methods that need no code of their own. In a thread of a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.result import ClusterInfoResult, Result

from txcouchbase.amp import objects

if TYPE_CHECKING:
    from txcouchbase.workers.executor import Task

__all__ = ["call"]


def call(target: Any, task: Task) -> dict[str, Any]:
    """Call a method of a cluster, bucket, scope or collection, or of one of its managers.

    Args:
        target: The SDK's object.
        task: Its value are the arguments, as `txcouchbase.amp.objects` encodes them; a keyword
            `timeout` gets what is left of the time. Its option `method` is the name of a
            manager's method after that of the manager's accessor.

    Returns:
        What the method returned: under ``value`` as `objects` encodes it, or the map of the
        binding if it is a Result.

    Raises:
        CouchbaseException: As the method.
        TypeError: It returned something that cannot cross.
    """
    assert task.value is not None
    name: str = task.options["method"] if task.options is not None else task.kind.name
    *accessors, method = name.split(".")
    arguments, keywords = objects.decode(task.value)
    for accessor in accessors:
        target = getattr(target, accessor)()
    if accessors or "timeout" in keywords:
        keywords["timeout"] = timedelta(milliseconds=task.remaining())
    result = getattr(target, method)(*arguments, **keywords)
    if isinstance(result, (Result, ClusterInfoResult)):
        return dict(result._orig.raw_result)
    return {"value": objects.encode(result)}
