"""What a cluster tells of its connections: pings, diagnostics, waiting until it is ready.

Options are read by the SDK's own request builder, so that they mean here what they mean there,
and are refused as there.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException
from couchbase.logic.cluster_req_builder import ClusterRequestBuilder
from couchbase.result import DiagnosticsResult, PingResult
from twisted.internet.defer import (
    Deferred,
    DeferredList,
    FirstError,
    gatherResults,
    inlineCallbacks,
)

from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.calls import Caller, encode_arguments
from txcouchbase.exceptions import WorkerLost
from txcouchbase.results import raw_result

if TYPE_CHECKING:
    from txcouchbase.workers.lane import Lane
    from txcouchbase.workers.pool import WorkerPool
    from txcouchbase.workers.session import ClusterSession

__all__ = ["diagnostics", "ping", "wait_until_ready"]

_builder = ClusterRequestBuilder()


def ping(caller: Caller, opts: tuple[Any, ...], kwargs: dict[str, Any]) -> Deferred[PingResult]:
    """Ping services through one worker.

    Args:
        caller: Calls methods of the cluster or bucket.
        opts: At most one `PingOptions`.
        kwargs: Its fields by name.
    """
    request = _builder.build_ping_request(*opts, **kwargs)
    keywords: dict[str, Any] = {"service_types": list(request.services), "timeout": None}
    if request.report_id is not None:
        keywords["report_id"] = request.report_id
    answer = caller.call(
        OPERATIONS["ping"], encode_arguments((), keywords), _seconds(request.timeout)
    )
    return answer.addCallback(lambda raw: PingResult(raw_result(raw)))


def diagnostics(
    pool: WorkerPool,
    session: ClusterSession,
    caller: Caller,
    opts: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Deferred[DiagnosticsResult]:
    """What all connected workers tell of their connections, in one report.

    Args:
        pool: The workers.
        session: The cluster.
        caller: Calls methods of the cluster.
        opts: At most one `DiagnosticsOptions`.
        kwargs: Its fields by name.
    """
    request = _builder.build_diagnostics_request(*opts, **kwargs)
    keywords = {} if request.report_id is None else {"report_id": request.report_id}
    arguments = encode_arguments((), keywords)
    timeout = _seconds(request.timeout) or caller.default_timeout
    report = _report_of_all(session, caller, arguments, timeout)
    return pool.within(report, timeout, "diagnostics")


@inlineCallbacks
def _report_of_all(
    session: ClusterSession, caller: Caller, arguments: bytes, timeout: float
) -> Generator[Deferred[Any], Any, DiagnosticsResult]:
    yield session.when_connected()
    lanes = list(session.lanes)
    # Named before the answers, since a worker that ends meanwhile has no process id afterwards.
    names = [f"{lane.pid}/" for lane in lanes]
    kind = OPERATIONS["diagnostics"]
    outcomes: list[tuple[bool, Any]] = yield DeferredList(
        [caller.call(kind, arguments, timeout, lane) for lane in lanes], consumeErrors=True
    )
    reports = []
    for name, (answered, outcome) in zip(names, outcomes, strict=True):
        if answered:
            reports.append((name, outcome))
        elif not outcome.check(WorkerLost):
            outcome.raiseException()
    if not reports:
        outcomes[0][1].raiseException()
    services: dict[str, list[dict[str, Any]]] = {}
    for name, report in reports:
        for service, endpoints in report.get("services", {}).items():
            services.setdefault(service, []).extend(
                {**endpoint, "id": name + endpoint.get("id", "")} for endpoint in endpoints
            )
    return DiagnosticsResult(raw_result({**reports[0][1], "services": services}))


def wait_until_ready(
    pool: WorkerPool,
    session: ClusterSession,
    caller: Caller,
    timeout: timedelta,
    opts: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Deferred[None]:
    """Wait until `min_workers` workers are connected and see the cluster in the wanted state.

    Args:
        pool: The workers.
        session: The cluster.
        caller: Calls methods of the cluster.
        timeout: How long to wait at most.
        opts: At most one `WaitUntilReadyOptions`.
        kwargs: Its fields by name.
    """
    if not isinstance(timeout, timedelta):
        raise InvalidArgumentException(f"Expected timedelta instead of {type(timeout)}")
    request = _builder.build_wait_until_ready_request(timeout, *opts, **kwargs)
    keywords = {
        "timeout": None,
        "desired_state": request.desired_state,
        "service_types": list(request.service_types),
    }
    seconds = timeout.total_seconds()
    ready = _ready_in_each(pool, session, caller, encode_arguments((), keywords), seconds)
    return pool.within(ready, seconds, "wait_until_ready")


@inlineCallbacks
def _ready_in_each(
    pool: WorkerPool, session: ClusterSession, caller: Caller, arguments: bytes, timeout: float
) -> Generator[Deferred[Any], Any, None]:
    kind = OPERATIONS["wait_until_ready"]
    while True:
        lanes: list[Lane] = yield pool.when_connected(session, pool.config.min_workers)
        waits = [caller.call(kind, arguments, timeout, lane) for lane in lanes]
        try:
            yield gatherResults(waits, consumeErrors=True)
            return
        except FirstError as error:
            if not error.subFailure.check(WorkerLost):
                error.subFailure.raiseException()
            # Its successor has to be ready too.


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000.0 if milliseconds else None
