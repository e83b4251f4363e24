"""A pool and forked children: refused where the workers are the parent's, good for daemons."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import ProcessDone
from twisted.internet.utils import getProcessOutputAndValue

from tests.applications import ROOT, Application, ended
from tests.support import ServerTestCase, until

FORKING = """
import gc, json, os, sys
where = json.loads(sys.stdin.readline())
from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from tests.jobfunctions import echo
from txcouchbase.cluster import TxCluster
from txcouchbase.exceptions import PoolClosed
from txcouchbase.workers import PoolConfig, WorkerPool

def refused(deferred):
    errors = []
    deferred.addErrback(errors.append)
    return bool(errors) and errors[0].check(PoolClosed) and "fork" in str(errors[0].value)

def in_child(cluster, shared, collection):
    assert refused(collection.get("forked"))
    assert refused(collection.get_multi(["forked"]))
    assert refused(cluster.query("SELECT 1"))
    assert refused(cluster.pool.run(echo, 1))
    for use in (cluster.pool.start, lambda: TxCluster(where["connstr"], options, pool=shared)):
        try:
            use()
        except PoolClosed as error:
            assert "fork" in str(error)
        else:
            raise AssertionError("not refused")
    assert not cluster.pool.workers
    cluster.close()
    shared.close()
    assert cluster.pool.close().called

options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))

async def main():
    shared = WorkerPool(PoolConfig(min_workers=1, max_workers=1))
    other = TxCluster(where["connstr"], options, pool=shared)
    cluster = TxCluster(where["connstr"], options, pool=PoolConfig(min_workers=1, max_workers=1))
    collection = cluster.bucket(where["bucket"]).default_collection()
    await collection.upsert("forked", 1)
    await other.on_connect()
    workers = [*cluster.pool.workers, *shared.workers]
    pids = [worker.pid for worker in workers]
    child = os.fork()
    if not child:
        try:
            in_child(cluster, shared, collection)
            gc.collect()
        except BaseException:
            import traceback
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    await collection.get("forked")
    await other.close()
    assert pids == [worker.pid for worker in workers], "the child has ended workers"
    await shared.close()
    await cluster.close()
    print("[]", flush=True)

def failed(failure):
    failure.printTraceback(file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)

reactor.callWhenRunning(
    lambda: ensureDeferred(main()).addCallbacks(lambda _: reactor.stop(), failed)
)
reactor.run()
"""

DAEMON = """
import json, os
from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.application.service import Application
from twisted.internet import reactor
from txcouchbase.cluster import TxCluster
from txcouchbase.workers import PoolConfig

with open("where.json") as file:
    where = json.load(file)
options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
cluster = TxCluster(where["connstr"], options, pool=PoolConfig(min_workers=1, max_workers=1))
made_by = os.getpid()

def stored(result):
    with open("stored.new", "w") as file:
        json.dump([made_by, os.getpid(), [worker.pid for worker in cluster.pool.workers]], file)
    os.rename("stored.new", "stored")
    reactor.callLater(0, reactor.stop)

collection = cluster.bucket(where["bucket"]).default_collection()
collection.upsert("daemon", 1).addCallback(stored)
application = Application("daemon")
"""

TWISTD = "from twisted.scripts.twistd import run; run()"


class ForkTests(ServerTestCase):
    def where(self) -> dict[str, str]:
        """Where the server is."""
        return {
            "connstr": self.connstr,
            "username": self.username,
            "password": self.password,
            "bucket": self.bucket_name,
        }

    @inlineCallbacks
    def test_a_forked_child_is_refused_and_does_no_harm(self) -> Any:
        application = Application(self.where())
        reactor.spawnProcess(  # type: ignore[attr-defined]
            application,
            sys.executable,
            [sys.executable, "-c", FORKING],
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        yield application.workers
        reason = yield application.ended
        self.assertIsInstance(reason, ProcessDone, application.stderr.decode())

    @inlineCallbacks
    def test_a_daemon_forks_before_its_reactor_runs(self) -> Any:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "where.json").write_text(json.dumps(self.where()))
        (folder / "daemon.tac").write_text(DAEMON)
        arguments = ["-y", "daemon.tac", "--pidfile", "pid", "--logfile", "log"]
        out, err, code = yield getProcessOutputAndValue(
            sys.executable,
            ["-c", TWISTD, *arguments],
            env={**os.environ, "PYTHONPATH": ROOT},
            path=str(folder),
        )
        self.assertEqual(code, 0, (out + err).decode())
        log, stored = folder / "log", folder / "stored"
        yield until(lambda: stored.exists() or "Traceback" in _text(log))
        self.assertTrue(stored.exists(), _text(log))
        made_by, ran_in, workers = json.loads(stored.read_text())
        self.assertNotEqual(made_by, ran_in)
        yield until(lambda: not (folder / "pid").exists())
        yield until(lambda: all(ended(pid) for pid in workers))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
