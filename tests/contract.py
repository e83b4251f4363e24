"""The checks of the embedded node (`tests/conformance`), with the project's managers in the
place of the SDK's: one contract, two implementations.

A check runs in a thread. What is no management goes through the SDK's blocking API there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any

from couchbase.bucket import Bucket
from couchbase.cluster import Cluster
from couchbase.collection import Collection
from couchbase.scope import Scope
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread

from tests.conformance.checks import Context
from txcouchbase.cluster import TxRawCluster
from txcouchbase.management.manager import Manager

__all__ = ["ContractContext", "public_methods"]


def public_methods(cls: type) -> list[str]:
    """The names of a class's public methods, inherited ones included."""
    methods = inspect.getmembers(cls, inspect.isfunction)
    return [name for name, _ in methods if not name.startswith("_")]


class Blocking:
    """An object of ours whose methods wait for their Deferreds."""

    def __init__(self, target: Any, names: list[str], called: set[tuple[str, str]]) -> None:
        self._called = called
        for name in names:
            setattr(self, name, self._waiting(target, name))

    def _waiting(self, target: Any, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._called.add((type(target).__name__, name))
            return blockingCallFromThread(reactor, getattr(target, name), *args, **kwargs)

        return call


class Managing:
    """Makes managers of ours.

    :param make: makes the cluster, bucket, scope or collection; called in the check's thread.
    """

    def __init__(self, make: Callable[[], Any], called: set[tuple[str, str]]) -> None:
        self._make = make
        self._called = called

    def child(self, method: str, name: str) -> Managing:
        """For a bucket, scope or collection of this one, made when it is needed."""
        return Managing(
            lambda: blockingCallFromThread(reactor, getattr(self.ours, method), name), self._called
        )

    @cached_property
    def ours(self) -> Any:
        return self._make()

    def manager(self, accessor: str) -> Any:
        manager: Manager = blockingCallFromThread(reactor, getattr(self.ours, accessor))
        return Blocking(manager, public_methods(type(manager)), self._called)


class ContractCollection(Collection):  # type: ignore[misc]
    def __init__(self, managing: Managing, *args: Any) -> None:
        self._managing = managing
        super().__init__(*args)

    def query_indexes(self) -> Any:
        return self._managing.manager("query_indexes")


class ContractScope(Scope):  # type: ignore[misc]
    def __init__(self, managing: Managing, *args: Any) -> None:
        self._managing = managing
        super().__init__(*args)

    def collection(self, name: str) -> Any:
        return ContractCollection(self._managing.child("collection", name), self, name)

    def search_indexes(self) -> Any:
        return self._managing.manager("search_indexes")

    def eventing_functions(self) -> Any:
        return self._managing.manager("eventing_functions")


class ContractBucket(Bucket):  # type: ignore[misc]
    def __init__(self, managing: Managing, *args: Any) -> None:
        self._managing = managing
        super().__init__(*args)

    def scope(self, name: str) -> Any:
        return ContractScope(self._managing.child("scope", name), self, name)

    def default_scope(self) -> Any:
        return self.scope("_default")

    def collection(self, name: str) -> Any:
        return self.default_scope().collection(name)

    def default_collection(self) -> Any:
        return self.collection("_default")

    def collections(self) -> Any:
        return self._managing.manager("collections")

    def view_indexes(self) -> Any:
        return self._managing.manager("view_indexes")


class ContractCluster(Cluster):  # type: ignore[misc]
    def __init__(self, managing: Managing, *args: Any) -> None:
        self._managing = managing
        super().__init__(*args)
        for accessor in (
            "buckets",
            "users",
            "query_indexes",
            "analytics_indexes",
            "search_indexes",
            "eventing_functions",
        ):
            setattr(self, accessor, lambda accessor=accessor: managing.manager(accessor))
        own = Blocking(managing.ours, ["cluster_info", "ping", "diagnostics"], managing._called)
        for name in ("cluster_info", "ping", "diagnostics"):
            setattr(self, name, getattr(own, name))

    def bucket(self, name: str) -> Any:
        return ContractBucket(self._managing.child("bucket", name), self, name)


class ContractContext(Context):
    """A server, with the project's managers.

    :param ours: a cluster of the project on that server.
    :param options: the SDK's, for all that is no management.
    """

    def __init__(self, where: dict[str, Any], ours: TxRawCluster, options: Any) -> None:
        super().__init__(where)
        self.called: set[tuple[str, str]] = set()
        self._ours = ours
        self._options = options

    @cached_property
    def cluster(self) -> Any:
        managing = Managing(lambda: self._ours, self.called)
        return ContractCluster(managing, self.connstr, self._options)
