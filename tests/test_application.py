"""Whole applications: any reactor, made before it runs, and ended in any way."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import ProcessDone
from twisted.internet.utils import getProcessOutputAndValue

from tests.applications import ROOT, Application
from tests.support import ServerTestCase, gone
from txcouchbase.cluster import TxCluster
from txcouchbase.workers import PoolConfig

APPLICATION = """
import json, sys
where, name = json.loads(sys.stdin.readline()), sys.argv[1]
from txcouchbase.cluster import TxCluster
assert "twisted.internet.reactor" not in sys.modules
from twisted.application.reactors import installReactor
reactor = installReactor(name)
from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet.defer import ensureDeferred

options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
cluster = TxCluster(where["connstr"], options)
collection = cluster.bucket(where["bucket"]).default_collection()
early = collection.upsert("application-" + name, {"reactor": name})

async def main():
    await early
    result = await collection.get("application-" + name)
    print(json.dumps([worker.pid for worker in cluster.pool.workers]), flush=True)
    assert result.content_as[dict] == {"reactor": name}
    await cluster.close()
    reactor.stop()

def failed(failure):
    failure.printTraceback()
    reactor.stop()

reactor.callWhenRunning(lambda: ensureDeferred(main()).addErrback(failed))
reactor.run()
"""


class ApplicationTests(ServerTestCase):
    def start(self, name: str) -> Application:
        application = Application(
            {
                "connstr": self.connstr,
                "username": self.username,
                "password": self.password,
                "bucket": self.bucket_name,
            }
        )
        reactor.spawnProcess(  # type: ignore[attr-defined]
            application,
            sys.executable,
            [sys.executable, "-c", APPLICATION, name],
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        return application

    @inlineCallbacks
    def test_any_reactor(self) -> Any:
        for name in ("select", "poll", "epoll", "asyncio"):
            application = self.start(name)
            workers = yield application.workers
            reason = yield application.ended
            self.assertIsInstance(reason, ProcessDone, f"{name}: {application.stderr.decode()}")
            self.assertTrue(all(gone(pid) for pid in workers), name)


class NodeProcessTests(ServerTestCase):
    @inlineCallbacks
    def test_one_line_of_json(self) -> Any:
        documents = self.mktemp()
        with open(documents, "w", encoding="utf-8") as lines:
            lines.write('{"id": "loaded", "value": 1}\n')
        node = Application({})
        reactor.spawnProcess(  # type: ignore[attr-defined]
            node,
            sys.executable,
            [sys.executable, "-m", "txcouchbase.testing", "--bucket", "b", "--load", documents],
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        where: Any = yield node.workers
        self.assertEqual(
            sorted(where),
            ["bucket", "cert", "connstr", "control", "mgmt", "password", "pid", "username"],
        )
        self.username, self.password = where["username"], where["password"]
        collection = self.cluster(connstr=where["connstr"]).bucket("b").default_collection()
        result = yield collection.get("loaded")
        self.assertEqual(result.value, 1)
        node.transport.signalProcess(signal.SIGTERM)
        reason = yield node.ended
        self.assertIsInstance(reason, ProcessDone, node.stderr.decode())

    @inlineCallbacks
    def test_tls(self) -> Any:
        node = Application({})
        reactor.spawnProcess(  # type: ignore[attr-defined]
            node,
            sys.executable,
            [sys.executable, "-m", "txcouchbase.testing", "--tls"],
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        where: Any = yield node.workers
        authenticator = PasswordAuthenticator(
            where["username"], where["password"], cert_path=where["cert"]
        )
        cluster = TxCluster(
            where["connstr"],
            ClusterOptions(authenticator),
            pool=PoolConfig(min_workers=1, max_workers=1),
        )
        self.addCleanup(cluster.close)
        collection = cluster.bucket(where["bucket"]).default_collection()
        yield collection.upsert("k", 1)
        result = yield collection.get("k")
        self.assertEqual(result.value, 1)
        yield cluster.close()
        node.transport.signalProcess(signal.SIGTERM)
        yield node.ended
        self.assertFalse(os.path.exists(where["cert"]))

    @inlineCallbacks
    def test_what_no_cluster_has_is_refused_by_name(self) -> Any:
        for option in (["--nodes", "0"], ["--replicas", "4"]):
            _, stderr, code = yield getProcessOutputAndValue(
                sys.executable,
                ["-m", "txcouchbase.testing", *option],
                env={**os.environ, "PYTHONPATH": ROOT},
            )
            self.assertNotEqual(code, 0)
            self.assertIn(f"error: {option[0][2:]}: ".encode(), stderr)
