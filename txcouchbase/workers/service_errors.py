"""The SDK's exceptions for what a service answers, and for no answer.

They are made by the SDK's own mapping, from the core's code of the error and a context with the
members that the binding makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from txcouchbase.amp.errors import CoreError
from txcouchbase.workers.raw_client import RawClient
from txcouchbase.workers.service_requests import ServiceRequest

__all__ = ["SEARCH_ERRORS", "Exchange", "exception", "failed", "unreadable"]

_TEXT: Final = "Streaming operation failed"
"""What the binding says of every error of a query."""

_COMMON, _KEY_VALUE = "couchbase.common", "couchbase.key_value"
_QUERY, _ANALYTICS = "couchbase.query", "couchbase.analytics"
_SEARCH, _VIEW = "couchbase.search", "couchbase.view"

_ERRORS: Final = {
    "request_canceled": (2, _COMMON),
    "invalid_argument": (3, _COMMON),
    "service_not_available": (4, _COMMON),
    "internal_server_failure": (5, _COMMON),
    "authentication_failure": (6, _COMMON),
    "parsing_failure": (8, _COMMON),
    "cas_mismatch": (9, _COMMON),
    "bucket_not_found": (10, _COMMON),
    "ambiguous_timeout": (13, _COMMON),
    "unambiguous_timeout": (14, _COMMON),
    "feature_not_available": (15, _COMMON),
    "index_not_found": (17, _COMMON),
    "index_exists": (18, _COMMON),
    "rate_limited": (21, _COMMON),
    "quota_limited": (22, _COMMON),
    "document_not_found": (101, _KEY_VALUE),
    "document_exists": (105, _KEY_VALUE),
    "planning_failure": (201, _QUERY),
    "index_failure": (202, _QUERY),
    "prepared_statement_failure": (203, _QUERY),
    "dml_failure": (204, _QUERY),
    "compilation_failure": (301, _ANALYTICS),
    "job_queue_full": (302, _ANALYTICS),
    "dataset_not_found": (303, _ANALYTICS),
    "dataverse_not_found": (304, _ANALYTICS),
    "dataset_exists": (305, _ANALYTICS),
    "dataverse_exists": (306, _ANALYTICS),
    "link_not_found": (307, _ANALYTICS),
    "index_not_ready": (401, _SEARCH),
    "consistency_mismatch": (402, _SEARCH),
    "design_document_not_found": (502, _VIEW),
}
"""The core's errors by its names: code and category (its ``error_codes.hxx``)."""

SEARCH_ERRORS: Final = {
    400: {
        "index not found": "index_not_found",
        "no planPIndexes for indexName": "index_not_ready",
        "pindex_consistency mismatched partition": "consistency_mismatch",
        "num_fts_indexes (active + pending)": "quota_limited",
    },
    429: {
        "num_concurrent_requests": "rate_limited",
        "num_queries_per_min": "rate_limited",
        "ingress_mib_per_min": "rate_limited",
        "egress_mib_per_min": "rate_limited",
    },
    404: {"": "feature_not_available"},
}
"""By the HTTP status: what the error's text has in it, in the order in which it is looked for."""


@dataclass
class Exchange:
    """A request and, as far as it has come, its answer.

    Attributes:
        request: The request.
        hostname: Where it was sent to; empty if it was not.
        port: The port there.
        local: The address from which it was sent, as ``host:port``; empty if that is not known.
        status: The HTTP status of the answer, 0 before.
        body: The bytes of the answer, without its rows; None if it has not come to its end.
    """

    request: ServiceRequest
    hostname: str = ""
    port: int = 0
    local: str = ""
    status: int = 0
    body: bytes | None = None


class _ServiceError(CoreError):
    __slots__ = ()

    def error_info(self) -> dict[str, Any]:
        return {"message": _TEXT}


def failed(exchange: Exchange, error: str) -> Exception:
    """The exception for what has no answer, or none that can be read.

    Args:
        exchange: The request, and what there is of its answer.
        error: The core's name of the error: ``request_canceled``, ``unambiguous_timeout``,
            ``ambiguous_timeout``, ``service_not_available`` or ``parsing_failure``. The last one
            is for an answer that is no JSON object; some services call it by its status.
    """
    if error == "parsing_failure":
        error = unreadable(exchange)
    return exception(exchange, error)


def unreadable(exchange: Exchange) -> str:
    """What the core makes of an answer that is no JSON, of which not every status has to be."""
    service, status = exchange.request.service, exchange.status
    if status == 401 and (exchange.body or b"").lstrip().startswith(b'"'):
        # A refused login, told as a JSON text, for which the core would end its process.
        return "authentication_failure"
    if service == "query" and exchange.body == b"":
        return "service_not_available" if status == 503 else "internal_server_failure"
    if service == "search" and status != 200 and status not in SEARCH_ERRORS:
        return "internal_server_failure"
    if service == "views" and status not in (200, 400):
        return "design_document_not_found" if status == 404 else "internal_server_failure"
    return "parsing_failure"


def exception(exchange: Exchange, error: str, told: dict[str, Any] | None = None) -> Exception:
    """The SDK's exception for an error.

    Args:
        exchange: The request, and what there is of its answer.
        error: The core's name of the error.
        told: What the error context gets to know of the answer.
    """
    code, category = _ERRORS[error]
    context = {**exchange.request.context, **(told or {}), "http_status": exchange.status}
    if exchange.body:
        context["http_body"] = exchange.body.decode("utf-8", "replace")
    if exchange.hostname:
        host = f"[{exchange.hostname}]" if ":" in exchange.hostname else exchange.hostname
        context["hostname"] = exchange.hostname
        context["port"] = exchange.port
        context["last_dispatched_to"] = f"{host}:{exchange.port}"
    if exchange.local:
        context["last_dispatched_from"] = exchange.local
    context["retry_attempts"] = 0
    context["retry_reasons"] = set[str]()
    try:
        return RawClient.exception(_ServiceError(code, category, _TEXT, context))
    except Exception:
        # The SDK looks for the class in the body, and trips over one that is not as usual.
        context.pop("http_body", None)
        return RawClient.exception(_ServiceError(code, category, _TEXT, context))
