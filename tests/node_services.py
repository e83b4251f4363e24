"""What the tests of the embedded node's services share: requests in, answers out."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.testing.analytics import service as analytics
from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.eventing import service as eventing
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused
from txcouchbase.testing.http.routes import Router
from txcouchbase.testing.management.accounts import Account
from txcouchbase.testing.management.roles import Grant
from txcouchbase.testing.search import service as search
from txcouchbase.testing.views import service as views

__all__ = ["ROUTES", "ServiceCase", "whole"]

ROUTES = {
    "search": search.ROUTES,
    "analytics": analytics.ROUTES,
    "views": (*views.ROUTES, *views.MANAGEMENT_ROUTES),
    "eventing": eventing.ROUTES,
}


def whole(answer: Answer) -> bytes:
    """The body of an answer."""
    return answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)


class ServiceCase(SynchronousTestCase):
    """Requests to the services of a cluster with one bucket."""

    service = ""

    def setUp(self) -> None:
        self.state = ClusterState("admin", "secret", ["stock"], lambda: 1_700_000_000.0)
        self.account: Account | None = Account("admin", "secret", "builtin", (Grant("admin"),))
        self.routers = {name: Router(routes) for name, routes in ROUTES.items()}

    def ask(
        self, method: str, path: str, body: Any = b"", form: Any = None, **arguments: str
    ) -> tuple[int, Any]:
        """The status of an answer, and its body as JSON if it is some."""
        headers = {}
        if form is not None:
            body, headers = urlencode(form), {"content-type": "application/x-www-form-urlencoded"}
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            route, names = self.routers[self.service].find(method, path)
            call = Call(self.service, method, path, arguments, headers, body, self.account, names)
            answer = route.handler(self.state, call)
        except HttpRefused as refused:
            answer = refused.answer()
        text = whole(answer)
        return answer.code, json.loads(text) if text.startswith((b"{", b"[", b'"')) else text

    def refused(self, code: int, reason: str, *request: Any, **more: Any) -> None:
        """A request is answered with a status and a reason."""
        status, answer = self.ask(*request, **more)
        self.assertEqual(status, code, answer)
        self.assertIn(reason, str(answer))
