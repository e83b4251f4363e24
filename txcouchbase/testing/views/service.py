"""The HTTP requests of the view service, and of the management service about design documents.

Paths and answers are those of Couchbase's documentation, *Views REST API*; messages are those of
its ``couchdb``. Design documents are stored and read back. A query is checked, and answered with
an error that says that views are not evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.envelope import framed, peek
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.http.rows import encoded
from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.views.designs import DesignDocument, DesignRefused, checked

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["MANAGEMENT_ROUTES", "ROUTES", "failure", "render"]

NOT_EVALUATED = "this node stores views and does not evaluate them; script an answer"
STALE = ("false", "ok", "update_after")


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
    reason = _query_error(call, "reduce" in view)
    if reason is not None:
        raise _refused(400, "query_parse_error", reason)
    raise _refused(500, "not_implemented", NOT_EVALUATED)


def _query_error(call: Call, reduces: bool) -> str | None:
    """What is wrong with a query, None if nothing is; unknown parameters are nothing wrong."""
    keys = None
    if call.method == "POST" and call.body:
        try:
            body = call.json()
        except HttpRefused:
            return "the body is not JSON"
        if not isinstance(body, dict):
            return "the body is not an object"
        keys = body.get("keys")
        if keys is not None and not isinstance(keys, list):
            return "`keys` member must be a array."
    for name, value in call.arguments.items():
        check = _PARAMETERS.get(name)
        reason = None if check is None else check(value)
        if reason is not None:
            return f"{name}: {reason}"
    if "group" in call.arguments and "group_level" in call.arguments:
        return "Query parameter `group_level` is not compatible with `group`"
    if keys is not None and call.arguments.keys() & _RANGES:
        return "Query parameters of a range are not compatible with multi-get"
    if not reduces:
        if call.arguments.get("reduce") == "true":
            return "Invalid URL parameter `reduce` for map view."
        if call.arguments.keys() & {"group", "group_level"}:
            return "Invalid URL parameter 'group' or 'group_level' for non-reduce view."
    return None


def _not_a_number(value: str) -> str | None:
    if value.isascii() and value.isdigit():
        return None
    return f'Invalid value for positive integer parameter: "{value}"'


def _not_a_boolean(value: str) -> str | None:
    if value in ("true", "false"):
        return None
    return f'Invalid value for boolean paramter: "{value}"'


def _not_json(value: str) -> str | None:
    try:
        msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return "invalid UTF-8 JSON"
    return None


def _not_stale(value: str) -> str | None:
    if value in STALE:
        return None
    return "stale only available as stale=ok, stale=update_after or stale=false"


_PARAMETERS: dict[str, Callable[[str], str | None]] = {
    "limit": _not_a_number,
    "skip": _not_a_number,
    "group_level": _not_a_number,
    "descending": _not_a_boolean,
    "group": _not_a_boolean,
    "inclusive_end": _not_a_boolean,
    "reduce": _not_a_boolean,
    "debug": _not_a_boolean,
    "key": _not_json,
    "start_key": _not_json,
    "startkey": _not_json,
    "end_key": _not_json,
    "endkey": _not_json,
    "stale": _not_stale,
}
_RANGES = frozenset(("key", "start_key", "startkey", "end_key", "endkey"))


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
