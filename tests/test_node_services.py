"""What the HTTP services of the embedded node have in common."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.node_services import ROUTES, ServiceCase, whole
from txcouchbase.testing.analytics import service as analytics
from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Call
from txcouchbase.testing.http.envelope import framed
from txcouchbase.testing.http.rows import Severed, cut_after, encoded
from txcouchbase.testing.search import service as search
from txcouchbase.testing.services import http_services
from txcouchbase.testing.views import service as views


class FailureTests(SynchronousTestCase):
    """Answers that no handler makes."""

    def test_members(self) -> None:
        """Unknown paths and methods are answered with the members that clients look for."""
        state = ClusterState("admin", "secret", ["stock"], lambda: 1_700_000_000.0)
        headers = {"authorization": f"Basic {b64encode(b'admin:secret').decode()}"}
        services = http_services()
        for name, method, path, code, members in (
            ("search", "GET", "/api/index/a/b", 404, {"status", "error"}),
            ("search", "PATCH", "/api/index/a", 405, {"status", "error"}),
            ("eventing", "GET", "/api/v1/functions/a/b", 404, {"name", "code", "description"}),
            ("analytics", "GET", "/nowhere", 404, {"status", "errors"}),
            ("views", "GET", "/stock/nowhere", 404, {"error", "reason"}),
        ):
            delivery = services[name].handle(state, Call(name, method, path, headers=headers))
            assert delivery.answer is not None
            self.assertEqual(delivery.answer.code, code)
            self.assertEqual(json.loads(whole(delivery.answer)).keys(), members)


class EnvelopeTests(SynchronousTestCase):
    """Objects around rows that stream."""

    def test_streams(self) -> None:
        """Rows leave in batches, before the last ones are made."""
        made = []

        def rows() -> Any:
            for number in range(10_000):
                made.append(number)
                yield number

        chunks = framed("rows", encoded(rows()), lambda: {"n": len(made)}, {"m": 1})
        first = next(chunks) + next(chunks)
        self.assertLess(len(made), 1000)
        read = json.loads(first + b"".join(chunks))
        self.assertEqual(read, {"m": 1, "rows": list(range(10_000)), "n": 10_000})

    def test_cut(self) -> None:
        """A cut ends the rows in every service, also before the first one."""
        call = Call("search", "POST", "/")
        for render in (search.render, views.render, analytics.render):
            for errors in ([], [{"code": 1, "msg": "m"}]):
                for count in (0, 1, 3):
                    rows = cut_after(({"id": str(n), "n": n} for n in range(3)), count)
                    chunks = iter(render(rows, {}, errors, call).body)
                    sent = bytearray()
                    with self.assertRaises(Severed) as raised:
                        for chunk in chunks:
                            sent += chunk
                    sent += raised.exception.rest
                    self.assertEqual(sent.count(b'"id"'), min(count + 1, 3), bytes(sent))
                    with self.assertRaises(ValueError):
                        json.loads(sent)


class NoiseTests(ServiceCase):
    """Anything at all is answered."""

    def test_noise(self) -> None:
        """Random bodies on every route give an answer, and never an exception."""
        noise = random.Random(7)
        values: list[Any] = [None, True, 0, -1, 1e300, "", "a", "\ud800", [], {}, "CREATE", "*"]
        names = ["type", "sourceType", "params", "mapping", "planParams", "views", "v", "map"]
        names += ["statement", "query", "appname", "depcfg", "settings", "curl", "keys", "uuid"]
        names += ["doc_config", "types", "store", "function_scope", "dataverse", "name"]

        def value(depth: int) -> Any:
            kind = noise.randrange(4 if depth else 2)
            if kind < 2:
                return noise.choice([*values, "fulltext-index", "couchbase", "stock", "f"])
            if kind == 2:
                return [value(depth - 1) for _ in range(noise.randrange(3))]
            return {noise.choice(names): value(depth - 1) for _ in range(noise.randrange(6))}

        for service, routes in ROUTES.items():
            self.service = service
            for route in routes:
                for _ in range(40):
                    path = "/".join(
                        noise.choice(["stock", "_default", "a", "f", "allow", "%00"])
                        if part.startswith("{")
                        else part
                        for part in route.pattern.split("/")
                    )
                    body = json.dumps(value(4)).encode()
                    if noise.random() < 0.2:
                        body = noise.randbytes(noise.randrange(50))
                    status, _ = self.ask(route.method, path, body)
                    self.assertIn(status, range(200, 600))
