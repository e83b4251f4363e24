"""What the management service's handlers ask of a request: rights, and fields that make sense."""

from __future__ import annotations

import re
from collections.abc import Iterable

from txcouchbase.testing.http.calls import Call, HttpRefused
from txcouchbase.testing.management.accounts import Account

__all__ = ["Form", "invalid", "missing", "require"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}

_NAMED = {
    "admin": "cluster.admin!write",
    "buckets": "cluster.buckets!create",
    "collections": "cluster.bucket[{}].collections!write",
    "flush": "cluster.bucket[{}]!flush",
    "manage": "cluster.bucket[{}].settings!write",
    "security": "cluster.admin.security!read",
    "settings": "cluster.bucket[{}].settings!read",
    "users": "cluster.admin.users!write",
}
"""The permissions of the node, as a server's refusal calls them."""


def require(call: Call, permission: str, bucket: str | None = None) -> Account:
    """Who asks, if that one may.

    :param permission: one of `roles.PERMISSIONS`.
    :param bucket: where; None for anywhere.
    :raises HttpRefused: 403, with the permission that lacks.
    """
    account = call.account
    if account is None or not account.may(permission, bucket):
        raise HttpRefused(
            403,
            {
                "message": "Forbidden. User needs the following permissions",
                "permissions": [_NAMED[permission].format(bucket or "")],
            },
        )
    return account


def invalid(**errors: str) -> HttpRefused:
    """The refusal of a request whose fields make no sense; ``_`` stands for the whole."""
    return HttpRefused(400, {"errors": errors})


def missing() -> HttpRefused:
    """The refusal of a request for a bucket that does not exist."""
    return HttpRefused(404, b"Requested resource not found.\r\n")


class Form:
    """The fields of a form, of which each is asked for once.

    All that is wrong is gathered; `close` raises it.

    :param call: the request.
    :raises HttpRefused: 400 where the body is no form.
    """

    def __init__(self, call: Call) -> None:
        self._fields = call.form()
        self.errors: dict[str, str] = {}

    def text(self, name: str, required: bool = False) -> str | None:
        """A field as it is; None if it lacks."""
        given = self._fields.pop(name, None)
        if given is None and required:
            self.errors[name] = "The value must be supplied"
        return given

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number."""
        given = self.text(name)
        if given is None:
            return None
        if not _INTEGER.match(given):
            self.errors[name] = "The value must be an integer"
            return None
        if not low <= int(given) <= high:
            self.errors[name] = f"The value must be in range from {low} to {high} (inclusive)"
            return None
        return int(given)

    def flag(self, name: str) -> bool | None:
        """True or false."""
        given = self.text(name)
        if given is None:
            return None
        if given not in _FLAGS:
            self.errors[name] = "The value must be one of the following: [true,false]"
            return None
        return _FLAGS[given]

    def names(self) -> Iterable[str]:
        """The fields that nobody has asked for yet."""
        return tuple(self._fields)

    def close(self) -> None:
        """End the reading.

        :raises HttpRefused: 400 with all that was wrong, among it fields that nobody asked for.
        """
        for name in self._fields:
            self.errors[name] = "Unsupported key"
        if self.errors:
            raise invalid(**self.errors)
