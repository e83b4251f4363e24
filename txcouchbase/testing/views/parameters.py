"""The parameters of a query of a view. No I/O.

Names are those of Couchbase's documentation, *Views REST API*; messages are those of its
``couchdb``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from txcouchbase.testing.http.calls import Call, HttpRefused

__all__ = ["NOTHING", "ParametersRefused", "ViewQuery", "query_of"]

STALE = ("false", "ok", "update_after")
NOTHING: Any = object()
"""Stands for a key that was not given; null is one."""


class ParametersRefused(Exception):
    """A query that a server does not take; the message says why."""


@dataclass(frozen=True)
class ViewQuery:
    """What is asked for.

    :param key: a key, or `NOTHING`; as the other keys.
    :param keys: several of them, in whose order the rows come; None where none were given.
    :param start_id: where rows of the start key begin.
    :param end_id: where rows of the end key end.
    :param level: how many items of a key that is an array tell groups apart: 0 for one group of
        all, None for whole keys.
    :param limit: None for all rows.
    """

    key: Any = NOTHING
    keys: list[Any] | None = None
    start: Any = NOTHING
    start_id: str | None = None
    end: Any = NOTHING
    end_id: str | None = None
    inclusive_end: bool = True
    descending: bool = False
    reduce: bool = False
    level: int | None = 0
    skip: int = 0
    limit: int | None = None
    debug: bool = False


def query_of(call: Call, reduces: bool) -> ViewQuery:
    """The query that a request makes; unknown parameters are nothing wrong.

    :param reduces: whether the view has a reduce function.
    :raises ParametersRefused: for what a server refuses.
    """
    keys = _keys(call)
    given: dict[str, Any] = {}
    for name, text in call.arguments.items():
        known = _PARAMETERS.get(name)
        if known is None:
            continue
        parameter, read = known
        try:
            given[parameter] = read(text)
        except (ValueError, RecursionError) as error:
            raise ParametersRefused(f"{name}: {error}") from None
    if "group" in given and "group_level" in given:
        raise ParametersRefused("Query parameter `group_level` is not compatible with `group`")
    if keys is not None and given.keys() & {"key", "start", "end"}:
        raise ParametersRefused("Query parameters of a range are not compatible with multi-get")
    if not reduces:
        if given.get("reduce"):
            raise ParametersRefused("Invalid URL parameter `reduce` for map view.")
        if given.keys() & {"group", "group_level"}:
            raise ParametersRefused(
                "Invalid URL parameter 'group' or 'group_level' for non-reduce view."
            )
    group, level = given.pop("group", False), given.pop("group_level", 0)
    for name in ("stale", "on_error", "full_set"):
        # There is one node, whose index has every change: nothing else can come of them.
        given.pop(name, None)
    given["reduce"] = reduces and given.get("reduce", True)
    return ViewQuery(**given, keys=keys, level=None if group else level)


def _keys(call: Call) -> list[Any] | None:
    if call.method != "POST" or not call.body:
        return None
    try:
        body = call.json()
    except HttpRefused:
        raise ParametersRefused("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ParametersRefused("the body is not an object")
    keys = body.get("keys")
    if keys is not None and not isinstance(keys, list):
        raise ParametersRefused("`keys` member must be a array.")
    return keys


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    raise ValueError(f'Invalid value for positive integer parameter: "{text}"')


def _boolean(text: str) -> bool:
    if text in ("true", "false"):
        return text == "true"
    raise ValueError(f'Invalid value for boolean paramter: "{text}"')


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise ValueError("invalid UTF-8 JSON") from None


def _stale(text: str) -> str:
    if text in STALE:
        return text
    raise ValueError("stale only available as stale=ok, stale=update_after or stale=false")


def _on_error(text: str) -> str:
    if text in ("continue", "stop"):
        return text
    raise ValueError("on_error only available as on_error=continue or on_error=stop")


_PARAMETERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "debug": ("debug", _boolean),
    "descending": ("descending", _boolean),
    "end_key": ("end", _json),
    "end_key_doc_id": ("end_id", str),
    "endkey": ("end", _json),
    "endkey_docid": ("end_id", str),
    "full_set": ("full_set", _boolean),
    "group": ("group", _boolean),
    "group_level": ("group_level", _number),
    "inclusive_end": ("inclusive_end", _boolean),
    "key": ("key", _json),
    "limit": ("limit", _number),
    "on_error": ("on_error", _on_error),
    "reduce": ("reduce", _boolean),
    "skip": ("skip", _number),
    "stale": ("stale", _stale),
    "start_key": ("start", _json),
    "start_key_doc_id": ("start_id", str),
    "startkey": ("start", _json),
    "startkey_docid": ("start_id", str),
}
"""By their names in a request: what each is, and how its text is read."""
