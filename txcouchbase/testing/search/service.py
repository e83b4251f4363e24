"""The HTTP requests of the search service.

Paths and answers are those of Couchbase's documentation, *Search REST API*; messages are those of
``cbgt`` and ``cbft``. Searches are evaluated in small steps (`evaluation`), and refused by name
where they ask for what the node does not evaluate; before that, scripts may answer them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.envelope import framed, peek
from txcouchbase.testing.http.routes import Handler, Route
from txcouchbase.testing.http.rows import encoded
from txcouchbase.testing.search.analysis import analyzed
from txcouchbase.testing.search.consistency import check_consistency
from txcouchbase.testing.search.counting import counted
from txcouchbase.testing.search.evaluation import Search
from txcouchbase.testing.search.indexes import CONTROLS, Source, prefix_of
from txcouchbase.testing.search.mapping import Mapping
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.requests import request_of
from txcouchbase.testing.search.sources import bucket_of, documents_of, held_of
from txcouchbase.testing.search.turns import Pace

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState
    from txcouchbase.testing.kv.bucket import Bucket

__all__ = ["ROUTES", "failure", "render"]

NOT_EVALUATED = "this node does not evaluate an alias of indexes; script an answer"
IMPLEMENTATION = "5.7.0"
"""The version of the format in which definitions are kept, as 7.6 says it."""


def render(
    rows: Iterable[Any], metadata: dict[str, Any], errors: list[dict[str, Any]], call: Call
) -> Answer:
    """An answer of hits, as the search service sends it.

    :param rows: the hits: ``index``, ``id``, ``score``, and further members.
    :param metadata: members beside the hits. ``status``, ``took``, ``total_hits`` and ``max_score``
        are made where they lack.
    :param errors: of partitions, if there are hits: by ``partition`` (or number) and ``msg``;
        else what the whole query fails with.
    :param call: the request.
    """
    some, hits = peek(rows)
    if errors and not some:
        failed = {"error": _text(errors[0]), "status": "fail", "request": _request(call)}
        # The members of success keep clients from harm if the status is set to 200.
        failed |= {"hits": [], "total_hits": 0, "max_score": 0.0, "took": 0}
        return json_answer(failed | metadata, 400)
    total, best = 0, 0.0

    def counted() -> Iterator[Any]:
        nonlocal total, best
        for hit in hits:
            total += 1
            if isinstance(hit, dict) and isinstance(hit.get("score"), (int, float)):
                best = max(best, hit["score"])
            yield hit

    def rest() -> dict[str, Any]:
        status: dict[str, Any] = {"total": 1, "failed": 0, "successful": 1}
        if errors:
            status = {"total": len(errors) + 1, "failed": len(errors), "successful": 1}
            status["errors"] = {
                str(error.get("partition", number)): _text(error)
                for number, error in enumerate(errors)
            }
        made = {"status": status, "request": _request(call), "total_hits": total}
        return made | {"max_score": best, "took": 100_000, "facets": None} | metadata

    return Answer(framed("hits", encoded(counted()), rest))


def failure(reason: str) -> dict[str, Any]:
    """The body of an answer to what the service does not know, or cannot do."""
    return {"error": reason, "status": "fail"}


def _text(error: dict[str, Any]) -> str:
    return str(error.get("msg", error))


def _request(call: Call) -> Any:
    try:
        return call.json()
    except HttpRefused:
        return call.body.decode("utf-8", "replace")


def _refused(call: Call, message: str, code: int = 400) -> HttpRefused:
    """A refusal in the form of the service; it repeats the request, if there was a body."""
    value = failure(message)
    return HttpRefused(code, value | {"request": _request(call)} if call.body else value)


def _guarded(permission: str, handler: Handler) -> Handler:
    """A handler for those who may, whose `SearchRefused` have the form of the service.

    What counts is the bucket that an index has as its source, and the one that the path names.
    """

    def guarded(state: ClusterState, call: Call) -> Answer:
        bucket = call.names.get("bucket")
        _require(call, permission, bucket)
        prefix = prefix_of(bucket, call.names.get("scope"))
        index = state.search_indexes.all().get(prefix + call.names.get("index", ""))
        if index is not None:
            _require(call, permission, index.get("sourceName"))
        try:
            return handler(state, call)
        except SearchRefused as refused:
            raise _refused(call, refused.message, refused.code) from None

    return guarded


def _may(call: Call, permission: str, bucket: str | None) -> bool:
    return call.account is not None and call.account.may(permission, bucket)


def _require(call: Call, permission: str, bucket: str | None) -> None:
    if not _may(call, permission, bucket):
        reason = f"rest_auth: no permission to perform this action for the source: {permission}"
        raise _refused(call, reason, 403)


def _prefix(state: ClusterState, call: Call) -> str:
    """What precedes the names of the indexes that a request is about."""
    bucket, scope = call.names.get("bucket"), call.names.get("scope")
    if bucket is None or scope is None:
        return ""
    found = state.buckets.get(bucket)
    if found is None or scope not in found.manifest.scopes():
        raise SearchRefused(f"rest_auth: preparePerms, err: no scope {bucket}.{scope}")
    return prefix_of(bucket, scope)


def _name(state: ClusterState, call: Call) -> str:
    return _prefix(state, call) + call.names["index"]


def _shown(definition: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A definition as its scope shows it: by its own name."""
    return definition | {"name": definition["name"].removeprefix(prefix)}


def _all(state: ClusterState, call: Call) -> Answer:
    prefix = _prefix(state, call)
    indexes = state.search_indexes
    found = {
        name: _shown(each, prefix)
        for name, each in indexes.all(prefix).items()
        if _may(call, "search", each.get("sourceName"))
    }
    shown = {"uuid": indexes.uuid, "indexDefs": found, "implVersion": IMPLEMENTATION}
    return json_answer({"status": "ok", "indexDefs": shown if found else None})


def _get(state: ClusterState, call: Call) -> Answer:
    prefix = _prefix(state, call)
    definition = _shown(state.search_indexes.get(prefix + call.names["index"]), prefix)
    return json_answer({"status": "ok", "indexDef": definition, "planPIndexes": [], "warnings": []})


def _put(state: ClusterState, call: Call) -> Answer:
    prefix, name = _prefix(state, call), call.names["index"]
    try:
        body = call.json()
    except HttpRefused:
        raise SearchRefused(
            f"rest_create_index: could not unmarshal json, indexName: {name}, err: no JSON"
        ) from None
    if isinstance(body, dict) and body.get("type") != "fulltext-alias":
        _require(call, "search_manage", str(body.get("sourceName") or name))
    sources = {each.name: Source(each.uuid, each.vbuckets) for each in state.buckets.values()}
    stored = state.search_indexes.put(name, prefix, body, sources)
    return json_answer({"status": "ok", "name": stored["name"], "uuid": stored["uuid"]})


def _drop(state: ClusterState, call: Call) -> Answer:
    uuid = state.search_indexes.drop(_name(state, call))
    return json_answer({"status": "ok", "uuid": uuid})


def _control(control: str) -> Handler:
    def switched(state: ClusterState, call: Call) -> Answer:
        name, operation = _name(state, call), call.names["operation"]
        indexes = state.search_indexes
        definition = indexes.get(name)
        if operation == "pause":
            held_of(state, definition, pausing=True)
        indexes.control(name, control, operation)
        return json_answer({"status": "ok"})

    return switched


def _counting(
    state: ClusterState, definition: dict[str, Any], pace: Pace
) -> Generator[None, None, int]:
    """Count the documents of an index.

    :raises SearchRefused: where the node cannot.
    """
    if definition["type"] == "fulltext-alias":
        raise SearchRefused(
            f"rest_index: Count, indexName: {definition['name']}, err: {NOT_EVALUATED}", 500
        )
    return counted(Mapping(definition["params"]), documents_of(state, definition), pace)


def _stepwise(pace: Pace, work: Generator[None, None, dict[str, Any]]) -> Answer:
    """An answer that takes longer than a step."""

    def body() -> Iterator[bytes]:
        while True:
            pace.begin()
            try:
                next(work)
            except StopIteration as done:
                yield msgspec.json.encode(done.value)
                return
            yield b""

    return Answer(body())


def _count(state: ClusterState, call: Call) -> Answer:
    pace = Pace()
    counting = _counting(state, state.search_indexes.get(_name(state, call)), pace)

    def work() -> Generator[None, None, dict[str, Any]]:
        return {"status": "ok", "count": (yield from counting)}

    return _stepwise(pace, work())


def _statistics(state: ClusterState, call: Call) -> Answer:
    pace = Pace()
    definition = state.search_indexes.get(call.names["index"])
    counting = _counting(state, definition, pace)

    def work() -> Generator[None, None, dict[str, Any]]:
        basic = {"DocCount": (yield from counting)}
        return {"feeds": {}, "pindexes": {definition["name"]: {"basic": basic}}}

    return _stepwise(pace, work())


def _all_statistics(state: ClusterState, call: Call) -> Answer:
    pace = Pace()
    indexes = {
        name: each
        for name, each in state.search_indexes.all().items()
        if _may(call, "search", each.get("sourceName"))
    }

    def work() -> Generator[None, None, dict[str, Any]]:
        statistics: dict[str, Any] = {"num_indexes": len(indexes)}
        for name, definition in indexes.items():
            key = f"{definition.get('sourceName', '')}:{name}:doc_count"
            try:
                statistics[key] = yield from _counting(state, definition, pace)
            except SearchRefused:
                # One index that cannot be counted does not hide the others.
                continue
        return statistics

    return _stepwise(pace, work())


def _analyze(state: ClusterState, call: Call) -> Answer:
    name = _name(state, call)
    definition = state.search_indexes.get(name)
    try:
        if definition["type"] == "fulltext-alias":
            raise SearchRefused(NOT_EVALUATED)
        mapping = Mapping(definition["params"])
        mapping.check()
        found = analyzed(mapping, call.json())
    except SearchRefused as refused:
        message = f"bleve: AnalyzeDoc, indexName: {name}, err: {refused.message}"
        raise SearchRefused(message) from None
    except HttpRefused:
        message = f"bleve: AnalyzeDoc, indexName: {name}, err: the document is no JSON"
        raise SearchRefused(message) from None
    return json_answer({"status": "ok", "analyzed": found})


def _query(state: ClusterState, call: Call) -> Answer:
    name = _name(state, call)
    definition = state.search_indexes.get(name)
    if not state.search_indexes.allows(name, "canRead"):
        raise SearchRefused(
            f"rest_index: Query, indexName: {name}, err: pindex: no planPIndexes for indexName:"
            f" {name}, querying is disallowed"
        )
    try:
        return _searched(state, call, definition)
    except SearchRefused as refused:
        message = f"rest_index: Query, indexName: {name}, err: bleve: {refused.message}"
        raise SearchRefused(message, refused.code) from None


def _searched(state: ClusterState, call: Call, definition: dict[str, Any]) -> Answer:
    try:
        body = call.json()
    except HttpRefused:
        raise SearchRefused("parsing query request, err: no JSON") from None
    if definition["type"] == "fulltext-alias":
        raise SearchRefused(NOT_EVALUATED)
    indexes = state.search_indexes
    built = indexes.built.get(definition)
    request = request_of(body, built.mapping, call.names["index"])
    bucket = bucket_of(state, definition)
    if bucket is not None:
        check_consistency(bucket, held_of(state, definition), request.vectors)
        _check_collections(bucket, call.names.get("scope"), request.collections)
    part = f"{definition['name']}_{built.uuid}"
    search = Search(request, built.documents, lambda: documents_of(state, definition), part)

    def batches() -> Iterator[list[bytes]]:
        for _ in built.turns.run(search.steps()):
            yield []
        yield from search.batches()

    return Answer(framed("hits", batches(), search.rest))


def _check_collections(
    bucket: Bucket, scope: str | None, collections: frozenset[str] | None
) -> None:
    scopes = bucket.manifest.scopes()
    known = {name for each in (scopes if scope is None else [scope]) for name in scopes[each]}
    for name in sorted((collections or frozenset()) - known):
        raise SearchRefused(f"collection: {name} doesn't belong to the scopes of the index")


def _ping(state: ClusterState, call: Call) -> Answer:
    return Answer(b"")


_ONE = "/index/{index}"

_HANDLERS: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "/index", "search", _all),
    ("GET", _ONE, "search", _get),
    ("PUT", _ONE, "search_manage", _put),
    ("DELETE", _ONE, "search_manage", _drop),
    ("GET", f"{_ONE}/count", "search", _count),
    ("POST", f"{_ONE}/query", "search", _query),
    ("POST", f"{_ONE}/analyzeDoc", "search", _analyze),
    *(
        ("POST", f"{_ONE}/{control}/{{operation}}", "search_manage", _control(control))
        for control in CONTROLS
    ),
)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/api/ping", _ping, login=False),
    Route("GET", "/api/nsstats", _guarded("search", _all_statistics)),
    Route("GET", "/api/stats/index/{index}", _guarded("search", _statistics)),
    *(
        Route(method, prefix + path, _guarded(permission, handler))
        for prefix in ("/api", "/api/bucket/{bucket}/scope/{scope}")
        for method, path, permission, handler in _HANDLERS
    ),
)
"""The requests of the search service: of the cluster, and of each scope."""
