"""`Turns`: who may work on a document, of those that do so only one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from twisted.internet.defer import Deferred

__all__ = ["Turns"]


class Turns:
    """Turns at things, each thing with a queue of its own."""

    def __init__(self) -> None:
        # The first of a queue has its turn, the others wait.
        self._queues: dict[Hashable, deque[Deferred[None]]] = {}
        self._handing: set[Hashable] = set()

    def is_free(self, thing: Hashable) -> bool:
        """Whether who takes a turn now has it at once."""
        return thing not in self._queues

    def take(self, thing: Hashable) -> Deferred[None]:
        """Fires when it is its turn, after which `leave` is to be called; to cancel it before
        that gives the turn up."""
        queue = self._queues.setdefault(thing, deque())
        turn: Deferred[None] = Deferred(queue.remove)
        queue.append(turn)
        if len(queue) == 1:
            turn.callback(None)
        return turn

    def leave(self, thing: Hashable) -> None:
        """A turn is over: the next one begins."""
        queue = self._queues[thing]
        queue.popleft()
        if thing in self._handing:
            return
        # In a loop, since those whose turn ends as it begins would be calls inside of calls.
        self._handing.add(thing)
        while queue and not queue[0].called:
            queue[0].callback(None)
        self._handing.remove(thing)
        if not queue:
            del self._queues[thing]
