"""The rare traffic between a pool and its workers, as ordinary AMP commands.

A responder never raises: what went wrong comes back as the argument `error`, empty when all
went well, else an exception as `txcouchbase.amp.errors` encodes it.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.protocols import amp

from txcouchbase.amp.framing import LongBytes

__all__ = [
    "CloseBucket",
    "CloseCluster",
    "Configure",
    "Heartbeat",
    "OpenBucket",
    "OpenCluster",
    "SetAuthenticator",
    "Stop",
]

Arguments = list[tuple[bytes, amp.Argument]]

_ERROR: Arguments = [(b"error", LongBytes())]


class Configure(amp.Command):
    """The first command to a worker. Its answer makes the worker ready.

    `settings` and `about` are msgpack maps: `txcouchbase.workers.child` says what is in them.
    """

    arguments: ClassVar[Arguments] = [(b"settings", LongBytes())]
    response: ClassVar[Arguments] = [(b"about", LongBytes()), *_ERROR]


class OpenCluster(amp.Command):
    """Connect to a cluster; `settings` is a pickled `ClusterSettings`."""

    arguments: ClassVar[Arguments] = [(b"cluster", amp.Integer()), (b"settings", LongBytes())]
    response: ClassVar[Arguments] = _ERROR


class SetAuthenticator(amp.Command):
    """Use other credentials for a connected cluster; `authenticator` is pickled."""

    arguments: ClassVar[Arguments] = [(b"cluster", amp.Integer()), (b"authenticator", LongBytes())]
    response: ClassVar[Arguments] = _ERROR


class CloseCluster(amp.Command):
    """Disconnect from a cluster."""

    arguments: ClassVar[Arguments] = [(b"cluster", amp.Integer())]
    response: ClassVar[Arguments] = _ERROR


class OpenBucket(amp.Command):
    """Open a bucket of a connected cluster."""

    arguments: ClassVar[Arguments] = [(b"cluster", amp.Integer()), (b"bucket", amp.Unicode())]
    response: ClassVar[Arguments] = _ERROR


class CloseBucket(amp.Command):
    """Close a bucket of a connected cluster."""

    arguments: ClassVar[Arguments] = [(b"cluster", amp.Integer()), (b"bucket", amp.Unicode())]
    response: ClassVar[Arguments] = _ERROR


class Heartbeat(amp.Command):
    """Ask for a sign of life; answered from the worker's reactor thread.

    `rss` is the worker's resident memory (bytes).
    """

    arguments: ClassVar[Arguments] = []
    response: ClassVar[Arguments] = [(b"rss", amp.Integer())]


class Stop(amp.Command):
    """Close all connections and end the process."""

    arguments: ClassVar[Arguments] = []
    response: ClassVar[Arguments] = []
