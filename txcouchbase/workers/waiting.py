"""Deferreds for those who wait for something."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from txcouchbase.workers.own_copy import own_copy

__all__ = ["Waiters"]


class Waiters:
    """Deferreds that wait for the same thing; a cancelled one is forgotten, also one that is
    cancelled by what another one calls while they fire."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self) -> Deferred[None]:
        """One more."""
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def release(self, still: Callable[[], bool] = lambda: True) -> None:
        """Fire them, as long as what they wait for still holds after each."""
        while self._waiting and still():
            self._waiting.pop(0).callback(None)

    def release_present(self) -> None:
        """Fire those that wait now; who comes while they fire waits for the next time."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)

    def take(self) -> Waiters:
        """Those that wait now, apart from who comes later."""
        taken = Waiters()
        taken._waiting, self._waiting = self._waiting, []
        return taken

    def fail(self, error: Exception) -> None:
        """Fire those that wait now with an error, each with its own copy."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(own_copy(error))
