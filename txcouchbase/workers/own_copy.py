"""`own_copy`: an exception for one caller alone."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["own_copy"]

E = TypeVar("E", bound=Exception)


def own_copy(error: E) -> E:
    """The same exception for one of several callers who are to hear of it.

    What raising it adds (traceback, context), and what its caller changes, stays with its caller.
    """
    kind = type(error)
    copied: E = kind.__new__(kind, *error.args)
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied
