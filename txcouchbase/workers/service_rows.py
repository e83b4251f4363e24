"""`row_maker`: from a hit or a view's row as the service sends it to the binding's map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from txcouchbase.amp import wire
from txcouchbase.workers.answers import MalformedAnswer

__all__ = ["row_maker"]

_NOTHING: Final = msgspec.Raw()

_Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class _Hit(msgspec.Struct, gc=False):
    index: str = ""
    id: str = ""
    score: float = 0.0
    locations: msgspec.Raw = _NOTHING
    fragments: msgspec.Raw = _NOTHING
    fields: msgspec.Raw = _NOTHING
    explanation: msgspec.Raw = _NOTHING


class _Location(msgspec.Struct, gc=False):
    pos: _Unsigned
    start: _Unsigned
    end: _Unsigned
    array_positions: msgspec.Raw = _NOTHING


class _Row(msgspec.Struct, gc=False):
    key: msgspec.Raw
    value: msgspec.Raw
    id: Any = None


_hit: Final = msgspec.json.Decoder(_Hit).decode
_row: Final = msgspec.json.Decoder(_Row).decode
_locations: Final = msgspec.json.Decoder(dict[str, dict[str, list[_Location]]]).decode
_fragments: Final = msgspec.json.Decoder(dict[str, list[str]]).decode
_positions: Final = msgspec.json.Decoder(list[_Unsigned]).decode


def row_maker(service: str) -> Callable[[bytes], bytes] | None:
    """What makes a row's map.

    Args:
        service: ``query``, ``analytics``, ``search`` or ``views``.

    Returns:
        From a row's JSON to its map as `txcouchbase.amp.wire` has it, raising `MalformedAnswer` for
        a row that is not as it must be. None where rows are handed on as they are.
    """
    return _MAKERS.get(service)


def _made(make: Callable[[bytes], dict[str, Any]]) -> Callable[[bytes], bytes]:
    def made(row: bytes) -> bytes:
        try:
            return wire.encode(make(row))
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise MalformedAnswer(f"a row is not as it must be: {error}") from None

    return made


def _search_row(row: bytes) -> dict[str, Any]:
    hit = _hit(row)
    return {
        "index": hit.index,
        "id": hit.id,
        "score": hit.score,
        "locations": _flat(hit.locations) if _is_object(hit.locations) else [],
        "fragments": _fragments(hit.fragments) if _is_object(hit.fragments) else {},
        "fields": _text(hit.fields) if _is_object(hit.fields) else "",
        "explanation": _text(hit.explanation) if _is_object(hit.explanation) else "",
    }


def _flat(locations: msgspec.Raw) -> list[dict[str, Any]]:
    return [
        {
            "field": field,
            "term": term,
            "position": found.pos,
            "start_offset": found.start,
            "end_offset": found.end,
            "array_positions": _array_positions(found.array_positions),
        }
        for field, terms in sorted(_locations(locations).items())
        for term, places in sorted(terms.items())
        for found in places
    ]


def _array_positions(positions: msgspec.Raw) -> list[int] | None:
    return _positions(positions) if _begins(positions, b"[") else None


def _view_row(row: bytes) -> dict[str, Any]:
    found = _row(row)
    return {
        "id": found.id if isinstance(found.id, str) else None,
        "key": _text(found.key),
        "value": _text(found.value),
    }


def _is_object(part: msgspec.Raw) -> bool:
    return _begins(part, b"{")


def _begins(part: msgspec.Raw, mark: bytes) -> bool:
    return bytes(memoryview(part)[:1]) == mark


def _text(part: msgspec.Raw) -> str:
    return bytes(part).decode()


_MAKERS: Final = {"search": _made(_search_row), "views": _made(_view_row)}
