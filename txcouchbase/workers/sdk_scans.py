"""`ScanRows`: scans through the SDK, each bite in a thread.

The SDK asks for the next documents by itself, however many wait to be taken: a reader who is slow
bounds what comes over the pipe, not what the SDK keeps in the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import RequestCanceledException

from txcouchbase.workers.bites import Bites
from txcouchbase.workers.scan_cluster import ScanCluster

if TYPE_CHECKING:
    from txcouchbase.workers.executor import Task
    from txcouchbase.workers.row_cluster import RowCluster
    from txcouchbase.workers.rows import RowSource

__all__ = ["ScanRows", "open_source"]

_PATIENCE = 0.05
"""How long a bite takes while documents keep coming (seconds)."""


def open_source(
    source_of_queries: Callable[[RowCluster, Any, Task, Callable[[], None]], RowSource],
    rows: RowCluster,
    reactor: Any,
    task: Task,
    ready: Callable[[], None],
) -> RowSource:
    """The source of an operation's rows.

    Args:
        source_of_queries: Makes that of all but scans.
        rows: The connections.
        reactor: The worker's reactor.
        task: The operation.
        ready: What it calls when it has something.
    """
    if task.kind.name == "scan":
        return ScanRows(rows.scans, reactor, task, ready)
    return source_of_queries(rows, reactor, task, ready)


class ScanRows:
    """The documents of one scan.

    Args:
        scans: The connection.
        reactor: The worker's reactor.
        task: The operation.
        ready: Called in the reactor thread when a bite was taken.
    """

    def __init__(
        self, scans: ScanCluster, reactor: Any, task: Task, ready: Callable[[], None]
    ) -> None:
        self._scans = scans
        self._task = task
        self._ready = ready
        self._reactor = reactor
        self._request: Any = None
        self._biting = self._stopped = False
        self._bites = Bites(self._rows(), dict, _PATIENCE)
        self._taken: list[bytes] | dict[str, Any] | Exception = []

    def start(self) -> None:
        """Take the first bite, which sends the request and waits for the server."""
        self._begin()

    def _begin(self) -> None:
        self._biting = True
        self._scans.threads.callInThread(self._bite)

    def take(self) -> list[bytes] | dict[str, Any]:
        """The bite that was taken; the next one follows."""
        taken, self._taken = self._taken, []
        if isinstance(taken, Exception):
            raise taken
        if taken and isinstance(taken, list):
            self._begin()
        return taken

    def stop(self) -> None:
        """Let go of the documents; the server is told."""
        self._stopped = True
        if not self._biting:
            self._cancel()

    def _cancel(self) -> None:
        # Not while a thread waits for the next document: the SDK would never let it go.
        if self._request is not None:
            self._request.cancel_scan()

    def _bite(self) -> None:
        """In a thread."""
        try:
            taken: list[bytes] | dict[str, Any] | Exception = self._bites.take()
        except Exception as error:  # the caller has to hear of it, whatever it is
            taken = error
        self._reactor.callFromThread(self._arrived, taken)

    def _arrived(self, taken: list[bytes] | dict[str, Any] | Exception) -> None:
        self._biting = False
        if self._stopped:
            self._cancel()
        self._taken = taken
        self._ready()

    def _rows(self) -> Iterator[dict[str, Any]]:
        request: Any = self._scans.start(self._task, lambda: not self._stopped)
        self._request = request
        count = 0
        for result in request:
            yield result._orig.raw_result
            if self._stopped:
                return
            count += 1
        if request._scan_iterator.is_cancelled() and count != self._limit(request):
            # An error that comes while nobody waits for a document is lost in the SDK, which then
            # tells of an end, also in place of the documents that it has.
            raise RequestCanceledException(
                f"the scan broke off after {count} documents; the SDK does not say why"
            )

    @staticmethod
    def _limit(request: Any) -> int | None:
        """After how many documents the SDK itself ends a scan, None for all but samples."""
        limit: int | None = request._scan_args["scan_config"].get("limit")
        return limit
