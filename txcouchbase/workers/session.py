"""What the workers of a pool are to be connected to: clusters and their buckets.

Each (worker, cluster) and each (worker, bucket) has a state of its own, so that one server's
fault stops neither other clusters nor a worker. A new worker gets all of it replayed.
"""

from __future__ import annotations

import itertools
import pickle
from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from couchbase.exceptions import (
    AuthenticationException,
    BucketNotFoundException,
    InvalidArgumentException,
)
from twisted.internet.defer import (
    Deferred,
    DeferredList,
    DeferredLock,
    inlineCallbacks,
    succeed,
)
from twisted.python.failure import Failure

from txcouchbase.amp.commands import (
    CloseBucket,
    CloseCluster,
    OpenBucket,
    OpenCluster,
    SetAuthenticator,
)
from txcouchbase.amp.errors import decode_error
from txcouchbase.amp.wire import ClusterSettings
from txcouchbase.exceptions import PoolClosed
from txcouchbase.workers.operation import Operation, check_name
from txcouchbase.workers.waiting import Waiters

if TYPE_CHECKING:
    from couchbase.auth import Authenticator
    from twisted.internet.base import DelayedCall

    from txcouchbase.workers.lane import Lane

__all__ = ["BucketSession", "ClusterSession", "Keyspace", "Session", "SessionOwner", "Target"]

_DEFINITE = (AuthenticationException, BucketNotFoundException, InvalidArgumentException)
"""Refusals that another attempt would meet again: not retried before somebody asks."""

_RETRY_FIRST, _RETRY_LONGEST = 0.25, 10.0
"""Delays between attempts to connect (seconds)."""

_numbers = itertools.count(1)


class SessionOwner(Protocol):
    """What a session needs of its pool.

    Attributes:
        reactor: The reactor that it uses.
    """

    @property
    def reactor(self) -> Any:
        """The reactor that it uses."""

    def ready_lanes(self) -> list[Lane]:
        """The lanes whose worker is ready."""

    def now(self) -> float:
        """The reactor's clock (seconds)."""

    def later(self, delay: float, function: Any, *args: Any) -> DelayedCall:
        """Call a function after so many seconds, unless the pool ends before."""

    def dispatch_waiting(self, target: Target) -> None:
        """Send what waited for a connection, as far as it can be sent."""

    def fail_waiting(self, target: Target, operations: deque[Operation], error: Exception) -> None:
        """Fail what waited for a connection."""

    def order_number(self, place: tuple[str, str, str, str]) -> int:
        """The number under which this keyspace's keys are ordered, the same for all clusters
        with this connection string."""


def _it_has_ended(_: Failure) -> None:
    """There is nothing to disconnect in a worker that is no more."""


class Keyspace:
    """A collection, or a whole cluster, as operations name it on the pipe.

    Attributes:
        id: The number of this keyspace.
        order: The number under which its keys are ordered.
        target: What has to be connected before an operation can be sent.
        introduction: What tells a worker of it.
    """

    __slots__ = ("id", "introduction", "order", "target")

    def __init__(self, target: Target, cluster: Session, *place: str) -> None:
        for name in place:
            check_name(name)
        self.id = next(_numbers)
        self.target = target
        bucket, scope, collection = place or ("", "", "")
        self.order = cluster.order_number(bucket, scope, collection)
        self.introduction = (self.id, self.order, cluster.id, bucket, scope, collection)


class Target:
    """Something that every worker connects to.

    Attributes:
        lanes: Those whose worker is connected.
        waiting: Operations that wait for the first of them, in their order.
        ever_connected: Whether a worker has ever been connected.
        pending: Its operations that wait or are in flight.
        closed: Whether it takes no more operations.
        ended: Whether its closing has ended.
    """

    def __init__(self, owner: SessionOwner) -> None:
        self._owner = owner
        self._attempts: set[Lane] = set()
        self._retries: dict[Lane, DelayedCall] = {}
        self._waiters = Waiters()
        self._failures = 0
        self._failed_at = 0.0
        self._asked: DelayedCall | None = None
        self._idle_waiters = Waiters()
        self.pending = 0
        self.lanes: list[Lane] = []
        self.waiting: deque[Operation] = deque()
        self.ever_connected = False
        self.closed = False
        self.ended = False
        self._end_waiters = Waiters()

    @property
    def refused(self) -> bool:
        """Whether no worker is connected, and the last attempt has failed."""
        return bool(self._failures) and not self.lanes

    def when_connected(self) -> Deferred[None]:
        """Fires when a worker is connected, or fails with the reason when none can be."""
        waiter = self._waiters.wait()
        if self.lanes:
            self._owner.later(0, self._waiters.release_present)
        else:
            self._ask_or_fail()
        return waiter

    def when_next_connected(self) -> Deferred[None]:
        """Fires when one more worker is connected, or fails as `when_connected` does."""
        self._ask_or_fail()
        return self._waiters.wait()

    def _ask_or_fail(self) -> None:
        if self.closed:
            closed = PoolClosed("the cluster or bucket is closed: make a new one")
            self._owner.reactor.callLater(0, self._waiters.fail, closed)
        else:
            self.ask()

    def ask(self) -> None:
        """Somebody needs the connection: try again if nobody is trying."""
        if self.lanes or self._attempts or self._retries or self._asked is not None:
            return
        delay = 0.0
        if self._failures:
            delay = max(0.0, self._failed_at + self._delay() - self._owner.now())
        self._asked = self._owner.later(delay, self._start_asked)

    def _start_asked(self) -> None:
        self._asked = None
        for lane in self._owner.ready_lanes():
            self.start_on(lane)

    def try_again(self) -> None:
        """What made attempts fail is over: try again at once."""
        self._failures = 0
        self._cancel_retries()
        self._start_asked()

    def _cancel_retries(self) -> None:
        for call in (*self._retries.values(), *([self._asked] if self._asked else [])):
            if call.active():
                call.cancel()
        self._retries.clear()
        self._asked = None

    def start_on(self, lane: Lane) -> None:
        """Connect the worker of a lane, unless it is connected or connecting."""
        self._retries.pop(lane, None)
        if lane in self._attempts or lane in self.lanes or self.closed:
            return
        self._attempts.add(lane)
        attempt = self._open(lane)
        attempt.addCallbacks(
            self._answered, self._interrupted, callbackArgs=(lane,), errbackArgs=(lane,)
        )

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        raise NotImplementedError

    def _answered(self, response: dict[str, bytes], lane: Lane) -> None:
        if lane not in self._attempts:
            if self.closed and not response["error"]:
                self._close_on(lane)  # nobody else knows that it was opened after all
            return
        self._attempts.remove(lane)
        if response["error"]:
            self._refused(lane, decode_error(response["error"]))
            return
        self._failures = 0
        self.lanes.append(lane)
        self.ever_connected = True
        self._connected(lane)
        self._waiters.release_present()
        self._owner.dispatch_waiting(self)

    def _interrupted(self, failure: Failure, lane: Lane) -> None:
        # The worker has ended: its successor gets everything replayed.
        self._attempts.discard(lane)

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        """Tell one worker to disconnect; fires when it has, or has ended."""
        raise NotImplementedError

    def disconnect(self) -> Deferred[Any]:
        """Tell the workers to disconnect; fires when they have."""
        lanes, self.lanes = self.lanes, []
        return DeferredList([self._close_on(lane) for lane in lanes])

    def _connected(self, lane: Lane) -> None:
        """More to do once a lane is connected."""

    def _refused(self, lane: Lane, error: Exception) -> None:
        self._failures += 1
        self._failed_at = self._owner.now()
        definite = isinstance(error, _DEFINITE)
        # What other workers were granted, this one may be granted later.
        if (not definite or self.lanes) and not self.closed:
            self._retries[lane] = self._owner.later(self._delay(), self.start_on, lane)
        if definite or not (self.lanes or self._attempts):
            self.fail(error)

    def _delay(self) -> float:
        return min(_RETRY_FIRST * 2.0 ** min(self._failures - 1, 16), _RETRY_LONGEST)

    def fail(self, error: Exception) -> None:
        """Nobody can be connected now: fail whoever waits."""
        waiting, self.waiting = self.waiting, deque()
        self._waiters.fail(error)
        self._owner.fail_waiting(self, waiting, error)

    def operation_left(self) -> None:
        """One of its operations no longer counts."""
        self.pending -= 1
        if not self.pending and self._idle_waiters:
            self._owner.later(0, self._release_idle_waiters)

    def when_idle(self) -> Deferred[None]:
        """Fires when it has no operation left, on a later turn."""
        self._owner.later(0, self._release_idle_waiters)
        return self._idle_waiters.wait()

    def _release_idle_waiters(self) -> None:
        self._idle_waiters.release(lambda: not self.pending)

    def lane_lost(self, lane: Lane) -> None:
        """The worker of a lane has ended."""
        self._attempts.discard(lane)
        retry = self._retries.pop(lane, None)
        if retry is not None and retry.active():
            retry.cancel()
        if lane in self.lanes:
            self.lanes.remove(lane)

    def when_ended(self) -> Deferred[None]:
        """Fires when its closing has ended, on a later turn."""
        if self.ended:
            self._owner.reactor.callLater(0, self._end_waiters.release_present)
        return self._end_waiters.wait()

    def end(self) -> None:
        """Its closing has ended."""
        self.ended = True
        self._end_waiters.release_present()

    def close(self, error: Exception) -> None:
        """Take no more operations; fail those that wait for a connection."""
        self.closed = True
        self._cancel_retries()
        self._attempts.clear()
        self.fail(error)


class Session(Target):
    """What all workers are to be connected to; as it is, nothing: every ready worker will do.

    Attributes:
        id: Its number on the pipe.
        keyspace: The whole of it.
        buckets: Its open buckets, by name.
    """

    id = 0

    def __init__(self, owner: SessionOwner) -> None:
        super().__init__(owner)
        self.buckets: dict[str, BucketSession] = {}
        self.keyspace = Keyspace(self, self)

    def order_number(self, bucket: str, scope: str, collection: str) -> int:
        """The number under which the keys of a keyspace are ordered."""
        return 0

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        return succeed({"error": b""})

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        return succeed(None)


class ClusterSession(Session):
    """One cluster, as one facade uses it.

    Args:
        owner: The group of workers.
        settings: How to connect to it.
        number: Its number on the pipe, the next one that is free if None.

    Attributes:
        settings: How to connect to it.
    """

    def __init__(
        self, owner: SessionOwner, settings: ClusterSettings, number: int | None = None
    ) -> None:
        self.id = next(_numbers) if number is None else number
        self.settings = settings
        self._credentials_lock = DeferredLock()
        super().__init__(owner)

    def order_number(self, bucket: str, scope: str, collection: str) -> int:
        """The number under which the keys of a keyspace are ordered."""
        return self._owner.order_number((self.settings.connstr, bucket, scope, collection))

    def bucket(self, name: str) -> BucketSession:
        """The session of a bucket; it starts to connect when it is new."""
        check_name(name)
        session = self.buckets.get(name)
        if session is None:
            session = self.buckets[name] = BucketSession(self._owner, self, name)
            session.closed, session.ended = self.closed, self.ended
            for lane in self.lanes:
                session.start_on(lane)
        return session

    def set_authenticator(self, authenticator: Authenticator) -> Deferred[None]:
        """Use other credentials, in all workers that are connected and in all that will be.

        Fires when all that are connected have them; if the SDK refuses them there, nothing has
        changed. If no worker is connected, it tries again at once and fires when one is.
        """
        return self._credentials_lock.run(self._set_authenticator, authenticator)

    @inlineCallbacks
    def _set_authenticator(
        self, authenticator: Authenticator
    ) -> Generator[Deferred[Any], Any, None]:
        if self.closed:
            raise PoolClosed("the cluster is closed: make a new one")
        before = self.settings
        self.settings = replace(before, authenticator=authenticator)
        told: list[tuple[bool, Any]] = yield DeferredList(
            [self._tell_authenticator(lane) for lane in self.lanes], consumeErrors=True
        )
        for answered, response in told:
            # A worker that has ended has a successor, which connects with them.
            if answered and response["error"]:
                self.settings = before
                raise decode_error(response["error"])
        for target in (self, *self.buckets.values()):
            target.try_again()
        if not self.lanes:
            yield self.when_connected()

    def _tell_authenticator(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        authenticator = pickle.dumps(self.settings.authenticator)
        return lane.pipe.call(SetAuthenticator, cluster=self.id, authenticator=authenticator)

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        settings = self.settings
        opened = lane.pipe.call(OpenCluster, cluster=self.id, settings=pickle.dumps(settings))
        return opened.addCallback(self._opened, lane, settings)

    def _opened(
        self, response: dict[str, bytes], lane: Lane, settings: ClusterSettings
    ) -> dict[str, bytes] | Deferred[dict[str, bytes]]:
        if settings is self.settings or self.closed:
            return response
        # Other credentials were set on the way: what was refused may now be granted, what was
        # granted goes on with them.
        if response["error"]:
            return self._open(lane)
        current = self.settings
        return self._tell_authenticator(lane).addCallback(self._opened, lane, current)

    def _connected(self, lane: Lane) -> None:
        for bucket in self.buckets.values():
            bucket.start_on(lane)

    def fail(self, error: Exception) -> None:
        """Nobody can be connected now: fail whoever waits, for the buckets too."""
        super().fail(error)
        for bucket in self.buckets.values():
            bucket.fail(error)

    def lane_lost(self, lane: Lane) -> None:
        """The worker of a lane has ended."""
        super().lane_lost(lane)
        for bucket in self.buckets.values():
            bucket.lane_lost(lane)

    def when_all_idle(self) -> Deferred[Any]:
        """Fires when neither it nor a bucket of it has an operation left."""
        targets = (self, *self.buckets.values())
        return DeferredList([target.when_idle() for target in targets])

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        return lane.pipe.call(CloseCluster, cluster=self.id).addErrback(_it_has_ended)

    def close(self, error: Exception) -> None:
        """Take no more operations; fail those that wait for a connection."""
        super().close(error)
        for bucket in self.buckets.values():
            bucket.close(error)

    def end(self) -> None:
        """Its closing has ended, and with it that of its buckets."""
        for bucket in self.buckets.values():
            bucket.end()
        super().end()


class BucketSession(Target):
    """One bucket of a cluster."""

    def __init__(self, owner: SessionOwner, cluster: ClusterSession, name: str) -> None:
        super().__init__(owner)
        self.cluster = cluster
        self.name = name
        self._keyspaces: dict[tuple[str, str], Keyspace] = {}

    def keyspace(self, scope: str, collection: str) -> Keyspace:
        """The keyspace of a collection."""
        keyspace = self._keyspaces.get((scope, collection))
        if keyspace is None:
            keyspace = Keyspace(self, self.cluster, self.name, scope, collection)
            self._keyspaces[scope, collection] = keyspace
        return keyspace

    def ask(self) -> None:
        """Somebody needs the bucket: try again, at the cluster first if that is what lacks."""
        if self.cluster.lanes:
            super().ask()
        else:
            self.cluster.ask()

    def start_on(self, lane: Lane) -> None:
        """Open the bucket on a lane once its cluster is connected there."""
        if lane in self.cluster.lanes:
            super().start_on(lane)

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        return lane.pipe.call(OpenBucket, cluster=self.cluster.id, bucket=self.name)

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        if self.name in self.cluster.buckets:
            return succeed(None)  # it was opened again, and is the same one for the worker
        closed = lane.pipe.call(CloseBucket, cluster=self.cluster.id, bucket=self.name)
        return closed.addErrback(_it_has_ended)
