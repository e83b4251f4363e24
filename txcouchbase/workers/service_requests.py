"""`service_request`: what is sent to a service for a query, as the SDK's core would send it.

An operation's arguments are those by the binding's names (`txcouchbase.row_requests`). What they
become is the core's `encode_to` of each service, read in its source and held by tests against what
the SDK sends. Meant differences: an integer of any size stays one, where the core makes floats of
those above 64 bits; `vector_query_combination` is sent as it was given, where the binding (4.6.3)
makes ``and`` of both; a path is escaped where it could not be sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from string import ascii_letters, digits, punctuation
from typing import Any, Final
from urllib.parse import quote

import msgspec
from couchbase.exceptions import InvalidArgumentException

__all__ = ["ServiceRequest", "service_request"]

_QUERY_MARGIN: Final = 500
_QUERY_MARGIN_ABOVE: Final = 5000
"""The query service is given so much less time (ms) where it has more than that, so that its own
timeout arrives before the deadline."""

_STALE: Final = {"not_bounded": "ok", "update_after": "update_after", "request_plus": "false"}

_FORM: Final = frozenset((ascii_letters + digits + "*-._`").encode())
"""The bytes that the core leaves as they are in the value of a view's parameter."""

_PATH: Final = punctuation.replace("#", "")
"""What a path may have beside letters and digits."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True)
class ServiceRequest:
    """A request, sent with POST.

    Attributes:
        service: ``query``, ``analytics``, ``search`` or ``views``.
        member: The member of the answer that holds the rows.
        path: With the query string.
        headers: By names in lower case; without those of the login and of the connection.
        body: JSON.
        readonly: Whether the core calls a timeout unambiguous: only what was sent as reading
            only, and never searches and views.
        context: What the SDK's error context tells of the request.
    """

    service: str
    member: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    readonly: bool
    context: dict[str, Any] = field(repr=False)


def service_request(name: str, arguments: Mapping[str, Any], timeout: int) -> ServiceRequest | None:
    """What to send for a query.

    Args:
        name: The operation's: ``query``, ``analytics_query``, ``search_query`` or ``view_query``.
        arguments: By the binding's names.
        timeout: What is left of the time (milliseconds).

    Returns:
        The request, None for what only the SDK does: prepared statements (``adhoc=False``), and
        arguments that are not known here.

    Raises:
        InvalidArgumentException: A part of the arguments that a serializer made is no JSON.
    """
    known, build = _BUILDERS[name]
    if not arguments.keys() <= known or arguments.get("adhoc") is False:
        return None
    given = {key: value for key, value in arguments.items() if value is not None}
    return build(given, timeout)


# -- query and analytics ------------------------------------------------------------------


_QUERY: Final = frozenset(
    "statement adhoc metrics readonly flex_index preserve_expiry use_replica max_parallelism"
    " scan_cap scan_wait pipeline_batch pipeline_cap scan_consistency mutation_state query_context"
    " client_context_id profile raw positional_parameters named_parameters".split()
)


def _query(given: dict[str, Any], timeout: int) -> ServiceRequest:
    if timeout > _QUERY_MARGIN_ABOVE:
        timeout -= _QUERY_MARGIN
    body = _statement(given, timeout)
    if "profile" in given:
        body["profile"] = given["profile"]
    if "use_replica" in given:
        body["use_replica"] = "on" if given["use_replica"] else "off"
    for name in ("max_parallelism", "pipeline_cap", "pipeline_batch", "scan_cap"):
        if name in given:
            body[name] = str(given[name])
    if not given.get("metrics"):
        body["metrics"] = False
    if given.get("flex_index"):
        body["use_fts"] = True
    if given.get("preserve_expiry"):
        body["preserve_expiry"] = True
    waits = False
    if "scan_consistency" in given:
        body["scan_consistency"] = given["scan_consistency"]
        waits = given["scan_consistency"] == "request_plus"
    elif given.get("mutation_state"):
        body["scan_consistency"] = "at_plus"
        body["scan_vectors"] = _query_vectors(given["mutation_state"])
        waits = True
    if waits and "scan_wait" in given:
        body["scan_wait"] = f"{given['scan_wait']}ms"
    if "query_context" in given:
        body["query_context"] = given["query_context"]
    return _of_statement("query", given, body, {})


_ANALYTICS: Final = frozenset(
    "statement metrics readonly priority bucket_name scope_name scope_qualifier scan_consistency"
    " client_context_id raw positional_parameters named_parameters".split()
)


def _analytics(given: dict[str, Any], timeout: int) -> ServiceRequest:
    body = _statement(given, timeout)
    if "scan_consistency" in given:
        body["scan_consistency"] = given["scan_consistency"]
    if "scope_qualifier" in given:
        body["query_context"] = given["scope_qualifier"]
    elif "scope_name" in given and "bucket_name" in given:
        body["query_context"] = f"default:`{given['bucket_name']}`.`{given['scope_name']}`"
    headers = {"analytics-priority": "-1"} if given.get("priority") else {}
    return _of_statement("analytics", given, body, headers)


def _statement(given: dict[str, Any], timeout: int) -> dict[str, Any]:
    """What both services are told in the same way."""
    body: dict[str, Any] = {
        "statement": given["statement"],
        "client_context_id": _identifier(given),
        "timeout": f"{timeout}ms",
    }
    for name, value in given.get("named_parameters", {}).items():
        body[name if name.startswith("$") else f"${name}"] = _parsed(value)
    if given.get("positional_parameters"):
        body["args"] = [_parsed(value) for value in given["positional_parameters"]]
    if given.get("readonly"):
        body["readonly"] = True
    return body


def _of_statement(
    service: str, given: dict[str, Any], body: dict[str, Any], headers: dict[str, str]
) -> ServiceRequest:
    # The one of the header and the context is not what `raw` may say.
    identifier = body["client_context_id"]
    _add_raw(body, given)
    encoded = _encode(body)
    return ServiceRequest(
        service=service,
        member="results",
        path="/query/service",
        headers=_headers(identifier) | headers,
        body=encoded,
        readonly=given.get("readonly") is True,
        context={
            "context_type": "QueryErrorContext" if service == "query" else "AnalyticsErrorContext",
            "statement": given["statement"],
            "parameters": encoded.decode(),
            "client_context_id": identifier,
            "first_error_code": 0,
            "method": "POST",
            "path": "/query/service",
        },
    )


def _query_vectors(tokens: Iterable[dict[str, Any]]) -> dict[str, Any]:
    vectors: dict[str, Any] = {}
    for token in tokens:
        vector = vectors.setdefault(token["bucket_name"], {})
        place = [token["sequence_number"], str(token["partition_uuid"])]
        vector[str(token["partition_id"])] = place
    return vectors


# -- search -------------------------------------------------------------------------------


_SEARCH: Final = frozenset(
    "index_name query bucket_name scope_name show_request vector_search vector_query_combination"
    " limit skip explain disable_scoring include_locations highlight_style highlight_fields fields"
    " collections scan_consistency mutation_state sort_specs facets raw client_context_id"
    " log_request log_response metrics".split()
)

_SEARCH_MEMBERS: Final = {"limit": "size", "skip": "from", "show_request": "showrequest"}


def _search(given: dict[str, Any], timeout: int) -> ServiceRequest:
    index = given["index_name"]
    control: dict[str, Any] = {"timeout": timeout}
    body: dict[str, Any] = {
        "query": _parsed(given["query"]),
        "ctl": control,
        "explain": given.get("explain", False),
    }
    for name, member in _SEARCH_MEMBERS.items():
        if name in given:
            body[member] = given[name]
    if "vector_search" in given:
        body["knn"] = _parsed(given["vector_search"])
        if "vector_query_combination" in given:
            body["knn_operator"] = given["vector_query_combination"]
    if given.get("disable_scoring"):
        body["score"] = "none"
    if given.get("include_locations"):
        body["includeLocations"] = True
    highlight = {}
    if "highlight_style" in given:
        highlight["style"] = given["highlight_style"]
    if given.get("highlight_fields"):
        highlight["fields"] = given["highlight_fields"]
    if highlight:
        body["highlight"] = highlight
    for name in ("fields", "collections"):
        if given.get(name):
            body[name] = given[name]
    if given.get("sort_specs"):
        body["sort"] = [_parsed(spec) for spec in given["sort_specs"]]
    if given.get("facets"):
        body["facets"] = {name: _parsed(facet) for name, facet in given["facets"].items()}
    if given.get("mutation_state"):
        vectors = {index: _search_vectors(given["mutation_state"])}
        control["consistency"] = {"level": "at_plus", "vectors": vectors}
    _add_raw(body, given)
    path = f"/api/index/{index}/query"
    if "bucket_name" in given and "scope_name" in given:
        path = f"/api/bucket/{given['bucket_name']}/scope/{given['scope_name']}/index/{index}/query"
    identifier = _identifier(given)
    encoded = _encode(body)
    return ServiceRequest(
        service="search",
        member="hits",
        path=_escaped(path),
        headers=_headers(identifier),
        body=encoded,
        readonly=False,
        context={
            "context_type": "SearchErrorContext",
            "index_name": index,
            "parameters": encoded.decode(),
            "client_context_id": identifier,
            "method": "POST",
            "path": path,
        },
    )


def _search_vectors(tokens: Iterable[dict[str, Any]]) -> dict[str, int]:
    vectors: dict[str, int] = {}
    for token in tokens:
        partition = f"{token['partition_id']}/{token['partition_uuid']}"
        vectors[partition] = max(vectors.get(partition, 0), token["sequence_number"])
    return vectors


# -- views --------------------------------------------------------------------------------


_VIEW: Final = frozenset(
    "bucket_name document_name view_name ns limit skip consistency keys key start_key end_key"
    " start_key_doc_id end_key_doc_id inclusive_end reduce group group_level debug raw full_set"
    " order on_error query_string client_context_id".split()
)


def _view(given: dict[str, Any], timeout: int) -> ServiceRequest:
    query = _view_query(given)
    namespace = "dev_" if given.get("ns") == "development" else ""
    path = (
        f"/{given['bucket_name']}/_design/{namespace}{given['document_name']}"
        f"/_view/{given['view_name']}?{'&'.join(query)}"
    )
    body = {"keys": [_parsed(key) for key in given["keys"]]} if given.get("keys") else {}
    identifier = _identifier(given)
    return ServiceRequest(
        service="views",
        member="rows",
        path=_escaped(path),
        headers=_headers(identifier),
        body=_encode(body),
        readonly=False,
        context={
            "context_type": "ViewErrorContext",
            "design_document_name": given["document_name"],
            "view_name": given["view_name"],
            "query_string": query,
            "client_context_id": identifier,
            "method": "POST",
            "path": path,
        },
    )


def _view_query(given: dict[str, Any]) -> list[str]:
    """The parts of the query string, in the core's order."""
    query = list(given.get("query_string", ()))
    if given.get("debug"):
        query.append("debug=true")
    query += [f"{name}={given[name]}" for name in ("limit", "skip") if name in given]
    if "consistency" in given:
        query.append(f"stale={_STALE[given['consistency']]}")
    for name in ("key", "start_key", "end_key", "start_key_doc_id", "end_key_doc_id"):
        if name in given:
            query.append(f"{name}={_form_encoded(given[name])}")
    query += [_flag(name, given[name]) for name in ("inclusive_end", "reduce") if name in given]
    if "group" in given:
        query.append(_flag("group", given["group"]))
    if "group_level" in given:
        query.append(f"group_level={given['group_level']}")
    if "full_set" in given:
        query.append(_flag("full_set", given["full_set"]))
    if "order" in given:
        query.append(_flag("descending", given["order"] == "descending"))
    if "on_error" in given:
        query.append(f"on_error={'stop' if given['on_error'] == 'stop' else 'continue'}")
    query += [f"{name}={value}" for name, value in sorted(given.get("raw", {}).items())]
    return query


def _flag(name: str, value: bool) -> str:
    return f"{name}={'true' if value else 'false'}"


def _form_encoded(text: str) -> str:
    return "".join(
        chr(byte) if byte in _FORM else "+" if byte == ord(" ") else f"%{byte:02x}"
        for byte in text.encode()
    )


# -- what all have ------------------------------------------------------------------------


def _identifier(given: dict[str, Any]) -> str:
    return str(given.get("client_context_id") or uuid.uuid4())


def _headers(identifier: str) -> dict[str, str]:
    return {"content-type": "application/json", "client-context-id": identifier}


def _escaped(path: str) -> str:
    """The core sends it as it is, and fails where it is not printable ASCII or has a space."""
    return quote(path, safe=_PATH)


def _add_raw(body: dict[str, Any], given: dict[str, Any]) -> None:
    for name, value in given.get("raw", {}).items():
        body[name] = _parsed(value)


def _parsed(part: bytes | str) -> Any:
    try:
        return _decode(part)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # The core would end the process.
        raise InvalidArgumentException(f"an argument is no JSON: {error}") from None


_BUILDERS: Final[
    dict[str, tuple[frozenset[str], Callable[[dict[str, Any], int], ServiceRequest]]]
] = {
    "query": (_QUERY, _query),
    "analytics_query": (_ANALYTICS, _analytics),
    "search_query": (_SEARCH, _search),
    "view_query": (_VIEW, _view),
}
