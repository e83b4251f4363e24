"""What the managers have in common: signatures, arguments, time, and what becomes of a call."""

from __future__ import annotations

import inspect
import os
import signal
import time
from datetime import timedelta
from importlib import import_module
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.durability import DurabilityLevel
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    BucketDoesNotExistException,
    CouchbaseException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
    WatchQueryIndexTimeoutException,
)
from couchbase.management.analytics import S3ExternalAnalyticsLink
from couchbase.management.buckets import BucketSettings, CreateBucketSettings, StorageBackend
from couchbase.management.collections import CollectionSpec, CreateCollectionSettings
from couchbase.management.options import (
    ConnectLinkOptions,
    CreateQueryIndexOptions,
    GetBucketOptions,
    GetUserOptions,
    WatchQueryIndexOptions,
)
from couchbase.management.search import SearchIndex
from couchbase.management.users import Role, User
from couchbase.management.views import DesignDocument, DesignDocumentNamespace, View
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from tests.contract import public_methods
from tests.support import ServerTestCase
from txcouchbase.amp import objects
from txcouchbase.amp.operations import OPERATIONS, OperationKind, manager_call
from txcouchbase.exceptions import PoolClosed, WorkerLost
from txcouchbase.management.buckets import BucketManager
from txcouchbase.management.manager import _UNOBSERVED, Manager, _Stage, _WouldSend
from txcouchbase.testing.faults import Fault
from txcouchbase.workers.calls import call
from txcouchbase.workers.executor import Place, Task

AREAS = ("analytics", "buckets", "collections", "eventing", "queries", "search", "users", "views")


def managers() -> list[tuple[type[Any], type[Manager]]]:
    """The SDK's managers, each with ours of its name."""
    found = []
    for area in AREAS:
        theirs = import_module(f"couchbase.management.{area}")
        ours = import_module(f"txcouchbase.management.{area}")
        for name, cls in vars(theirs).items():
            if name.endswith("Manager"):
                found.append((cls, getattr(ours, name)))
    return found


def names_of(cls: type) -> tuple[str, ...]:
    """Names for the bucket, scope and collection that a manager of the SDK is made with."""
    parameters = inspect.signature(cls).parameters
    return tuple(name for name in parameters if name.endswith("_name"))


REFUSED = {("ScopeSearchIndexManager", "get_index_stats")}
"""Methods that the SDK has, but refuses to call."""


class RecordingCaller:
    """Takes down calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, float | None]] = []

    def call(self, kind: OperationKind, arguments: bytes, timeout: float | None) -> Deferred[Any]:
        self.calls.append((kind.name, objects.decode(arguments), timeout))
        return Deferred()


class SignatureTests(SynchronousTestCase):
    def test_every_manager_and_method_of_the_sdk_is_there_and_no_other(self) -> None:
        self.assertEqual(len(managers()), 11)
        for theirs, ours in managers():
            self.assertEqual(public_methods(ours), public_methods(theirs), ours.__name__)

    def test_they_take_what_the_sdk_takes(self) -> None:
        for theirs, ours in managers():
            for name in public_methods(theirs):
                expected = inspect.signature(getattr(theirs, name)).parameters
                given = inspect.signature(getattr(ours, name)).parameters
                self.assertEqual(
                    [(p.name, p.kind, p.default) for p in given.values()],
                    [(p.name, p.kind, p.default) for p in expected.values()],
                    f"{ours.__name__}.{name}",
                )

    def test_they_are_documented_and_return_deferreds(self) -> None:
        for _, ours in managers():
            for name in public_methods(ours):
                method = getattr(ours, name)
                self.assertTrue(method.__doc__, name)
                self.assertRegex(method.__annotations__["return"], r"^Deferred\[.+\]$", name)

    def test_each_calls_the_method_of_its_name(self) -> None:
        samples: dict[str, Any] = {
            "settings": CreateBucketSettings(name="b", ram_quota_mb=100),
            "keys": ["k"],
            "index_names": ["i"],
            "fields": {},
            "link": S3ExternalAnalyticsLink("d", "l", "id", "region", "secret"),
            "index": SearchIndex("i", source_name="b"),
            "document": {"a": 1},
            "user": User("u", roles={Role("admin")}),
            "namespace": DesignDocumentNamespace.PRODUCTION,
            "design_doc_data": DesignDocument("d", {"v": View("m")}),
            "args": CollectionSpec("c", "s"),
        }
        for theirs, ours in managers():
            if theirs.__name__.endswith("EventingFunctionManager"):
                continue
            caller = RecordingCaller()
            manager: Any = ours(caller, *names_of(theirs))  # type: ignore[arg-type]
            for name in public_methods(ours):
                required: list[Any] = []
                for parameter in inspect.signature(getattr(manager, name)).parameters.values():
                    if parameter.default is parameter.empty and parameter.name not in (
                        "options",
                        "kwargs",
                    ):
                        required.append(samples.get(parameter.name, parameter.name))
                if (name, "settings") == ("update_collection", "settings"):
                    required[-1] = CreateCollectionSettings(history=True)
                if name == "upsert_group" or (theirs.__name__, name) in REFUSED:
                    continue
                getattr(manager, name)(*required, timeout=timedelta(seconds=7))
                called, (args, kwargs), timeout = caller.calls.pop()
                self.assertEqual(called, f"{ours._accessor}.{name}")
                self.assertEqual(len([a for a in args if a is not None]), len(required))
                self.assertEqual(kwargs, {"timeout": timedelta(seconds=7)})
                self.assertEqual(timeout, 7.0)
        self.flushWarnings()  # the SDK's, of forms that it calls deprecated


class ArgumentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.caller = RecordingCaller()
        self.manager = BucketManager(self.caller)  # type: ignore[arg-type]

    def test_what_the_sdk_refuses_before_it_sends_raises_at_once_and_as_there(self) -> None:
        hour = timedelta(hours=1)
        bad: dict[str, list[tuple[Any, ...]]] = {
            "BucketManager": [
                ("get_bucket",),
                ("get_bucket", ""),
                ("get_bucket", 5),
                ("get_bucket", None),
                ("get_bucket", object()),
                ("get_bucket", "b", {"timeout": 5}),
                ("create_bucket", None),
                ("create_bucket", {}),
                ("create_bucket", CreateBucketSettings(name="b", num_replicas="many")),
                ("update_bucket", BucketSettings(name="b", max_expiry=object())),
            ],
            "UserManager": [
                ("upsert_user", User("u")),
                ("get_user", "u", GetUserOptions(domain_name="nowhere")),
            ],
            "QueryIndexManager": [
                ("create_index", "b", "i", "keys"),
                ("create_index", "b", 5, ["k"]),
                ("create_index", None, "i", ["k"]),
                ("watch_indexes", "b", ["i"]),
                ("watch_indexes", "b", {"i"}, WatchQueryIndexOptions(timeout=hour)),
            ],
            "CollectionQueryIndexManager": [
                ("create_index", "i", ["k"], CreateQueryIndexOptions(scope_name="s")),
            ],
            "CollectionManager": [
                ("create_scope", ""),
                ("create_scope", 5),
                ("create_collection",),
                ("create_collection", "s"),
                ("create_collection", "s", "c", "settings"),
                ("drop_collection", CollectionSpec("c"), "c"),
            ],
            "AnalyticsIndexManager": [
                ("create_index", "i", "d", {"f": "string"}),
                ("create_link", S3ExternalAnalyticsLink("d", "l", "", "region")),
                ("create_dataverse", None),
            ],
            "SearchIndexManager": [
                ("upsert_index", None),
                ("upsert_index", SearchIndex("")),
                ("get_index", ""),
                ("analyze_document", "i", {}),
                ("analyze_document", "i", {"a": object()}),
            ],
            "ScopeSearchIndexManager": [("get_index_stats", "i")],
            "EventingFunctionManager": [
                ("upsert_function", None),
            ],
            "ViewIndexManager": [
                ("get_design_document", "d", None),
                ("upsert_design_document", None, DesignDocumentNamespace.PRODUCTION),
            ],
        }
        pairs = {theirs.__name__: (theirs, ours) for theirs, ours in managers()}
        for name, calls in bad.items():
            theirs, ours = pairs[name]
            names = names_of(theirs)
            ours_made: Any = ours(self.caller, *names)  # type: ignore[arg-type]
            theirs_made = theirs(_Stage(), *names, _UNOBSERVED)
            for method, *args in calls:
                try:
                    getattr(theirs_made, method)(*args)
                except Exception as error:
                    expected = error
                except _WouldSend:
                    self.fail(f"the SDK takes {method}{args}")
                with self.assertRaises(type(expected), msg=f"{method}{args}") as caught:
                    getattr(ours_made, method)(*args)
                self.assertEqual(str(caught.exception), str(expected))
        self.assertEqual(self.caller.calls, [])
        self.flushWarnings()  # as above

    def test_what_the_sdk_would_take_but_cannot_cross_is_refused_by_name(self) -> None:
        class Own:
            pass

        with self.assertRaises(InvalidArgumentException) as caught:
            self.manager.get_bucket("b", more=Own())
        self.assertIn("Own", str(caught.exception))

    def test_arguments_are_taken_as_they_are_at_the_call(self) -> None:
        settings = CreateBucketSettings(name="b", ram_quota_mb=100)
        options = GetBucketOptions(timeout=timedelta(seconds=1))
        self.manager.create_bucket(settings, options)
        settings["ram_quota_mb"] = 200
        options["timeout"] = timedelta(seconds=2)
        (_, (args, _), timeout) = self.caller.calls.pop()
        self.assertEqual(args[0]["ram_quota_mb"], 100)
        self.assertEqual(timeout, 1.0)

    def test_the_callers_objects_are_not_changed(self) -> None:
        # The SDK itself adds the primary index to the caller's list.
        from txcouchbase.management.queries import QueryIndexManager

        names = ["i"]
        manager = QueryIndexManager(self.caller)  # type: ignore[arg-type]
        manager.watch_indexes("b", names, timeout=timedelta(seconds=1), watch_primary=True)
        self.assertEqual(names, ["i"])

    def test_a_parent_span_stays_here(self) -> None:
        span = object()
        options = GetBucketOptions(parent_span=span, timeout=timedelta(seconds=1))
        self.manager.get_bucket("b", options)
        self.manager.get_bucket("b", parent_span=span)
        self.assertEqual(
            [arguments for _, arguments, _ in self.caller.calls],
            [(("b", {"timeout": timedelta(seconds=1)}), {}), (("b",), {})],
        )
        self.assertIs(options["parent_span"], span)


class WorkerTests(SynchronousTestCase):
    """A call in a worker."""

    def task(self, kind: OperationKind, keywords: dict[str, Any]) -> Task:
        """A call that waited for one and a half of its two seconds."""
        value = objects.encode((("b",), keywords))
        options = {"method": kind.name} if kind.code == OPERATIONS["call"].code else None
        request = [1, kind.code, 2, None, 2000, value, 0, options]
        return Task(request, Place(0, 0, "", "", ""), time.monotonic() - 1.5)

    def test_the_sdk_gets_what_is_left_of_the_time(self) -> None:
        seen: list[timedelta] = []

        class Cluster:
            def buckets(self) -> Any:
                return self

            def get_bucket(self, name: str, *, timeout: timedelta, **options: Any) -> str:
                seen.append(timeout)
                return name

            wait_until_ready = get_bucket

        for kind, keywords in (
            (manager_call("buckets.get_bucket"), {}),
            (manager_call("buckets.get_bucket"), {"timeout": timedelta(seconds=2)}),
            (OPERATIONS["wait_until_ready"], {"timeout": None}),
        ):
            answer = call(Cluster(), self.task(kind, keywords))
            self.assertEqual(objects.decode(answer["value"]), "b")
        self.assertEqual(len(seen), 3)
        for timeout in seen:
            self.assertTrue(timedelta(0) < timeout <= timedelta(seconds=0.5), timeout)

    def test_what_cannot_cross_is_an_error_of_the_call(self) -> None:
        class Cluster:
            def cluster_info(self, name: str) -> object:
                return object()

        with self.assertRaises(TypeError):
            call(Cluster(), self.task(OPERATIONS["cluster_info"], {}))


class CallTests(ServerTestCase):
    """Calls on their way through workers."""

    @inlineCallbacks
    def test_options_arrive(self) -> Any:
        cluster = self.cluster()
        assert self.node is not None
        with self.node.recording() as record:
            yield cluster.buckets().create_bucket(
                CreateBucketSettings(
                    name="arriving",
                    ram_quota_mb=1024,
                    num_replicas=2,
                    flush_enabled=True,
                    max_expiry=timedelta(seconds=77),
                    storage_backend=StorageBackend.MAGMA,
                    minimum_durability_level=DurabilityLevel.MAJORITY,
                )
            )
            yield cluster.query_indexes().create_index(
                self.bucket_name,
                "by_n",
                ["n"],
                CreateQueryIndexOptions(
                    deferred=True,
                    num_replicas=0,
                    condition="n > 1",
                    scope_name="_default",
                    collection_name="_default",
                ),
            )
            yield cluster.users().upsert_user(
                User("external", roles={Role("ro_admin")}), domain_name="external"
            )
            yield cluster.analytics_indexes().connect_link(ConnectLinkOptions(force=True))
            scope = cluster.bucket(self.bucket_name).default_scope()
            yield scope.search_indexes().upsert_index(
                SearchIndex("arrived", source_name=self.bucket_name, params={"x": {"y": 1}})
            )
        (create,) = record.find("mgmt", "POST /pools/default/buckets")
        sent = {
            "name": "arriving",
            "ramQuotaMB": "1024",
            "replicaNumber": "2",
            "flushEnabled": "1",
            "maxTTL": "77",
            "storageBackend": "magma",
            "durabilityMinLevel": "majority",
        }
        self.assertEqual({name: create.options.get(name) for name in sent}, sent)
        (statement,) = record.find("query")
        text = statement.options["statement"]
        for part in ("CREATE INDEX", "`n`", "n > 1", '"defer_build":true', '"num_replica":0'):
            self.assertIn(part, text)
        users = [request for request in record.find("mgmt") if "rbac/users" in request.operation]
        self.assertEqual(
            [request.operation for request in users], ["PUT /settings/rbac/users/external/external"]
        )
        (link,) = record.find("analytics")
        self.assertIn('"force": true', link.options["statement"])
        (index,) = record.find("search")
        self.assertIn(f"/bucket/{self.bucket_name}/scope/_default/index/arrived", index.operation)
        self.assertEqual(index.options["params"], {"x": {"y": 1}})

    @inlineCallbacks
    def test_the_own_password(self) -> Any:
        cluster = self.cluster()
        roles = {Role("admin")}
        yield cluster.users().upsert_user(User("own", password="first-password", roles=roles))
        yield cluster.set_authenticator(PasswordAuthenticator("own", "first-password"))
        yield cluster.users().change_password("second-password")
        error = yield self.assertFailure(cluster.users().get_user("own"), CouchbaseException)
        self.assertEqual(error.context.response_code, 401)
        yield cluster.set_authenticator(PasswordAuthenticator("own", "second-password"))
        self.assertEqual((yield cluster.users().get_user("own")).user.username, "own")

    @inlineCallbacks
    def test_time_covers_the_whole_way(self) -> Any:
        cluster = self.cluster()
        yield cluster.on_connect()
        assert self.node is not None
        buckets = cluster.buckets()
        short = timedelta(seconds=0.3)
        self.node.faults.add(Fault("mgmt", operation="buckets", delay=20.0))
        begun = cluster.pool.reactor.seconds()
        error = yield self.assertFailure(
            buckets.get_bucket(self.bucket_name, timeout=short), AmbiguousTimeoutException
        )
        # From the SDK, which was given what was left of the time.
        self.assertIsNotNone(error.context)
        settings = CreateBucketSettings(name="late", ram_quota_mb=100)
        yield self.assertFailure(
            buckets.create_bucket(settings, timeout=short), AmbiguousTimeoutException
        )
        self.assertLess(cluster.pool.reactor.seconds() - begun, 5.0)
        self.node.faults.clear()

        yield cluster.query_indexes().create_index(self.bucket_name, "i", ["n"], deferred=True)
        watch = cluster.query_indexes().watch_indexes(self.bucket_name, ["i"], timeout=short)
        yield self.assertFailure(watch, WatchQueryIndexTimeoutException)

    @inlineCallbacks
    def test_before_a_connection(self) -> Any:
        assert self.node is not None
        cluster = self.cluster()
        info = cluster.cluster_info()
        found = cluster.buckets().get_bucket("nowhere")
        short = timedelta(seconds=0.05)
        early = cluster.buckets().get_all_buckets(timeout=short)
        watch = cluster.query_indexes().watch_indexes(self.bucket_name, ["i"], timeout=short)
        self.assertFalse(cluster.connected)
        yield self.assertFailure(early, UnAmbiguousTimeoutException)
        yield self.assertFailure(watch, WatchQueryIndexTimeoutException)
        self.assertFalse(cluster.connected)
        self.assertEqual((yield info).server_version_short, 7.6)
        yield self.assertFailure(found, BucketDoesNotExistException)

    @inlineCallbacks
    def test_a_call_ends_once_whatever_happens(self) -> Any:
        cluster = self.cluster()
        yield cluster.on_connect()
        assert self.node is not None
        buckets = cluster.buckets()
        struck = self.node.faults.add(Fault("mgmt", operation="buckets", delay=20.0))

        cancelled = buckets.get_bucket(self.bucket_name)
        cancelled.cancel()
        yield self.assertFailure(cancelled, CancelledError)
        self.assertEqual(struck.struck, 0)

        lost = buckets.create_bucket(CreateBucketSettings(name="lost", ram_quota_mb=100))
        asked = buckets.get_all_buckets()
        in_flight = buckets.get_bucket(self.bucket_name)
        while struck.struck < 3:
            yield self.turn(cluster)
        in_flight.cancel()
        yield self.assertFailure(in_flight, CancelledError)
        (worker,) = cluster.pool.workers
        os.kill(worker.pid, signal.SIGKILL)
        error = yield self.assertFailure(lost, WorkerLost)
        self.assertEqual((error.operation, error.ambiguous), ("buckets.create_bucket", True))
        # No call is made twice, not even one that only reads.
        yield self.assertFailure(asked, WorkerLost)
        self.assertEqual(struck.struck, 3)
        self.node.faults.clear()

        yield buckets.get_bucket(self.bucket_name)
        yield cluster.close()
        yield self.assertFailure(buckets.get_all_buckets(), PoolClosed)

    def turn(self, cluster: Any) -> Deferred[None]:
        turned: Deferred[None] = Deferred()
        cluster.pool.reactor.callLater(0.005, turned.callback, None)
        return turned
