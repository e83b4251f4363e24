"""The body of a search request, read and checked before anything is searched.

Source: Couchbase's documentation, *Search Request JSON Properties*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from txcouchbase.testing.search.facets import Facet, facets_of
from txcouchbase.testing.search.highlights import style_of
from txcouchbase.testing.search.mapping import Mapping
from txcouchbase.testing.search.matchers import Matcher
from txcouchbase.testing.search.queries import matcher_of
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.sorting import Order, orders_of
from txcouchbase.testing.search.vectors import nearest_of

__all__ = ["Request", "request_of"]

SIZE = 10
"""How many hits are told if nobody says how many."""

MAX_WINDOW = 10_000
"""Of hits that may be skipped and told."""

TIMEOUT = 10.0
"""Seconds that a query may take if nobody says how many."""

_UNDONE = ("search_after", "search_before", "params")


@dataclass(frozen=True)
class Request:
    """What is asked for.

    :param query: None where only vectors are searched.
    :param nearest: None where no vectors are searched.
    :param fields: names of stored fields to be told.
    :param highlight: a style and fields, None for all of them; None for no fragments.
    :param collections: None for all.
    :param vectors: sequence numbers that must be indexed, by vBucket and its UUID.
    :param timeout: seconds.
    """

    query: Matcher | None
    nearest: Matcher | None
    size: int
    skip: int
    explain: bool
    scored: bool
    fields: list[str]
    highlight: tuple[str, list[str] | None] | None
    locations: bool
    orders: list[Order]
    facets: dict[str, Facet]
    collections: frozenset[str] | None
    vectors: dict[str, int]
    timeout: float
    shown: dict[str, Any] | None
    """The request, if it is to be repeated in the answer."""


def request_of(body: Any, mapping: Mapping, name: str) -> Request:
    """Read a request.

    :param body: its JSON.
    :param name: that of the index, as the client calls it.
    :raises SearchRefused: for what is wrong, and for what the node does not evaluate.
    """
    if not isinstance(body, dict):
        raise SearchRefused("parsing query request, err: not an object")
    size, skip = _count(body, "size", SIZE), _count(body, "from", 0)
    if size + skip > MAX_WINDOW:
        raise SearchRefused(
            f"bleveMaxResultWindow exceeded, from: {skip}, size: {size}, bleveMaxResultWindow:"
            f" {MAX_WINDOW}"
        )
    for member in _UNDONE:
        if body.get(member) is not None:
            raise SearchRefused(f"{member!r} is not evaluated by this node; script an answer")
    nearest = nearest_of(body, mapping)
    query = body.get("query")
    if query is None and nearest is None:
        raise SearchRefused("QueryBleve, err: unknown query type")
    score = body.get("score") or ""
    if score not in ("", "none", "default"):
        raise SearchRefused(f"the score {score!r} is not evaluated by this node; script an answer")
    timeout, vectors = _control(body.get("ctl"), name)
    collections = _texts(body, "collections")
    return Request(
        matcher_of(query, mapping) if query is not None else None,
        nearest,
        size,
        skip,
        _flag(body, "explain"),
        score != "none",
        _texts(body, "fields"),
        style_of(body.get("highlight")),
        _flag(body, "includeLocations"),
        orders_of(body.get("sort")),
        facets_of(body.get("facets")),
        frozenset(collections) or None,
        vectors,
        timeout,
        body if _flag(body, "showrequest") else None,
    )


def _count(body: dict[str, Any], member: str, default: int) -> int:
    value = body.get(member, default)
    if type(value) is not int or value < 0:
        raise SearchRefused(f"parsing query request, err: {member} must be a number of hits")
    return value


def _flag(body: dict[str, Any], member: str) -> bool:
    value = body.get(member)
    if value is not None and not isinstance(value, bool):
        raise SearchRefused(f"parsing query request, err: {member} must be true or false")
    return bool(value)


def _texts(body: dict[str, Any], member: str) -> list[str]:
    value = body.get(member) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SearchRefused(f"parsing query request, err: {member} must be an array of strings")
    return value


def _control(asked: Any, name: str) -> tuple[float, dict[str, int]]:
    """The timeout, and what must be indexed before the query is answered."""
    control = {} if asked is None else asked
    consistency = control.get("consistency") if isinstance(control, dict) else None
    consistency = {} if consistency is None else consistency
    if not isinstance(control, dict) or not isinstance(consistency, dict):
        raise SearchRefused("parsing query request, err: ctl and consistency must be objects")
    timeout = control.get("timeout", int(TIMEOUT * 1000))
    if type(timeout) is not int or timeout < 0:
        raise SearchRefused("parsing query request, err: timeout must be milliseconds")
    if consistency.get("level", "") not in ("", "at_plus"):
        raise SearchRefused(f"unsupported consistencyLevel: {consistency['level']!r}")
    vectors = consistency.get("vectors") or {}
    wanted = vectors.get(name) or {} if isinstance(vectors, dict) else None
    if not isinstance(wanted, dict) or any(type(each) is not int for each in wanted.values()):
        raise SearchRefused("parsing query request, err: vectors must be sequence numbers by index")
    return timeout / 1000 or TIMEOUT, wanted
