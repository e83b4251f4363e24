"""Errors of the query service: their codes, messages and HTTP statuses.

Source: the SQL++ language reference, "SQL++ Error Codes", and the "Query Service REST API".
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "QueryError",
    "http_status",
    "no_index",
    "not_done",
    "syntax_error",
]

_STATUSES: dict[int, int] = {
    1000: 403,
    1010: 405,
    1080: 408,
    4000: 404,
    4040: 404,
    4050: 404,
    4300: 409,
    10000: 401,
    12003: 404,
    12004: 404,
    12016: 404,
    12020: 404,
    12021: 404,
    13014: 401,
}


def http_status(code: int) -> int:
    """The HTTP status of an answer whose first error has this code."""
    known = _STATUSES.get(code)
    if known is not None:
        return known
    return 400 if 1000 <= code < 5000 else 500


class QueryError(Exception):
    """A statement or a request that ends with an error.

    :param code: the server's number of it.
    :param message: what the server says.
    :param reason: what lies behind it, as errors of mutations have it.
    :param cause: what a transaction does about it, as its errors have it.
    """

    def __init__(
        self,
        code: int,
        message: str,
        reason: dict[str, Any] | None = None,
        cause: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.reason = reason
        self.cause = cause

    def as_dict(self) -> dict[str, Any]:
        """The error as a response has it."""
        found: dict[str, Any] = {"code": self.code, "msg": self.message}
        if self.reason is not None:
            found["reason"] = self.reason
        if self.cause is not None:
            found["cause"] = self.cause
        return found


def syntax_error(message: str) -> QueryError:
    """A statement that is not understood."""
    return QueryError(3000, f"syntax error - {message}")


def not_done(feature: str) -> QueryError:
    """Something that a server does and the node does not."""
    return QueryError(1020, f"{feature} not yet implemented")


def no_index(keyspace: str) -> QueryError:
    """A keyspace that cannot be read, since no index serves the statement."""
    return QueryError(
        4000,
        f"No index available on keyspace {keyspace} that matches your query. Use CREATE PRIMARY "
        f"INDEX ON {keyspace} to create a primary index, or check that your expected index is "
        "online.",
    )
