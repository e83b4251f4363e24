"""What jobs run, in job workers, which import this module by its name."""

from __future__ import annotations

import os
import time
from typing import Any

from couchbase import subdocument

__all__ = ["increase", "write_number"]


def write_number(path: str, number: int, seconds: float) -> int:
    """Write a line to a file, where it can be seen how many times this ran.

    Args:
        path: The file.
        number: What to write.
        seconds: How long to go on afterwards.

    Returns:
        The number.
    """
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{number}\n".encode())
    finally:
        os.close(file)
    time.sleep(seconds)
    return number


def increase(cluster: Any, bucket: str, key: str) -> None:
    """Increase the number ``n`` in a document by 1.

    Args:
        cluster: The SDK's cluster.
        bucket: The bucket's name.
        key: The document's key.
    """
    collection = cluster.bucket(bucket).default_collection()
    collection.mutate_in(key, [subdocument.increment("n", 1)])
