"""What arrived: a record of requests, by which a test proves what was sent. No I/O."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Record", "RecordedRequest", "without_secrets"]

MAX_REQUESTS = 10_000
"""How many requests are kept; older ones are forgotten first."""

MAX_BYTES = 256 * 1024 * 1024
"""How many bytes of bodies are kept at most, older ones being forgotten first too."""

_SECRET = re.compile(
    r"pass(word|phrase)?$|secret|(access|account|client|private|bearer)_?key$|signature$|token$"
    r"|connectionstring$",
    re.IGNORECASE,
)


def without_secrets(value: Any) -> Any:
    """A value of JSON, with the texts hidden whose names sound secret, however deep."""
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: "<hidden>"
        if item and isinstance(item, str) and _SECRET.search(name)
        else without_secrets(item)
        for name, item in value.items()
    }


@dataclass(frozen=True)
class RecordedRequest:
    """One request.

    :param service: ``kv``, ``mgmt``, ``query``, ``analytics``, ``search``, ``views``, ``eventing``.
    :param operation: the opcode's name, or method and path.
    :param account: the name of who asked; empty before the login.
    :param at: when it arrived, in seconds since the epoch.
    :param options: with passwords and other secrets hidden. ``kv``: the decoded extras and framing
        extras by name, such as ``expiry`` (seconds), ``flags``, ``cas``, ``durability``,
        ``preserve_expiry``, ``specs``. HTTP: the query string, and the members of a JSON body or
        the fields of a form.
    :param body: the document's bytes, or the HTTP body, as they came; not in the repr.
    :param key: the document's key (``kv`` only, as the following three).
    :param node: the number of the node at which it arrived.
    """

    service: str
    operation: str
    account: str
    at: float
    options: dict[str, Any] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    key: str | None = None
    bucket: str | None = None
    scope: str | None = None
    collection: str | None = None
    node: int = 0


class Record:
    """The requests of the time in which it was on, the oldest first.

    It keeps the newest 10,000, or fewer if their bodies are larger than 256 MiB together; older
    ones are forgotten, so that `find` does not find them. `dropped` tells how many, since the
    record was made or cleared: a test that counts many requests checks that it is 0.

    :param changed: told when it goes on or off.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._on = False
        self._requests: deque[RecordedRequest] = deque()
        self._bytes = 0
        self._dropped = 0

    def __iter__(self) -> Iterator[RecordedRequest]:
        return iter(tuple(self._requests))

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def dropped(self) -> int:
        """How many requests were forgotten, since there were too many."""
        return self._dropped

    @property
    def on(self) -> bool:
        """Whether requests are taken down."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        self._on = on
        self._changed()

    def add(self, request: RecordedRequest) -> None:
        """Take a request down."""
        self._requests.append(request)
        self._bytes += len(request.body)
        while len(self._requests) > MAX_REQUESTS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._requests.popleft().body)
            self._dropped += 1

    def clear(self) -> None:
        """Forget what was recorded."""
        self._requests.clear()
        self._bytes = self._dropped = 0

    def find(
        self,
        service: str | None = None,
        operation: str | None = None,
        key: str | None = None,
    ) -> list[RecordedRequest]:
        """The requests that are kept and have all of what is given.

        :param operation: the whole name; for HTTP, ``POST /query/service``.
        """
        return [
            request
            for request in self._requests
            if service in (None, request.service)
            and operation in (None, request.operation)
            and key in (None, request.key)
        ]
