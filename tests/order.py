"""Checks that operations on one key happen in the order of their calls."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

__all__ = ["OrderCheck"]

_TIMEOUT = timedelta(seconds=50)
"""So that nothing ends for its time on a machine that is busy."""


class OrderCheck:
    """Writes and reads numbers under a few keys without waiting for one before the next.

    Each read has to return the number of the last write that was called before it: an older one
    means that a write was overtaken, a newer one that the read was.

    Args:
        collection: Where to do it.
        keys: How many keys to use.
        operations: How many calls to make.
        in_flight: How many of them may be unanswered at a time.
        prefix: What the keys start with.
        seed: Of the choices of keys and operations.

    Attributes:
        answered: Calls that were answered.
        count: Violations.
        violations: What was seen instead of what was expected, for the first hundred.
    """

    def __init__(
        self,
        collection: Any,
        *,
        keys: int,
        operations: int,
        in_flight: int,
        prefix: str,
        seed: int = 1,
    ) -> None:
        self._collection = collection
        self._names = [f"{prefix}order-{number}" for number in range(keys)]
        self._written = [0] * keys
        self._operations = self._left = operations
        self._room = in_flight
        self._random = Random(seed)
        self._done: Deferred[None] = Deferred()
        self._scheduling = False
        self.answered = 0
        self.violations: list[str] = []
        self.count = 0

    def run(self) -> Deferred[None]:
        """Fires when all calls were answered; errbacks with the first error of a call."""
        self._schedule()
        return self._done

    def _schedule(self) -> None:
        if self._scheduling:
            return
        self._scheduling = True
        while self._left and self._room:
            self._left -= 1
            self._room -= 1
            key = self._random.randrange(len(self._names))
            name = self._names[key]
            # The first call on a key writes, so that there is something to read.
            if not self._written[key] or self._random.random() < 0.5:
                self._written[key] += 1
                call = self._collection.upsert(name, self._written[key], timeout=_TIMEOUT)
                call.addCallbacks(self._answered, self._failed)
            else:
                call = self._collection.get(name, timeout=_TIMEOUT)
                call.addCallback(self._read, name, self._written[key])
                call.addCallbacks(self._answered, self._failed)
        self._scheduling = False

    def _read(self, result: Any, name: str, expected: int) -> None:
        if result.value != expected:
            self.count += 1
            if len(self.violations) < 100:
                self.violations.append(f"{name}: {result.value} instead of {expected}")

    def _answered(self, _: Any) -> None:
        self.answered += 1
        self._room += 1
        if self._left:
            self._schedule()
        elif self.answered == self._operations:
            self._done.callback(None)

    def _failed(self, failure: Any) -> None:
        if not self._done.called:
            self._left = 0
            self._done.errback(failure)
