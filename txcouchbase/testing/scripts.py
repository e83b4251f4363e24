"""Scripted answers: what an HTTP service says to some requests in place of its own. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from txcouchbase.testing.faults import SERVICES
from txcouchbase.testing.http.calls import Call

__all__ = ["ROW_SERVICES", "ActiveScript", "Script", "Scripts"]

ROW_SERVICES: Final = ("query", "analytics", "search", "views")
"""The services whose answers have rows."""


@dataclass(frozen=True)
class Script:
    """An answer for the requests that match.

    :param service: ``mgmt``, ``query``, ``analytics``, ``search``, ``views`` or ``eventing``.
    :param match: a regular expression that must match somewhere in the statement (``query``,
        ``analytics``), or in method, path and body, such as
        ``POST /api/index/hotels/query {"query": ...}`` (the others).
    :param rows: the rows (search: the hits), or a function that takes the request (a `Call`:
        ``method path arguments headers body json() form()``) and returns them; of services that
        have rows only.
    :param metadata: members of the answer beside the rows, which replace those that the service
        would make (``metrics``, ``warnings``, ``total_hits``, ``facets``, ``total_rows``, ...).
    :param errors: the answer's errors, after the rows; ``{"code": ..., "msg": ...}``; of search
        ``{"partition": ..., "msg": ...}``, of views ``{"from": ..., "reason": ...}``.
    :param status: the HTTP status; None for 200, or 400 where there are errors and no rows.
    :param body: the whole body, in place of rows, metadata and errors.
    :param delay: seconds by which the answer leaves later.
    :param cut_after: after so many rows, and half of the next one, the connection closes.
    :param times: how many requests it answers; None for all.
    :raises ValueError: for what contradicts itself; it says what.
    """

    service: str
    match: str = ""
    rows: Iterable[Any] | Callable[[Call], Iterable[Any]] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    status: int | None = None
    body: bytes | None = None
    delay: float = 0.0
    cut_after: int | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        if self.service not in SERVICES or self.service == "kv":
            raise ValueError(f"service: {self.service!r} is no HTTP service")
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"match: not a regular expression: {error}") from None
        if not callable(self.rows) and not isinstance(self.rows, Iterable):
            raise ValueError("rows: neither rows nor a function that returns them")
        # Errors of search and views have no numbers, but partitions or nodes that they come from.
        wanted = ("code", "msg") if self.service in ("query", "analytics") else ()
        if not isinstance(self.errors, list) or not all(
            _is_error(error, wanted) for error in self.errors
        ):
            members = ', such as {"code": number, "msg": text}' if wanted else ""
            raise ValueError(f"errors: a list of objects{members}")
        if self.service not in ROW_SERVICES and self.body is None:
            raise ValueError(f"body: a script for {self.service} needs one; it has no rows")
        if self.body is not None and (
            self.rows or self.metadata or self.errors or self.cut_after is not None
        ):
            raise ValueError("body: stands in place of rows, metadata, errors and cut_after")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status: {self.status} is no HTTP status from 200 to 599")
        if self.delay < 0 or (self.cut_after or 0) < 0:
            raise ValueError("delay and cut_after cannot be negative")
        if self.times is not None and self.times < 1:
            raise ValueError("times: at least 1, or None for all")

    def rows_for(self, call: Call) -> Iterable[Any]:
        """The rows of an answer to a request."""
        return self.rows(call) if callable(self.rows) else self.rows


_ERROR_MEMBERS: Final = {"code": int, "msg": str}


def _is_error(error: Any, wanted: Iterable[str]) -> bool:
    return isinstance(error, dict) and all(
        isinstance(error.get(name), _ERROR_MEMBERS[name]) for name in wanted
    )


@dataclass
class ActiveScript:
    """A script in force.

    :param number: what tells it from others.
    :param answered: how many requests it has answered so far.
    """

    number: int
    script: Script
    answered: int = 0


class Scripts:
    """The scripts in force; the newest one that matches a request answers it."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._active: dict[int, ActiveScript] = {}

    def add(self, script: Script) -> ActiveScript:
        """Put a script into force, before those that are."""
        active = ActiveScript(next(self._numbers), script)
        self._active[active.number] = active
        return active

    def remove(self, number: int) -> None:
        """End a script.

        :raises LookupError: if there is none of that number.
        """
        if self._active.pop(number, None) is None:
            raise LookupError(f"no script {number}")

    def clear(self) -> None:
        """End all."""
        self._active.clear()

    def active(self) -> list[ActiveScript]:
        """Those in force, the oldest first."""
        return list(self._active.values())

    def find(self, service: str, subject: str) -> Script | None:
        """The script that answers a request, if one does; counts it.

        :param subject: the text in which scripts of this service search.
        """
        for active in reversed(self._active.values()):
            script = active.script
            if script.service != service or active.answered == script.times:
                continue
            if re.search(script.match, subject):
                active.answered += 1
                return script
        return None
