"""Errors of the eventing service: names, numbers and statuses.

From Couchbase's ``eventing`` (``service_manager/response/defs.go``); ``GET /getErrorCodes`` of a
server shows them too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ERRORS", "EventingRefused"]

ERRORS: dict[str, tuple[int, int]] = {
    "ERR_APP_NOT_DEPLOYED": (12, 406),
    "ERR_APP_NOT_FOUND_TS": (13, 404),
    "ERR_UNMARSHAL_PLD": (16, 400),
    "ERR_SRC_MB_SAME": (17, 422),
    "ERR_APP_ALREADY_DEPLOYED": (20, 422),
    "ERR_APP_NOT_BOOTSTRAPPED": (21, 423),
    "ERR_APP_NOT_UNDEPLOYED": (22, 422),
    "ERR_HANDLER_COMPILATION": (27, 422),
    "ERR_APPNAME_MISMATCH": (29, 422),
    "ERR_INVALID_CONFIG": (38, 400),
    "ERR_APPCODE_SIZE": (39, 400),
    "ERR_BUCKET_MISSING": (41, 400),
    "ERR_BUCKET_ACCESS": (49, 400),
    "ERR_COLLECTION_MISSING": (57, 400),
    "INTERNAL_SERVER_ERROR": (59, 500),
    "ERR_FORBIDDEN": (60, 403),
    "ERR_INVALID_REQUEST": (63, 400),
    "ERR_APP_PAUSED": (64, 422),
}
"""Number and HTTP status by name."""


class EventingRefused(Exception):
    """A request that the eventing service refuses.

    :param name: one of `ERRORS`.
    :param description: what a server says.
    """

    def __init__(self, name: str, description: Any) -> None:
        super().__init__(name, description)
        self.name = name
        self.description = description
        self.number, self.status = ERRORS[name]

    def as_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"name": self.name, "code": self.number, "description": self.description}
