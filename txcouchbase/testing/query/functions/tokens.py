"""Functions on the words in a value.

Source: the SQL++ language reference, "Token Functions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from txcouchbase.testing.query.functions.patterns import full_pattern
from txcouchbase.testing.query.functions.signature import (
    KNOWN,
    OBJECT,
    STRING,
    VALUE,
    Function,
    by_name,
    function,
)
from txcouchbase.testing.query.like import LikePattern
from txcouchbase.testing.query.values import equals, group_key, is_array

__all__ = ["FUNCTIONS"]

Options = dict[str, Any]

_WORD = re.compile(r"[^\W_]+")
_SPECIAL = re.compile(r"[^\s()\[\]{}]+")
_CASES: dict[Any, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper}


def _tokens(value: Any, options: Options) -> Iterator[Any]:
    """The words of all texts in a value; other values as they are.

    :param options: ``names`` (those of objects too), ``case``, ``split``, ``trim``, ``specials``.
    """
    pending = [value]
    while pending:
        value = pending.pop()
        if type(value) is str:
            yield from _words(value, options)
        elif is_array(value):
            pending += value[::-1]
        elif type(value) is dict:
            for name in reversed(value):
                pending.append(value[name])
                if options.get("names") is not False:
                    pending.append(name)
        else:
            yield value


def _words(text: str, options: Options) -> list[str]:
    case = options.get("case")
    change = _CASES.get(case.lower() if type(case) is str else None, str)
    if options.get("split") is False:
        return [change(text if options.get("trim") is False else text.strip())]
    words = _WORD.findall(text)
    if options.get("specials") is True:
        words += filter(None, map(_up_to_last_letter, _SPECIAL.findall(text)))
    return [change(word) for word in words]


def _up_to_last_letter(word: str) -> str:
    end = len(word)
    while end and not word[end - 1].isalnum():
        end -= 1
    return word[:end]


def _different(value: Any, options: Options | None = None) -> list[Any]:
    found: dict[Any, Any] = {}
    for token in _tokens(value, options or {}):
        found.setdefault(group_key(token), token)
    return list(found.values())


def _has(value: Any, token: Any, options: Options | None = None) -> bool:
    return any(equals(token, found) is True for found in _tokens(value, options or {}))


def _matching(matcher: Callable[[str], Callable[[str], bool]]) -> Function:
    """A function that looks for a word that a pattern matches as a whole.

    :param matcher: whether a word matches, by the pattern.
    """

    def call(value: Any, pattern: str, options: Options | None = None) -> bool:
        matches = matcher(pattern)
        tokens = _tokens(value, options or {})
        return any(type(token) is str and matches(token) for token in tokens)

    return function(call, KNOWN, STRING, OBJECT, optional=1)


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "contains_token has_token": function(_has, KNOWN, KNOWN, OBJECT, optional=1),
        "contains_token_like": _matching(lambda pattern: LikePattern(pattern).matches),
        "contains_token_regexp contains_token_regex": _matching(
            lambda pattern: lambda word: full_pattern(pattern).fullmatch(word) is not None
        ),
        "tokens": function(_different, VALUE, OBJECT, optional=1),
    }
)
"""The functions by name."""
