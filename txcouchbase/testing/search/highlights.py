"""What a hit shows of its document: stored fields, places of terms, and fragments around them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from txcouchbase.testing.search.analyzers import Token
from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.matchers import Place
from txcouchbase.testing.search.refusals import SearchRefused

__all__ = ["STYLES", "fragments", "locations", "stored_fields", "style_of"]

FRAGMENT = 200
"""Characters of a fragment."""

STYLES = {"html": ("<mark>", "</mark>"), "ansi": ("\x1b[43m", "\x1b[0m")}
"""What is put around a term."""


def style_of(asked: Any) -> tuple[str, list[str] | None] | None:
    """The style of a request and its fields, None for all; None where nothing is highlighted.

    :raises SearchRefused: for what is wrong with it.
    """
    if asked is None:
        return None
    if not isinstance(asked, dict):
        raise SearchRefused("cannot unmarshal: highlight must be an object")
    style, fields = asked.get("style") or "html", asked.get("fields")
    if not isinstance(style, str) or style not in STYLES:
        raise SearchRefused(f"no highlighter named `{style}` registered")
    if fields is not None and not (
        isinstance(fields, list) and all(isinstance(each, str) for each in fields)
    ):
        raise SearchRefused("cannot unmarshal: fields of highlight must be an array of strings")
    return style, fields or None


def stored_fields(index: Documents, row: int, wanted: list[str]) -> dict[str, Any]:
    """The stored values of a document's fields; a field with many has a list.

    :param wanted: their names, or ``*`` for all.
    """
    values: dict[str, list[Any]] = {}
    for each in index.fields(row):
        if each.store and ("*" in wanted or each.name in wanted):
            value = list(each.value) if each.kind == "geopoint" else each.raw
            values.setdefault(each.name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def locations(places: Iterable[Place]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Places of terms, by field and term."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, token in _distinct(places):
        shown = {
            "pos": token.position,
            "start": token.start,
            "end": token.end,
            "array_positions": list(token.path) or None,
        }
        found.setdefault(name, {}).setdefault(token.term, []).append(shown)
    return found


def fragments(
    index: Documents, row: int, places: Iterable[Place], style: str, wanted: list[str] | None
) -> dict[str, list[str]]:
    """Pieces of stored texts with the terms marked.

    :param wanted: names of fields; None for all that have terms.
    """
    found: dict[str, list[str]] = {}
    marked: dict[tuple[str, tuple[int, ...]], list[Token]] = {}
    for name, token in _distinct(places):
        if wanted is None or name in wanted:
            marked.setdefault((name, token.path), []).append(token)
    for each in index.fields(row):
        tokens = marked.get((each.name, each.path))
        if tokens and each.store and each.kind == "text" and each.name not in found:
            found[each.name] = [_fragment(each.value, tokens, style)]
    return found


def _distinct(places: Iterable[Place]) -> list[Place]:
    return sorted(set(places), key=lambda place: (place[0], place[1].path, place[1].start))


def _fragment(text: str, tokens: list[Token], style: str) -> str:
    """The first piece of a text that has a term."""
    encoded = text.encode()
    before, after = STYLES[style]
    begin = 0 if tokens[-1].end <= FRAGMENT else max(0, tokens[0].start - FRAGMENT // 4)
    end = min(len(encoded), begin + FRAGMENT)
    while 0 < begin and encoded[begin] & 0xC0 == 0x80:
        begin -= 1
    while end < len(encoded) and encoded[end] & 0xC0 == 0x80:
        end += 1

    def part(start: int, stop: int) -> str:
        shown = encoded[start:stop].decode("utf-8", "replace")
        return escape(shown) if style == "html" else shown

    pieces, at = ["\u2026"] if begin else [], begin
    for token in tokens:
        if token.start >= at and token.end <= end:
            pieces += [part(at, token.start), before, part(token.start, token.end), after]
            at = token.end
    pieces.append(part(at, end))
    return "".join(pieces) + ("\u2026" if end < len(encoded) else "")
