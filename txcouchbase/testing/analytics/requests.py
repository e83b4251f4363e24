"""The parameters of a request for a statement. No I/O.

Source: Couchbase's documentation, *Analytics Service REST API*.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from txcouchbase.testing.analytics.errors import REQUEST, AnalyticsRefused
from txcouchbase.testing.analytics.metadata import DEFAULT_SCOPE
from txcouchbase.testing.analytics.statements import Path
from txcouchbase.testing.http.calls import Call, HttpRefused
from txcouchbase.testing.query.parameters import duration_of

__all__ = ["Request", "fields_of_call", "request_of"]

_PART = r"`[^`]+`|\w+"
_CONTEXT = re.compile(rf"default:((?:{_PART})(?:\.(?:{_PART}))*)")


@dataclass(frozen=True)
class Request:
    """What is asked for.

    :param context: the scope of names that name none.
    :param positional: what ``$1`` and on, or ``?``, stand for.
    :param named: by their names without the dollar sign.
    :param timeout: seconds; None for no end.
    """

    statement: str
    context: Path = (DEFAULT_SCOPE,)
    positional: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)
    readonly: bool = False
    timeout: float | None = None


def fields_of_call(call: Call) -> dict[str, Any]:
    """The parameters of a request as they came; none where the body holds none."""
    try:
        if "x-www-form-urlencoded" in call.headers.get("content-type", ""):
            return _from_text(call.arguments | call.form())
        body = call.json() if call.body else {}
    except HttpRefused:
        return {}
    return _from_text(call.arguments) | body if isinstance(body, dict) else {}


def _from_text(fields: dict[str, str]) -> dict[str, Any]:
    """The fields of a form: what goes into the statement is JSON."""
    found: dict[str, Any] = dict(fields)
    for name, text in fields.items():
        if name == "args" or name[:1] == "$":
            with suppress(ValueError, RecursionError):
                found[name] = msgspec.json.decode(text)
    return found


def request_of(fields: dict[str, Any]) -> Request:
    """The request that parameters make; unknown ones are nothing wrong.

    :raises AnalyticsRefused: REQUEST for what is missing, or is no value of its parameter.
    """
    statement = fields.get("statement")
    if not isinstance(statement, str) or not statement.strip():
        raise AnalyticsRefused(REQUEST, "Required parameter missing: statement")
    values = {
        name: check(fields[name])
        for name, check in _PARAMETERS.items()
        if fields.get(name) is not None
    }
    for name, value in values.items():
        if value is None:
            raise AnalyticsRefused(
                REQUEST, f'Invalid value for parameter "{name}": {fields[name]!r}'
            )
    named = {name[1:]: fields[name] for name in fields if name[:1] == "$" and name[1:]}
    return Request(
        statement,
        values.get("query_context") or (DEFAULT_SCOPE,),
        values.get("args", []),
        named,
        values.get("readonly", False),
        values.get("timeout") or None,
    )


def _array(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _boolean(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(str(value).lower())


def _duration(value: Any) -> float | None:
    try:
        return max(duration_of(value), 0.0) if isinstance(value, str) else None
    except ValueError:
        return None


def _consistency(value: Any) -> str | None:
    return value if value in ("not_bounded", "request_plus") else None


def _context(value: Any) -> Path | None:
    """The scope that a query context names."""
    if value == "":
        return ()
    match = _CONTEXT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    return tuple(part.strip("`") for part in re.findall(_PART, match.group(1)))


_PARAMETERS: dict[str, Callable[[Any], Any]] = {
    "args": _array,
    "query_context": _context,
    "readonly": _boolean,
    "scan_consistency": _consistency,
    "scan_wait": _duration,
    "timeout": _duration,
}
"""What each parameter may be; None is no value. Every query sees all mutations, whatever
consistency is asked for."""
