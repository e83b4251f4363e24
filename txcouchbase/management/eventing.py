"""`EventingFunctionManager`, `ScopeEventingFunctionManager`: eventing functions."""

from __future__ import annotations

from typing import Any, ClassVar

from couchbase.management import eventing as sdk
from couchbase.management.eventing import EventingFunction, EventingFunctionsStatus
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
from twisted.internet.defer import Deferred

from txcouchbase.management.manager import Manager

__all__ = ["EventingFunctionManager", "ScopeEventingFunctionManager"]


class EventingFunctionManager(Manager):
    """The eventing functions of a cluster."""

    _accessor = "eventing_functions"
    _sdk: ClassVar[type[Any]] = sdk.EventingFunctionManager

    def upsert_function(
        self, function: EventingFunction, *options: UpsertFunctionOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Store a function, whether it exists or not.

        Errors: EventingFunctionCompilationFailureException,
        EventingFunctionIdenticalKeyspaceException, EventingFunctionCollectionNotFoundException.
        """
        return self._call("upsert_function", function, *options, **kwargs)

    def drop_function(
        self, name: str, *options: DropFunctionOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove a function.

        Errors: EventingFunctionNotFoundException; EventingFunctionNotUnDeployedException if it is
        deployed.
        """
        return self._call("drop_function", name, *options, **kwargs)

    def deploy_function(
        self, name: str, *options: DeployFunctionOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Deploy a function.

        Errors: EventingFunctionNotFoundException, EventingFunctionAlreadyDeployedException.
        """
        return self._call("deploy_function", name, *options, **kwargs)

    def get_all_functions(
        self, *options: GetAllFunctionOptions, **kwargs: Any
    ) -> Deferred[list[EventingFunction]]:
        """Fetch all functions."""
        return self._call("get_all_functions", *options, **kwargs)

    def get_function(
        self, name: str, *options: GetFunctionOptions, **kwargs: Any
    ) -> Deferred[EventingFunction]:
        """Fetch a function.

        Errors: EventingFunctionNotFoundException.
        """
        return self._call("get_function", name, *options, **kwargs)

    def pause_function(
        self, name: str, *options: PauseFunctionOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Let a function handle no changes for now.

        Errors: EventingFunctionNotFoundException, EventingFunctionNotBootstrappedException.
        """
        return self._call("pause_function", name, *options, **kwargs)

    def resume_function(
        self, name: str, *options: ResumeFunctionOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Let a function handle changes again.

        Errors: EventingFunctionNotFoundException, EventingFunctionNotDeployedException.
        """
        return self._call("resume_function", name, *options, **kwargs)

    def undeploy_function(
        self, name: str, *options: UndeployFunctionOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Take back the deployment of a function.

        Errors: EventingFunctionNotFoundException, EventingFunctionNotDeployedException.
        """
        return self._call("undeploy_function", name, *options, **kwargs)

    def functions_status(
        self, *options: FunctionsStatusOptions, **kwargs: Any
    ) -> Deferred[EventingFunctionsStatus]:
        """Fetch the state of all functions."""
        return self._call("functions_status", *options, **kwargs)


class ScopeEventingFunctionManager(EventingFunctionManager):
    """The eventing functions of a scope."""

    _sdk = sdk.ScopeEventingFunctionManager
