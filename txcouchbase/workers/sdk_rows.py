"""Rows through the SDK, which gathers a whole answer before its first row.

`CallbackRows` starts a query through the SDK's binding with a callback. The binding calls it when
the answer is there, after which its `next` never waits. The binding is not public API: `mismatch`
tells whether it is as expected, and `ThreadRows` takes over where it is not: the SDK's own
requests, each bite in a thread.

The SDK never answers some requests, whatever their time: those whose statement the server no longer
knows as prepared (error 4040). They are given up some time after their deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from couchbase.analytics import AnalyticsRequest
from couchbase.cluster import Cluster
from couchbase.n1ql import N1QLRequest
from couchbase.search import FullTextSearchRequest
from couchbase.serializer import Serializer
from couchbase.views import ViewRequest
from twisted.internet.base import DelayedCall
from twisted.python.failure import Failure

from txcouchbase.amp import wire
from txcouchbase.amp.errors import timeout_error
from txcouchbase.workers.bites import Bites
from txcouchbase.workers.raw_client import RawClient
from txcouchbase.workers.row_cluster import RowCluster

if TYPE_CHECKING:
    from txcouchbase.workers.executor import Task

__all__ = ["CallbackRows", "ThreadRows", "mismatch"]

_LOST_AFTER = 2.0
"""How long after its deadline a request that the SDK has not answered is given up (seconds): after
the application was answered, and long after the SDK's own timer has let go of the connection."""

_FUNCTIONS = {
    "query": "pycbc_query",
    "analytics_query": "pycbc_analytics_query",
    "search_query": "pycbc_search_query",
    "view_query": "pycbc_view_query",
}

try:
    from couchbase.logic import pycbc_core

    _connection_class: Any = pycbc_core.pycbc_connection
    _result_class: Any = pycbc_core.pycbc_streamed_result
except (ImportError, AttributeError):  # reported by `mismatch`
    _connection_class = _result_class = None


def mismatch() -> str:
    """What about the installed SDK's binding is not as expected; empty if all is."""
    lacking = [name for name in _FUNCTIONS.values() if not hasattr(_connection_class, name)]
    lacking += [name for name in ("__next__", "cancel") if not hasattr(_result_class, name)]
    return f"lacks {', '.join(lacking)}" if lacking else ""


def _not_sent(task: Task) -> Exception:
    message = f"{task.kind.name} timed out before it was sent: no connection for rows so far"
    return timeout_error(message)


class _Watch:
    """Looks whether a request is answered in its time.

    Args:
        reactor: The worker's reactor.
        task: The operation.
        late: Called when its time is over.
        lost: Called when an answer will not come any more.
    """

    def __init__(
        self, reactor: Any, task: Task, late: Callable[[], None], lost: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._late = late
        self._lost = lost
        self._call: DelayedCall | None = None
        remaining = task.remaining()
        if remaining:
            self._call = reactor.callLater(remaining / 1000.0, self._time_is_over)

    def _time_is_over(self) -> None:
        self._call = self._reactor.callLater(_LOST_AFTER, self._give_up)
        self._late()

    def _give_up(self) -> None:
        self._call = None
        self._lost()

    def end(self) -> None:
        """It was answered, or is no longer wanted."""
        if self._call is not None:
            self._call.cancel()
            self._call = None


def _arguments(task: Task) -> dict[str, Any]:
    assert task.value is not None
    arguments: dict[str, Any] = wire.decode(task.value)
    remaining = task.remaining()
    if remaining:
        arguments["timeout"] = arguments["streaming_timeout"] = remaining
    return arguments


class CallbackRows:
    """The rows of one query, started with a callback. No thread waits for anything.

    Args:
        rows: The connection.
        reactor: The worker's reactor.
        task: The operation.
        ready: Called in the reactor thread once the answer is there.
    """

    def __init__(
        self, rows: RowCluster, reactor: Any, task: Task, ready: Callable[[], None]
    ) -> None:
        self._cluster = rows
        self._task = task
        self._ready = ready
        self._reactor = reactor
        self._stopped = False
        self._told = False
        self._watch: _Watch | None = None
        self._result: Any = None
        self._bites = Bites(self._rows(), self._last)

    def start(self) -> None:
        """Send the request, once the connection is there."""
        if self._cluster.cluster is not None:
            self._send(self._cluster.cluster)
        else:
            connected = self._cluster.when_connected(self._reactor)
            connected.addCallback(self._send).addErrback(self._failed)
        self._watch = _Watch(self._reactor, self._task, self._late, self._lost)

    def _send(self, cluster: Cluster) -> None:
        if self._stopped:
            self._tell()
            return
        function = getattr(cluster._impl.connection, _FUNCTIONS[self._task.kind.name])
        self._result = function(callback=self._answered, **_arguments(self._task))

    def _failed(self, failure: Failure) -> None:
        self._fail(failure.value)

    def _fail(self, error: BaseException | None) -> None:
        if not self._told:
            self._bites = Bites(_raising(error), self._last)
            self._tell()

    def _late(self) -> None:
        if self._result is None:
            self._stopped = True
            self._fail(_not_sent(self._task))

    def _lost(self) -> None:
        self._result.cancel()
        message = f"the SDK has never answered {self._task.kind.name}"
        self._fail(timeout_error(message, ambiguous=True))

    def _answered(self, _: Any) -> None:
        """In the SDK's I/O thread."""
        self._reactor.callFromThread(self._tell)

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        if self._watch is not None:
            self._watch.end()
        self._ready()

    def take(self) -> list[bytes] | dict[str, Any]:
        """One chunk, or what comes last."""
        return self._bites.take()

    def stop(self) -> None:
        """Let go of the rows. A request at the server cannot be called back."""
        self._stopped = True
        if self._result is not None:
            self._result.cancel()

    def _rows(self) -> Iterator[Any]:
        for row in self._result:
            if row is None:
                return
            if not isinstance(row, (bytes, dict)):
                raise RawClient.exception(row)
            yield row

    def _last(self) -> dict[str, Any]:
        response = next(self._result)
        if not hasattr(response, "raw_result"):
            raise RawClient.exception(response)
        return dict(response.raw_result)


def _raising(error: Any) -> Iterator[Any]:
    yield from ()
    raise error


class _Undecoded(Serializer):
    def serialize(self, value: Any) -> bytes:
        raise NotImplementedError

    def deserialize(self, value: bytes) -> bytes:
        return value


class _KeepsResponse:
    """Keeps what comes after the rows as it is, for the application to understand."""

    _metadata: Any

    def _set_metadata(self, response: Any) -> None:
        if not hasattr(response, "raw_result"):
            raise RawClient.exception(response)
        self._metadata = dict(response.raw_result)


class _Query(_KeepsResponse, N1QLRequest):
    pass


class _Analytics(_KeepsResponse, AnalyticsRequest):
    pass


class _Search(_KeepsResponse, FullTextSearchRequest):
    pass


class _View(_KeepsResponse, ViewRequest):
    pass


_REQUESTS: dict[str, Any] = {
    "query": _Query,
    "analytics_query": _Analytics,
    "search_query": _Search,
    "view_query": _View,
}


class ThreadRows:
    """The rows of one query through the SDK's own request, each bite in a thread.

    Args:
        rows: The connection.
        reactor: The worker's reactor.
        task: The operation.
        ready: Called in the reactor thread when a bite was taken.
    """

    def __init__(
        self, rows: RowCluster, reactor: Any, task: Task, ready: Callable[[], None]
    ) -> None:
        self._cluster = rows
        self._task = task
        self._ready = ready
        self._reactor = reactor
        self._request: Any = None
        self._begun = self._stopped = False
        self._watch: _Watch | None = None
        self._bites = Bites(self._rows(), self._last)
        self._taken: list[bytes] | dict[str, Any] | Exception = []

    def start(self) -> None:
        """Take the first bite, which sends the request and waits for the server."""
        if self._cluster.cluster is not None:
            self._begin()
        else:
            connected = self._cluster.when_connected(self._reactor)
            connected.addCallbacks(self._connected, self._failed)
        self._watch = _Watch(self._reactor, self._task, self._late, self.stop)

    def _connected(self, _: Cluster) -> None:
        if not self._stopped:
            self._begin()

    def _failed(self, failure: Failure) -> None:
        if not self._stopped:
            self._arrived(failure.value)  # type: ignore[arg-type]

    def _begin(self) -> None:
        self._begun = True
        self._cluster.threads.callInThread(self._bite)

    def _late(self) -> None:
        # It waits for the connection, or for a thread: nothing is to be sent after that.
        self._stopped = True
        if not self._begun:
            self._arrived(_not_sent(self._task))

    def take(self) -> list[bytes] | dict[str, Any]:
        """The bite that was taken; the next one follows."""
        taken, self._taken = self._taken, []
        if isinstance(taken, Exception):
            raise taken
        if taken and isinstance(taken, list):
            self._begin()
        return taken

    def stop(self) -> None:
        """Let go of the rows; the thread that waits for an answer then goes on."""
        if self._request is not None and self._request._streaming_result is not None:
            self._request._streaming_result.cancel()

    def _bite(self) -> None:
        """In a thread."""
        try:
            taken: list[bytes] | dict[str, Any] | Exception = self._bites.take()
        except Exception as error:  # the caller has to hear of it, whatever it is
            taken = error
        self._reactor.callFromThread(self._arrived, taken)

    def _arrived(self, taken: list[bytes] | dict[str, Any] | Exception) -> None:
        if self._watch is not None:
            self._watch.end()
        self._taken = taken
        self._ready()

    def _rows(self) -> Iterator[Any]:
        connection = self._cluster.get()._impl.connection
        if self._stopped:
            raise _not_sent(self._task)
        self._request = _REQUESTS[self._task.kind.name](
            connection,
            _arguments(self._task),
            # No class of rows: search and views hand out the binding's maps then.
            row_factory=object,
            default_serializer=_Undecoded(),
        )
        yield from self._request

    def _last(self) -> dict[str, Any]:
        result: dict[str, Any] = self._request.metadata()
        return result
