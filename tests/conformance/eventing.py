"""The eventing service: its managers of the cluster and of scopes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    BucketNotFoundException,
    EventingFunctionAlreadyDeployedException,
    EventingFunctionCollectionNotFoundException,
    EventingFunctionCompilationFailureException,
    EventingFunctionIdenticalKeyspaceException,
    EventingFunctionNotBootstrappedException,
    EventingFunctionNotDeployedException,
    EventingFunctionNotFoundException,
    EventingFunctionNotUnDeployedException,
    InternalServerFailureException,
    InvalidArgumentException,
)
from couchbase.management.logic.eventing_function_mgmt_types import (
    EventingFunction,
    EventingFunctionBucketAccess,
    EventingFunctionBucketBinding,
    EventingFunctionConstantBinding,
    EventingFunctionDcpBoundary,
    EventingFunctionKeyspace,
    EventingFunctionLanguageCompatibility,
    EventingFunctionLogLevel,
    EventingFunctionSettings,
    EventingFunctionState,
    EventingFunctionUrlAuthBasic,
    EventingFunctionUrlAuthBearer,
    EventingFunctionUrlAuthDigest,
    EventingFunctionUrlBinding,
    EventingFunctionUrlNoAuth,
)
from couchbase.management.options import (
    DeployFunctionOptions,
    DropFunctionOptions,
    FunctionsStatusOptions,
    GetAllFunctionOptions,
    GetFunctionOptions,
    PauseFunctionOptions,
    ResumeFunctionOptions,
    UndeployFunctionOptions,
    UpsertFunctionOptions,
)
from couchbase.n1ql import QueryScanConsistency

from tests.conformance.checks import Context, check, expect, raises

TIMEOUT = timedelta(seconds=5)
CODE = "function OnUpdate(doc, meta) { log('changed', meta.id); }"


class Keyspaces:
    """The collections of a check: what changes, and where a function keeps its own."""

    def __init__(self, context: Context) -> None:
        self.collections = context.bucket.collections()
        self.scope = context.unique("eventing")
        self.collections.create_scope(self.scope)
        for name in ("source", "metadata"):
            self.collections.create_collection(self.scope, name)
        self.source = EventingFunctionKeyspace(context.bucket_name, self.scope, "source")
        self.metadata = EventingFunctionKeyspace(context.bucket_name, self.scope, "metadata")

    def function(self, name: str, **members: Any) -> EventingFunction:
        """A function on them."""
        given = {"source_keyspace": self.source, "metadata_keyspace": self.metadata} | members
        settings = given.pop("settings", None) or EventingFunctionSettings.new_settings()
        return EventingFunction(name=name, **({"code": CODE, "settings": settings} | given))


def managers(context: Context, keyspaces: Keyspaces) -> list[Any]:
    """The manager of the cluster, and that of a scope."""
    scope = context.bucket.scope(keyspaces.scope)
    return [context.cluster.eventing_functions(), scope.eventing_functions()]


def state_of(manager: Any, name: str) -> Any:
    """The state of a function."""
    status = manager.functions_status(FunctionsStatusOptions(timeout=TIMEOUT))
    expect.assertEqual(status.num_eventing_nodes, 1)
    states = {function.name: function.state for function in status.functions or ()}
    return states.get(name)


@check("A function is stored with its bindings and settings, and read back without its secrets")
def upsert_and_get(context: Context) -> None:
    keyspaces = Keyspaces(context)
    settings = EventingFunctionSettings.new_settings(
        cpp_worker_thread_count=2,
        dcp_stream_boundary=EventingFunctionDcpBoundary.FromNow,
        description="what it does",
        language_compatibility=EventingFunctionLanguageCompatibility.Version_6_6_2,
        log_level=EventingFunctionLogLevel.Debug,
        execution_timeout=timedelta(seconds=30),
        lcb_inst_capacity=5,
        lcb_retry_count=3,
        query_consistency=QueryScanConsistency.REQUEST_PLUS,
        num_timer_partitions=16,
        sock_batch_size=100,
        tick_duration=timedelta(milliseconds=5000),
        timer_context_size=2048,
        user_prefix="eventing",
        bucket_cache_size=1024,
        bucket_cache_age=timedelta(milliseconds=500),
        curl_max_allowed_resp_size=100,
        query_prepare_all=True,
        worker_count=3,
        handler_headers=["'use strict';"],
        handler_footers=["// end"],
        enable_applog_rotation=True,
        app_log_dir="/tmp",
        app_log_max_size=1000,
        app_log_max_files=3,
        checkpoint_interval=timedelta(seconds=10),
    )
    # This version of the SDK sends the first one for all of them.
    urls = [
        ("none", EventingFunctionUrlNoAuth()),
        ("basic", EventingFunctionUrlAuthBasic("user", "secret")),
        ("digest", EventingFunctionUrlAuthDigest("user", "secret")),
        ("bearer", EventingFunctionUrlAuthBearer("secret")),
    ]
    buckets = [
        EventingFunctionBucketBinding(
            "read", keyspaces.source, EventingFunctionBucketAccess.ReadOnly
        ),
        EventingFunctionBucketBinding(
            "write", keyspaces.metadata, EventingFunctionBucketAccess.ReadWrite
        ),
    ]
    for manager in managers(context, keyspaces):
        name = context.unique("function")
        function = keyspaces.function(
            name,
            settings=settings,
            bucket_bindings=buckets,
            url_bindings=[
                EventingFunctionUrlBinding("http://host", alias, True, False, auth)
                for alias, auth in urls
            ],
            constant_bindings=[EventingFunctionConstantBinding("constant", "1")],
        )
        manager.upsert_function(function, UpsertFunctionOptions(timeout=TIMEOUT))
        read = manager.get_function(name, GetFunctionOptions(timeout=TIMEOUT))
        expect.assertEqual((read.name, read.code), (name, CODE))
        expect.assertEqual(read.bucket_bindings, buckets)
        expect.assertEqual([one.alias for one in read.url_bindings], [each for each, _ in urls])
        expect.assertNotIn("secret", str(read))
        expect.assertEqual(read.constant_bindings[0].literal, "1")
        expect.assertEqual(read.settings, settings)
        # The SDK puts the whole keyspace into the first member.
        expect.assertIn(keyspaces.scope, str(read.source_keyspace))
        expect.assertTrue(read.version)
        expect.assertTrue(read.handler_uuid)
        every = list(manager.get_all_functions(GetAllFunctionOptions(timeout=TIMEOUT)))
        expect.assertIn(name, [one.name for one in every])
        function.code = f"{CODE} // changed"
        manager.upsert_function(function)
        expect.assertEqual(manager.get_function(name).code, function.code)
        manager.drop_function(name, DropFunctionOptions(timeout=TIMEOUT))
        with raises(EventingFunctionNotFoundException):
            manager.get_function(name)
    keyspaces.collections.drop_scope(keyspaces.scope)


@check("Functions of a scope are not those of the cluster")
def scopes(context: Context) -> None:
    keyspaces = Keyspaces(context)
    of_cluster, of_scope = managers(context, keyspaces)
    name = context.unique("function")
    of_scope.upsert_function(keyspaces.function(name))
    with raises(EventingFunctionNotFoundException):
        of_cluster.get_function(name)
    expect.assertNotIn(name, [one.name for one in of_cluster.get_all_functions()])
    expect.assertIsNone(state_of(of_cluster, name))
    expect.assertEqual(state_of(of_scope, name), EventingFunctionState.Undeployed)
    of_scope.drop_function(name)
    keyspaces.collections.drop_scope(keyspaces.scope)


@check("A function goes through its states; what does not fit the state is refused")
def states(context: Context) -> None:
    keyspaces = Keyspaces(context)
    for manager in managers(context, keyspaces):
        name = context.unique("function")
        manager.upsert_function(keyspaces.function(name))
        expect.assertEqual(state_of(manager, name), EventingFunctionState.Undeployed)
        with raises(EventingFunctionNotDeployedException):
            manager.undeploy_function(name)
        with raises(EventingFunctionNotBootstrappedException):
            manager.pause_function(name)
        with raises(EventingFunctionNotDeployedException):
            manager.resume_function(name)
        manager.deploy_function(name, DeployFunctionOptions(timeout=TIMEOUT))
        expect.assertEqual(state_of(manager, name), EventingFunctionState.Deployed)
        for operation in (manager.deploy_function, manager.resume_function):
            with raises(EventingFunctionAlreadyDeployedException):
                operation(name)
        with raises(EventingFunctionAlreadyDeployedException):
            manager.upsert_function(keyspaces.function(name))
        with raises(EventingFunctionNotUnDeployedException):
            manager.drop_function(name)
        manager.pause_function(name, PauseFunctionOptions(timeout=TIMEOUT))
        expect.assertEqual(state_of(manager, name), EventingFunctionState.Paused)
        with raises(Exception) as raised:
            manager.pause_function(name)
        expect.assertIn("ERR_APP_PAUSED", str(raised.exception))
        manager.resume_function(name, ResumeFunctionOptions(timeout=TIMEOUT))
        expect.assertEqual(state_of(manager, name), EventingFunctionState.Deployed)
        manager.undeploy_function(name, UndeployFunctionOptions(timeout=TIMEOUT))
        expect.assertEqual(state_of(manager, name), EventingFunctionState.Undeployed)
        manager.drop_function(name)
        expect.assertIsNone(state_of(manager, name))
    keyspaces.collections.drop_scope(keyspaces.scope)


@check("Operations on a function that does not exist fail with EventingFunctionNotFound")
def missing(context: Context) -> None:
    keyspaces = Keyspaces(context)
    for manager in managers(context, keyspaces):
        for operation in (
            manager.get_function,
            manager.drop_function,
            manager.deploy_function,
            manager.undeploy_function,
            manager.pause_function,
            manager.resume_function,
        ):
            with raises(EventingFunctionNotFoundException):
                operation("nobody")
    keyspaces.collections.drop_scope(keyspaces.scope)


@check("A name that makes another path is answered in the form of the service")
def odd_name(context: Context) -> None:
    manager = context.cluster.eventing_functions()
    for operation in (manager.get_function, manager.deploy_function):
        with raises(InternalServerFailureException):
            operation("a/b")


@check("A function that cannot be compiled, and keyspaces that do not fit, are refused")
def upsert_refused(context: Context) -> None:
    keyspaces = Keyspaces(context)
    bucket = context.bucket_name
    for members, expected in (
        ({"code": "function OnUpdate(doc, meta) {"}, EventingFunctionCompilationFailureException),
        (
            {"metadata_keyspace": keyspaces.source},
            EventingFunctionIdenticalKeyspaceException,
        ),
        (
            {"source_keyspace": EventingFunctionKeyspace(bucket, keyspaces.scope, "nothing")},
            EventingFunctionCollectionNotFoundException,
        ),
        ({"source_keyspace": EventingFunctionKeyspace("nobody")}, BucketNotFoundException),
        (
            {"settings": EventingFunctionSettings.new_settings(timer_context_size=1)},
            InvalidArgumentException,
        ),
        (
            {"constant_bindings": [EventingFunctionConstantBinding("1st", "1")]},
            InvalidArgumentException,
        ),
    ):
        for manager in managers(context, keyspaces):
            function = keyspaces.function("refused", **members)
            with raises(expected):
                manager.upsert_function(function)
    keyspaces.collections.drop_scope(keyspaces.scope)
