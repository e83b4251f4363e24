"""Is the embedded node fast enough not to be what the other benchmarks measure?

A bare socket pipelines gets and sets; then the SDK's `get_multi` and `upsert_multi` load it. The
node runs in a process of its own; its CPU is the kernel's accounting.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import time

from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.options import ClusterOptions
from support import add_server_arguments, median, print_table, server

HEADER = struct.Struct(">BBHBBHIIQ")
VALUE = b'{"text":"' + b"x" * 239 + b'"}'
TICKS = os.sysconf("SC_CLK_TCK")
FEATURES = (0x04, 0x06, 0x07, 0x08, 0x0B, 0x12)


def frame(opcode: int, key: bytes = b"", value: bytes = b"", extras: bytes = b"") -> bytes:
    """A request."""
    body = len(key) + len(value) + len(extras)
    header = HEADER.pack(0x80, opcode, len(key), len(extras), 0, 0, body, 0, 0)
    return header + extras + key + value


class Raw:
    """A client that does nothing but write and count."""

    def __init__(self, where: dict[str, str]) -> None:
        host, port = where["connstr"].removeprefix("couchbase://").split(":")
        self._socket = socket.create_connection((host, int(port)))
        login = f"\0{where['username']}\0{where['password']}".encode()
        for request in (
            frame(0x1F, value=struct.pack(f">{len(FEATURES)}H", *FEATURES)),
            frame(0x21, b"PLAIN", login),
            frame(0x89, where["bucket"].encode()),
        ):
            self._exchange(request, 1)

    def _exchange(self, requests: bytes, count: int) -> None:
        self._socket.sendall(requests)
        received = b""
        while count:
            received += self._socket.recv(1 << 20)
            at = 0
            while len(received) - at >= 24:
                stop = at + 24 + HEADER.unpack_from(received, at)[6]
                if stop > len(received):
                    break
                at = stop
                count -= 1
            received = received[at:]

    def _size_of(self, requests: bytes, count: int) -> int:
        """Bytes of the answers to these requests, which are always the same."""
        self._socket.sendall(requests)
        size, received = 0, b""
        while count:
            received += self._socket.recv(1 << 20)
            while len(received) >= 24:
                stop = 24 + HEADER.unpack_from(received)[6]
                if len(received) < stop:
                    break
                size, received, count = size + stop, received[stop:], count - 1
        return size

    def rate(self, opcode: int, in_flight: int, seconds: float) -> float:
        """Operations per second."""
        extras, value = (b"\0" * 8, VALUE) if opcode == 1 else (b"", b"")
        keys = [b"\0raw-%d" % n for n in range(in_flight)]
        self._exchange(b"".join(frame(1, key, VALUE, b"\0" * 8) for key in keys), in_flight)
        requests = b"".join(frame(opcode, key, value, extras) for key in keys)
        size = self._size_of(requests, in_flight)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self._socket.sendall(requests)
            left = size
            while left:
                left -= len(self._socket.recv(left))
            count += in_flight
        return count / (time.perf_counter() - started)


def cpu(pid: int) -> float:
    """CPU of a process so far (seconds)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    arguments = parser.parse_args()
    figures: dict[str, list[float]] = {}
    with server(None) as where:
        raw, pid = Raw(where), int(where["pid"])
        options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
        cluster = Cluster(where["connstr"], options)
        collection = cluster.bucket(where["bucket"]).default_collection()
        documents = {f"sdk-{n}": {"text": "x" * 239} for n in range(256)}
        for _ in range(arguments.rounds):
            for name, opcode in (("get", 0), ("set", 1)):
                for in_flight in (1, 16, 256):
                    rate = raw.rate(opcode, in_flight, arguments.seconds)
                    figures.setdefault(f"raw {name}/s, {in_flight} in flight", []).append(rate)
            for name, call, argument in (
                ("upsert_multi(256)", collection.upsert_multi, documents),
                ("get_multi(256)", collection.get_multi, list(documents)),
            ):
                before, count, started = cpu(pid), 0, time.perf_counter()
                while time.perf_counter() - started < 2 * arguments.seconds:
                    call(argument)
                    count += len(documents)
                took = time.perf_counter() - started
                figures.setdefault(f"SDK {name}: op/s", []).append(count / took)
                spent = (cpu(pid) - before) / count * 1e6
                figures.setdefault(f"SDK {name}: node's CPU, us/op", []).append(spent)
        cluster.close()
    rows = [
        [name, f"{median(values):,.1f}", f"{min(values):,.1f}", f"{max(values):,.1f}"]
        for name, values in figures.items()
    ]
    print_table(["", "median", "min", "max"], rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(figures, out, indent=1)


if __name__ == "__main__":
    main()
