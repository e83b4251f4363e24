"""The control port: what a test in another process asks of a node, over HTTP.

Every path but ``/health`` wants the administrator's name and password. Bodies and answers are
JSON; a description of a fault or a script has the fields of `Fault` and `Script`.

==================================  ==============================================================
``GET /health``                     whether the node is there
``GET POST DELETE /faults``         list them, add one, end all; ``DELETE /faults/{number}``
``GET POST DELETE /scripts``        the same for scripted answers
``GET PUT DELETE /record``          requests (``?service= &operation= &key=``),
                                    ``{"on": true}``, forget
``POST /snapshots``                 take one; ``POST /snapshots/{number}/restore``
``GET POST /documents``             keys (``?bucket= &scope= &collection=``), load JSON lines
``GET PUT DELETE /documents/{key}`` one document; ``PUT`` takes its value
``POST /query``                     ``{"statement": ..., "args": [...]}``; the rows
``POST /views``                     ``{"design": ..., "view": ..., "function": "module:name"}``
``POST /advance``                   ``{"seconds": ...}``: put the clock ahead
``POST /hold /release``             stop answering, go on
``POST /kill /restart``             ``{"keep_data": false}``
``GET POST /nodes``                 list the nodes; add one, which gives its ``number``
``POST /nodes/{number}/{what}``     ``kill restart hold release fail_over`` for one node
``GET /documents/{key}/copies``     the numbers of the nodes that have it, the active one first
==================================  ==============================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import count
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, get_type_hints

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.faults import ActiveFault, Fault
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.http.service import HttpService
from txcouchbase.testing.record import RecordedRequest
from txcouchbase.testing.scripts import ActiveScript, Script
from txcouchbase.testing.storage import Snapshot, StoredDocument

if TYPE_CHECKING:
    from txcouchbase.testing.node import EmbeddedNode

__all__ = ["control_service"]

_Members = TypeVar("_Members")


class _ScriptMembers(TypedDict, total=False):
    """What a description of a `Script` may have."""

    service: str
    match: str
    rows: list[Any]
    metadata: dict[str, Any]
    errors: list[dict[str, Any]]
    status: int | None
    body: str | None
    delay: float
    cut_after: int | None
    times: int | None


class _MappedView(TypedDict):
    design: str
    view: str
    function: str


class _ViewMembers(_MappedView, total=False):
    """What lets a function that can be imported stand for a view's map function."""

    reduce: str | None
    bucket: str | None


def control_service(node: EmbeddedNode) -> HttpService:
    """The service of a node's control port."""
    control = _Control(node)
    table: list[tuple[str, str, Callable[[Call], Answer]]] = [
        ("GET", "/faults", control.faults),
        ("POST", "/faults", control.add_fault),
        ("DELETE", "/faults", control.clear_faults),
        ("DELETE", "/faults/{number}", control.remove_fault),
        ("GET", "/scripts", control.scripts),
        ("POST", "/scripts", control.add_script),
        ("DELETE", "/scripts", control.clear_scripts),
        ("DELETE", "/scripts/{number}", control.remove_script),
        ("GET", "/record", control.record),
        ("PUT", "/record", control.switch_record),
        ("DELETE", "/record", control.clear_record),
        ("POST", "/snapshots", control.snapshot),
        ("POST", "/snapshots/{number}/restore", control.restore),
        ("GET", "/documents", control.keys),
        ("POST", "/documents", control.load),
        ("GET", "/documents/{key}", control.document),
        ("PUT", "/documents/{key}", control.put),
        ("DELETE", "/documents/{key}", control.remove),
        ("GET", "/documents/{key}/copies", control.copies),
        ("POST", "/query", control.query),
        ("POST", "/views", control.map_view),
        ("POST", "/advance", control.advance),
        ("POST", "/hold", control.hold),
        ("POST", "/release", control.release),
        ("POST", "/kill", control.kill),
        ("POST", "/restart", control.restart),
        ("GET", "/nodes", control.nodes),
        ("POST", "/nodes", control.add_node),
        ("POST", "/nodes/{number}/kill", control.kill_node),
        ("POST", "/nodes/{number}/restart", control.restart_node),
        ("POST", "/nodes/{number}/hold", control.hold_node),
        ("POST", "/nodes/{number}/release", control.release_node),
        ("POST", "/nodes/{number}/fail_over", control.fail_over),
    ]
    routes = [Route("GET", "/health", _health, login=False)]
    routes += [Route(method, path, _administered(handler)) for method, path, handler in table]
    return HttpService("control", routes)


def _health(state: ClusterState, call: Call) -> Answer:
    return json_answer({"ok": True})


def _administered(handler: Callable[[Call], Answer]) -> Callable[[ClusterState, Call], Answer]:
    """A handler for administrators, whose mistakes in a request are refused with the reason."""

    def handle(state: ClusterState, call: Call) -> Answer:
        if call.account is None or not call.account.may("admin"):
            raise HttpRefused(403, {"error": "only an administrator may do this"})
        try:
            return handler(call)
        except LookupError as error:
            raise HttpRefused(404, {"error": str(error)}) from None
        except (TypeError, ValueError, RuntimeError) as error:
            raise HttpRefused(400, {"error": str(error)}) from None

    return handle


class _Control:
    def __init__(self, node: EmbeddedNode) -> None:
        self._node = node
        self._numbers = count(1)
        self._snapshots: dict[int, Snapshot] = {}

    # Faults and scripts.

    def faults(self, call: Call) -> Answer:
        return json_answer([_fault(active) for active in self._node.faults.active()])

    def add_fault(self, call: Call) -> Answer:
        return json_answer(_fault(self._node.faults.add(_members(call, Fault))), 201)

    def remove_fault(self, call: Call) -> Answer:
        self._node.faults.remove(int(call.names["number"]))
        return json_answer({})

    def clear_faults(self, call: Call) -> Answer:
        self._node.faults.clear()
        return json_answer({})

    def scripts(self, call: Call) -> Answer:
        return json_answer([_script(active) for active in self._node.scripts.active()])

    def add_script(self, call: Call) -> Answer:
        members: dict[str, Any] = {"service": "", **_members(call, _ScriptMembers)}
        if members.get("body") is not None:
            members["body"] = members["body"].encode()
        return json_answer(_script(self._node.scripts.add(Script(**members))), 201)

    def remove_script(self, call: Call) -> Answer:
        self._node.scripts.remove(int(call.names["number"]))
        return json_answer({})

    def clear_scripts(self, call: Call) -> Answer:
        self._node.scripts.clear()
        return json_answer({})

    # The record.

    def record(self, call: Call) -> Answer:
        found = self._node.record.find(**_arguments(call, "service", "operation", "key"))
        return json_answer([_request(request) for request in found])

    def switch_record(self, call: Call) -> Answer:
        on = _object(call).get("on")
        if not isinstance(on, bool):
            raise ValueError("on: true or false")
        self._node.record.on = on
        return json_answer({})

    def clear_record(self, call: Call) -> Answer:
        self._node.record.clear()
        return json_answer({})

    # What is stored.

    def snapshot(self, call: Call) -> Answer:
        number = next(self._numbers)
        self._snapshots[number] = self._node.snapshot()
        return json_answer({"number": number}, 201)

    def restore(self, call: Call) -> Answer:
        snapshot = self._snapshots.get(int(call.names["number"]))
        if snapshot is None:
            raise LookupError(f"no snapshot {call.names['number']}")
        self._node.restore(snapshot)
        return json_answer({})

    def keys(self, call: Call) -> Answer:
        return json_answer(self._node.keys(**_arguments(call, *_WHERE)))

    def load(self, call: Call) -> Answer:
        lines = call.body.decode().splitlines()
        return json_answer({"loaded": self._node.load(lines, **_arguments(call, "bucket"))})

    def document(self, call: Call) -> Answer:
        found = self._node.get(call.names["key"], **_arguments(call, *_WHERE))
        if found is None:
            raise LookupError(f"no document {call.names['key']!r}")
        return json_answer(_document(found))

    def put(self, call: Call) -> Answer:
        arguments: dict[str, Any] = dict(_arguments(call, *_WHERE, "expiry"))
        arguments["expiry"] = int(arguments.get("expiry", 0))
        self._node.put(call.names["key"], call.json(), **arguments)
        return json_answer({})

    def remove(self, call: Call) -> Answer:
        removed = self._node.remove(call.names["key"], **_arguments(call, *_WHERE))
        return json_answer({"removed": removed})

    def copies(self, call: Call) -> Answer:
        return json_answer(self._node.copies(call.names["key"], **_arguments(call, "bucket")))

    def query(self, call: Call) -> Answer:
        members = _object(call)
        statement = members.pop("statement", None)
        positional = members.pop("args", [])
        if not isinstance(statement, str) or not isinstance(positional, list) or members:
            raise ValueError("statement: text; args: a list; and nothing else")
        return json_answer(self._node.query(statement, *positional))

    def map_view(self, call: Call) -> Answer:
        members = _members(call, _ViewMembers)
        try:
            function = resolve_name(members["function"])
        except (ImportError, AttributeError) as error:
            raise ValueError(f"function: {error}") from None
        self._node.map_view(
            members["design"],
            members["view"],
            function,
            reduce=members.get("reduce"),
            bucket=members.get("bucket"),
        )
        return json_answer({})

    # Its life.

    def advance(self, call: Call) -> Answer:
        seconds = _object(call).get("seconds")
        if not isinstance(seconds, (int, float)):
            raise ValueError("seconds: a number")
        self._node.advance(seconds)
        return json_answer({})

    def hold(self, call: Call) -> Answer:
        self._node.hold()
        return json_answer({})

    def release(self, call: Call) -> Answer:
        self._node.release()
        return json_answer({})

    def kill(self, call: Call) -> Answer:
        return Answer(_when_done(self._node.kill()))

    def restart(self, call: Call) -> Answer:
        members = _object(call) if call.body else {}
        keep = members.pop("keep_data", True)
        if members or not isinstance(keep, bool):
            raise ValueError("keep_data: true or false, and nothing else")
        return Answer(_when_done(self._node.restart(keep)))

    # Single nodes.

    def nodes(self, call: Call) -> Answer:
        return json_answer(self._node.describe_nodes())

    def add_node(self, call: Call) -> Answer:
        return Answer(_when_done(self._node.add_node().addCallback(lambda n: {"number": n})))

    def kill_node(self, call: Call) -> Answer:
        return Answer(_when_done(self._node.kill(self._known(call))))

    def restart_node(self, call: Call) -> Answer:
        return Answer(_when_done(self._node.restart(node=self._known(call))))

    def hold_node(self, call: Call) -> Answer:
        self._node.hold(int(call.names["number"]))
        return json_answer({})

    def release_node(self, call: Call) -> Answer:
        self._node.release(int(call.names["number"]))
        return json_answer({})

    def fail_over(self, call: Call) -> Answer:
        self._node.fail_over(int(call.names["number"]))
        return json_answer({})

    def _known(self, call: Call) -> int:
        number = int(call.names["number"])
        if number not in self._node.nodes:
            raise LookupError(f"no node {number} in the cluster")
        return number


_WHERE = ("bucket", "scope", "collection")


def _when_done(deferred: Deferred[Any]) -> Iterator[bytes]:
    results: list[Any] = []
    deferred.addBoth(results.append)
    while not results:
        yield b""
    result = results[0]
    if isinstance(result, Failure):
        result = {"error": result.getErrorMessage()}
    yield json.dumps(result or {}).encode()


def _object(call: Call) -> dict[str, Any]:
    parsed = call.json()
    if not isinstance(parsed, dict):
        raise ValueError("the body is no object")
    return parsed


def _members(call: Call, kind: type[_Members]) -> _Members:
    """The members of the body, of the types that they must have."""
    members, known = _object(call), get_type_hints(kind)
    for name in members:
        if name not in known:
            raise ValueError(f"{name}: unknown; there are {', '.join(known)}")
    return msgspec.convert(members, kind)


def _arguments(call: Call, *known: str) -> dict[str, str]:
    for name in call.arguments:
        if name not in known:
            raise ValueError(f"{name}: unknown; there are {', '.join(known)}")
    return call.arguments


def _fault(active: ActiveFault) -> dict[str, Any]:
    return {"number": active.number, "struck": active.struck, **asdict(active.fault)}


def _script(active: ActiveScript) -> dict[str, Any]:
    script = active.script
    return {
        "number": active.number,
        "answered": active.answered,
        "service": script.service,
        "match": script.match,
        "times": script.times,
    }


def _request(request: RecordedRequest) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(request), default=_text))  # type: ignore[no-any-return]


def _document(document: StoredDocument) -> dict[str, Any]:
    members = asdict(document)
    members["raw"] = _text(document.raw)
    try:
        members["value"] = document.value
    except ValueError:
        # Not every document is JSON.
        members["value"] = None
    return members


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
