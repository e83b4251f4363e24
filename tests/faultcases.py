"""What the tests with faulty workers share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import LogLevel, globalLogPublisher

from tests.faultyworker import bootstrap
from tests.leftovers import pipes
from tests.support import LONG, ServerTestCase, gone, until
from txcouchbase.cluster import TxCluster
from txcouchbase.collection import TxCollection
from txcouchbase.exceptions import WorkerLost
from txcouchbase.workers import PoolConfig, WorkerState, process
from txcouchbase.workers.events import PoolEvent, WorkerEnded

__all__ = ["SHORT_BEATS", "FaultTestCase", "outcome_of"]


SHORT_BEATS: dict[str, Any] = {"heartbeat_interval": 0.1, "heartbeat_timeout": 0.8}
"""For tests in which silence matters; long enough for a worker on a machine that is busy."""


def outcome_of(call: Deferred[Any]) -> Deferred[Any]:
    """The same Deferred, which fires with its outcome, whatever that is."""
    return call.addErrback(lambda failure: failure.value)


class FaultTestCase(ServerTestCase):
    """A test with a pool whose workers go wrong.

    Attributes:
        folder: Where they leave marks.
        ends: How workers ended, as the pool told its observers.
        lines: The log lines of the pool, by level.
    """

    @inlineCallbacks
    def setUp(self) -> Any:
        """Watch the log, and what must not be left behind."""
        yield super().setUp()
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.ends: list[WorkerEnded] = []
        self.lines: dict[LogLevel, list[str]] = {}
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)

    def _logged(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").startswith("txcouchbase."):
            line = event["log_format"].format(**event)
            self.lines.setdefault(event["log_level"], []).append(line)

    def _observe(self, event: PoolEvent) -> None:
        if isinstance(event, WorkerEnded):
            self.ends.append(event)

    def faulty_cluster(
        self, faults: Mapping[str, str] | None = None, times: int = 1, **config: Any
    ) -> TxCluster:
        """A cluster whose workers go wrong; one worker, unless the configuration says more.

        Args:
            faults: At which moments, and how.
            times: In how many workers.
            config: Fields of `PoolConfig`.
        """
        self.patch(process, "_BOOTSTRAP", bootstrap(self.folder, faults or {}, times))
        fields = {"min_workers": 1, "max_workers": 1, "restart_backoff": (0.01, 0.1, 0), **config}
        self.pipes_before = pipes()
        cluster = self.cluster(PoolConfig(**fields))
        cluster.pool.add_observer(self._observe)
        return cluster

    def faulty_collection(
        self, faults: Mapping[str, str] | None = None, times: int = 1, **config: Any
    ) -> TxCollection:
        """The default collection of such a cluster."""
        cluster = self.faulty_cluster(faults, times, **config)
        return cluster.bucket(self.bucket_name).default_collection()

    @inlineCallbacks
    def assert_whole(self, collection: TxCollection, workers: int = 1) -> Any:
        """The pool has all its workers, an operation succeeds on it, and nothing is left over.

        Ends with the close of the cluster, after which nothing at all is left.
        """
        cluster = collection._scope._bucket._cluster
        pool = cluster.pool
        result = yield collection.upsert(self.key("whole"), 1, timeout=LONG)
        self.assertTrue(result.cas)
        yield until(lambda: [w.state for w in pool.workers] == [WorkerState.READY] * workers)
        yield until(lambda: len(collection._keyspace.target.lanes) == workers)
        self.assertEqual((pool._pending, pool._pending_bytes, pool._keys), (0, 0, {}))
        yield self.assert_nothing_left(cluster)

    @inlineCallbacks
    def assert_nothing_left(self, cluster: TxCluster) -> Any:
        """The cluster closes, and leaves neither processes nor pipes nor delayed calls."""
        pool = cluster.pool
        pids = [worker.pid for worker in pool.workers] + [end.pid for end in self.ends]
        yield cluster.close()
        self.assertTrue(all(gone(pid) for pid in pids if pid is not None))
        self.assertEqual(pool.workers, [])
        self.assertEqual((pool._pending, pool._pending_bytes, pool._keys), (0, 0, {}))
        self.assertEqual(pool._calls._calls, set())
        yield until(lambda: pipes() <= self.pipes_before)

    def assert_lost(
        self, error: Any, key: str, fault: str, exit_code: int | None, signal: int | None
    ) -> None:
        """An upsert failed with an error that names it, and says how its worker ended."""
        self.assertIsInstance(error, WorkerLost)
        self.assertEqual(
            (error.operation, error.key, error.ambiguous, error.exit_code, error.signal),
            ("upsert", key, True, exit_code, signal),
        )
        self.assertIn(f"last words before {fault}", error.stderr)
        self.assertIn(repr(key), str(error))
        how = f"by signal {signal}" if signal is not None else f"with exit status {exit_code}"
        self.assertIn(how, str(error))
