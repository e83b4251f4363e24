"""What a cluster tells of itself and its connections."""

from __future__ import annotations

import json
import os
import signal
from datetime import timedelta
from typing import Any

from couchbase.diagnostics import ClusterState, EndpointState, PingState, ServiceType
from couchbase.exceptions import (
    AuthenticationException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from couchbase.options import DiagnosticsOptions, PingOptions, WaitUntilReadyOptions
from couchbase.result import ClusterInfoResult, DiagnosticsResult, PingResult
from twisted.internet.defer import inlineCallbacks

from tests.support import ONE, TWO, ServerTestCase
from txcouchbase.cluster import TxCluster, TxRawCluster
from txcouchbase.exceptions import PoolClosed


class DiagnosticsTests(ServerTestCase):
    @inlineCallbacks
    def test_diagnostics_tell_the_workers_apart(self) -> Any:
        cluster = self.cluster(TWO)
        early = cluster.diagnostics()
        yield cluster.wait_until_ready(timedelta(seconds=30))
        report = yield cluster.diagnostics(DiagnosticsOptions(report_id="mine"))
        self.assertIs(type(report), DiagnosticsResult)
        self.assertEqual((report.id, report.state), ("mine", ClusterState.Online))
        self.assertTrue(report.sdk)
        endpoints = report.endpoints[ServiceType.KeyValue]
        pids = {str(worker.pid) for worker in cluster.pool.workers}
        self.assertEqual({endpoint.id.split("/")[0] for endpoint in endpoints}, pids)
        self.assertEqual(len({endpoint.id for endpoint in endpoints}), len(endpoints))
        for endpoint in endpoints:
            self.assertIs(endpoint.state, EndpointState.Connected)
            self.assertTrue(endpoint.remote and endpoint.local)
            self.assertIsInstance(endpoint.last_activity_us, timedelta)
        self.assertIn("mine", json.loads(report.as_json())["id"])
        # It was asked before there was a connection, and waited for the first one.
        self.assertGreaterEqual(len((yield early).endpoints[ServiceType.KeyValue]), 1)

        # A worker that ends meanwhile has no connections to tell of.
        stopped, left = cluster.pool.workers
        os.kill(stopped.pid, signal.SIGSTOP)
        waiting = cluster.diagnostics()
        os.kill(stopped.pid, signal.SIGKILL)
        report = yield waiting
        endpoints = report.endpoints[ServiceType.KeyValue]
        self.assertEqual({endpoint.id.split("/")[0] for endpoint in endpoints}, {str(left.pid)})

        self.assertRaises(TypeError, cluster.diagnostics, nonsense=1)
        yield cluster.close()
        yield self.assertFailure(cluster.diagnostics(), PoolClosed)
        yield self.assertFailure(cluster.cluster_info(), PoolClosed)

    @inlineCallbacks
    def test_cluster_info_and_pings(self) -> Any:
        cluster = self.cluster()
        info = yield cluster.cluster_info()
        self.assertIs(type(info), ClusterInfoResult)
        self.assertEqual(len(info.nodes), 1)
        self.assertEqual((info.server_version_short, info.is_enterprise), (7.6, True))

        report = yield cluster.ping(
            PingOptions(
                service_types=[ServiceType.Query, ServiceType.KeyValue],
                report_id="mine",
                timeout=timedelta(seconds=20),
            )
        )
        self.assertIs(type(report), PingResult)
        self.assertEqual(report.id, "mine")
        self.assertEqual(set(report.endpoints), {ServiceType.Query, ServiceType.KeyValue})
        report = yield cluster.ping()
        self.assertIn(ServiceType.Management, report.endpoints)
        bucket = cluster.bucket(self.bucket_name)
        report = yield bucket.ping(service_types=["key_value"])
        (endpoint,) = report.endpoints[ServiceType.KeyValue]
        self.assertEqual(endpoint.state, PingState.OK)
        self.assertEqual(endpoint.as_dict()["bucket"], self.bucket_name)
        for target in (cluster, bucket):
            self.assertRaises(InvalidArgumentException, target.ping, service_types="key_value")
            self.assertRaises(InvalidArgumentException, target.ping, timeout=5)
            self.assertRaises(TypeError, target.ping, nonsense=1)

        ready = cluster.wait_until_ready(
            timedelta(seconds=20),
            WaitUntilReadyOptions(
                desired_state=ClusterState.Online, service_types=[ServiceType.Query]
            ),
        )
        self.assertIsNone((yield ready))
        self.assertRaises(InvalidArgumentException, cluster.wait_until_ready, 20)
        never = cluster.wait_until_ready(
            timedelta(seconds=0.5), desired_state=ClusterState.Degraded
        )
        yield self.assertFailure(never, UnAmbiguousTimeoutException)

    @inlineCallbacks
    def test_connect(self) -> Any:
        for form in (TxCluster, TxRawCluster):
            cluster = yield form.connect(self.connstr, self.options(), pool=ONE)
            self.addCleanup(cluster.close)
            self.assertIs(type(cluster), form)
            self.assertTrue(cluster.connected)
        made: list[TxCluster] = []

        class Noticed(TxCluster):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                made.append(self)

        refused = Noticed.connect(self.connstr, username="nobody", password="wrong", pool=ONE)
        yield self.assertFailure(refused, AuthenticationException)
        self.assertEqual(made[0].pool.workers, [])
