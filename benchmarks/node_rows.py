"""How fast do rows of a query leave the embedded node, and does it do its other work meanwhile?

A bare socket reads the rows and counts bytes; what they say is checked once, apart from the
measurements, and later answers must be as long. Another process asks for one document again and
again, at a pace, with and without the rows; the node runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import struct
import time
from base64 import b64encode
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

from support import median, percentile, print_table, resident, server, service_ports

STATEMENTS = {
    "RAW n": "SELECT RAW n FROM ARRAY_RANGE(0, {rows}) AS n",
    "n, 60 characters": "SELECT n, '" + "x" * 60 + "' AS s FROM ARRAY_RANGE(0, {rows}) AS n",
}
ROWS_PER_SECOND, FIRST_BYTE, LATENCY = 150_000, 20.0, 20.0
"""What is wanted: rows per second at least, milliseconds at most."""

PACE = 0.002
"""Seconds between two gets."""

LAST_CHUNK = b"\r\n0\r\n\r\n"

HEADER = struct.Struct(">BBHBBHIIQ")


@dataclass
class Reading:
    """What one query took.

    Attributes:
        rate: Rows per second.
        first: Milliseconds until the first byte of the body.
        growth: By how much the node's memory grew at most (MiB).
    """

    rate: float
    first: float
    growth: float


def requested(where: dict[str, str], statement: str, rows: int) -> bytes:
    """The request for a query."""
    body = json.dumps({"statement": statement.format(rows=rows), "metrics": True}).encode()
    token = b64encode(f"{where['username']}:{where['password']}".encode()).decode()
    return (
        f"POST /query/service HTTP/1.1\r\nHost: node\r\nAuthorization: Basic {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def checked(where: dict[str, str], port: int, statement: str, rows: int) -> int:
    """Run a query, and see that it is answered with what it asks for.

    :returns: bytes of the answer.
    :raises RuntimeError: if it is not.
    """
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(requested(where, statement, rows))
        while not received.endswith(LAST_CHUNK):
            data = connection.recv(1 << 20)
            if not data:
                raise RuntimeError("the node has closed the connection")
            received += data
    answer = bytes(received)
    at, chunks = answer.index(b"\r\n\r\n") + 4, []
    while size := int(answer[at : (line := answer.index(b"\r\n", at))], 16):
        chunks.append(answer[line + 2 : line + 2 + size])
        at = line + size + 4
    found = json.loads(b"".join(chunks))["results"]
    numbers = [row["n"] if isinstance(row, dict) else row for row in found]
    if numbers != list(range(rows)):
        raise RuntimeError(f"wrong rows: {answer[:500]!r}")
    return len(answer)


def read(where: dict[str, str], port: int, statement: str, rows: int, length: int) -> Reading:
    """Run a query and read all of it.

    :param length: bytes that the answer has, about.
    :raises RuntimeError: if it is not answered with that many rows.
    """
    request = requested(where, statement, rows)
    pid = int(where["pid"])
    before = most = resident(pid)
    size, looked, head, tail, first = 0, 0, b"", b"", 0.0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        started = time.perf_counter()
        connection.sendall(request)
        while not tail.endswith(LAST_CHUNK):
            data = connection.recv(1 << 18)
            if not data:
                raise RuntimeError("the node has closed the connection")
            size += len(data)
            tail = (tail + data)[-2000:]
            if not first:
                head += data
                if head.partition(b"\r\n\r\n")[2]:
                    first = time.perf_counter() - started
            if size - looked > 4 << 20:
                most, looked = max(most, resident(pid)), size
        took = time.perf_counter() - started
    counted = f'"resultCount":{rows}' in tail.decode().replace(" ", "")
    if not counted or abs(size - length) > length / 100:
        raise RuntimeError(f"not answered: {tail.decode()}")
    return Reading(rows / took, first * 1000, most - before)


def stalled(where: dict[str, str], port: int, statement: str, rows: int) -> float:
    """By how much the node's memory grows (MiB) while a client reads no rows, for a second."""
    pid = int(where["pid"])
    before = resident(pid)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(requested(where, statement, rows))
        connection.recv(1)
        time.sleep(1)
        return resident(pid) - before


def frame(opcode: int, key: bytes = b"", value: bytes = b"", extras: bytes = b"") -> bytes:
    """A request."""
    body = len(key) + len(value) + len(extras)
    return HEADER.pack(0x80, opcode, len(key), len(extras), 0, 0, body, 0, 0) + extras + key + value


class Document:
    """A client that gets one document."""

    def __init__(self, where: dict[str, str], port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        login = f"\0{where['username']}\0{where['password']}".encode()
        self._exchange(frame(0x1F, value=struct.pack(">3H", 0x06, 0x07, 0x12)))
        self._exchange(frame(0x21, b"PLAIN", login))
        self._exchange(frame(0x89, where["bucket"].encode()))
        self._exchange(frame(0x01, b"\0paced", b"{}", bytes(8)))

    def _exchange(self, request: bytes) -> None:
        self._socket.sendall(request)
        received = b""
        while len(received) < 24 or len(received) < 24 + HEADER.unpack_from(received)[6]:
            received += self._socket.recv(1 << 16)
        if HEADER.unpack_from(received)[5]:
            raise RuntimeError(f"refused: {received!r}")

    def get(self) -> float:
        """Get it; how long that took (milliseconds)."""
        started = time.perf_counter()
        self._exchange(frame(0x00, b"\0paced"))
        return (time.perf_counter() - started) * 1000


def pace(where: dict[str, str], port: int, ready: Event, stop: Event, results: Any) -> None:
    """Get one document at a pace until told to stop; then put what each time took."""
    document = Document(where, port)
    took: list[float] = []
    ready.set()
    due = time.perf_counter()
    while not stop.is_set():
        took.append(document.get())
        due = max(due + PACE, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
    results.put(took)


class Pacer:
    """`pace` in a process of its own.

    Attributes:
        took: What each get took (milliseconds), at the end of the ``with``.
    """

    def __init__(self, where: dict[str, str], port: int) -> None:
        self._ready, self._stop = multiprocessing.Event(), multiprocessing.Event()
        self._results: Any = multiprocessing.Queue()
        arguments = (where, port, self._ready, self._stop, self._results)
        self._process = multiprocessing.Process(target=pace, args=arguments)
        self.took: list[float] = []

    def __enter__(self) -> Pacer:
        self._process.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.took = self._results.get(timeout=10)
        self._process.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    figures: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    with server(None) as where:
        ports = service_ports(where)
        port, pid = ports["n1ql"], int(where["pid"])
        fresh = resident(pid)
        lengths = {
            name: checked(where, port, statement, arguments.rows)
            for name, statement in STATEMENTS.items()
        }
        for _ in range(arguments.rounds):
            with Pacer(where, ports["kv"]) as pacer:
                time.sleep(1)
            add("get alone: p50 (ms)", percentile(pacer.took, 50))
            add("get alone: p99 (ms)", percentile(pacer.took, 99))
            for name, statement in STATEMENTS.items():
                reading = read(where, port, statement, arguments.rows, lengths[name])
                add(f"{name}: rows/s", reading.rate)
                add(f"{name}: first byte (ms)", reading.first)
                add(f"{name}: memory (MiB)", reading.growth)
                waiting = stalled(where, port, statement, arguments.rows)
                add(f"{name}: memory, not read (MiB)", waiting)
                with Pacer(where, ports["kv"]) as pacer:
                    reading = read(where, port, statement, arguments.rows, lengths[name])
                add(f"{name}: rows/s beside gets", reading.rate)
                add(f"{name}: get meanwhile p50 (ms)", percentile(pacer.took, 50))
                add(f"{name}: get meanwhile p99 (ms)", percentile(pacer.took, 99))
        add("memory since the start (MiB)", resident(pid) - fresh)
    rows = []
    for name, values in figures.items():
        rate = "rows/s" in name
        wanted = ""
        if rate:
            wanted = f">= {ROWS_PER_SECOND:,}"
        elif "first byte" in name:
            wanted = f"< {FIRST_BYTE:.0f}"
        elif "meanwhile p99" in name:
            wanted = f"< {LATENCY:.0f}"
        form = "{:,.0f}" if rate else "{:.2f}"
        rows.append((name, *map(form.format, (median(values), min(values), max(values))), wanted))
    print_table(("", "median", "min", "max", "wanted"), rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
