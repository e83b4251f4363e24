"""The HTTP requests of the analytics service.

Paths and answers are those of Couchbase's documentation, *Analytics REST APIs*. Statements that
manage collections are carried out; queries are answered by the evaluator of SQL++.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.analytics.datasets import condition_of
from txcouchbase.testing.analytics.envelope import render
from txcouchbase.testing.analytics.errors import (
    COMPILATION,
    FORBIDDEN,
    INTERNAL,
    REQUEST,
    AnalyticsRefused,
)
from txcouchbase.testing.analytics.evaluation import answer_to
from txcouchbase.testing.analytics.links import link_of
from txcouchbase.testing.analytics.requests import Request, fields_of_call, request_of
from txcouchbase.testing.analytics.statements import is_query, parse, split_use
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.routes import Handler, Route

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["ROUTES", "failure", "render", "statement_of"]


def failure(reason: str) -> dict[str, Any]:
    """The body of an answer to what the service does not know, or cannot do."""
    error = AnalyticsRefused(INTERNAL, f"Internal error: {reason}")
    return {"errors": [error.as_dict()], "status": "fatal"}


def statement_of(state: ClusterState, call: Call) -> str:
    """The statement of a request, in which scripts search; of others, method, path and body."""
    statement = fields_of_call(call).get("statement")
    if isinstance(statement, str):
        return statement
    return f"{call.operation} {call.body.decode('utf-8', 'replace')}"


def _statement(state: ClusterState, call: Call) -> Answer:
    """Carry a statement out."""
    try:
        request = _in_its_scope(state, request_of(fields_of_call(call)))
        if is_query(request.statement):
            _check(call, "analytics")
            return answer_to(state, call, request)
        _change(state, call, request)
    except AnalyticsRefused as refused:
        answer = render((), {}, [refused.as_dict()], call)
        answer.code = refused.status
        return answer
    return render((), {}, [], call)


def _in_its_scope(state: ClusterState, request: Request) -> Request:
    scope, statement = split_use(request.statement)
    if scope is None:
        return request
    state.analytics.check_scope("/".join(scope))
    return replace(request, statement=statement, context=scope)


def _change(state: ClusterState, call: Call, request: Request) -> None:
    """Carry out a statement that is no query."""
    parsed = parse(request.statement)
    _check(call, "analytics_manage")
    if request.readonly:
        raise AnalyticsRefused(
            COMPILATION, f"{parsed.kind.replace('_', ' ').upper()} is prohibited: readonly"
        )
    if parsed.condition is not None:
        condition_of(state, parsed.condition)
    keyspaces = {bucket.name: bucket.manifest.scopes() for bucket in state.buckets.values()}
    state.analytics.execute(parsed, keyspaces, request.context)


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
