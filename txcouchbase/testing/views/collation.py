"""The order of keys in a view. No I/O.

Source: CouchDB's documentation, "Views Collation". Servers compare strings by the rules of Unicode;
here it is letters first, then accents, then capitals, with the order of ASCII's signs as it is
given there.
"""

from __future__ import annotations

from typing import Any, Final
from unicodedata import combining, normalize

__all__ = ["collated"]

_SIGNS: Final = "\t\n\v\f\r `^_-,;:!?.'\"()[]{}@*/\\&#%+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_RANKS: Final = {sign: rank for rank, sign in enumerate(_SIGNS)}


def collated(value: Any) -> tuple[Any, ...]:
    """A key that sorts as views do.

    The order: null, false, true, numbers, strings, arrays item by item, objects member by member
    as they were written.

    :raises TypeError: for what JSON has not.
    """
    if value is None or isinstance(value, bool):
        return ({None: 0, False: 1, True: 2}[value],)
    if isinstance(value, (int, float)):
        return (3, value)
    if isinstance(value, str):
        return (4, _text(value))
    if isinstance(value, dict):
        return (6, [(_text(name), collated(member)) for name, member in value.items()])
    if isinstance(value, (list, tuple)):
        return (5, [collated(item) for item in value])
    raise TypeError(f"{value!r} is no value of JSON")


def _text(text: str) -> tuple[Any, ...]:
    letters: list[int] = []
    accents: list[str] = []
    capitals: list[bool] = []
    for character in normalize("NFD", text):
        if combining(character):
            accents[-1:] = [accents[-1] + character] if accents else [character]
            continue
        small = character.lower()
        letters.append(_RANKS.get(small, len(_SIGNS) + ord(small[0])))
        accents.append("")
        capitals.append(small != character)
    # Texts that differ in nothing of this are still not the same.
    return letters, accents, capitals, text
