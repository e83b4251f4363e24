"""Scopes and collections: made, changed, dropped and shown.

Source: Couchbase documentation, *Scopes and Collections API*. There is no scope ``_system``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.kv.manifest import DEFAULT, NO_EXPIRY
from txcouchbase.testing.management.buckets import MAX_TTL, named
from txcouchbase.testing.management.forms import Form, require

__all__ = ["ROUTES"]

MAX_SCOPES = 1200
MAX_COLLECTIONS = 1200
MAX_NAME = 251

_NAME = re.compile(r"[0-9A-Za-z_%\-]+\Z")


def _refused(code: int, text: str) -> HttpRefused:
    return HttpRefused(code, {"errors": {"_": text}})


def _name(form: Form) -> str:
    name = form.text("name", required=True)
    if name is not None:
        if not 1 <= len(name) <= MAX_NAME:
            form.errors["name"] = f"Length must be in range from 1 to {MAX_NAME} (inclusive)"
        elif not _NAME.match(name):
            form.errors["name"] = (
                "Can only contain characters A-Z, a-z, 0-9 and the following symbols _ - %"
            )
        elif name[0] in "_%":
            form.errors["name"] = "First character must not be _ or %"
    return name or ""


def _scope(bucket: Bucket, call: Call) -> str:
    scope = call.names["scope"]
    if scope not in bucket.manifest.scopes():
        raise _refused(404, f'Scope with name "{scope}" is not found')
    return scope


def _collection(bucket: Bucket, call: Call) -> tuple[str, str]:
    scope, collection = _scope(bucket, call), call.names["collection"]
    if collection not in bucket.manifest.scopes()[scope]:
        text = f'Collection with name "{collection}" in scope "{scope}" is not found'
        raise _refused(404, text)
    return scope, collection


def _properties(form: Form, bucket: Bucket) -> tuple[int | None, bool | None]:
    max_expiry = form.integer("maxTTL", NO_EXPIRY, MAX_TTL)
    history = form.flag("history")
    if history and not bucket.settings.magma:
        raise _refused(400, "Not allowed on this type of bucket")
    return max_expiry, history


def _uid(uid: int) -> Answer:
    return json_answer({"uid": f"{uid:x}"})


def _get(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "settings", bucket.name)
    return json_answer(bucket.manifest.as_dict())


def _create_scope(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "manage", bucket.name)
    form = Form(call)
    name = _name(form)
    form.close()
    scopes = bucket.manifest.scopes()
    if name in scopes:
        raise _refused(400, f'Scope with name "{name}" already exists')
    if len(scopes) >= MAX_SCOPES:
        text = f"Maximum number of scopes ({MAX_SCOPES}) for this bucket has been reached"
        raise _refused(429, text)
    return _uid(state.create_scope(bucket.name, name))


def _drop_scope(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "manage", bucket.name)
    scope = _scope(bucket, call)
    if scope == DEFAULT:
        raise _refused(400, "Deleting _default scope is not allowed")
    return _uid(state.drop_scope(bucket.name, scope))


def _create_collection(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "collections", bucket.name)
    form = Form(call)
    name = _name(form)
    max_expiry, history = _properties(form, bucket)
    form.close()
    scope = _scope(bucket, call)
    scopes = bucket.manifest.scopes()
    if name in scopes[scope]:
        text = f'Collection with name "{name}" in scope "{scope}" already exists'
        raise _refused(400, text)
    if sum(map(len, scopes.values())) >= MAX_COLLECTIONS:
        text = f"Maximum number of collections ({MAX_COLLECTIONS}) for this bucket has been reached"
        raise _refused(429, text)
    uid = state.create_collection(bucket.name, scope, name, max_expiry or 0, history)
    return _uid(uid)


def _update_collection(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "collections", bucket.name)
    form = Form(call)
    max_expiry, history = _properties(form, bucket)
    form.close()
    scope, collection = _collection(bucket, call)
    return _uid(state.update_collection(bucket.name, scope, collection, max_expiry, history))


def _drop_collection(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "collections", bucket.name)
    scope, collection = _collection(bucket, call)
    return _uid(state.drop_collection(bucket.name, scope, collection))


_SCOPES = "/pools/default/buckets/{bucket}/scopes"
_COLLECTIONS = _SCOPES + "/{scope}/collections"

ROUTES: Sequence[Route] = (
    Route("GET", _SCOPES, _get),
    Route("POST", _SCOPES, _create_scope),
    Route("DELETE", _SCOPES + "/{scope}", _drop_scope),
    Route("POST", _COLLECTIONS, _create_collection),
    Route("PATCH", _COLLECTIONS + "/{collection}", _update_collection),
    Route("DELETE", _COLLECTIONS + "/{collection}", _drop_collection),
)
