"""What becomes of pools in a forked child: their workers belong to the parent."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Forkable", "tell_of_forks"]


class Forkable(Protocol):
    """Something that a forked child must not share with its parent."""

    def forked(self) -> None:
        """This is a fork of the process that it was made in."""


_known: WeakSet[Forkable] = WeakSet()


def tell_of_forks(thing: Forkable) -> None:
    """Call `forked` in every child that is forked while the thing is there."""
    _known.add(thing)


def _in_child() -> None:
    for thing in list(_known):
        thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
