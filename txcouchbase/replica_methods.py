"""`ReplicaMethods`: reading from replicas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from couchbase.result import GetReplicaResult, LookupInReplicaResult
from twisted.internet.defer import Deferred

from txcouchbase.base_collection import BaseCollection
from txcouchbase.results import ReplicaResults

if TYPE_CHECKING:
    from couchbase.options import (
        GetAllReplicasOptions,
        GetAnyReplicaOptions,
        LookupInAllReplicasOptions,
        LookupInAnyReplicaOptions,
    )
    from couchbase.subdocument import Spec

__all__ = ["ReplicaMethods"]


class ReplicaMethods(BaseCollection):
    """Methods that read a document also from its replicas; see `KeyValueMethods`.

    A replica may lack the latest changes. `read_preference` says which copies are asked: with
    `SELECTED_SERVER_GROUP` those in the cluster's `preferred_server_group`.
    """

    def get_any_replica(
        self, /, key: str, *opts: GetAnyReplicaOptions, **kwargs: Any
    ) -> Deferred[GetReplicaResult]:
        """Fetch a document from the active copy or a replica, whichever answers first.

        Errors: DocumentUnretrievableException if none of them has it; `quiet` does not apply,
            since that does not tell whether it exists.
        """
        return self._start("get_any_replica", key, opts, kwargs)

    def get_all_replicas(
        self, /, key: str, *opts: GetAllReplicasOptions, **kwargs: Any
    ) -> Deferred[ReplicaResults[GetReplicaResult]]:
        """Fetch a document from the active copy and all replicas that have it: a list.

        Errors: DocumentNotFoundException if none of them has it, with `quiet` an empty list;
            DocumentUnretrievableException if `read_preference` leaves none to ask.
        """
        return self._start("get_all_replicas", key, opts, kwargs)

    def lookup_in_any_replica(
        self, /, key: str, spec: Iterable[Spec], *opts: LookupInAnyReplicaOptions, **kwargs: Any
    ) -> Deferred[LookupInReplicaResult]:
        """Fetch parts of a document as `get_any_replica` does."""
        return self._start("lookup_in_any_replica", key, opts, {**kwargs, "specs": list(spec)})

    def lookup_in_all_replicas(
        self, /, key: str, spec: Iterable[Spec], *opts: LookupInAllReplicasOptions, **kwargs: Any
    ) -> Deferred[ReplicaResults[LookupInReplicaResult]]:
        """Fetch parts of a document as `get_all_replicas` does."""
        return self._start("lookup_in_all_replicas", key, opts, {**kwargs, "specs": list(spec)})
