"""Errors of the analytics service.

Numbers are those that Couchbase's clients tell apart, and of the ranges that its documentation
gives (*Analytics error codes*): 21000 request, 24000 compilation, 25000 internal.
"""

from __future__ import annotations

from typing import Any

from txcouchbase.testing.query.errors import QueryError

__all__ = [
    "COLLECTION_EXISTS",
    "COLLECTION_MISSING",
    "COLLECTION_UNKNOWN",
    "COMPILATION",
    "FORBIDDEN",
    "INDEX_EXISTS",
    "INDEX_MISSING",
    "INTERNAL",
    "LINK_EXISTS",
    "LINK_MISSING",
    "REQUEST",
    "SCOPE_EXISTS",
    "SCOPE_MISSING",
    "TIMEOUT",
    "AnalyticsRefused",
    "not_done",
    "refusal",
]

FORBIDDEN = 20001
TIMEOUT = 21002
REQUEST = 21003
COMPILATION = 24000
LINK_MISSING = 24006
COLLECTION_MISSING = 24025
SCOPE_MISSING = 24034
SCOPE_EXISTS = 24039
COLLECTION_EXISTS = 24040
COLLECTION_UNKNOWN = 24045
INDEX_MISSING = 24047
INDEX_EXISTS = 24048
LINK_EXISTS = 24055
INTERNAL = 25000


class AnalyticsRefused(Exception):
    """A request that the analytics service refuses.

    :param code: one of the numbers of this module.
    :param message: what a server says.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status."""
        return {FORBIDDEN: 403, TIMEOUT: 503, INTERNAL: 500}.get(self.code, 400)

    def as_dict(self) -> dict[str, Any]:
        """The error as answers have it."""
        return {"code": self.code, "msg": self.message}


def not_done(feature: str) -> AnalyticsRefused:
    """Something that a server does and the node does not."""
    return AnalyticsRefused(
        INTERNAL, f"Internal error: {feature} is not done by this node; script an answer"
    )


_NOT_DONE, _OUT_OF_TIME, _REFUSED = 1020, 1080, range(3000, 5000)


def refusal(error: QueryError) -> AnalyticsRefused:
    """What the analytics service says where the query service would say this."""
    message = error.message
    if error.code == _NOT_DONE:
        return not_done(message.removesuffix(" not yet implemented"))
    if error.code == _OUT_OF_TIME:
        return AnalyticsRefused(TIMEOUT, "Request timed out and will be cancelled")
    if error.code in _REFUSED:
        return AnalyticsRefused(COMPILATION, message.replace("syntax error - ", "Syntax error: "))
    return AnalyticsRefused(INTERNAL, f"Internal error: {message}")
