"""A Couchbase-compatible node in one process and in memory, for tests, demos and benchmarks.

From a shell, ``python -m txcouchbase.testing`` prints one line of JSON that says how to connect,
and serves until SIGTERM. From Python::

    node = EmbeddedNode()
    await node.start()
    cluster = Cluster(node.connstr, ClusterOptions(PasswordAuthenticator(...)))
    ...
    await node.stop()

Run it in a process of its own where the SDK is in yours: the SDK's blocking calls would keep the
reactor from answering them.
"""

from txcouchbase.testing.node import EmbeddedNode

__all__ = ["EmbeddedNode"]
