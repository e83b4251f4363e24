"""The patterns of LIKE.

Source: the SQL++ language reference, "Comparison Operators".
"""

from __future__ import annotations

import re

from txcouchbase.testing.query.errors import QueryError

__all__ = ["LikePattern"]


class LikePattern:
    """``_`` is any character, ``%`` any number of them.

    It is matched piece by piece between the percent signs, from the left, which needs no going
    back as one regular expression would.

    :param escape: the character before one that means itself.
    :raises QueryError: 5010 for an escape of more than one character.
    """

    def __init__(self, text: str, escape: str = "\\") -> None:
        if len(escape) > 1:
            raise QueryError(
                5010, "Error evaluating filter - cause: Invalid escape character in LIKE."
            )
        pieces = [""]
        letters = iter(text)
        for letter in letters:
            if letter == escape:
                pieces[-1] += re.escape(next(letters, letter))
            elif letter == "%":
                pieces.append("")
            else:
                pieces[-1] += "." if letter == "_" else re.escape(letter)
        self._pieces = [re.compile(piece, re.DOTALL) for piece in pieces]
        self._lengths = [_length(piece) for piece in pieces]

    def matches(self, text: str) -> bool:
        """Whether a whole text is like it."""
        first, *middle = self._pieces
        if not middle:
            return first.fullmatch(text) is not None
        found = first.match(text)
        if found is None:
            return False
        last = middle.pop()
        start, end = found.end(), len(text) - self._lengths[-1]
        if end < start or not last.fullmatch(text, end):
            return False
        for piece in middle:
            found = piece.search(text, start, end)
            if found is None:
                return False
            start = found.end()
        return True


def _length(piece: str) -> int:
    return len(re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL))
