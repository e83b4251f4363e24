"""`DelayedCalls`: delayed calls that end with their owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred

__all__ = ["DelayedCalls"]


class DelayedCalls:
    """The delayed calls of one owner, none of which outlives it.

    Args:
        reactor: The reactor to use.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: set[DelayedCall] = set()
        self._bounds: dict[DelayedCall, Callable[[], None]] = {}

    def later(self, delay: float, function: Callable[..., Any], *args: Any) -> DelayedCall:
        """Call a function after so many seconds, unless the owner ends before."""

        def run() -> None:
            self._calls.discard(call)
            function(*args)

        call: DelayedCall = self._reactor.callLater(delay, run)
        self._calls.add(call)
        return call

    def cancel(self, call: DelayedCall) -> None:
        """Do not make this call, unless it was made already."""
        if call.active():
            call.cancel()
        self._calls.discard(call)

    def cancel_all(self) -> None:
        """The owner ends, and with it every wait that a call bounds."""
        bounds = list(self._bounds.values())
        for call in list(self._calls):
            self.cancel(call)
        for end in bounds:
            end()

    def bounded(self, deferred: Deferred[Any], timeout: float) -> Deferred[None]:
        """Fires like the given Deferred, or after the timeout (seconds), whichever is first."""
        bounded: Deferred[None] = Deferred()

        def fire(_: Any = None) -> None:
            self.cancel(call)
            self._bounds.pop(call, None)
            if not bounded.called:
                bounded.callback(None)

        call = self.later(timeout, fire)
        self._bounds[call] = fire
        deferred.addBoth(fire)
        return bounded
