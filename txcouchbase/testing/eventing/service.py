"""The HTTP requests of the eventing service.

Paths and answers are those of Couchbase's documentation, *Eventing REST API*. Functions are stored
and go through their states; they are not executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txcouchbase.testing.eventing.errors import EventingRefused
from txcouchbase.testing.eventing.functions import EVERYWHERE, Place
from txcouchbase.testing.eventing.validation import Keyspaces
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.routes import Handler, Route

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["ROUTES", "failure"]


def failure(reason: str) -> dict[str, Any]:
    """The body of an answer to what the service does not know, or cannot do."""
    return EventingRefused("INTERNAL_SERVER_ERROR", reason).as_dict()


def _guarded(handler: Handler) -> Handler:
    """A handler for those who may, whose `EventingRefused` have the form of the service."""

    def guarded(state: ClusterState, call: Call) -> Answer:
        try:
            if call.account is None or not call.account.may("eventing"):
                raise EventingRefused("ERR_FORBIDDEN", "Forbidden. User needs: eventing")
            return handler(state, call)
        except EventingRefused as refused:
            headers = {"status": str(refused.number)}
            raise HttpRefused(refused.status, refused.as_dict(), headers) from None

    return guarded


def _place(call: Call) -> Place:
    """The function that a request is about.

    :raises EventingRefused: for a bucket without a scope, or the other way round.
    """
    bucket, scope = call.arguments.get("bucket"), call.arguments.get("scope")
    if bucket is None and scope is None:
        return Place(call.names["name"], *EVERYWHERE)
    if bucket is None or scope is None:
        missing = "bucket" if bucket is None else "scope"
        raise EventingRefused("ERR_INVALID_REQUEST", f"Parameter '{missing}' must be provided")
    return Place(call.names["name"], bucket, scope)


def _keyspaces(state: ClusterState) -> Keyspaces:
    return {bucket.name: bucket.manifest.scopes() for bucket in state.buckets.values()}


def _body(call: Call) -> Any:
    try:
        return call.json()
    except HttpRefused:
        raise EventingRefused("ERR_UNMARSHAL_PLD", "the body is no JSON") from None


def _done(info: Any) -> Answer:
    answer = json_answer({"code": 0, "info": info})
    answer.headers["status"] = "0"
    return answer


def _all(state: ClusterState, call: Call) -> Answer:
    return json_answer(state.eventing.all())


def _get(state: ClusterState, call: Call) -> Answer:
    return json_answer(state.eventing.get(_place(call)))


def _put(state: ClusterState, call: Call) -> Answer:
    place = _place(call)
    state.eventing.put(place, _body(call), _keyspaces(state))
    return _done({"status": f"Stored function: '{place}' in metakv", "warnings": None})


def _drop(state: ClusterState, call: Call) -> Answer:
    place = _place(call)
    state.eventing.drop(place)
    return _done(f"Function: {place} deleting in background")


def _deploy(state: ClusterState, call: Call) -> Answer:
    place = _place(call)
    state.eventing.deploy(place, _body(call) if call.body else {}, _keyspaces(state))
    return _done(f"Function: {place} is deploying")


def _undeploy(state: ClusterState, call: Call) -> Answer:
    place = _place(call)
    state.eventing.undeploy(place)
    return _done(f"Function: {place} is undeploying")


def _pause(state: ClusterState, call: Call) -> Answer:
    place = _place(call)
    state.eventing.pause(place)
    return _done(f"Function: {place} is Pausing")


def _resume(state: ClusterState, call: Call) -> Answer:
    place = _place(call)
    state.eventing.resume(place, _keyspaces(state))
    return _done(f"Function: {place} is Resuming")


def _statuses(state: ClusterState, call: Call) -> Answer:
    return json_answer({"apps": state.eventing.statuses(), "num_eventing_nodes": 1})


def _status(state: ClusterState, call: Call) -> Answer:
    return json_answer({"app": state.eventing.status(_place(call)), "num_eventing_nodes": 1})


_FUNCTIONS = "/api/v1/functions"
_ONE = "/api/v1/functions/{name}"

_HANDLERS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", _FUNCTIONS, _all),
    ("GET", _ONE, _get),
    ("POST", _ONE, _put),
    ("DELETE", _ONE, _drop),
    ("POST", f"{_ONE}/deploy", _deploy),
    ("POST", f"{_ONE}/undeploy", _undeploy),
    ("POST", f"{_ONE}/pause", _pause),
    ("POST", f"{_ONE}/resume", _resume),
    ("GET", "/api/v1/status", _statuses),
    ("GET", "/api/v1/status/{name}", _status),
)

ROUTES: tuple[Route, ...] = tuple(
    Route(method, pattern, _guarded(handler)) for method, pattern, handler in _HANDLERS
)
"""The requests of the eventing service."""
