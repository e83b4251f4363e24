"""Every method of every manager, through workers, held to the checks that the SDK's own passes."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from importlib import import_module
from itertools import chain
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.conformance.checks import CHECKS
from tests.contract import ContractContext, public_methods
from txcouchbase.cluster import TxRawCluster
from txcouchbase.management.analytics import AnalyticsIndexManager
from txcouchbase.management.buckets import BucketManager
from txcouchbase.management.collections import CollectionManager
from txcouchbase.management.eventing import EventingFunctionManager, ScopeEventingFunctionManager
from txcouchbase.management.queries import CollectionQueryIndexManager, QueryIndexManager
from txcouchbase.management.search import ScopeSearchIndexManager, SearchIndexManager
from txcouchbase.management.users import UserManager
from txcouchbase.management.views import ViewIndexManager
from txcouchbase.workers import PoolConfig

NO_MANAGEMENT = ("query", "scripted", "limited", "forbidden", "durability", "open_", "vbuckets")
"""How the names of checks begin that are about something else."""


ELSEWHERE = {"change_password", "get_index_stats"}
"""Methods of `UserManager` and `ScopeSearchIndexManager` that `test_management_calls` tests."""


AREAS = {
    "analytics": (AnalyticsIndexManager,),
    "buckets": (BucketManager,),
    "cluster": (),
    "collections": (CollectionManager,),
    "eventing": (EventingFunctionManager, ScopeEventingFunctionManager),
    "query_indexes": (QueryIndexManager, CollectionQueryIndexManager),
    "search": (SearchIndexManager, ScopeSearchIndexManager),
    "users": (UserManager,),
    "views": (ViewIndexManager,),
}
"""The areas of checks, and the managers all of whose methods they call."""


class ManagementTests(TestCase):
    timeout = 120

    def start_node(self) -> dict[str, Any]:
        """A node in a process of its own, since blocking calls of the SDK may keep the GIL."""
        node = subprocess.Popen(
            [sys.executable, "-m", "txcouchbase.testing"], stdout=subprocess.PIPE, text=True
        )
        assert node.stdout is not None
        self.addCleanup(node.wait)
        self.addCleanup(node.terminate)
        self.addCleanup(node.stdout.close)
        where: dict[str, Any] = json.loads(node.stdout.readline())
        return where

    @inlineCallbacks
    def test_every_manager(self) -> Any:
        """One cluster for all, since each start of a worker takes a second."""
        where = self.start_node()
        authenticator = PasswordAuthenticator(where["username"], where["password"])
        options = ClusterOptions(authenticator)
        pool = PoolConfig(min_workers=1, max_workers=1)
        ours = TxRawCluster(where["connstr"], options, pool=pool)
        self.addCleanup(ours.close)
        context = ContractContext(where, ours, options)
        failures = yield deferToThread(self.failures, context)
        self.assertEqual(failures, [], "\n".join(failures))
        for manager in chain.from_iterable(AREAS.values()):
            called = {method for name, method in context.called if name == manager.__name__}
            left = set(public_methods(manager)) - called - ELSEWHERE
            self.assertEqual(left, set(), manager.__name__)

    def failures(self, context: ContractContext) -> list[str]:
        for area in AREAS:
            import_module(f"tests.conformance.{area}")
        found = []
        for check in CHECKS:
            if check.area in AREAS and not check.name.startswith(NO_MANAGEMENT):
                try:
                    check.function(context)
                except Exception:
                    name = f"{check.area}.{check.name}: {check.behaviour}"
                    found.append(f"{name}\n{traceback.format_exc()}")
        context.cluster.close()
        return found
