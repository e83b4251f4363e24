"""What an expression may not do: make a result that is too large.

Source: the codes and texts of a server's errors of evaluation, as the SQL++ error codes list them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LARGEST_RESULT", "OUT_OF_RANGE", "FunctionFailed", "bounded"]

LARGEST_RESULT: Final = 20 << 20
"""Bytes that the result of a function may have, as on a server without a memory quota."""

EVALUATION, OUT_OF_RANGE, TOO_LARGE = 5010, 5035, 5037
"""Codes of errors that an expression ends a statement with."""

_LONGEST_REPETITION = (1 << 31) - 1


class FunctionFailed(ValueError):
    """An expression has no value, and the statement ends.

    :param text: what it was about.
    :param code: the server's code of the error.
    """

    def __init__(self, text: str, code: int = EVALUATION) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def bounded(name: str, count: int, size: int) -> None:
    """See that a result does not become too large.

    :param name: what makes it, in capitals.
    :param count: how many parts it will have.
    :param size: bytes of one part.
    :raises FunctionFailed: if there are more parts, or more bytes, than a server makes.
    """
    if count > _LONGEST_REPETITION:
        raise FunctionFailed(f"Out of range evaluating {name}.", OUT_OF_RANGE)
    if count * size > LARGEST_RESULT:
        raise FunctionFailed(
            f"Size of {name} result exceeds limit ({count * size} > {LARGEST_RESULT}).", TOO_LARGE
        )
