"""Queries over collections, answered by the evaluator of SQL++."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING

from txcouchbase.testing.analytics.datasets import Datasets
from txcouchbase.testing.analytics.envelope import Outcome, stream
from txcouchbase.testing.analytics.errors import INTERNAL, TIMEOUT, AnalyticsRefused, refusal
from txcouchbase.testing.analytics.requests import Request
from txcouchbase.testing.http.calls import Answer, Call
from txcouchbase.testing.query.encoding import encoded
from txcouchbase.testing.query.envelope import look_ahead
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.pipeline import Batches
from txcouchbase.testing.query.statements import run

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["answer_to"]


class _Evaluating:
    """One query on its way from its statement to its answer."""

    def __init__(self, state: ClusterState, call: Call, request: Request) -> None:
        self._call = call
        self._started = perf_counter()
        now = state.seconds()
        self._execution = Execution(
            state,
            call.account,
            request.positional,
            request.named,
            now=now,
            deadline=None if request.timeout is None else now + request.timeout,
            timeout=request.timeout or 0.0,
            readonly=True,
        )
        self._datasets = Datasets(self._execution, request.context)
        self._execution.sources = self._datasets.source
        self._failure: AnalyticsRefused | None = None

    def answer(self, text: str) -> Answer:
        """Answer, once there is a first row or it takes longer.

        :raises AnalyticsRefused: for what cannot be planned.
        """
        execution = self._execution
        try:
            running = run(execution, execution.state.statements.parse(text))
        except QueryError as error:
            raise refusal(error) from None
        some, rows = look_ahead(execution.pace.steps(self._encoded(running.batches)))
        failure = self._failure
        code = failure.status if failure is not None and not some else 200
        return Answer(stream(self._call, rows, self._outcome), code)

    def _encoded(self, batches: Batches) -> Iterator[list[bytes]]:
        """The rows as JSON, until they end or something fails."""
        try:
            for batch in batches:
                self._execution.check_time()
                yield [encoded(row) for row in batch]
        except QueryError as error:
            self._failure = refusal(error)
        except RecursionError:
            self._failure = AnalyticsRefused(INTERNAL, "Internal error: nested too deeply")

    def _outcome(self) -> Outcome:
        outcome = Outcome(processed=self._datasets.read, elapsed=perf_counter() - self._started)
        if self._failure is not None:
            outcome.status = "timeout" if self._failure.code == TIMEOUT else "fatal"
            outcome.errors = [self._failure.as_dict()]
        return outcome


def answer_to(state: ClusterState, call: Call, request: Request) -> Answer:
    """The answer to a query; what goes wrong after its first row is in it.

    :raises AnalyticsRefused: for what cannot be planned.
    """
    return _Evaluating(state, call, request).answer(request.statement)
