"""Text and how it becomes terms.

The analyzers are those of bleve that need no knowledge of a language but a list of stop words:
``standard``, ``simple``, ``keyword`` and those that an index composes of the same parts. Others are
refused by name. Words of scripts without spaces are not taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from txcouchbase.testing.search.refusals import SearchRefused

__all__ = ["Analyzer", "Token", "analyzer_of"]

STOP_WORDS = frozenset(
    """a about above after again against all am an and any are aren't as at be because been before
    being below between both but by can't cannot could couldn't did didn't do does doesn't doing
    don't down during each few for from further had hadn't has hasn't have haven't having he he'd
    he'll he's her here here's hers herself him himself his how how's i i'd i'll i'm i've if in into
    is isn't it it's its itself let's me more most mustn't my myself no nor not of off on once only
    or other ought our ours ourselves out over own same shan't she she'd she'll she's should
    shouldn't so some such than that that's the their theirs them themselves then there there's
    these they they'd they'll they're they've this those through to too under until up very was
    wasn't we we'd we'll we're we've were weren't what what's when when's where where's which while
    who who's whom why why's with won't would wouldn't you you'd you'll you're you've your yours
    yourself yourselves""".split()
)
"""English words that the standard analyzer leaves out."""


@dataclass(frozen=True, slots=True)
class Token:
    """One term of a text.

    :param start: where it begins, in bytes of UTF-8.
    :param end: where it ends.
    :param position: its number among the words, from 1; those that were left out count.
    :param path: the places in arrays on the way to the text.
    """

    term: str
    start: int
    end: int
    position: int
    path: tuple[int, ...] = ()


Tokenizer = Callable[[str], Iterator[re.Match[str]]]
TermFilter = Callable[[str], "str | None"]

_APOSTROPHES = "'\u2019"
_WORD = re.compile(r"\w+(?:(?:(?<=[^\W\d_])['\u2019.:\u00b7](?=[^\W\d_])|(?<=\d)[.,'](?=\d))\w+)*")
_TOKENIZERS: dict[str, Tokenizer] = {
    "unicode": _WORD.finditer,
    "letter": re.compile(r"[^\W\d_]+").finditer,
    "whitespace": re.compile(r"\S+").finditer,
    "single": re.compile(r".+", re.DOTALL).finditer,
}


def _not_stopped(term: str) -> str | None:
    plain = term if term.isascii() else term.replace("\u2019", "'")
    return None if plain in STOP_WORDS else term


_FILTERS: dict[str, TermFilter] = {
    "to_lower": str.lower,
    "stop_en": _not_stopped,
    "apostrophe": lambda term: re.split(f"[{_APOSTROPHES}]", term)[0] or None,
}
_ANALYZERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "standard": ("unicode", ("to_lower", "stop_en")),
    "simple": ("letter", ("to_lower",)),
    "keyword": ("single", ()),
}


class Analyzer:
    """Makes terms of a text.

    :param tokenizer: finds words.
    :param filters: change words, or leave them out.
    """

    def __init__(self, tokenizer: Tokenizer, filters: tuple[TermFilter, ...]) -> None:
        self._tokenizer = tokenizer
        self._filters = filters

    def terms(self, text: str) -> list[str]:
        """The terms of a text, without their places."""
        found: list[str] = []
        for match in self._tokenizer(text):
            term: str | None = match.group()
            for each in self._filters:
                term = each(term) if term else None
            if term:
                found.append(term)
        return found

    def tokens(self, text: str, path: tuple[int, ...] = ()) -> list[Token]:
        """The terms of a text, in their order."""
        found = []
        plain = text.isascii()
        for position, match in enumerate(self._tokenizer(text), 1):
            term: str | None = match.group()
            for each in self._filters:
                term = each(term) if term else None
            if not term:
                continue
            start, end = match.span()
            if not plain:
                start = len(text[:start].encode())
                end = start + len(match.group().encode())
            found.append(Token(term, start, end, position, path))
        return found


def analyzer_of(name: str, custom: dict[str, Any]) -> Analyzer:
    """An analyzer by its name.

    :param custom: those that the index defines, by name.
    :raises SearchRefused: for one that the node does not have.
    """
    parts = _ANALYZERS.get(name)
    if name in custom:
        defined = custom[name] if isinstance(custom[name], dict) else {}
        parts = (str(defined.get("tokenizer")), tuple(defined.get("token_filters") or ()))
        if defined.get("char_filters"):
            parts = None
    if parts is None or parts[0] not in _TOKENIZERS or not set(parts[1]) <= set(_FILTERS):
        raise SearchRefused(
            f"the analyzer {name!r} is not evaluated by this node, which has"
            f" {', '.join(_ANALYZERS)}, and those of the tokenizers {', '.join(_TOKENIZERS)} with"
            f" the filters {', '.join(_FILTERS)}; script an answer"
        )
    return Analyzer(_TOKENIZERS[parts[0]], tuple(_FILTERS[each] for each in parts[1]))
