"""Transactions through job workers, proven by what the node was asked and what it stores."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import (
    InvalidArgumentException,
    TransactionCommitAmbiguous,
    TransactionExpired,
    TransactionFailed,
    TransactionOperationFailed,
    UnAmbiguousTimeoutException,
)
from couchbase.n1ql import QueryScanConsistency
from couchbase.options import ClusterTimeoutOptions, TransactionConfig, TransactionOptions
from couchbase.transactions import TransactionKeyspace, TransactionResult
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import jobfunctions
from tests.support import ServerTestCase, until
from tests.test_jobs import config
from txcouchbase.amp.transactions import from_data, to_data
from txcouchbase.exceptions import RemoteError, WorkerLost
from txcouchbase.testing import EmbeddedNode, Fault
from txcouchbase.workers import job_runner

STAGE = "SUBDOC_MULTI_MUTATION"


@contextmanager
def quiet_sdk() -> Any:
    """The SDK's constructors call their own `timeout` deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def transaction_options(**options: Any) -> TransactionOptions:
    with quiet_sdk():
        return TransactionOptions(**options)


def transaction_config(**options: Any) -> TransactionConfig:
    with quiet_sdk():
        return TransactionConfig(**options)


class TransactionTests(ServerTestCase):
    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        if self.node is None:
            raise SkipTest("only the embedded node tells what arrived")
        # Two nodes, of which either has a copy of each document.
        self.server = EmbeddedNode(reactor=reactor, nodes=2, replicas=1, server_groups=2)
        yield self.server.start()
        self.addCleanup(self.server.stop)
        self.connstr, self.bucket_name = self.server.connstr, "default"
        self.notes = os.path.abspath(self.mktemp())

    def start(self, **options: Any) -> None:
        options.setdefault("transaction_config", transaction_config(cleanup_lost_attempts=False))
        self.client = self.cluster(config(), **options)
        self.transactions = self.client.transactions
        self.collection = self.client.bucket(self.bucket_name).default_collection()
        self.server.put("k", {"n": 1})

    def stored(self, key: str = "k") -> Any:
        """The value of a document, in which nothing may be staged."""
        found = self.server.get(key)
        if found is None:
            return None
        self.assertNotIn("txn", found.attributes)
        return found.value

    def attempts(self, **place: str) -> list[Any]:
        """What the attempt records hold."""
        names = [key for key in self.server.keys(**place) if key.startswith("_txn:atr-")]
        found: list[Any] = []
        for name in names:
            record = self.server.get(name, **place)
            assert record is not None
            found += record.attributes["attempts"].values()
        return found

    def times_called(self) -> int:
        return len(Path(self.notes).read_text(encoding="utf-8"))

    @inlineCallbacks
    def test_run(self) -> Any:
        # One after the other, since most of the time goes into starting workers.
        self.start(preferred_server_group="Group 2")
        self.check_refusals()
        yield self.check_outcomes()
        yield self.check_queued()
        yield self.check_every_operation()

    @inlineCallbacks
    def check_outcomes(self) -> Any:
        run, collection = self.transactions.run, self.collection

        result = yield run(jobfunctions.move, collection, "k", {"n": 2}, timeout=20)
        self.assertIsInstance(result, TransactionResult)
        self.assertEqual(result.value, "moved")
        self.assertRegex(result.transaction_id, "^[0-9a-f-]{30,}$")
        self.assertIs(result.unstaging_complete, True)
        self.assertEqual(self.stored(), {"n": 2})

        for timeout in (1e10, 1e300, 10**400, timedelta(days=400 * 365), timedelta.max):
            result = yield run(jobfunctions.move, collection, "k", {"n": 2}, timeout=timeout)
            self.assertEqual(result.value, "moved", timeout)

        failing = run(jobfunctions.insert_and_refuse, collection, "new")
        error = yield self.assertFailure(failing, TransactionFailed)
        self.assertIsInstance(error.inner_cause, jobfunctions.Refused)
        self.assertIn("in insert_and_refuse", error.__cause__.remote_traceback)
        self.assertIsNone(self.stored("new"))

        failing = run(jobfunctions.insert_and_return, collection, "new", 0)
        error = yield self.assertFailure(failing, TransactionFailed)
        self.assertIsInstance(error.inner_cause, TypeError)
        self.assertIn("returned a Exiting that cannot be pickled", str(error.inner_cause))
        self.assertIn("return plain data", str(error.inner_cause))
        self.assertIsNone(self.stored("new"))
        committed = run(jobfunctions.insert_and_return, collection, "new", os.getpid())
        error = yield self.assertFailure(committed, RemoteError)
        self.assertIn("the transaction was committed; what the transaction", str(error))
        self.assertEqual(self.stored("new"), {})

        result = yield run(jobfunctions.meet_conflict, collection, "k", notes=self.notes)
        self.assertEqual(result.value, 2, "it was called again after the conflict")
        self.assertEqual(self.stored(), {"n": 101})

        os.remove(self.notes)
        failing = run(jobfunctions.swallow, collection, "k", self.notes)
        yield self.assertFailure(failing, TransactionFailed)
        self.assertEqual(self.times_called(), 1, "no other attempt would help")

        failing = run(jobfunctions.invent_failure, collection, "k")
        error = yield self.assertFailure(failing, TransactionFailed)
        self.assertIsInstance(error.inner_cause, TransactionOperationFailed)
        yield self.assertFailure(run(jobfunctions.exit_within, collection, "k"), RemoteError)
        self.assertEqual(self.stored(), {"n": 101})

        short = transaction_options(timeout=timedelta(seconds=0.1))
        late = run(jobfunctions.dawdle, short, collection, "k")
        yield self.assertFailure(late, TransactionExpired)
        late = run(jobfunctions.sleep_and_commit, short, collection, "k", 0.2)
        yield self.assertFailure(late, TransactionExpired)
        self.assertEqual(self.stored(), {"n": 101})
        self.assertEqual(self.attempts(), [])

    @inlineCallbacks
    def check_queued(self) -> Any:
        """One that has waited expires before its own time is over."""
        busy = self.client.run_in_worker(jobfunctions.hold_cluster, 0.5)
        with self.server.recording() as record:
            yield self.transactions.run(
                jobfunctions.move, self.collection, "k", {"n": 3}, timeout=20
            )
        yield busy
        self.assertLessEqual(self.expiry_in(record), 19_000)
        self.assertGreater(self.expiry_in(record), 5_000)

    def check_refusals(self) -> None:
        run = self.transactions.run

        def closure(context: Any) -> None:
            self.fail("never called")

        async def coroutine(context: Any) -> None:
            self.fail("never called")

        for wrong, says in (
            (lambda context: None, "define it with def"),
            (closure, "is defined inside a function; workers import"),
            (coroutine, "coroutine function"),
            (5, "needs a function"),
        ):
            error = self.assertRaises(InvalidArgumentException, run, wrong)
            self.assertIn("transactions.run", str(error))
            self.assertIn(says, str(error))
        for options in ({"timeout": 1}, transaction_config()):
            error = self.assertRaises(
                InvalidArgumentException, run, jobfunctions.move, transaction_options=options
            )
            self.assertIn("must be TransactionOptions", str(error))
        error = self.assertRaises(InvalidArgumentException, run, jobfunctions.move, sys.stdout)
        self.assertIn("argument 1", str(error))

    @inlineCallbacks
    def check_every_operation(self) -> Any:
        self.server.put("p-a", {"n": 1})
        self.server.put("p-b", {"n": 2})
        self.server.put("p-d", 4)
        with self.server.recording() as record:
            result = yield self.transactions.run(
                jobfunctions.every_method,
                self.collection,
                "p",
                transaction_options=transaction_options(
                    durability=ServerDurability(DurabilityLevel.MAJORITY_AND_PERSIST_TO_ACTIVE),
                    timeout=timedelta(seconds=33),
                    scan_consistency=QueryScanConsistency.REQUEST_PLUS,
                    metadata_collection=self.keyspace(),
                ),
            )
        self.assertEqual(
            result.value,
            {
                "get": {"n": 1},
                "get_multi": [True, False, {"n": 2}],
                "replica": {"n": 1},
                "replicas": [{"n": 1}, {"n": 2}],
                "replace": {"n": 10},
                "insert": {"n": 3},
                "transcoder": b"4",
                "query": [3],
            },
        )
        self.assertEqual([self.stored(f"p-{name}") for name in "abc"], [{"n": 10}, None, {"n": 3}])
        self.assertEqual(
            self.staged_in(record), {"p-a": "replace", "p-b": "remove", "p-c": "insert"}
        )
        staged, *_ = record.find("kv", STAGE, "p-c")
        self.assertEqual(staged.options["flags"], 0x02000000)
        self.check_options(record, "majority_and_persist_to_active", 33)
        begin, select, commit = record.find("query")
        self.assertEqual(begin.options["scan_consistency"], "request_plus")
        self.assertEqual(begin.options["durability_level"], "majorityAndPersistActive")
        self.assertEqual(select.options["args"], [1])
        self.assertEqual(select.options["$more"], 2)
        self.assertEqual(select.options["scan_consistency"], "not_bounded")
        self.assertEqual(select.options["client_context_id"], "mine")
        self.assertIs(select.options["readonly"], True)
        self.assertEqual(commit.options["statement"], "COMMIT")
        self.assertEqual({select.options["txid"]}, {commit.options["txid"]})

    def keyspace(self) -> TransactionKeyspace:
        """A collection of its own for attempt records."""
        self.server.create_scope(self.bucket_name, "meta")
        self.server.create_collection(self.bucket_name, "meta", "records")
        return TransactionKeyspace(bucket=self.bucket_name, scope="meta", collection="records")

    def staged_in(self, record: Any) -> dict[str, str]:
        """What was staged, by key."""
        found = {}
        for request in record.find("kv", STAGE):
            first = request.options["specs"][0]
            if first["path"] == "txn" and first["operation"] == "SUBDOC_DICT_UPSERT":
                found[request.key] = json.loads(first["value"])["op"]["type"]
        return found

    def check_options(self, record: Any, durability: str, seconds: int) -> None:
        """See that durability, time and metadata collection have arrived with each request."""
        changes = record.find("kv", STAGE)
        self.assertEqual({change.options.get("durability") for change in changes}, {durability})
        pending, *_ = [change for change in changes if change.key.startswith("_txn:atr")]
        self.assertEqual((pending.scope, pending.collection), ("meta", "records"))
        self.assertLessEqual(self.expiry_in(record), seconds * 1000)
        self.assertGreater(self.expiry_in(record), (seconds - 10) * 1000)

    def expiry_in(self, record: Any) -> int:
        """How long the first attempt may take (milliseconds)."""
        pending, *_ = [
            request for request in record.find("kv", STAGE) if request.key.startswith("_txn:atr")
        ]
        values = {
            spec["path"].rpartition(".")[2]: spec["value"] for spec in pending.options["specs"]
        }
        return int(values["exp"])

    @inlineCallbacks
    def test_configured_and_lost(self) -> Any:
        self.start(
            timeout_options=ClusterTimeoutOptions(kv_durable_timeout=timedelta(seconds=1.5)),
            transaction_config=transaction_config(
                durability=ServerDurability(DurabilityLevel.PERSIST_TO_MAJORITY),
                timeout=timedelta(seconds=40),
                scan_consistency=QueryScanConsistency.NOT_BOUNDED,
                metadata_collection=self.keyspace(),
                cleanup_window=timedelta(seconds=0.25),
            ),
        )
        place = {"scope": "meta", "collection": "records"}
        run, collection = self.transactions.run, self.collection

        # A worker that dies leaves what it has staged, which others do not see.
        mark, end = os.path.abspath(self.mktemp()), os.path.abspath(self.mktemp())
        with self.server.recording() as record:
            lost = run(jobfunctions.stage_and_wait, collection, ["k", "new"], mark, end)
            yield until(lambda: Path(mark).exists() and Path(mark).read_text(encoding="ascii"))
            self.check_options(record, "persist_to_majority", 40)
            os.kill(int(Path(mark).read_text(encoding="ascii")), signal.SIGKILL)
            error = yield self.assertFailure(lost, WorkerLost)
        self.assertIn("it may have had effects", str(error))
        found = yield collection.get("k")
        self.assertEqual(found.value, {"n": 1})
        exists = yield collection.exists("new")
        self.assertFalse(exists.exists)
        left = self.server.get("k")
        assert left is not None
        self.assertIn("txn", left.attributes)
        self.assertEqual([one["st"] for one in self.attempts(**place)], ["PENDING"])

        # Its attempt expires, and the next worker with transactions cleans it up.
        self.server.advance(60)
        yield run(jobfunctions.nothing)
        yield until(lambda: not self.attempts(**place))
        client_record = self.server.get("_txn:client-record", **place)
        assert client_record is not None
        clients = client_record.attributes["records"]["clients"].values()
        self.assertIn(250 // 2 + 2000, [client["expires_ms"] for client in clients])
        yield run(jobfunctions.move, collection, "k", {"n": 2})
        self.assertEqual(self.stored(), {"n": 2})

        # A commit that nobody answers.
        silent = Fault("kv", operation=f"^{STAGE}$", key="^_txn:atr", effect="silence", skip=1)
        self.server.faults.add(silent)
        ambiguous = run(
            jobfunctions.note_and_replace,
            transaction_options(timeout=timedelta(seconds=1)),
            collection,
            "k",
            self.notes,
            {"n": 3},
        )
        yield self.assertFailure(ambiguous, TransactionCommitAmbiguous)
        self.assertEqual(self.times_called(), 1)
        self.server.faults.clear()


class ExpiryTests(SynchronousTestCase):
    """How long a transaction may take, from its options and what is left of its job's time."""

    def expiry(self, left: int, **options: int) -> int:
        """In milliseconds."""
        used: list[TransactionOptions] = []

        def attempts(_: Any, __: Any, settings: TransactionOptions) -> dict[str, Any]:
            used.append(settings)
            return {}

        self.patch(job_runner, "run_attempts", attempts)
        self.patch(job_runner, "_left", lambda: left)
        job_runner.run_transaction(mock.Mock(), jobfunctions.nothing, (), {}, options)
        return int(to_data(used[0]).get("timeout", 0)) // 10**6

    def test_expiry(self) -> None:
        second = 10**9
        self.assertEqual(self.expiry(0), 0)
        self.assertEqual(self.expiry(0, timeout=3 * second), 3000)
        self.assertEqual(self.expiry(20_000), 19_500)
        self.assertEqual(self.expiry(20_000, timeout=3 * second), 3000)
        self.assertEqual(self.expiry(20_000, timeout=30 * second), 19_500)
        self.assertEqual(self.expiry(1000, timeout=second), 900)
        self.assertEqual(self.expiry(10**12), 10**12 - 500)

    def test_nothing_is_left(self) -> None:
        self.assertRaises(UnAmbiguousTimeoutException, self.expiry, 1, timeout=10**9)


class TransactionSettingsTests(SynchronousTestCase):
    def test_they_cross_unchanged(self) -> None:
        common: dict[str, Any] = {
            "durability": ServerDurability(DurabilityLevel.MAJORITY),
            "timeout": timedelta(seconds=3.5),
            "scan_consistency": QueryScanConsistency.REQUEST_PLUS,
            "metadata_collection": TransactionKeyspace(
                bucket="with.dots", scope="s", collection="c"
            ),
        }
        config = transaction_config(
            cleanup_window=timedelta(seconds=4), cleanup_lost_attempts=False, **common
        )
        for settings in (config, transaction_options(**common), TransactionOptions()):
            data = to_data(settings)
            self.assertEqual(to_data(from_data(type(settings), data)), data)
        self.assertEqual(to_data(config)["cleanup_window"], 4000)
        self.assertEqual(to_data(config)["timeout"], 3_500_000_000)
