"""The HTTP requests of the view service, and of the management service about design documents.

Paths and answers are those of Couchbase's documentation, *Views REST API*; messages are those of
its ``couchdb``. Design documents are stored and read back. A query is answered by the function of
Python that stands for the view's own; without one with an error that says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.envelope import framed, peek
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.http.rows import encoded
from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.query.envelope import look_ahead
from txcouchbase.testing.views.designs import DesignDocument, DesignRefused, checked
from txcouchbase.testing.views.evaluation import MapFailed, ViewRows
from txcouchbase.testing.views.parameters import ParametersRefused, ViewQuery, query_of
from txcouchbase.testing.views.reducing import BUILT_IN, ReduceFailed

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["MANAGEMENT_ROUTES", "ROUTES", "failure", "render"]

NOT_EVALUATED = (
    "this node does not evaluate the JavaScript of views: give it a function (map_view), or script"
    " an answer"
)
NO_JAVASCRIPT = (
    "this node evaluates no reduce function but _count, _sum and _stats: ask with reduce=false, or"
    " script an answer"
)
LOOK_AHEAD = 0.02
"""Seconds for which an answer waits for its first row; what fails later breaks it off."""


def render(
    rows: Iterable[Any], metadata: dict[str, Any], errors: list[dict[str, Any]], call: Call
) -> Answer:
    """An answer of rows, as the view service sends it.

    :param rows: each with ``key`` and ``value``, and ``id`` unless it is reduced.
    :param metadata: members beside the rows. ``total_rows`` is made where it lacks.
    :param errors: of nodes (``from``, and ``reason`` or ``msg``), if there are rows; else what
        the whole query fails with (``error`` or ``code``, and ``reason`` or ``msg``).
    :param call: the request.
    """
    some, sent = peek(rows)
    if errors and not some:
        first = errors[0]
        code = str(first.get("error", first.get("code", "error")))
        return json_answer({"error": code, "reason": _reason(first), "rows": []} | metadata, 400)
    total = 0

    def counted() -> Iterator[Any]:
        nonlocal total
        for row in sent:
            total += 1
            yield row

    def rest() -> dict[str, Any]:
        made: dict[str, Any] = {"total_rows": total}
        if errors:
            made["errors"] = [
                {"from": error.get("from", "local"), "reason": _reason(error)} for error in errors
            ]
        return made | metadata

    return Answer(framed("rows", encoded(counted()), rest))


def failure(reason: str) -> dict[str, Any]:
    """The body of an answer to what the service does not know, or cannot do."""
    return {"error": "error", "reason": reason}


def _reason(error: dict[str, Any]) -> str:
    return str(error.get("reason", error.get("msg", error)))


def _refused(code: int, error: str, reason: str) -> HttpRefused:
    return HttpRefused(code, {"error": error, "reason": reason})


def _bucket(state: ClusterState, call: Call, permission: str) -> Bucket:
    """The bucket of a request.

    :raises HttpRefused: for an unknown one, or somebody who may not.
    """
    bucket = state.buckets.get(call.names["bucket"])
    if call.account is None or not call.account.may(permission, call.names["bucket"]):
        raise _refused(403, "forbidden", f"no permission: {permission}")
    if bucket is None:
        raise _refused(404, "not_found", "missing")
    return bucket


def _design(bucket: Bucket, call: Call) -> DesignDocument:
    found: DesignDocument | None = bucket.design_documents.get(call.names["design"])
    if found is None:
        raise _refused(404, "not_found", "missing")
    return found


def _put(state: ClusterState, call: Call) -> Answer:
    bucket, name = _bucket(state, call, "views_manage"), call.names["design"]
    try:
        body = checked(call.json())
    except HttpRefused:
        raise _refused(400, "invalid_design_document", "Content is not json.") from None
    except DesignRefused as refused:
        raise _refused(400, "invalid_design_document", str(refused)) from None
    previous = bucket.design_documents.get(name)
    number = 1 if previous is None else previous.number + 1
    design = bucket.design_documents[name] = DesignDocument(body, number)
    answer = json_answer({"ok": True, "id": f"_design/{name}"}, 201)
    answer.headers["X-Couchbase-Meta"] = json.dumps(_meta(name, design))
    return answer


def _get(state: ClusterState, call: Call) -> Answer:
    design = _design(_bucket(state, call, "views"), call)
    answer = json_answer(design.body)
    answer.headers["X-Couchbase-Meta"] = json.dumps(_meta(call.names["design"], design))
    return answer


def _drop(state: ClusterState, call: Call) -> Answer:
    bucket, name = _bucket(state, call, "views_manage"), call.names["design"]
    _design(bucket, call)
    del bucket.design_documents[name]
    return json_answer({"ok": True, "id": f"_design/{name}"})


def _meta(name: str, design: DesignDocument) -> dict[str, str]:
    return {"id": f"_design/{name}", "rev": design.revision}


def _query(state: ClusterState, call: Call) -> Answer:
    bucket, name = _bucket(state, call, "views"), call.names["design"]
    design: DesignDocument | None = bucket.design_documents.get(name)
    if design is None:
        raise _refused(404, "not_found", f"Design document _design/{name} not found")
    view = design.view(call.names["view"])
    if view is None:
        raise _refused(404, "not_found", "missing_named_view")
    try:
        query = query_of(call, "reduce" in view)
    except ParametersRefused as refused:
        raise _refused(400, "query_parse_error", str(refused)) from None
    function = state.map_functions.get((bucket.name, name, call.names["view"]))
    if function is None:
        raise _refused(500, "not_implemented", NOT_EVALUATED)
    reduce = view["reduce"] if query.reduce else None
    if reduce is not None and reduce not in BUILT_IN:
        raise _refused(500, "not_implemented", NO_JAVASCRIPT)
    return _evaluated(ViewRows(state, bucket, function, query, reduce), query)


def _evaluated(rows: ViewRows, query: ViewQuery) -> Answer:
    try:
        _, batches = look_ahead(rows.batches(), LOOK_AHEAD)
    except (MapFailed, ReduceFailed) as failed:
        raise _refused(500, "error", str(failed)) from None

    def rest() -> dict[str, Any]:
        made: dict[str, Any] = {} if query.reduce else {"total_rows": rows.total}
        if query.debug:
            made["debug_info"] = {"local": {"main_group": {"total_rows": rows.total}}}
        return made

    return Answer(framed("rows", batches, rest))


def _all(state: ClusterState, call: Call) -> Answer:
    try:
        bucket = _bucket(state, call, "views")
    except HttpRefused as refused:
        if refused.code == 404:
            raise HttpRefused(404, b"Requested resource not found.\r\n") from None
        raise
    rows = [
        {"doc": {"meta": _meta(name, design), "json": design.body}}
        for name, design in sorted(bucket.design_documents.items())
    ]
    return json_answer({"rows": rows})


def _welcome(state: ClusterState, call: Call) -> Answer:
    return json_answer({"couchdb": "Welcome", "version": "7.6"})


_DESIGN = "/{bucket}/_design/{design}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/", _welcome, login=False),
    Route("GET", _DESIGN, _get),
    Route("PUT", _DESIGN, _put),
    Route("DELETE", _DESIGN, _drop),
    Route("GET", f"{_DESIGN}/_view/{{view}}", _query),
    Route("POST", f"{_DESIGN}/_view/{{view}}", _query),
)
"""The requests of the view service."""

MANAGEMENT_ROUTES: tuple[Route, ...] = (
    Route("GET", "/pools/default/buckets/{bucket}/ddocs", _all),
)
"""The requests about design documents that the management service answers."""
