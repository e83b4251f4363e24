"""Random requests, most of them nearly right."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from tests.fuzz.corpus import (
    BY_SERVICE,
    NAMES,
    ODD_TEXTS,
    PIECES,
    STATEMENTS,
    TOKENS,
    Endpoint,
    Form,
)

__all__ = ["HEADER", "Requests"]

HEADER = struct.Struct(">BBHBBHIIQ")
"""The header of a frame of the key-value protocol."""

OPCODES = (
    *range(0x23), 0x3D, 0x83, 0x89, 0x91, 0x92, 0x94, 0x95, 0xA0, 0xA2, 0xB5,
    0xB9, 0xBA, 0xBB, 0xBC, *range(0xC5, 0xD6), 0xDA, 0xDB, 0xFE,
)  # fmt: skip
EXTRAS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 20, 21, 24)


class Requests:
    """Random requests.

    :param random: what decides.
    """

    def __init__(self, random: Random, login: str) -> None:
        self._random = random
        self._login = login

    def _one(self, *ways: Callable[[], Any]) -> Any:
        return self._random.choice(ways)()

    def statement(self) -> str:
        """A statement, with none to several mistakes."""
        random = self._random
        if random.random() < 0.02:
            deep = random.choice((50, 500, 5000))
            return "SELECT " + random.choice("([-") * deep + "1"
        tokens = TOKENS.findall(random.choice(STATEMENTS))
        for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
            at = random.randrange(len(tokens) + 1)
            action = random.randrange(5)
            if action == 0:
                del tokens[at : at + 1]
            elif action == 1:
                tokens.insert(at, f" {random.choice(PIECES)} ")
            elif action == 2:
                tokens[at:at] = tokens[max(0, at - 4) : at]
            elif action == 3:
                other = TOKENS.findall(random.choice(STATEMENTS))
                tokens[at:] = other[random.randrange(len(other)) :]
            else:
                tokens[at : at + 1] = [random.choice(PIECES)]
        return "".join(tokens)[:20_000]

    def text(self) -> str:
        """A text, an odd one often."""
        random = self._random
        return random.choice((random.choice(ODD_TEXTS), random.choice(NAMES), self.statement()))

    def value(self, depth: int = 0) -> Any:
        """Something that is JSON."""
        random = self._random
        if depth > 3 or random.random() < 0.6:
            return random.choice(
                (None, True, False, 0, -1, 1 << 70, 1.5, 1e300, self.text(), "x", [], {})
            )
        if random.random() < 0.5:
            return [self.value(depth + 1) for _ in range(random.randrange(4))]
        return {self.text(): self.value(depth + 1) for _ in range(random.randrange(4))}

    def _changed(self, body: Any) -> Any:
        """A body with one of its members, at any depth, replaced, renamed or taken away."""
        random = self._random
        if isinstance(body, dict) and body and random.random() < 0.9:
            name = random.choice(list(body))
            changed: dict[str, Any] = dict(body)
            action = random.randrange(4)
            if action == 0:
                del changed[name]
            elif action == 1:
                changed[self.text()] = changed.pop(name)
            elif isinstance(changed[name], (dict, list)):
                changed[name] = self._changed(changed[name])
            else:
                changed[name] = self.text() if isinstance(body, Form) else self.value()
            return Form(changed) if isinstance(body, Form) else changed
        if isinstance(body, list) and body and random.random() < 0.9:
            at = random.randrange(len(body))
            return [*body[:at], self.value(), *body[at + 1 :]]
        return self.text() if isinstance(body, Form) else self.value()

    def _body(self, endpoint: Endpoint) -> tuple[bytes, str]:
        """The bytes of a body, and its content type."""
        random, body = self._random, endpoint.body
        if isinstance(body, dict) and "statement" in body:
            body = type(body)({**body, "statement": self.statement()})
        for _ in range(random.choice((0, 0, 1, 2))):
            body = self._changed(body)
        kind = "application/json"
        if isinstance(body, Form):
            kind, data = (
                "application/x-www-form-urlencoded",
                urlencode(body, errors="replace").encode(),
            )
        elif body is None:
            data = b""
        else:
            data = json.dumps(body).encode()
        if random.random() < 0.1:
            data = self._one(
                lambda: self.damaged(data),
                lambda: b"[" * random.choice((100, 100_000)),
                lambda: b'{"a":' * random.choice((100, 10_000)) + b"1",
                lambda: random.randbytes(random.randrange(200)),
                lambda: b"9" * random.choice((400, 5000)),
                lambda: b'"\\ud800"',
                lambda: b"a=%ff&b=%zz&&=&c",
                lambda: b"a=1&" * 2000,
            )
        if random.random() < 0.05:
            kind = random.choice(("", "text/plain", "application/json;charset=x", "a" * 300))
        return data, kind

    def _path(self, endpoint: Endpoint) -> str:
        random = self._random
        path, _, query = endpoint.path.partition("?")
        if random.random() < 0.25:
            parts = path.split("/")
            at = random.randrange(len(parts))
            action = random.randrange(3)
            if action == 0:
                name = random.choice((self.text(), random.choice(NAMES)))
                parts[at] = quote(name, safe="", errors="replace")[:3000]
            elif action == 1:
                del parts[at]
            else:
                parts.insert(at, random.choice(("", "..", "%00", "%ff", "%", "x")))
            path = "/" + "/".join(parts).lstrip("/")
        if endpoint.path == "/query/service" and endpoint.method == "GET":
            query = urlencode({"statement": self.statement(), "timeout": "1s"}, errors="replace")
        if random.random() < 0.15:
            query += "&" + urlencode({self.text()[:50]: self.text()[:200]}, errors="replace")
        return f"{path}?{query}" if query else path

    def request(self, service: str) -> bytes:
        """A request that is HTTP, whatever it asks for."""
        random = self._random
        while True:
            endpoint = random.choice(BY_SERVICE[service])
            method = endpoint.method
            if random.random() < 0.05:
                method = random.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "X"))
            path = self._path(endpoint)
            # What stops a node, or changes who may ask, is tested elsewhere.
            if service != "control" or method in ("GET", "PUT", "DELETE") or path == "/documents":
                break
        data, kind = self._body(endpoint)
        login = self._login
        if random.random() < 0.04:
            login = random.choice(("", "Basic", "Basic !!", "Bearer x", f"{self._login}x"))
        head = [f"{method} {path} HTTP/1.1", "Host: node", f"Content-Type: {kind}"]
        if login:
            head.append(f"Authorization: {login}")
        if data and random.random() < 0.1:
            head.append("Transfer-Encoding: chunked")
            data = b"".join(self._chunks(data)) + b"0\r\n\r\n"
        else:
            head.append(f"Content-Length: {len(data)}")
        return "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + data

    def _chunks(self, data: bytes) -> Iterator[bytes]:
        while data:
            size = self._random.randrange(1, 2000)
            yield b"%x\r\n%s\r\n" % (len(data[:size]), data[:size])
            data = data[size:]

    def damaged(self, data: bytes) -> bytes:
        """Bytes that lost some of themselves, or got others."""
        random = self._random
        damaged = bytearray(data)
        for _ in range(random.choice((1, 1, 3, 10))):
            at = random.randrange(len(damaged) + 1)
            action = random.randrange(4)
            if action == 0:
                del damaged[at : at + random.choice((1, 5, 100))]
            elif action == 1:
                damaged[at:at] = random.randbytes(random.choice((1, 4, 50)))
            elif action == 2 and at < len(damaged):
                damaged[at] = random.randrange(256)
            else:
                damaged[at:at] = random.choice((b"\r\n", b"\0", b"\r\n\r\n", b":", b" ", b"%"))
        return bytes(damaged)

    def nonsense(self, service: str) -> bytes:
        """What is hardly a request at all."""
        random = self._random
        whole = self.request(service)
        head, _, body = whole.partition(b"\r\n\r\n")
        return self._one(
            lambda: self.damaged(whole),
            lambda: whole[: random.randrange(len(whole))],
            lambda: random.randbytes(random.randrange(500)),
            lambda: b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
            lambda: b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            lambda: b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
            lambda: b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n",
            lambda: b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
            lambda: head + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
            lambda: b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            lambda: b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nx",
            lambda: b"GET / HTTP/9.9\r\n\r\n",
            lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(100),
        )

    def frames(self) -> bytes:
        """Frames of the key-value protocol, most of which are well formed."""
        return b"".join(self.frame() for _ in range(self._random.randrange(1, 20)))

    def frame(self) -> bytes:
        """One frame whose lengths are right."""
        random = self._random
        opcode = random.choice((random.choice(OPCODES), random.randrange(256)))
        while opcode in (0x07, 0x17):
            opcode = random.randrange(256)
        extras = self._one(
            lambda: b"",
            lambda: bytes(random.choice(EXTRAS)),
            lambda: random.randbytes(random.choice(EXTRAS)),
            lambda: random.randbytes(random.randrange(40)),
        )
        key = self._one(
            lambda: b"\0key-%d" % random.randrange(50),
            lambda: b"\0key-%d" % random.randrange(50),
            lambda: b"\x08key",
            lambda: random.randbytes(random.randrange(300)),
            lambda: b"",
        )
        value = self._one(
            lambda: json.dumps(self.value()).encode(),
            lambda: self._paths(),
            lambda: b"",
            lambda: b"5",
            lambda: random.randbytes(random.randrange(2000)),
            lambda: random.choice((b"_default._default", b"s1.c1", b"default", b"PLAIN")),
            lambda: b"[" * 5000,
        )
        datatype = random.choice((0, 0, 0, 1, 1, 2, 4, 255))
        cas = random.choice((0, 0, 0, 1, 0xFFFFFFFFFFFFFFFF, random.getrandbits(64)))
        vbucket, opaque = random.choice((0, 1, 63, 1023, 65535)), random.getrandbits(31)
        if random.random() < 0.2:
            framing = self._one(
                lambda: b"\x50",
                lambda: b"\x13" + random.randbytes(3),
                lambda: random.randbytes(random.randrange(20)),
            )
            key = key[:255]
            lengths = len(framing) << 8 | len(key)
            body = framing + extras + key + value
            magic = 0x08
        else:
            magic, lengths, body = 0x80, len(key), extras + key + value
        return (
            HEADER.pack(
                magic, opcode, lengths, len(extras), datatype, vbucket, len(body), opaque, cas
            )
            + body
        )

    def _paths(self) -> bytes:
        """Operations of a sub-document request."""
        random = self._random
        specs = b""
        for _ in range(random.randrange(1, 20)):
            path = random.choice(
                (b"", b"a", b"a.b", b"a[0]", b"[-1]", b"$document", b"_x.y", b"a" * 1100, b"a..b")
            )
            value = json.dumps(self.value()).encode()[: random.choice((0, 5, 200))]
            opcode = random.choice((*range(0xC5, 0xD4), 0x00, 0x01, 0x04, random.randrange(256)))
            flags = random.choice((0, 1, 4, 5, 0x14, 255))
            if random.random() < 0.5:
                specs += struct.pack(">BBH", opcode, flags, len(path)) + path
            else:
                specs += struct.pack(">BBHI", opcode, flags, len(path), len(value)) + path + value
        return specs

    def bad_frames(self) -> bytes:
        """Frames whose lengths lie, or no frames."""
        random = self._random
        whole = self.frames()
        return self._one(
            lambda: self.damaged(whole),
            lambda: whole[: random.randrange(len(whole))],
            lambda: random.randbytes(random.randrange(500)),
            lambda: whole + HEADER.pack(0x80, 1, 65535, 255, 0, 0, 10, 0, 0) + bytes(10),
            lambda: HEADER.pack(0x80, 1, 1, 0, 0, 0, 0xFFFFFFFF, 0, 0),
            lambda: HEADER.pack(0x08, 1, 0xFFFF, 0, 0, 0, 3, 0, 0) + b"abc",
            lambda: b"GET / HTTP/1.1\r\n\r\n",
        )
