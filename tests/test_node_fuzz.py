"""The embedded node bears random and damaged requests; `benchmarks/fuzz.py` does it for longer."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.fuzz.client import Client, Finding
from tests.fuzz.connection import Target
from txcouchbase.testing import EmbeddedNode

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

    @inlineCallbacks
    def test_all_at_once(self) -> Any:
        before = self.node.snapshot()
        yield self._check(list(self.target.ports), 5)
        self.node.restore(before)
        self.assertEqual(list(self.node.keys()), [])
