"""Jobs with a connected cluster: `run_in_worker`, `map_multi`, transactions."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.exceptions import (
    AuthenticationException,
    DocumentNotFoundException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from twisted.internet.defer import CancelledError, gatherResults, inlineCallbacks

from tests import jobfunctions
from tests.support import ServerTestCase, until
from tests.test_jobs import config
from txcouchbase.exceptions import PoolClosed, WorkerLost
from txcouchbase.workers import WorkerPool


class ClusterJobTests(ServerTestCase):
    @inlineCallbacks
    def test_run_in_worker(self) -> Any:
        cluster = self.cluster(config())
        collection = cluster.bucket(self.bucket_name).default_collection()
        key = self.key("k")
        answer = yield cluster.run_in_worker(
            jobfunctions.with_cluster, self.bucket_name, key, value={"n": 1}
        )
        self.assertEqual(answer, ("couchbase.cluster", {"n": 1}))
        found = yield collection.get(key)
        self.assertEqual(found.value, {"n": 1})
        answer = yield cluster.run_in_worker(jobfunctions.read_from, collection, key)
        self.assertEqual(answer, ("couchbase.collection", {"n": 1}))
        missing = cluster.run_in_worker(jobfunctions.missing, self.bucket_name, self.key("no"))
        error = yield self.assertFailure(missing, DocumentNotFoundException)
        self.assertEqual(error.context.key, self.key("no"))
        self.assertIn("in missing", error.__cause__.remote_traceback)
        refused = cluster.pool.run(jobfunctions.echo, collection)
        yield self.assertFailure(refused, InvalidArgumentException)

    @inlineCallbacks
    def test_one_cluster_s_fault_is_its_own(self) -> Any:
        pool = WorkerPool(config())
        self.addCleanup(pool.close)
        good = self.cluster(pool)
        password, self.password = self.password, "wrong"
        bad = self.cluster(pool)
        refused = bad.run_in_worker(jobfunctions.missing, self.bucket_name, "k")
        error = yield self.assertFailure(refused, AuthenticationException)
        self.assertIsNone(error.__cause__, "no job has raised it")
        answer = yield good.run_in_worker(
            jobfunctions.with_cluster, self.bucket_name, self.key("k"), {}
        )
        self.assertEqual(answer[1], {})
        yield bad.set_authenticator(PasswordAuthenticator(self.username, password))
        answer = yield bad.run_in_worker(
            jobfunctions.with_cluster, self.bucket_name, self.key("k"), {}
        )
        self.assertEqual(answer[1], {}, "new credentials are for the job workers too")
        yield good.close()
        yield self.assertFailure(
            good.run_in_worker(jobfunctions.missing, self.bucket_name, "k"), PoolClosed
        )
        yield pool.run(jobfunctions.pid)

    @inlineCallbacks
    def test_key_value_operations_do_not_feel_a_job(self) -> Any:
        collection = self.collection(config())
        yield collection.upsert(self.key("k"), 1)
        pool = collection._pool
        mark = os.path.abspath(self.mktemp())
        job = pool.run(jobfunctions.hog, mark, 0.6)
        yield until(Path(mark).exists)
        for _ in range(100):
            yield collection.get(self.key("k"))
        self.assertNoResult(job)
        yield job

    @inlineCallbacks
    def test_map_multi(self) -> Any:
        collection = self.collection(config(2))
        keys = [self.key(str(number)) for number in range(200)]
        yield gatherResults(
            [collection.upsert(key, {"number": number}) for number, key in enumerate(keys)]
        )
        yield collection.upsert("all_okay", {"number": -1})
        yield collection.map_multi(keys[:1], jobfunctions.number_of)
        targets = collection._pool._jobs.targets
        yield until(lambda: [len(target.lanes) for target in targets()] == [2, 2])
        asked = [*reversed(keys), "all_okay", self.key("no"), keys[0]]
        values = yield collection.map_multi(iter(asked), jobfunctions.number_of)
        self.assertEqual(list(values), asked[:-1], "each key once, in the caller's order")
        self.assertIsInstance(values.pop(keys[13]), jobfunctions.Refused)
        self.assertIsInstance(values.pop(self.key("no")), DocumentNotFoundException)
        self.assertEqual(values.pop("all_okay")[1], -1)
        numbers = [number for _, number in values.values()]
        self.assertEqual(numbers, [n for n in range(199, -1, -1) if n != 13])
        self.assertEqual(len({pid for pid, _ in values.values()}), 2)

        first = collection.map_multi(
            [keys[1], keys[13], self.key("no")], jobfunctions.number_of, return_exceptions=False
        )
        error = yield self.assertFailure(first, jobfunctions.Refused)
        self.assertEqual(error.all_results[keys[1]][1], 1)
        self.assertIs(error.all_results[keys[13]], error)
        nothing = yield collection.map_multi([], jobfunctions.number_of)
        self.assertEqual(nothing, {})
        late = yield collection.map_multi(keys[:2], jobfunctions.number_of, timeout=0)
        self.assertIsInstance(late[keys[1]], UnAmbiguousTimeoutException)
        lost = yield collection.map_multi(keys[:2], jobfunctions.die_at)
        self.assertIsInstance(lost[keys[0]], WorkerLost)
        for wrong in ([5], "text", ["\ud800"], [["text"]], None, 5):
            self.assertRaises(
                InvalidArgumentException, collection.map_multi, wrong, jobfunctions.number_of
            )
        self.assertRaises(
            InvalidArgumentException, collection.map_multi, [], lambda key, result: None
        )

    @inlineCallbacks
    def test_map_multi_cancelled(self) -> Any:
        collection = self.collection(config(2, job_grace=30))
        keys = [self.key(str(number)) for number in range(20)]
        yield gatherResults([collection.upsert(key, {"number": 1}) for key in keys])
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        wait = functools.partial(jobfunctions.wait_in, folder)
        mapping = collection.map_multi(keys, wait)
        yield until(lambda: len(os.listdir(folder)) == 2)
        mapping.cancel()
        self.failureResultOf(mapping, CancelledError)
        Path(folder, "end").touch()
        pool = collection._pool
        yield until(lambda: pool._jobs._pending == 0)
        self.assertEqual(len(os.listdir(folder)), 11, "two pieces of five, and the end")
