"""A Couchbase-compatible node in one process and in memory, for tests, demos and benchmarks.

From a shell, ``python -m txcouchbase.testing`` prints one line of JSON that says how to connect,
and serves until SIGTERM. From Python::

    node = EmbeddedNode()
    await node.start()
    cluster = Cluster(node.connstr, ClusterOptions(PasswordAuthenticator(...)))
    ...
    await node.stop()

Scopes and collections are made with `EmbeddedNode.create_scope` and `create_collection`, documents
with `put` and `load`.

What it does: the bootstrap of the SDK's connections (SCRAM and PLAIN login, error map, cluster map,
collections), and the key-value service on whole documents, counters, locks, expiry, extended
attributes and sub-documents, with a server's status codes.

What it does not do: any other service (query, search, analytics, views and management answer as
services that are not there), several nodes and replicas (a durability level is met by the one
copy), persistence, TLS, compression, range scans, transactions' isolation, users other than the
one. A sub-document mutation writes the whole document anew, so white space and the form of numbers
may change. Requests that it does not know are answered with the protocol's UNKNOWN_COMMAND.

Run it in a process of its own where the SDK is in yours: the SDK's blocking calls would keep the
reactor from answering them.
"""

from txcouchbase.testing.node import EmbeddedNode

__all__ = ["EmbeddedNode"]
