"""The query string language: words, phrases, patterns and ranges, with fields, signs and boosts.

Source: Couchbase's documentation, *Query String Queries*. It has no parentheses, and no ``AND``,
``OR`` and ``NOT`` either: they are words like others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from txcouchbase.testing.search.refusals import SearchRefused

__all__ = ["Clause", "clauses"]


@dataclass(frozen=True)
class Clause:
    """One part of a query string.

    :param sign: ``+`` for what must be, ``-`` for what must not be, or nothing.
    :param field: nothing for the index's default.
    :param query: as JSON, without field and boost.
    """

    sign: str
    field: str
    query: dict[str, Any]
    boost: float


_WORD = r"(?:\\.|[^\s\\:^~\"])"
_CLAUSE = re.compile(
    rf"""\s*(?P<sign>[+-]?)
    (?:(?P<field>{_WORD}+):)?
    (?:
        "(?P<phrase>(?:\\.|[^"\\])*)"
      | /(?P<regexp>(?:\\/|[^/])+)/
      | (?P<compare>[<>]=?)(?:"(?P<date>[^"]*)"|(?P<bound>-?[0-9.]+))
      | (?P<word>{_WORD}+)
    )
    (?:~(?P<fuzziness>[0-9]?))?
    (?:\^(?P<boost>[0-9.]+))?
    (?=\s|\Z)""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")


def clauses(text: str) -> Iterator[Clause]:
    """The parts of a query string.

    :raises SearchRefused: where it is none.
    """
    at = 0
    while text[at:].strip():
        found = _CLAUSE.match(text, at)
        if found is None:
            raise SearchRefused(f"parse error: syntax error in the query string at {text[at:]!r}")
        at = found.end()
        try:
            boost = float(found["boost"] or 1.0)
        except ValueError:
            raise SearchRefused(f"parse error: the boost {found['boost']!r}") from None
        field = _ESCAPED.sub(r"\1", found["field"] or "")
        yield Clause(found["sign"], field, _query(found), boost)


def _query(found: re.Match[str]) -> dict[str, Any]:
    if found["phrase"] is not None:
        return {"match_phrase": _ESCAPED.sub(r"\1", found["phrase"])}
    if found["regexp"] is not None:
        return {"regexp": found["regexp"].replace("\\/", "/")}
    if found["compare"] is not None:
        return _bounded(found["compare"], found["date"], found["bound"])
    word = found["word"]
    if re.search(r"(?<!\\)[*?]", word):
        return {"wildcard": word}
    query: dict[str, Any] = {"match": _ESCAPED.sub(r"\1", word)}
    if found["fuzziness"] is not None:
        query["fuzziness"] = int(found["fuzziness"] or 1)
    return query


def _bounded(compare: str, date: str | None, bound: str | None) -> dict[str, Any]:
    low, high = ("start", "end") if date is not None else ("min", "max")
    name = low if compare[0] == ">" else high
    try:
        value: Any = date if bound is None else float(bound)
    except ValueError:
        raise SearchRefused(f"parse error: the number {bound!r}") from None
    return {name: value, f"inclusive_{name}": compare.endswith("=")}
