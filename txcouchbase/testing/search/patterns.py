"""Which terms a query picks: by pattern, by likeness, by range. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from txcouchbase.testing.search.refusals import SearchRefused

__all__ = ["MAX_FUZZINESS", "alike", "between", "literal_prefix", "matching", "of_wildcard"]

MAX_FUZZINESS = 2
"""Changes of a character that a fuzzy query may allow."""


def matching(pattern: str) -> Callable[[str], bool]:
    """Whether the whole of a term matches a regular expression.

    :raises SearchRefused: for what is none.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise SearchRefused(f"error parsing regexp: {error}: `{pattern}`") from None
    return lambda term: compiled.fullmatch(term) is not None


def of_wildcard(pattern: str) -> str:
    """The regular expression of a pattern of ``*`` and ``?``."""
    return "".join(
        {"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.split(r"([*?])", pattern)
    )


def literal_prefix(pattern: str) -> str:
    """With what each term begins that a pattern with ``*`` and ``?`` matches."""
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def between(low: Any, high: Any, include_low: bool, include_high: bool) -> Callable[[Any], bool]:
    """Whether a value is within bounds; None is no bound."""

    def within(value: Any) -> bool:
        if low is not None and (value < low or (value == low and not include_low)):
            return False
        return high is None or value < high or (value == high and include_high)

    return within


def alike(term: str, fuzziness: int) -> Callable[[str], bool]:
    """Whether a term is another one after at most so many changes of a character."""

    def near(other: str) -> bool:
        if abs(len(other) - len(term)) > fuzziness:
            return False
        previous = list(range(len(other) + 1))
        for row, mine in enumerate(term, 1):
            present = [row]
            for column, theirs in enumerate(other, 1):
                present.append(
                    min(
                        previous[column] + 1,
                        present[-1] + 1,
                        previous[column - 1] + (mine != theirs),
                    )
                )
            if min(present) > fuzziness:
                return False
            previous = present
        return previous[-1] <= fuzziness

    return near
