"""The rare traffic between a pool and its workers, as ordinary AMP commands.

A responder never raises: what went wrong comes back as the argument `error`, empty when all
went well, else an exception as `txcouchbase.amp.errors` encodes it.
"""

from __future__ import annotations

from twisted.protocols import amp

from txcouchbase.amp.framing import LongBytes

__all__ = [
    "CloseBucket",
    "CloseCluster",
    "Configure",
    "Heartbeat",
    "OpenBucket",
    "OpenCluster",
    "Stop",
]

_ERROR = [(b"error", LongBytes())]


class Configure(amp.Command):
    """The first command to a worker. Its answer makes the worker ready.

    `settings` and `about` are msgpack maps: `txcouchbase.workers.child` says what is in them.
    """

    arguments = [(b"settings", LongBytes())]
    response = [(b"about", LongBytes()), *_ERROR]


class OpenCluster(amp.Command):
    """Connect to a cluster; `settings` is a pickled `ClusterSettings`."""

    arguments = [(b"cluster", amp.Integer()), (b"settings", LongBytes())]
    response = _ERROR


class CloseCluster(amp.Command):
    """Disconnect from a cluster."""

    arguments = [(b"cluster", amp.Integer())]
    response = _ERROR


class OpenBucket(amp.Command):
    """Open a bucket of a connected cluster."""

    arguments = [(b"cluster", amp.Integer()), (b"bucket", amp.Unicode())]
    response = _ERROR


class CloseBucket(amp.Command):
    """Close a bucket of a connected cluster."""

    arguments = [(b"cluster", amp.Integer()), (b"bucket", amp.Unicode())]
    response = _ERROR


class Heartbeat(amp.Command):
    """Ask for a sign of life; answered from the worker's reactor thread."""

    arguments: list[tuple[bytes, amp.Argument]] = []
    response: list[tuple[bytes, amp.Argument]] = []


class Stop(amp.Command):
    """Close all connections and end the process."""

    arguments: list[tuple[bytes, amp.Argument]] = []
    response: list[tuple[bytes, amp.Argument]] = []
