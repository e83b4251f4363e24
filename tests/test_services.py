"""Where a cluster's services are looked for, and in which order they are tried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from couchbase.auth import CertificateAuthenticator, JwtAuthenticator, PasswordAuthenticator
from couchbase.diagnostics import PingState, ServiceType
from couchbase.options import TLSVerifyMode
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_sdk_rows import Threads
from txcouchbase.workers.service_tls import TlsSettings, tls_settings
from txcouchbase.workers.services import Endpoint, Services

PASSWORD = PasswordAuthenticator("me", "secret")
A, B, C = Endpoint("10.0.0.1", 8093), Endpoint("10.0.0.2", 8093), Endpoint("fd00::3", 8093)


class FakeCluster:
    """Of the SDK: what is pinged."""

    def __init__(self) -> None:
        self.remotes: list[tuple[str, PingState]] = []
        self.names = ["node-1.example:8091"]
        self.pings = 0
        self.error: Exception | None = None

    def ping(self, options: Any) -> Any:
        self.pings += 1
        if self.error is not None:
            raise self.error
        reports = [SimpleNamespace(remote=remote, state=state) for remote, state in self.remotes]
        (kind,) = options["service_types"]
        return SimpleNamespace(endpoints={ServiceType(kind): reports})

    def cluster_info(self) -> Any:
        return SimpleNamespace(nodes=[{"hostname": name} for name in self.names])


class ClockWithThreads(Clock):
    """Calls back from threads at once."""

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


class EndpointTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = ClockWithThreads()
        self.clock.advance(1000)
        self.cluster = FakeCluster()
        self.cluster.remotes = [
            ("10.0.0.1:8093", PingState.OK),
            ("10.0.0.9:8093", PingState.ERROR),
            ("10.0.0.2:8093", PingState.OK),
            ("[fd00::3]:8093", PingState.OK),
        ]
        self.threads = Threads()
        self.services = self.made("couchbase://host")

    def made(self, connstr: str, authenticator: Any = PASSWORD, **options: Any) -> Services:
        cluster: Any = self.cluster
        return Services(cluster, connstr, options, authenticator, self.threads)

    def endpoints(self) -> list[Endpoint]:
        found = self.services.endpoints(self.clock, "query")
        self.threads.run()
        return self.successResultOf(found)

    def test_in_turn(self) -> None:
        firsts = [self.endpoints() for _ in range(6)]
        self.assertEqual([sorted(each) for each in firsts], [[A, B, C]] * 6)
        self.assertEqual({each[0] for each in firsts[:3]}, {A, B, C})
        self.assertEqual([each[0] for each in firsts[:3]], [each[0] for each in firsts[3:]])
        self.assertEqual(self.cluster.pings, 1)

    def test_all_who_wait_ask_once(self) -> None:
        found = [self.services.endpoints(self.clock, "query") for _ in range(5)]
        self.assertNoResult(found[0])
        self.threads.run()
        for each in found:
            self.assertEqual(sorted(self.successResultOf(each)), [A, B, C])
        self.assertEqual(self.cluster.pings, 1)

    def test_one_that_fails_is_avoided_and_looked_for_again(self) -> None:
        self.endpoints()
        self.services.failed(self.clock, A)
        # What is left is used at once, and the SDK is asked meanwhile.
        self.cluster.remotes = self.cluster.remotes[2:]
        self.assertEqual(sorted(self.endpoints()), [B, C])
        self.assertEqual(self.cluster.pings, 2)
        self.clock.advance(11)
        self.assertEqual(sorted(self.endpoints()), [B, C])

    def test_none_is_left(self) -> None:
        self.endpoints()
        for endpoint in (A, B, C):
            self.services.failed(self.clock, endpoint)
        self.cluster.remotes = []
        self.assertEqual(self.endpoints(), [])
        self.cluster.remotes = [("10.0.0.1:8093", PingState.OK)]
        self.assertEqual(self.endpoints(), [A])

    def test_new_nodes_are_found_in_time(self) -> None:
        self.endpoints()
        self.cluster.remotes = [("10.0.0.4:8093", PingState.OK)]
        self.clock.advance(59)
        self.assertEqual(sorted(self.endpoints()), [A, B, C])
        self.clock.advance(2)
        self.endpoints()
        self.assertEqual(self.endpoints(), [Endpoint("10.0.0.4", 8093)])

    def test_a_ping_that_fails_is_no_endpoint(self) -> None:
        self.cluster.error = RuntimeError("no")
        self.assertEqual(self.endpoints(), [])
        self.cluster.error = None
        self.assertEqual(sorted(self.endpoints()), [A, B, C])

    def test_names_where_certificates_are_looked_at(self) -> None:
        self.cluster.remotes = [("10.0.0.1:18093", PingState.OK)]
        self.cluster.names = ["node-1.example:8091", "[fd00::3]:18091", "node-2.example"]
        self.services = self.made("couchbases://host")
        self.assertEqual(
            sorted(self.endpoints()),
            [("fd00::3", 18093), ("node-1.example", 18093), ("node-2.example", 18093)],
        )

    def test_who_may_ask_here(self) -> None:
        self.assertTrue(self.services.covered)
        self.assertFalse(self.made("couchbase://host", JwtAuthenticator("token")).covered)
        certificate = CertificateAuthenticator(cert_path="none", key_path="none")
        self.assertFalse(self.made("couchbase://host", certificate).covered)
        # Its files cannot be read: the SDK is to say so.
        self.assertFalse(self.made("couchbases://host", certificate).covered)

    def test_credentials_are_those_of_the_moment(self) -> None:
        def sent() -> Any:
            return self.services.headers({"x": "y"}).getRawHeaders("authorization")

        self.assertEqual(sent(), ["Basic bWU6c2VjcmV0"])
        self.services.set_authenticator(PasswordAuthenticator("me", "new"))
        self.assertEqual(sent(), ["Basic bWU6bmV3"])
        self.assertNotIn("secret", repr(self.services))


class TlsTests(SynchronousTestCase):
    def test_settings(self) -> None:
        with_file = PasswordAuthenticator("me", "secret", cert_path="/ca.pem")
        own = CertificateAuthenticator("/own.pem", "/own.key", trust_store_path="/ca.pem")
        for connstr, options, authenticator, expected in (
            ("couchbase://h", {}, with_file, None),
            ("couchbases://h", {}, PASSWORD, TlsSettings(None, True)),
            ("couchbase://h", {"enable_tls": True}, PASSWORD, TlsSettings(None, True)),
            ("couchbases://h", {}, with_file, TlsSettings("/ca.pem", True)),
            ("couchbases://h", {"trust_store_path": "/b"}, PASSWORD, TlsSettings("/b", True)),
            ("couchbases://h?trust_certificate=/c", {}, PASSWORD, TlsSettings("/c", True)),
            ("couchbases://h?tls_verify=none", {}, PASSWORD, TlsSettings(None, False)),
            (
                "couchbases://h",
                {"tls_verify": TLSVerifyMode.NO_VERIFY},
                PASSWORD,
                TlsSettings(None, False),
            ),
            ("couchbases://h", {"tls_verify": "peer"}, PASSWORD, TlsSettings(None, True)),
            ("couchbases://h", {}, own, TlsSettings("/ca.pem", True, "/own.pem", "/own.key")),
        ):
            found = tls_settings(connstr, options, authenticator)
            self.assertEqual(found, expected, (connstr, options))
