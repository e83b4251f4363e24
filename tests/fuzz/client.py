"""A client that sends case after case, and sees what a node makes of them."""

from __future__ import annotations

import struct
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from tests.fuzz.connection import MARK, NOOP, Connection, Target
from tests.fuzz.corpus import SERVICES
from tests.fuzz.requests import HEADER, Requests

__all__ = ["Client", "Finding"]


@dataclass(frozen=True)
class Finding:
    """Something that a node should not do.

    :param sent: the bytes after which it did it, or the first of them.
    """

    what: str
    service: str
    sent: bytes

    def __str__(self) -> str:
        return f"{self.service}: {self.what} after {self.sent[:2000]!r}"


class Client:
    """Sends cases to a node, one after another.

    Attributes:
        counts: How many cases of each kind were sent.
        statuses: How many requests were answered with each status.
        slowest: The longest time that an answer took (seconds).

    :param seed: what decides.
    :param services: those to ask; all of the target by default.
    """

    def __init__(self, target: Target, seed: int, services: Iterable[str] | None = None) -> None:
        self._target = target
        self._random = Random(seed)
        token = b64encode(f"{target.username}:{target.password}".encode()).decode()
        self._requests = Requests(self._random, f"Basic {token}")
        self._services = [name for name in services or SERVICES if name in target.ports]
        self._connections: dict[str, Connection] = {}
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.slowest = 0.0

    def case(self) -> Finding | None:
        """Send one case; say what went wrong."""
        random = self._random
        started = time.monotonic()
        if "kv" in self._target.ports and (not self._services or random.random() < 0.35):
            service, kind, data = self._key_value_case()
        else:
            service, kind, data = self._http_case()
        self.counts[f"{service} {kind}"] += 1
        try:
            finding = self._send(service, kind, data)
        except (TimeoutError, OSError) as error:
            self._drop(service)
            finding = Finding(f"{type(error).__name__}: {error}", service, data)
        self.slowest = max(self.slowest, time.monotonic() - started)
        return finding

    def _key_value_case(self) -> tuple[str, str, bytes]:
        kind = self._random.choices(("frames", "nonsense", "abandoned"), (8, 3, 1))[0]
        if kind == "frames":
            return "kv", kind, self._requests.frames()
        return "kv", kind, self._requests.bad_frames()

    def _http_case(self) -> tuple[str, str, bytes]:
        random, requests = self._random, self._requests
        service = random.choice(self._services)
        kind = random.choices(("request", "nonsense", "abandoned", "pipelined"), (8, 3, 1, 1))[0]
        if kind == "nonsense":
            return service, kind, requests.nonsense(service)
        count = random.randrange(2, 5) if kind == "pipelined" else 1
        return service, kind, b"".join(requests.request(service) for _ in range(count))

    def _send(self, service: str, kind: str, data: bytes) -> Finding | None:
        if service == "kv":
            return self._send_frames(kind, data)
        if kind in ("nonsense", "abandoned"):
            return self._send_nonsense(service, kind, data)
        connection = self._connection(service)
        connection.write(data)
        wanted = data.count(b" HTTP/1.1\r\nHost: node\r\n")
        for number in range(wanted):
            answer = connection.answer()
            if answer is None:
                self._drop(service)
                # A node may close after an answer that says so.
                return None if number else Finding("no answer", service, data)
            self.statuses[f"{service} {answer[9:12].decode('latin-1')}"] += 1
            if b"in the embedded node" in answer and b" 500 " in answer[:20]:
                return Finding(f"a failure: {answer[:1000]!r}", service, data)
            if connection.ended:
                self._drop(service)
                break
        return None

    def _send_nonsense(self, service: str, kind: str, data: bytes) -> Finding | None:
        connection = Connection(self._target, service)
        try:
            connection.write(data)
            if kind == "abandoned":
                return None
            connection.shut()
            answer = connection.rest()
            if b" in the embedded node: " in answer:
                return Finding(f"a failure: {answer[:1000]!r}", service, data)
            return None
        finally:
            connection.close()

    def _send_frames(self, kind: str, data: bytes) -> Finding | None:
        if kind == "frames":
            connection = self._connection("kv")
            connection.write(data + HEADER.pack(0x80, NOOP, 0, 0, 0, 0, 0, MARK, 0))
            if not connection.until_marked():
                self._drop("kv")
            return None
        connection = self._logged_in()
        try:
            connection.write(data)
            if kind == "nonsense":
                connection.shut()
                connection.rest()
            return None
        finally:
            connection.close()

    def _connection(self, service: str) -> Connection:
        found = self._connections.get(service)
        if found is None or self._random.random() < 0.02:
            self._drop(service)
            found = self._logged_in() if service == "kv" else Connection(self._target, service)
            self._connections[service] = found
        return found

    def _logged_in(self) -> Connection:
        connection = Connection(self._target, "kv")
        if self._random.random() < 0.9:
            target = self._target
            features = struct.pack(">6H", 0x04, 0x06, 0x07, 0x08, 0x0B, 0x12)
            login = f"\0{target.username}\0{target.password}".encode()
            connection.write(
                _frame(0x1F, value=features)
                + _frame(0x21, b"PLAIN", login)
                + _frame(0x89, target.bucket.encode())
            )
        return connection

    def _drop(self, service: str) -> None:
        connection = self._connections.pop(service, None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """End all connections."""
        for service in list(self._connections):
            self._drop(service)


def _frame(opcode: int, key: bytes = b"", value: bytes = b"") -> bytes:
    length = len(key) + len(value)
    return HEADER.pack(0x80, opcode, len(key), 0, 0, 0, length, 0, 0) + key + value
