"""The HTTP requests of the query service.

Source: Couchbase's documentation, "Query Service REST API".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, fields_of, json_answer
from txcouchbase.testing.http.envelope import peek
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.query.encoding import encoded
from txcouchbase.testing.query.envelope import (
    Counted,
    duration,
    look_ahead,
    metrics,
    request_id,
    scripted,
    stream,
)
from txcouchbase.testing.query.errors import QueryError, http_status
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.parameters import Request, request_of
from txcouchbase.testing.query.statements import Run, run, run_prepared

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState
    from txcouchbase.testing.query.transactions import Transaction

__all__ = ["ROUTES", "answer_to", "render", "statement_of"]


def _fields(call: Call) -> dict[str, Any]:
    """The parameters of a request.

    :raises QueryError: 1120 for a body of another type, 1100 for one that is broken.
    """
    if call.method == "GET":
        return _from_form(call.arguments)
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            body = msgspec.json.decode(call.body)
        except (ValueError, RecursionError) as error:
            raise QueryError(1040, f"Error processing JSON - cause: {error}") from None
        if not isinstance(body, dict):
            raise QueryError(1070, "the request has to be of type object")
        return _from_form(call.arguments) | body
    if kind not in ("", "application/x-www-form-urlencoded"):
        raise QueryError(1120, f"Unsupported media type: {kind}")
    try:
        return _from_form(call.arguments | fields_of(call.body))
    except HttpRefused as refused:
        raise QueryError(1040, f"Error processing the form - cause: {refused.value}") from None


def _from_form(fields: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name[:1] in ("$", "@"):
            try:
                found[name] = msgspec.json.decode(value)
            except (ValueError, RecursionError):
                raise QueryError(
                    1040, f"Error processing {name} - cause: the value is no JSON"
                ) from None
        else:
            found[name] = value
    return found


def statement_of(state: ClusterState, call: Call) -> str:
    """The statement of a request, in which scripts search; of others, method, path and body.

    Of a prepared statement it is the text that was prepared.
    """
    try:
        request = request_of(_fields(call))
        if request.statement is not None:
            return request.statement
        if request.prepared is not None:
            return state.statements.find(request.prepared, request.context).text
    except QueryError:
        pass
    return f"{call.operation} {call.body.decode('utf-8', 'replace')}"


def render(
    rows: Iterable[Any], metadata: dict[str, Any], errors: list[dict[str, Any]], call: Call
) -> Answer:
    """An answer of rows, as the query service sends it.

    :param rows: the results.
    :param metadata: members beside the rows: ``status``, ``signature``, ``warnings``, ...; those
        of ``metrics`` are made where they lack.
    :param errors: each with ``code`` and ``msg``.
    :param call: the request.
    """
    some, results = peek(rows)
    try:
        identity = request_of(_fields(call)).client_context_id
    except QueryError:
        identity = None
    code = 200
    if errors and not some:
        code = http_status(errors[0].get("code", 5000))
    return Answer(scripted(results, metadata, errors, identity), code)


class _Answering:
    """One request on its way from its parameters to its answer."""

    def __init__(self, state: ClusterState, call: Call) -> None:
        self._state = state
        self._call = call
        self._started = perf_counter()
        self._request = Request()
        self._execution = Execution(state, call.account, now=state.seconds())
        self._counted = Counted()
        self._status = "success"
        self._phases: dict[str, float] = {}

    def answer(self) -> Answer:
        """Carry the statement out, as far as its first row, and answer."""
        execution = self._execution
        try:
            self._request = request = request_of(_fields(self._call))
            execution = self._execution = self._prepared_execution(request)
            running = self._run(request)
        except QueryError as error:
            self._failed(error, "fatal")
            return self._answered(None, False, iter(()))
        return self._answered(running, *look_ahead(execution.pace.steps(self._encoded(running))))

    def _prepared_execution(self, request: Request) -> Execution:
        now = self._state.seconds()
        return Execution(
            self._state,
            self._call.account,
            request.positional,
            request.named,
            request.context,
            now,
            None if request.timeout is None else now + request.timeout,
            request.timeout or 0.0,
            request.readonly or self._call.method == "GET",
            request.preserve_expiry,
            settings=request.settings,
            transaction=self._transaction(request),
        )

    def _transaction(self, request: Request) -> Transaction | None:
        if request.settings.id is None:
            return None
        return self._state.transactions.find(request.settings.id, self._state.seconds())

    def _run(self, request: Request) -> Run:
        execution = self._execution
        if request.statement is None:
            assert request.prepared is not None
            return run_prepared(execution, request.prepared)
        began = perf_counter()
        statement = self._state.statements.parse(request.statement)
        parsed = perf_counter()
        running = run(execution, statement, request.statement, request.auto_execute)
        self._phases = {"parse": parsed - began, "plan": perf_counter() - parsed}
        return running

    def _encoded(self, running: Run) -> Iterator[list[bytes]]:
        """The rows as JSON, until they end or something fails."""
        execution, pretty = self._execution, self._request.pretty
        try:
            for batch in running.batches:
                execution.check_time()
                rows = [encoded(row) for row in batch]
                yield [msgspec.json.format(row) for row in rows] if pretty else rows
        except QueryError as error:
            self._failed(error, "timeout" if error.code == 1080 else "errors")
        except RecursionError:
            self._failed(QueryError(5001, "The values are nested too deeply."), "errors")

    def _failed(self, error: QueryError, status: str) -> None:
        self._execution.errors.append(error)
        self._status = status

    def _answered(self, running: Run | None, some: bool, batches: Iterator[list[bytes]]) -> Answer:
        request, execution = self._request, self._execution
        head: dict[str, Any] = {"requestID": request_id()}
        if request.client_context_id is not None:
            head["clientContextID"] = request.client_context_id
        if running is not None:
            if request.signature:
                head["signature"] = running.signature
            if running.prepared is not None:
                head["prepared"] = running.prepared
        code = 200
        if execution.errors and not some:
            code = http_status(execution.errors[0].code)
        rows = self._counted.rows(batches)
        return Answer(stream(rows, head, self._tail), code)

    def _tail(self) -> dict[str, Any]:
        request, execution = self._request, self._execution
        errors, warnings = execution.errors, execution.warnings
        if errors and self._status == "success":
            self._status = "errors"
        found: dict[str, Any] = {}
        if warnings:
            found["warnings"] = warnings
        if errors:
            found["errors"] = [error.as_dict() for error in errors]
        found["status"] = self._status
        elapsed = perf_counter() - self._started
        if request.metrics:
            shown = metrics(elapsed, elapsed, self._counted)
            for name, count in (
                ("mutationCount", execution.mutations),
                ("sortCount", execution.sorted_rows),
                ("errorCount", len(errors)),
                ("warningCount", len(warnings)),
            ):
                if count:
                    shown[name] = count
            found["metrics"] = shown
        if request.profile != "off":
            found["profile"] = self._profile(elapsed)
        return found

    def _profile(self, elapsed: float) -> dict[str, Any]:
        times = self._phases | {"run": elapsed - sum(self._phases.values())}
        count = self._counted.count
        found: dict[str, Any] = {
            "phaseTimes": {name: duration(seconds) for name, seconds in times.items()},
            "phaseCounts": {"stream": count},
            "phaseOperators": {"stream": 1},
        }
        if self._request.profile == "timings":
            stats = {"#itemsIn": count, "#itemsOut": count, "execTime": duration(times["run"])}
            found["executionTimings"] = {"#operator": "Stream", "#stats": stats}
        return found


def answer_to(state: ClusterState, call: Call) -> Answer:
    """The answer to a request with a statement; whatever goes wrong is in it."""
    return _Answering(state, call).answer()


def _ping(state: ClusterState, call: Call) -> Answer:
    return json_answer({"status": "OK"})


ROUTES: Sequence[Route] = (
    Route("POST", "/query/service", answer_to),
    Route("GET", "/query/service", answer_to),
    Route("GET", "/admin/ping", _ping, login=False),
)
"""What the query port answers."""
