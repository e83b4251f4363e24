"""A Couchbase-compatible node in one process and in memory, for tests, demos and benchmarks.

From a shell, ``python -m txcouchbase.testing`` prints one line of JSON that says how to connect,
and serves until SIGTERM. In a trial test::

    @inlineCallbacks
    def setUp(self):
        self.node = EmbeddedNode()
        yield self.node.start()
        self.addCleanup(self.node.stop)

        self.node.put("hotel::1", {"name": "Medway"})
        cluster = TxCluster(self.node.connstr, ClusterOptions(PasswordAuthenticator(...)))

``docs/testing.md`` is the guide: documents, snapshots, the record of requests, scripted answers,
faults, and the control port for nodes in other processes.

What it does: one node or several, with replicas; the key-value service on whole documents,
counters, locks, expiry, extended attributes and sub-documents, with durability, scans and
transactions; SQL++ with its indexes, analytics, search, views of Python functions; management of
buckets, scopes, collections, users, groups, indexes, design documents and eventing functions; TLS.

What it does not do: persistence, compression, replicas that lag. Eventing functions have their
states but are not run, JavaScript of views neither. Roles are checked coarsely. What it does not do
it refuses with the service's own error, which names it; answers can be scripted.

Run it in a process of its own where the SDK's blocking calls are in yours: they would keep the
reactor from answering them.
"""

from txcouchbase.testing.faults import ActiveFault, Fault
from txcouchbase.testing.kv.settings import BucketSettings
from txcouchbase.testing.node import EmbeddedNode
from txcouchbase.testing.record import RecordedRequest
from txcouchbase.testing.scripts import ActiveScript, Script
from txcouchbase.testing.storage import Snapshot, StoredDocument

__all__ = [
    "ActiveFault",
    "ActiveScript",
    "BucketSettings",
    "EmbeddedNode",
    "Fault",
    "RecordedRequest",
    "Script",
    "Snapshot",
    "StoredDocument",
]
