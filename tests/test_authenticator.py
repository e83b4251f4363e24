"""Credentials that are replaced while a cluster is in use."""

from __future__ import annotations

import os
import signal
from typing import Any

from couchbase.auth import JwtAuthenticator, PasswordAuthenticator
from couchbase.exceptions import (
    AuthenticationException,
    CouchbaseException,
    InvalidArgumentException,
)
from couchbase.management.users import Role, User
from twisted.internet.defer import gatherResults, inlineCallbacks

from tests.support import TWO, ServerTestCase
from txcouchbase.cluster import TxCluster
from txcouchbase.exceptions import PoolClosed
from txcouchbase.workers import PoolConfig


class AuthenticatorTests(ServerTestCase):
    @inlineCallbacks
    def accounts(self, cluster: TxCluster) -> Any:
        """Under which names the workers ask now."""
        lanes = yield cluster.pool.when_connected(cluster._session, 2)
        assert self.node is not None
        with self.node.recording() as record:
            # One call goes to the least loaded worker: two at a time reach both.
            yield gatherResults([cluster.buckets().get_all_buckets() for _ in lanes])
        return [request.account for request in record.find("mgmt", "GET /pools/default/buckets")]

    @inlineCallbacks
    def test_workers_that_are_there_and_those_to_come(self) -> Any:
        cluster = self.cluster(TWO)
        users = cluster.users()
        password = "correct-horse"
        yield users.upsert_user(User("second", password=password, roles={Role("admin")}))
        self.assertEqual((yield self.accounts(cluster)), [self.username] * 2)

        given = PasswordAuthenticator("second", password)
        changed = cluster.set_authenticator(given)
        given.clear()
        yield changed
        self.assertEqual((yield self.accounts(cluster)), ["second"] * 2)

        # What the SDK refuses changes nothing, now and later.
        refused = cluster.set_authenticator(JwtAuthenticator("token"))
        error = yield self.assertFailure(refused, CouchbaseException)
        self.assertNotIn("token", str(error))
        for bad in (None, "second", {"username": "second"}, User("second")):
            with self.assertRaises(InvalidArgumentException):
                cluster.set_authenticator(bad)  # type: ignore[arg-type]
        self.assertEqual((yield self.accounts(cluster)), ["second"] * 2)

        for worker in cluster.pool.workers:
            os.kill(worker.pid, signal.SIGKILL)
        yield cluster._session.when_next_connected()
        self.assertEqual((yield self.accounts(cluster)), ["second"] * 2)

        yield cluster.close()
        late = cluster.set_authenticator(PasswordAuthenticator("second", password))
        yield self.assertFailure(late, PoolClosed)

    @inlineCallbacks
    def test_after_a_refused_login(self) -> Any:
        wrong = PasswordAuthenticator(self.username, "wrong")
        cluster = TxCluster(
            self.connstr, authenticator=wrong, pool=PoolConfig(min_workers=1, max_workers=1)
        )
        self.addCleanup(cluster.close)
        collection = cluster.bucket(self.bucket_name).default_collection()
        waiting = collection.upsert(self.key("a"), 1)
        yield self.assertFailure(cluster.on_connect(), AuthenticationException)
        yield self.assertFailure(waiting, AuthenticationException)
        # Often enough that the next attempt on its own would be far away.
        for _ in range(3):
            yield self.assertFailure(cluster.set_authenticator(wrong), AuthenticationException)
        self.assertFalse(cluster.connected)
        begun = cluster.pool.reactor.seconds()
        yield cluster.set_authenticator(PasswordAuthenticator(self.username, self.password))
        self.assertTrue(cluster.connected)
        yield collection.upsert(self.key("a"), 1)
        self.assertLess(cluster.pool.reactor.seconds() - begun, 2.0)

    @inlineCallbacks
    def test_while_workers_connect(self) -> Any:
        cluster = TxCluster(
            self.connstr,
            username=self.username,
            password="wrong",
            pool=PoolConfig(min_workers=1, max_workers=1),
        )
        self.addCleanup(cluster.close)
        connected = cluster.on_connect()
        while not cluster._session._attempts:
            yield self.turn(cluster)
        # The attempt with the wrong password is under way: nobody hears of its end.
        yield cluster.set_authenticator(PasswordAuthenticator(self.username, self.password))
        yield connected

        lane = cluster._session.lanes[0]
        cluster._session.lane_lost(lane)
        cluster._session.start_on(lane)
        first = cluster.set_authenticator(PasswordAuthenticator(self.username, "other"))
        last = cluster.set_authenticator(PasswordAuthenticator(self.username, self.password))
        yield gatherResults([first, last])
        yield cluster.buckets().get_all_buckets()

    def turn(self, cluster: TxCluster) -> Any:
        from twisted.internet.task import deferLater

        return deferLater(cluster.pool.reactor, 0.005)
