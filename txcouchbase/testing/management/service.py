"""The management service: all its routes."""

from __future__ import annotations

from collections.abc import Sequence

from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.management import buckets, collections, info, security

__all__ = ["ROUTES"]

ROUTES: Sequence[Route] = (
    *buckets.ROUTES,
    *collections.ROUTES,
    *security.ROUTES,
    *info.ROUTES,
)
"""Those that come first win."""
