"""A connection that reads as much of an answer as is needed."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from tests.fuzz.requests import HEADER

__all__ = ["ANSWER_WITHIN", "MARK", "NOOP", "Connection", "Target"]

ANSWER_WITHIN = 5.0
"""Seconds within which a node has to say something, or to close the connection."""

MOST_READ = 1 << 20
"""Bytes of an answer after which a client has read enough."""

NOOP = 0x0A
MARK = 0x0FEDCBA9
"""The opaque of a frame that comes after all others of a case."""


@dataclass(frozen=True)
class Target:
    """Where a node listens.

    :param ports: by the names of the services, ``kv`` and ``control`` among them.
    """

    host: str
    ports: dict[str, int]
    username: str = "Administrator"
    password: str = "password"
    bucket: str = "default"


@dataclass
class Connection:
    """One connection to one port.

    Attributes:
        ended: Whether the node closes it after the answer that was read last.
    """

    target: Target
    service: str
    ended: bool = False
    _received: bytes = b""
    _socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        address = (self.target.host, self.target.ports[self.service])
        self._socket = socket.create_connection(address, timeout=ANSWER_WITHIN)

    def write(self, data: bytes) -> None:
        """Send all of it, unless the node has closed."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True

    def shut(self) -> None:
        """Say that nothing more comes."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended = True

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _more(self) -> bool:
        """Read on; whether there was anything.

        :raises TimeoutError: if the node says nothing.
        """
        try:
            data = self._socket.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self._received += data
        self.ended = self.ended or not data
        return bool(data)

    def rest(self) -> bytes:
        """What the node says until it closes, or enough of it."""
        while len(self._received) < MOST_READ and self._more():
            pass
        return self._received

    def frame(self) -> bytes | None:
        """The next frame; None if the node closes."""
        while True:
            if len(self._received) >= 24:
                stop = 24 + HEADER.unpack_from(self._received)[6]
                if len(self._received) >= stop:
                    found, self._received = self._received[:stop], self._received[stop:]
                    return found
            if not self._more():
                return None

    def until_marked(self) -> bool:
        """Read frames up to the answer to the one that is marked; False if the node closes."""
        while (found := self.frame()) is not None:
            header = HEADER.unpack_from(found)
            if header[1] == NOOP and header[7] == MARK:
                return True
        return False

    def answer(self) -> bytes | None:
        """The next answer, or the first part of a long one; None if the node closes."""
        while b"\r\n\r\n" not in self._received:
            if not self._more():
                return None
        head, _, _ = self._received.partition(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        start = len(head) + 4
        if any(line.replace(b" ", b"") == b"connection:close" for line in fields):
            self.ended = True
        if any(line.startswith(b"transfer-encoding:") for line in fields):
            return self._chunked(start)
        length = next((int(line[15:]) for line in fields if line.startswith(b"content-length:")), 0)
        if head.split(b" ", 2)[1:2] in ([b"204"], [b"304"]):
            length = 0
        while len(self._received) < start + length:
            if not self._more():
                return None
        found = self._received[: start + length]
        self._received = self._received[start + length :]
        return found

    def _chunked(self, at: int) -> bytes | None:
        first = self._received[: at + 1000]
        while True:
            line = self._received.find(b"\r\n", at)
            if line >= 0:
                size = int(self._received[at:line].split(b";")[0], 16)
                stop = line + 4 + size
                while len(self._received) < stop:
                    if not self._more():
                        return None
                if not first[at:]:
                    first = self._received[:stop][: at + 1000]
                if not size:
                    self._received = self._received[stop:]
                    return first
                if stop > MOST_READ:
                    self.ended = True
                    return first
                at = stop
            elif not self._more():
                return None
