"""The HTTP services of a node: what each is called, and what it answers."""

from __future__ import annotations

from typing import Final

from txcouchbase.testing.analytics import service as analytics
from txcouchbase.testing.eventing import service as eventing
from txcouchbase.testing.http.service import HttpService
from txcouchbase.testing.management.service import ROUTES as MANAGEMENT
from txcouchbase.testing.query import service as query
from txcouchbase.testing.search import service as search
from txcouchbase.testing.views import service as views

__all__ = ["MAP_NAMES", "http_services"]

MAP_NAMES: Final = {
    "kv": ("kv", "kvSSL"),
    "mgmt": ("mgmt", "mgmtSSL"),
    "query": ("n1ql", "n1qlSSL"),
    "analytics": ("cbas", "cbasSSL"),
    "search": ("fts", "ftsSSL"),
    "views": ("capi", "capiSSL"),
    "eventing": ("eventingAdminPort", "eventingSSL"),
}
"""The names of each service in the cluster map: its port in the clear, and with TLS."""


def http_services() -> dict[str, HttpService]:
    """The services by name; their order is that of the ports."""
    services = (
        HttpService("mgmt", (*MANAGEMENT, *views.MANAGEMENT_ROUTES)),
        HttpService("query", query.ROUTES, query.render, query.statement_of),
        HttpService(
            "analytics",
            analytics.ROUTES,
            analytics.render,
            analytics.statement_of,
            failure=analytics.failure,
        ),
        HttpService("search", search.ROUTES, search.render, failure=search.failure),
        HttpService("views", views.ROUTES, views.render, failure=views.failure),
        HttpService("eventing", eventing.ROUTES, failure=eventing.failure),
    )
    return {service.name: service for service in services}
