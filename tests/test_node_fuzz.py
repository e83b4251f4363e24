"""The embedded node bears random and damaged requests; `benchmarks/fuzz.py` does it for longer."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.fuzz.client import Client, Finding
from tests.fuzz.connection import Connection, Target
from tests.fuzz.requests import HEADER
from txcouchbase.testing import EmbeddedNode
from txcouchbase.testing.kv.status import Status

CASES = 400
"""How many cases each test sends."""


class FuzzTests(TestCase):
    """A node on real sockets, and a client in a thread."""

    @inlineCallbacks
    def setUp(self) -> Any:
        self.node = EmbeddedNode(reactor=reactor)
        self.addCleanup(self.node.stop)
        yield self.node.start()
        ports = {service: self.node.port(service) for service in self.node.services}
        self.target = Target("127.0.0.1", {**ports, "control": self.node.control_port})

    def _send(self, client: Client) -> list[Finding]:
        try:
            findings = (client.case() for _ in range(CASES))
            return [finding for finding in findings if finding is not None]
        finally:
            client.close()

    @inlineCallbacks
    def _check(self, services: list[str], seed: int) -> Any:
        ports = {name: port for name, port in self.target.ports.items() if name in services}
        client = Client(Target(self.target.host, ports), seed)
        findings = yield deferToThread(self._send, client)
        self.assertEqual(findings, [], "\n".join(map(str, findings)))
        self.assertEqual(sum(client.counts.values()), CASES)
        # Every service understood something, and refused something.
        for service in services:
            if service != "kv":
                statuses = {name for name in client.statuses if name.startswith(service)}
                self.assertGreater(len(statuses), 2, statuses)

    def test_key_value(self) -> Deferred[None]:
        return self._check(["kv"], 1)

    def test_management(self) -> Deferred[None]:
        return self._check(["mgmt", "control"], 2)

    def test_query(self) -> Deferred[None]:
        return self._check(["query"], 3)

    def test_other_services(self) -> Deferred[None]:
        return self._check(["analytics", "search", "views", "eventing"], 4)

    def _answers(self, service: str, *sent: bytes) -> list[bytes | None]:
        connection = Connection(self.target, service)
        try:
            answers = []
            for data in sent:
                connection.write(data)
                answers.append(connection.answer())
            return answers
        finally:
            connection.close()

    @inlineCallbacks
    def test_http_that_once_failed(self) -> Any:
        """A line folded into a Content-Type, and a body that is no UTF-8."""
        login = b"Authorization: Basic QWRtaW5pc3RyYXRvcjpwYXNzd29yZA==\r\n"
        for head, body in (
            (b"Content-Type: a\r\n b\r\n" + login, b"x=1"),
            (b"Content-Type: application/json\r\n" + login, b'{"statement": "\xff"}'),
        ):
            request = (
                b"POST /query/service HTTP/1.1\r\nHost: node\r\n%sContent-Length: %d\r\n\r\n%s"
            )
            sent = request % (head, len(body), body)
            (answer,) = yield deferToThread(self._answers, "query", sent)
            self.assertEqual(answer[9:12], b"400", answer)

    def _statuses(self, *frames: bytes) -> list[int]:
        connection = Connection(self.target, "kv")
        login = HEADER.pack(0x80, 0x21, 5, 0, 0, 0, 28, 0, 0) + b"PLAIN\0Administrator\0password"
        bucket = HEADER.pack(0x80, 0x89, 7, 0, 0, 0, 7, 0, 0) + b"default"
        try:
            connection.write(login + bucket + b"".join(frames))
            answers = [connection.frame() or b"" for _ in (login, bucket, *frames)]
            return [HEADER.unpack_from(answer)[5] for answer in answers]
        finally:
            connection.close()

    @inlineCallbacks
    def test_frames_that_once_failed(self) -> Any:
        """Paths in a document that is nested too deeply, and halves of surrogate pairs."""
        deep = b"[" * 5000 + b"]" * 5000
        statuses = yield deferToThread(
            self._statuses,
            HEADER.pack(0x80, 1, 3, 8, 0, 0, 11 + len(deep), 0, 0) + bytes(8) + b"key" + deep,
            HEADER.pack(0x80, 0xC5, 3, 3, 0, 0, 9, 0, 0) + b"\0\3\0key[0]",
            HEADER.pack(0x80, 1, 3, 8, 0, 0, 13, 0, 0) + bytes(8) + b"key{}",
            HEADER.pack(0x80, 0xC8, 3, 3, 0, 0, 15, 0, 0) + b"\0\1\0keya" + b'"\\ud800"',
        )
        self.assertEqual(statuses, [0, 0, 0, Status.DOC_E2DEEP, 0, 0])

    @inlineCallbacks
    def test_all_at_once(self) -> Any:
        before = self.node.snapshot()
        yield self._check(list(self.target.ports), 5)
        self.node.restore(before)
        self.assertEqual(list(self.node.keys()), [])
