"""The HTTP requests of the analytics service.

Paths and answers are those of Couchbase's documentation, *Analytics REST APIs*. Statements that
manage collections are carried out, and metadata is read back; every other query is answered with
an error that says that it is not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from txcouchbase.testing.analytics.errors import (
    COMPILATION,
    FORBIDDEN,
    INTERNAL,
    REQUEST,
    AnalyticsRefused,
)
from txcouchbase.testing.analytics.links import link_of
from txcouchbase.testing.analytics.metadata import DEFAULT_SCOPE
from txcouchbase.testing.analytics.statements import Path, Query, parse
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.envelope import framed, peek
from txcouchbase.testing.http.routes import Handler, Route
from txcouchbase.testing.http.rows import encoded
from txcouchbase.testing.query.envelope import Counted

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["ROUTES", "failure", "render", "statement_of"]

NOT_EVALUATED = (
    "Internal error: this node stores analytics collections and does not evaluate queries;"
    " script an answer"
)
ELAPSED = {"elapsedTime": "1.0ms", "executionTime": "0.5ms"}


def render(
    rows: Iterable[Any], metadata: dict[str, Any], errors: list[dict[str, Any]], call: Call
) -> Answer:
    """An answer of rows, as the analytics service sends it.

    :param rows: the results.
    :param metadata: members beside the rows: ``status``, ``signature``, ``warnings``; those of
        ``metrics`` are made where they lack.
    :param errors: each with ``code`` and ``msg``.
    :param call: the request.
    """
    some, results = peek(rows)
    fields = _fields(call)
    status = metadata.get("status", "fatal" if errors else "success")
    if status != "success" and not errors:
        # Clients need the error of what has not succeeded.
        errors = [{"code": INTERNAL, "msg": f"Internal error: the request ended as {status}"}]
    counted = Counted()

    def rest() -> dict[str, Any]:
        made: dict[str, Any] = {"requestID": str(uuid4()), "signature": {"*": "*"}}
        if isinstance(fields.get("client_context_id"), str):
            made["clientContextID"] = fields["client_context_id"]
        if errors:
            made["errors"] = errors
        metrics: dict[str, Any] = ELAPSED | {
            "resultCount": counted.count,
            "resultSize": counted.size,
            "processedObjects": counted.count,
        }
        if errors:
            metrics["errorCount"] = len(errors)
        if metadata.get("warnings"):
            metrics["warningCount"] = len(metadata["warnings"])
        given = metadata.get("metrics") or {}
        return made | metadata | {"status": status, "metrics": metrics | given}

    chunks = framed("results", counted.rows(encoded(results)), rest)
    return Answer(chunks, 400 if errors and not some else 200)


def failure(reason: str) -> dict[str, Any]:
    """The body of an answer to what the service does not know, or cannot do."""
    error = AnalyticsRefused(INTERNAL, f"Internal error: {reason}")
    return {"errors": [error.as_dict()], "status": "fatal"}


def _fields(call: Call) -> dict[str, Any]:
    """The parameters of a request for a statement; none where the body holds none."""
    try:
        if "x-www-form-urlencoded" in call.headers.get("content-type", ""):
            return {**call.arguments, **call.form()}
        body = call.json() if call.body else {}
    except HttpRefused:
        return {}
    return {**call.arguments, **body} if isinstance(body, dict) else {}


def statement_of(state: ClusterState, call: Call) -> str:
    """The statement of a request, in which scripts search; of others, method, path and body."""
    statement = _fields(call).get("statement")
    if isinstance(statement, str):
        return statement
    return f"{call.operation} {call.body.decode('utf-8', 'replace')}"


def _statement(state: ClusterState, call: Call) -> Answer:
    """Carry a statement out."""
    try:
        rows = _rows(state, call)
    except AnalyticsRefused as refused:
        answer = render((), {}, [refused.as_dict()], call)
        answer.code = refused.status
        return answer
    return render(rows, {}, [], call)


def _rows(state: ClusterState, call: Call) -> Iterator[Any]:
    fields = _fields(call)
    text = fields.get("statement")
    if not isinstance(text, str) or not text.strip():
        raise AnalyticsRefused(REQUEST, "Required parameter missing: statement")
    context = _context(fields.get("query_context"))
    parsed = parse(text)
    changes = not isinstance(parsed, Query) and parsed.kind != "select_metadata"
    _check(call, "analytics_manage" if changes else "analytics")
    if isinstance(parsed, Query):
        if parsed.collection is not None:
            state.analytics.check_collection(parsed.collection, context)
        raise AnalyticsRefused(INTERNAL, NOT_EVALUATED)
    if changes and fields.get("readonly") in (True, "true"):
        raise AnalyticsRefused(
            COMPILATION, f"{parsed.kind.replace('_', ' ').upper()} is prohibited: readonly"
        )
    keyspaces = {bucket.name: bucket.manifest.scopes() for bucket in state.buckets.values()}
    return state.analytics.execute(parsed, keyspaces, context)


def _context(given: Any) -> Path:
    """The scope that a query context names.

    :raises AnalyticsRefused: REQUEST, for one of another form.
    """
    if given in (None, ""):
        return (DEFAULT_SCOPE,)
    match = re.fullmatch(r"default:((?:`[^`]+`|\w+)(?:\.(?:`[^`]+`|\w+))*)", str(given))
    if match is None:
        raise AnalyticsRefused(REQUEST, f"Invalid value for query_context: {given}")
    return tuple(part.strip("`") for part in re.findall(r"`[^`]+`|\w+", match.group(1)))


def _check(call: Call, permission: str) -> None:
    if call.account is None or not call.account.may(permission):
        raise AnalyticsRefused(FORBIDDEN, f"Unauthorized user: no permission {permission}")


def _guarded(permission: str, handler: Handler) -> Handler:
    """A handler for those who may, whose `AnalyticsRefused` have the form of the service."""

    def guarded(state: ClusterState, call: Call) -> Answer:
        try:
            _check(call, permission)
            return handler(state, call)
        except AnalyticsRefused as refused:
            value = {"errors": [refused.as_dict()], "status": "fatal"}
            raise HttpRefused(refused.status, value) from None

    return guarded


def _link_names(call: Call, fields: dict[str, str]) -> tuple[str, str]:
    """Scope and name of the link that a request is about; they are taken out of the fields."""
    scope = call.names.get("scope") or fields.pop("dataverse", "") or fields.pop("scope", "")
    name = call.names.get("name") or fields.pop("name", "")
    if not scope or not name:
        raise AnalyticsRefused(REQUEST, "Parameter(s) missing: dataverse, name")
    return scope, name


def _form(call: Call) -> dict[str, str]:
    try:
        return call.form()
    except HttpRefused:
        raise AnalyticsRefused(REQUEST, "the body is no form") from None


def _create_link(state: ClusterState, call: Call) -> Answer:
    fields = _form(call)
    scope, name = _link_names(call, fields)
    state.analytics.create_link(scope, name, link_of(fields))
    return Answer(b"")


def _replace_link(state: ClusterState, call: Call) -> Answer:
    fields = _form(call)
    scope, name = _link_names(call, fields)
    state.analytics.replace_link(scope, name, link_of(fields))
    return Answer(b"")


def _drop_link(state: ClusterState, call: Call) -> Answer:
    state.analytics.drop_link(*_link_names(call, {**call.arguments, **_form(call)}))
    return Answer(b"")


def _get_links(state: ClusterState, call: Call) -> Answer:
    given = {"dataverse": call.arguments.get("scope")} | call.arguments
    scope = call.names.get("scope") or given["dataverse"] or None
    name = call.names.get("name") or given.get("name") or None
    return json_answer(state.analytics.links(scope, name, given.get("type") or None))


def _pending(state: ClusterState, call: Call) -> Answer:
    return json_answer(state.analytics.pending())


def _ping(state: ClusterState, call: Call) -> Answer:
    return json_answer({"status": "ok"})


_LINKS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "analytics", _get_links),
    ("POST", "analytics_manage", _create_link),
    ("PUT", "analytics_manage", _replace_link),
    ("DELETE", "analytics_manage", _drop_link),
)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/admin/ping", _ping, login=False),
    *(
        Route(method, path, _statement)
        for path in ("/query/service", "/analytics/service")
        for method in ("GET", "POST")
    ),
    Route("GET", "/analytics/node/agg/stats/remaining", _guarded("analytics", _pending)),
    Route("GET", "/analytics/link/{scope}", _guarded("analytics", _get_links)),
    *(
        Route(method, path, _guarded(permission, handler))
        for path in ("/analytics/link", "/analytics/link/{scope}/{name}")
        for method, permission, handler in _LINKS
    ),
)
"""The requests of the analytics service."""
