"""Requests and answers of the HTTP services, apart from any connection."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from txcouchbase.testing.management.accounts import Account

__all__ = ["Answer", "Call", "HttpRefused", "json_answer"]

MAX_FIELDS = 1000
"""How many fields of a query string or a form are read."""


MAX_DEPTH = 200
"""How deep the JSON of a request may be nested; what is stored is copied by recursion."""


class HttpRefused(Exception):
    """A request ends with another status than success.

    :param code: the HTTP status.
    :param value: the body: bytes as they are, anything else as JSON.
    :param headers: further headers.
    """

    def __init__(self, code: int, value: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, value)
        self.code = code
        self.value = value
        self.headers = headers or {}

    def answer(self) -> Answer:
        """What is sent."""
        if isinstance(self.value, bytes):
            return Answer(self.value, self.code, headers=self.headers)
        return Answer(_dump(self.value), self.code, headers=self.headers)


@dataclass
class Answer:
    """What a service says.

    :param body: the bytes, or an iterator of chunks that are sent as they are made. Each step of
        an iterator is a bounded piece of work; an empty chunk says "not yet".
    :param code: the HTTP status.
    """

    body: bytes | Iterator[bytes]
    code: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One HTTP request, taken apart.

    :param service: the name of the service that was asked.
    :param method: the method, in capitals.
    :param path: the path as it was sent, without the query string.
    :param arguments: the query string; of a name that comes twice, the last one counts.
    :param headers: by names in lower case.
    :param account: who asks, None before the login was checked.
    :param names: what the placeholders of the route stand for.
    :param node: the number of the node that was asked.
    """

    service: str
    method: str
    path: str
    arguments: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    account: Account | None = None
    names: dict[str, str] = field(default_factory=dict)
    node: int = 0

    @property
    def operation(self) -> str:
        """Method and path, percent-decoded, such as ``GET /pools/default``."""
        return f"{self.method} {unquote(self.path, errors='replace')}"

    def json(self) -> Any:
        """The body as JSON.

        :raises HttpRefused: 400 where it is none, or nested deeper than `MAX_DEPTH`.
        """
        try:
            # Stricter than the standard library: no NaN, no infinity, no half of a character.
            value = msgspec.json.decode(self.body)
            if self.body.count(b"[") + self.body.count(b"{") > MAX_DEPTH:
                _check_depth(value)
        except (ValueError, RecursionError) as error:
            raise HttpRefused(400, {"errors": {"_": f"the body is no JSON: {error}"}}) from None
        return value

    def form(self) -> dict[str, str]:
        """The body as fields of a form; of a name that comes twice, the last one counts.

        :raises HttpRefused: 400 where it is none.
        """
        return fields_of(self.body)

    def credentials(self) -> tuple[str, str] | None:
        """The name and password of basic authentication, None where there are none."""
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, separator, password = b64decode(encoded.strip(), validate=True).partition(b":")
            return (name.decode(), password.decode()) if separator else None
        except ValueError:
            return None


def fields_of(encoded: bytes) -> dict[str, str]:
    """The fields of a query string or of a form.

    :raises HttpRefused: 400 for bytes that are no UTF-8, or too many fields.
    """
    try:
        pairs = parse_qsl(
            encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise HttpRefused(400, {"errors": {"_": f"not a form: {error}"}}) from None
    return dict(pairs)


def json_answer(value: Any, code: int = 200) -> Answer:
    """An answer of JSON."""
    return Answer(_dump(value), code)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _dump(value: Any) -> bytes:
    # In ASCII, since documents may hold halves of surrogate pairs, which UTF-8 has not.
    return json.dumps(value, separators=(",", ":")).encode()
