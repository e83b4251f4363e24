"""The parameters of a request to the query service.

Source: the "Query Service REST API", "Request-Level Parameters".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.transaction_data import Settings, Told

__all__ = ["Request", "duration_of", "parsed", "request_of"]


@dataclass
class Request:
    """What is asked for.

    :param timeout: seconds; None for no end.
    :param context: the bucket and scope of ``query_context``.
    """

    statement: str | None = None
    prepared: str | None = None
    auto_execute: bool = False
    client_context_id: str | None = None
    positional: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)
    context: tuple[str, str] | None = None
    timeout: float | None = None
    readonly: bool = False
    preserve_expiry: bool = False
    metrics: bool = True
    signature: bool = True
    profile: str = "off"
    pretty: bool = False
    settings: Settings = field(default_factory=Settings)


_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "\N{MICRO SIGN}s": 1e-6,
    "\N{GREEK SMALL LETTER MU}s": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION = re.compile(
    "([+-]?)((?:[0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(?:ns|us|\N{MICRO SIGN}s|"
    "\N{GREEK SMALL LETTER MU}s|ms|s|m|h))+"
)
_DURATION_PART = re.compile("([0-9.]+)([^0-9.]+)")


def duration_of(text: str) -> float:
    """Seconds of a duration such as ``1m30.5s``.

    :raises ValueError: for something else; a unit is needed.
    """
    if text == "0":
        return 0.0
    if len(text) > 100 or not _DURATION.fullmatch(text):
        raise ValueError(f"invalid duration {text[:40]!r}")
    sign = -1 if text.startswith("-") else 1
    return sign * sum(
        [float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text)]
    )


def _mismatch(name: str, wanted: str) -> QueryError:
    return QueryError(1070, f"{name} has to be of type {wanted}")


def _text(name: str, value: Any) -> str:
    if type(value) is not str:
        raise _mismatch(name, "string")
    return value


def _boolean(name: str, value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _mismatch(name, "boolean")


def _number(name: str, value: Any) -> int:
    if type(value) is int:
        return value
    try:
        if type(value) is str and len(value) < 20:
            return int(value)
    except ValueError:
        pass
    raise _mismatch(name, "number")


def _duration(name: str, value: Any) -> float:
    if type(value) is not str:
        raise _mismatch(name, "string")
    try:
        return duration_of(value)
    except ValueError as error:
        raise QueryError(1040, f"Error processing {name} - cause: {error}") from None


def _json(name: str, value: Any, wanted: type, word: str) -> Any:
    if type(value) is str:
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise _mismatch(name, word) from None
    if type(value) is not wanted:
        raise _mismatch(name, word)
    return value


def _array(name: str, value: Any) -> Any:
    return _json(name, value, list, "array")


def _object(name: str, value: Any) -> Any:
    return _json(name, value, dict, "object")


def _any(name: str, value: Any) -> Any:
    return value


def _told(name: str, value: Any) -> Told:
    try:
        return msgspec.convert(_object(name, value), Told)
    except msgspec.ValidationError as error:
        raise QueryError(1040, f"Error processing {name} - cause: {error}") from None


def _one_of(*allowed: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> str:
        text = {True: "on", False: "off"}.get(value, value) if type(value) is bool else value
        if type(text) is not str:
            raise _mismatch(name, "string")
        if text.lower() not in allowed:
            raise QueryError(1030, f"Unknown {name} value: {text}")
        return text.lower()

    return check


def _sparse_vector(name: str, value: Any) -> Any:
    """Sequence numbers by vBucket, or for every vBucket: each with the UUID of the vBucket."""
    if type(value) is str:
        value = _json(name, value, dict if value.lstrip().startswith("{") else list, "object")
    if type(value) not in (dict, list):
        raise _mismatch(name, "array or map of { number, string }")
    for entry in value.values() if type(value) is dict else value:
        if type(entry) is not list or len(entry) != 2:
            raise QueryError(1140, f"Array {entry!r} should be of length 2")
        if type(entry[0]) is not int or entry[0] < 0:
            raise QueryError(
                1150,
                f"Bad sequence number {entry[0]!r}. Expected an unsigned 64-bit integer.",
            )
        if type(entry[1]) is not str:
            raise QueryError(1155, f"Bad UUID {entry[1]!r}. Expected a string.")
    return value


def _vectors(name: str, value: Any) -> Any:
    found = _object(name, value)
    for vector in found.values():
        _sparse_vector(name, vector)
    return found


_SWITCH = _one_of("on", "off", "true", "false", "unset")

_PARAMETERS: dict[str, Callable[[str, Any], Any]] = {
    "args": _array,
    "atrcollection": _text,
    "auto_execute": _boolean,
    "auto_prepare": _boolean,
    "client_context_id": _text,
    "compression": _one_of("none"),
    "controls": _boolean,
    "creds": _any,
    "durability_level": _one_of(
        "none", "majority", "majorityandpersistactive", "persisttomajority"
    ),
    "durability_timeout": _duration,
    "encoded_plan": _text,
    "encoding": _one_of("utf-8"),
    "error_limit": _number,
    "format": _one_of("json"),
    "kvtimeout": _duration,
    "loglevel": _text,
    "max_parallelism": _number,
    "memory_quota": _number,
    "metrics": _boolean,
    "namespace": _text,
    "numatrs": _number,
    "pipeline_batch": _number,
    "pipeline_cap": _number,
    "prepared": _text,
    "preserve_expiry": _boolean,
    "pretty": _boolean,
    "profile": _one_of("off", "phases", "timings"),
    "query_context": _text,
    "readonly": _boolean,
    "scan_cap": _number,
    "scan_consistency": _one_of("not_bounded", "at_plus", "request_plus", "statement_plus"),
    "scan_vector": _sparse_vector,
    "scan_vectors": _vectors,
    "scan_wait": _duration,
    "signature": _boolean,
    "sort_projection": _boolean,
    "statement": _text,
    "timeout": _duration,
    "txdata": _told,
    "txid": _text,
    "tximplicit": _boolean,
    "txstmtnum": _number,
    "txtimeout": _duration,
    "use_cbo": _boolean,
    "use_fts": _boolean,
    "use_replica": _SWITCH,
}
"""What each parameter may be. The node has one copy of everything and no optimizer, so that many
of them change nothing."""

_CONTEXT = re.compile(
    r"""
    (?:(?:`(?P<quoted_namespace>[^`]+)`|(?P<namespace>[^`:.\s]+))?:)?
    (?:`(?P<quoted_bucket>[^`]+)`|(?P<bucket>[^`:.\s]+))
    \.
    (?:`(?P<quoted_scope>[^`]+)`|(?P<scope>[^`:.\s]+))
    """,
    re.VERBOSE,
)


def parsed(fields: dict[str, Any]) -> dict[str, Any]:
    """The values of parameters by their names in lower case; those of statements keep theirs.

    :raises QueryError: 1065 for an unknown name, 1070 for another type, 1030 and 1040 for a value
        that is none.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name[:1] in ("$", "@") and len(name) > 1:
            found[name] = value
            continue
        check = _PARAMETERS.get(name.lower())
        if check is None:
            raise QueryError(1065, f"Unrecognized parameter in request: {name}")
        if value is not None:
            found[name.lower()] = check(name.lower(), value)
    return found


def request_of(fields: dict[str, Any]) -> Request:
    """The request that parameters make.

    :param fields: by their names; those of statements have their values already.
    :raises QueryError: as `parsed`; 1050 without statement, 1060 with more than one.
    """
    values = parsed(fields)
    statement, prepared = values.get("statement"), values.get("prepared")
    if statement is None and prepared is None:
        raise QueryError(1050, "No statement or prepared value")
    if statement is not None and prepared is not None:
        raise QueryError(1060, "Multiple values for statement and prepared.")
    consistency = values.get("scan_consistency")
    if consistency == "at_plus" and not {"scan_vector", "scan_vectors"} & values.keys():
        raise QueryError(1050, "No scan_vector value")
    identity = values.get("client_context_id")
    if identity is not None and ("\\" in identity or '"' in identity):
        raise QueryError(1110, 'forbidden character (\\ or ") in client_context_id')
    timeout = values.get("timeout", 0.0)
    return Request(
        statement,
        prepared,
        values.get("auto_execute", False),
        identity,
        values.get("args", []),
        {name[1:]: value for name, value in values.items() if name[0] in "$@"},
        _context(values.get("query_context", "")),
        timeout if timeout > 0 else None,
        values.get("readonly", False),
        values.get("preserve_expiry", False),
        values.get("metrics", True),
        values.get("signature", True),
        values.get("profile", "off"),
        values.get("pretty", False),
        Settings(
            values.get("txid"),
            values.get("txdata", Told()),
            values.get("txtimeout"),
            values.get("tximplicit", False),
        ),
    )


def _context(text: str) -> tuple[str, str] | None:
    if text.rstrip(":") in ("", "default"):
        return None
    match = _CONTEXT.fullmatch(text)
    if match is None:
        raise QueryError(10201, f"Invalid query context specified: {text}")
    part = {name: value for name, value in match.groupdict().items() if value is not None}
    if part.get("namespace", part.get("quoted_namespace", "default")) != "default":
        raise QueryError(12002, f"Namespace not found in CB datastore: {text.partition(':')[0]}")
    bucket = part.get("bucket") or part["quoted_bucket"]
    return bucket, part.get("scope") or part["quoted_scope"]
