"""How the search service refuses a request."""

from __future__ import annotations

__all__ = ["SearchRefused"]


class SearchRefused(Exception):
    """A request that the search service refuses.

    :param message: what a server says.
    :param code: the HTTP status.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
