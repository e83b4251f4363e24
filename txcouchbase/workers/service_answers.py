"""What a service's answer means: what comes after the rows, or the SDK's exception.

The maps are those that the SDK's binding makes, and the errors those that the core's
`make_response` of each service decides on, read in its source and held by tests against what the
SDK gives for the same bytes. Where the core ends the process, for a member that is missing or of
another type, this is a failure to parse. Nothing is sent again: the core does not look at the
``retry`` in an error's reason; and where it would send without end (a statement that is no longer
prepared), this is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from txcouchbase.workers.json_members import (
    Unexpected,
    as_list,
    as_object,
    duration,
    json_text,
    member,
    nanoseconds,
    number,
    objects,
    of_kind,
    text,
    unsigned,
)
from txcouchbase.workers.service_errors import (
    SEARCH_ERRORS,
    Exchange,
    exception,
    failed,
    unreadable,
)
from txcouchbase.workers.service_rows import row_maker

__all__ = ["Exchange", "failed", "last_of", "row_maker"]

_QUERY_ERRORS: Final = {
    1080: "unambiguous_timeout",
    3000: "parsing_failure",
    4040: "prepared_statement_failure",
    4050: "prepared_statement_failure",
    4060: "prepared_statement_failure",
    4070: "prepared_statement_failure",
    4080: "prepared_statement_failure",
    4090: "prepared_statement_failure",
    4300: "index_exists",
    12004: "index_not_found",
    12016: "index_not_found",
    13014: "authentication_failure",
    1191: "rate_limited",
    1192: "rate_limited",
    1193: "rate_limited",
    1194: "rate_limited",
}

_DML_REASONS: Final = {
    12033: "cas_mismatch",
    17014: "document_not_found",
    17012: "document_exists",
}

_ANALYTICS_ERRORS: Final = {
    21002: "unambiguous_timeout",
    23007: "job_queue_full",
    24006: "link_not_found",
    24025: "dataset_not_found",
    24034: "dataverse_not_found",
    24039: "dataverse_exists",
    24040: "dataset_exists",
    24044: "dataset_not_found",
    24045: "dataset_not_found",
}


class _Refused(Exception):
    """The service could not do it.

    Args:
        error: The core's name of the error.
        told: What the error context gets to know beside it.
    """

    def __init__(self, error: str, told: dict[str, Any] | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.told = told or {}


def last_of(exchange: Exchange, rest: dict[str, Any]) -> dict[str, Any]:
    """What the binding tells after the rows.

    Args:
        exchange: The request, and the answer's status and body.
        rest: The answer without its rows.

    Returns:
        The binding's map: ``metadata``, and ``facets`` of a search.

    Raises:
        CouchbaseException: The answer is an error.
    """
    try:
        return _READERS[exchange.request.service](exchange, rest)
    except _Refused as refused:
        raise exception(exchange, refused.error, refused.told) from None
    except (Unexpected, RecursionError):
        raise exception(exchange, "parsing_failure") from None


# -- query --------------------------------------------------------------------------------


def _read_query(_: Exchange, rest: dict[str, Any]) -> dict[str, Any]:
    as_list(rest.get("results", []))
    metadata: dict[str, Any] = {
        "request_id": text(rest, "requestID", ""),
        "client_context_id": text(rest, "clientContextID", ""),
        "status": text(rest, "status", ""),
        "metrics": None,
        "signature": json_text(rest, "signature"),
        "profile": json_text(rest, "profile"),
        "warnings": None,
        "errors": None,
    }
    text(rest, "prepared", "")
    if "metrics" in rest:
        metrics = as_object(rest["metrics"])
        metadata["metrics"] = {
            **_times(metrics),
            "result_count": unsigned(metrics, "resultCount"),
            "result_size": unsigned(metrics, "resultSize"),
            "sort_count": unsigned(metrics, "sortCount", 0),
            "mutation_count": unsigned(metrics, "mutationCount", 0),
            "error_count": unsigned(metrics, "errorCount", 0),
            "warning_count": unsigned(metrics, "warningCount", 0),
        }
    errors: list[dict[str, Any]] = []
    if "errors" in rest:
        errors = [_query_problem(error) for error in as_list(rest["errors"])]
        metadata["errors"] = errors
    if "warnings" in rest:
        metadata["warnings"] = [_query_warning(found) for found in as_list(rest["warnings"])]
    if metadata["status"] == "success":
        return {"metadata": metadata}
    if not errors:
        raise _Refused("internal_server_failure")
    first = errors[0]
    error = _query_error(first["code"], first["message"], first["reason"])
    raise _Refused(error, _first(first))


def _query_warning(problem: Any) -> dict[str, Any]:
    return {**_problem(problem), "reason": None, "retry": None}


def _query_problem(error: Any) -> dict[str, Any]:
    problem = _query_warning(error)
    reason = error.get("reason")
    if isinstance(reason, dict):
        if "code" in reason:
            problem["reason"] = unsigned(reason, "code")
        if "retry" in reason:
            problem["retry"] = of_kind(bool, reason["retry"])
    return problem


def _query_error(code: int, message: str, reason: int | None) -> str:
    if code == 1065:
        told = "Unrecognized parameter in request" in message and "preserve_expiry" in message
        return "feature_not_available" if told else "invalid_argument"
    if code == 5000:
        return _internal_query_error(message)
    if code == 12009:
        if "CAS mismatch" in message:
            return "cas_mismatch"
        return _DML_REASONS.get(reason or 0, "dml_failure")
    if code in _QUERY_ERRORS:
        return _QUERY_ERRORS[code]
    if 12000 <= code < 13000 or 14000 <= code < 15000:
        return "index_failure"
    if 4000 <= code < 5000:
        return "planning_failure"
    return "internal_server_failure"


def _internal_query_error(message: str) -> str:
    lower = message.lower()
    if "index" in lower and "already exist" in lower:
        return "index_exists"
    if "Index does not exist" in message or ("index" in lower and "not found" in lower):
        return "index_not_found"
    if "Bucket Not Found" in message:
        return "bucket_not_found"
    if "Limit for number of indexes that can be created per scope has been reached" in message:
        return "quota_limited"
    return "internal_server_failure"


# -- analytics ----------------------------------------------------------------------------


def _read_analytics(_: Exchange, rest: dict[str, Any]) -> dict[str, Any]:
    as_list(rest.get("results", []))
    metrics = as_object(rest.get("metrics", {}))
    there = "metrics" in rest
    zero = None if there else 0
    metadata = {
        "request_id": text(rest, "requestID", ""),
        "client_context_id": text(rest, "clientContextID", ""),
        "status": member(rest, "status"),
        "metrics": {
            **(_times(metrics) if there else {"elapsed_time": 0, "execution_time": 0}),
            "result_count": unsigned(metrics, "resultCount", zero),
            "result_size": unsigned(metrics, "resultSize", zero),
            "error_count": unsigned(metrics, "errorCount", 0),
            "processed_objects": unsigned(metrics, "processedObjects", zero),
            "warning_count": unsigned(metrics, "warningCount", 0),
        },
        "signature": json_text(rest, "signature"),
        "errors": _problems(rest.get("errors", [])),
        "warnings": _problems(rest.get("warnings", [])),
    }
    if metadata["status"] == "success":
        return {"metadata": metadata}
    if not metadata["errors"]:
        raise _Refused("internal_server_failure")
    first = metadata["errors"][0]
    error = _ANALYTICS_ERRORS.get(first["code"])
    if error is None:
        compiling = 24000 <= first["code"] < 25000
        error = "compilation_failure" if compiling else "internal_server_failure"
    raise _Refused(error, _first(first))


# -- search -------------------------------------------------------------------------------


def _read_search(exchange: Exchange, rest: dict[str, Any]) -> dict[str, Any]:
    if exchange.status != 200:
        raise _Refused(_search_error(exchange.status, rest))
    metrics = {
        "took": nanoseconds(unsigned(rest, "took")),
        "total_rows": unsigned(rest, "total_hits"),
        "max_score": number(member(rest, "max_score")),
        "success_partition_count": 0,
        "error_partition_count": 0,
    }
    errors: dict[str, str] = {}
    facets: list[dict[str, Any]] = []
    status = member(rest, "status")
    if isinstance(status, dict):
        metrics["error_partition_count"] = unsigned(status, "failed")
        metrics["success_partition_count"] = unsigned(status, "successful")
        if isinstance(status.get("errors"), dict):
            errors = {place: of_kind(str, told) for place, told in status["errors"].items()}
    elif not isinstance(status, str):
        raise _Refused("internal_server_failure")
    if status != "ok" and isinstance(rest.get("facets"), dict):
        facets = [_facet(name, facet) for name, facet in sorted(rest["facets"].items())]
    identifier = exchange.request.context["client_context_id"]
    metadata = {"client_context_id": identifier, "metrics": metrics, "errors": errors}
    return {"metadata": metadata, "facets": facets}


def _search_error(status: int, rest: dict[str, Any]) -> str:
    known = SEARCH_ERRORS.get(status)
    if known is not None:
        text(rest, "status")
        told = text(rest, "error")
        for part, error in known.items():
            if part in told:
                return error
    return "internal_server_failure"


def _facet(name: str, facet: Any) -> dict[str, Any]:
    facet = as_object(facet)
    return {
        "name": name,
        "field": text(facet, "field"),
        "total": unsigned(facet, "total"),
        "missing": unsigned(facet, "missing"),
        "other": unsigned(facet, "other"),
        "terms": [
            {"term": text(term, "term"), "count": unsigned(term, "count")}
            for term in objects(facet, "terms")
        ],
        "date_ranges": [
            {
                **_range(found),
                "start": found["start"] if isinstance(found.get("start"), str) else None,
                "end": found["end"] if isinstance(found.get("end"), str) else None,
            }
            for found in objects(facet, "date_ranges")
        ],
        "numeric_ranges": [
            {**_range(found), "min": _limit(found, "min"), "max": _limit(found, "max")}
            for found in objects(facet, "numeric_ranges")
        ],
    }


def _range(found: dict[str, Any]) -> dict[str, Any]:
    return {"name": text(found, "name"), "count": unsigned(found, "count")}


def _limit(found: dict[str, Any], name: str) -> int | float | None:
    limit = found.get(name)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        return None
    return limit if -(2**63) <= limit < 2**64 else float(limit)


# -- views --------------------------------------------------------------------------------


def _read_view(exchange: Exchange, rest: dict[str, Any]) -> dict[str, Any]:
    if exchange.status == 400:
        raise _Refused("invalid_argument")
    if exchange.status != 200:
        raise _Refused(unreadable(exchange))
    total = rest.get("total_rows")
    if type(total) is not int or not 0 <= total < 2**64:
        total = None
    info = json_text(rest, "debug_info") if isinstance(rest.get("debug_info"), dict) else None
    return {"metadata": {"total_rows": total, "debug_info": info}}


_READERS: Final[dict[str, Callable[[Exchange, dict[str, Any]], dict[str, Any]]]] = {
    "query": _read_query,
    "analytics": _read_analytics,
    "search": _read_search,
    "views": _read_view,
}


# -- what several have -----------------------------------------------------------------------


def _times(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "elapsed_time": duration(text(metrics, "elapsedTime")),
        "execution_time": duration(text(metrics, "executionTime")),
    }


def _problems(problems: Any) -> list[dict[str, Any]]:
    return [_problem(problem) for problem in as_list(problems)]


def _problem(problem: Any) -> dict[str, Any]:
    problem = as_object(problem)
    return {"code": unsigned(problem, "code"), "message": text(problem, "msg")}


def _first(problem: dict[str, Any]) -> dict[str, Any]:
    told = {"first_error_code": problem["code"]}
    if problem["message"]:
        told["first_error_message"] = problem["message"]
    return told
