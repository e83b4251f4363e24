"""Sub-document paths, and what the operations do to parsed JSON. No documents, no bytes.

Source: kv_engine ``docs/SubDocument.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from txcouchbase.testing.kv.frames import Opcode
from txcouchbase.testing.kv.status import Refused, Status

__all__ = ["LOOKUPS", "MUTATIONS", "Path", "dump", "load_value", "parse"]

MAX_STEPS = 31

Path = list[str | int]
"""Names of members and indexes of elements, -1 for the last; empty for the whole."""

_MEMBER = re.compile(r"`((?:[^`]|``)*)`|([^.\[\]`]+)")
_ELEMENT = re.compile(r"\[(-1|0|[1-9][0-9]*)\]")
_INT64 = range(-(1 << 63), 1 << 63)


def parse(text: bytes) -> Path:
    """Take a path apart.

    :raises Refused: PATH_E2BIG or PATH_EINVAL.
    """
    try:
        path = text.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(Status.PATH_EINVAL) from None
    steps: Path = []
    at = 0
    while at < len(path):
        element = _ELEMENT.match(path, at)
        if element is not None:
            steps.append(int(element[1]))
            at = element.end()
            continue
        if at:
            if path[at] != ".":
                raise Refused(Status.PATH_EINVAL)
            at += 1
        member = _MEMBER.match(path, at)
        if member is None:
            raise Refused(Status.PATH_EINVAL)
        steps.append(member[2] if member[1] is None else member[1].replace("``", "`"))
        at = member.end()
    if len(steps) > MAX_STEPS:
        raise Refused(Status.PATH_E2BIG)
    return steps


def dump(value: Any) -> bytes:
    """JSON as compact text.

    :raises Refused: VALUE_ETOODEEP.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair, which only an escape can write.
        return json.dumps(value, separators=(",", ":")).encode("ascii")
    except RecursionError:
        raise Refused(Status.VALUE_ETOODEEP) from None


def load_value(text: bytes) -> Any:
    """A value that is to be inserted.

    :raises Refused: VALUE_CANTINSERT where it is not JSON, VALUE_ETOODEEP.
    """
    try:
        return json.loads(text)
    except ValueError:
        raise Refused(Status.VALUE_CANTINSERT) from None
    except RecursionError:
        raise Refused(Status.VALUE_ETOODEEP) from None


def _step(value: Any, step: Any) -> Any:
    wanted: type = dict if isinstance(step, str) else list
    if not isinstance(value, wanted):
        raise Refused(Status.PATH_MISMATCH)
    holder: Any = value
    try:
        return holder[step]
    except (KeyError, IndexError):
        raise Refused(Status.PATH_ENOENT) from None


def _walk(value: Any, path: Path) -> Any:
    for step in path:
        value = _step(value, step)
    return value


def _parent(root: Any, path: Path, create: bool) -> Any:
    """What holds the last step of a path; missing objects are made if that was asked for."""
    if not path:
        raise Refused(Status.PATH_EINVAL)
    value = root
    for step in path[:-1]:
        if create and isinstance(value, dict) and isinstance(step, str) and step not in value:
            value[step] = {}
        value = _step(value, step)
    return value


def _object(root: Any, path: Path, create: bool) -> tuple[dict[str, Any], str]:
    """The object and the member of it that a path names."""
    parent = _parent(root, path, create)
    name = path[-1]
    if not isinstance(name, str):
        raise Refused(Status.PATH_EINVAL)
    if not isinstance(parent, dict):
        raise Refused(Status.PATH_MISMATCH)
    return parent, name


# Lookups take the parsed JSON and a path and return a response's value.


def _get(root: Any, path: Path) -> bytes:
    return dump(_walk(root, path))


def _exists(root: Any, path: Path) -> bytes:
    _walk(root, path)
    return b""


def _count(root: Any, path: Path) -> bytes:
    value = _walk(root, path)
    if not isinstance(value, (list, dict)):
        raise Refused(Status.PATH_MISMATCH)
    return b"%d" % len(value)


LOOKUPS: dict[int, Callable[[Any, Path], bytes]] = {
    Opcode.SUBDOC_GET: _get,
    Opcode.SUBDOC_EXISTS: _exists,
    Opcode.SUBDOC_GET_COUNT: _count,
}


# Mutations change the parsed JSON; what they return is a result for the client.


def _dict_add(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    parent, name = _object(root, path, create)
    if name in parent:
        raise Refused(Status.PATH_EEXISTS)
    parent[name] = load_value(value)
    return b""


def _dict_upsert(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    parent, name = _object(root, path, create)
    parent[name] = load_value(value)
    return b""


def _delete(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    parent = _parent(root, path, False)
    _step(parent, path[-1])
    del parent[path[-1]]
    return b""


def _replace(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    parent = _parent(root, path, False)
    _step(parent, path[-1])
    parent[path[-1]] = load_value(value)
    return b""


def _array(root: Any, path: Path, create: bool) -> list[Any]:
    if create and path:
        parent = _parent(root, path, True)
        if isinstance(parent, dict) and isinstance(path[-1], str):
            parent.setdefault(path[-1], [])
    array = _walk(root, path)
    if not isinstance(array, list):
        raise Refused(Status.PATH_MISMATCH)
    return array


def _several(value: bytes) -> list[Any]:
    values: list[Any] = load_value(b"[" + value + b"]")
    if not values:
        raise Refused(Status.VALUE_CANTINSERT)
    return values


def _push_last(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    values = _several(value)
    _array(root, path, create).extend(values)
    return b""


def _push_first(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    values = _several(value)
    _array(root, path, create)[:0] = values
    return b""


def _array_insert(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    array, index = _parent(root, path, False), path[-1]
    if not isinstance(index, int) or index < 0:
        raise Refused(Status.PATH_EINVAL)
    if not isinstance(array, list):
        raise Refused(Status.PATH_MISMATCH)
    if index > len(array):
        raise Refused(Status.PATH_ENOENT)
    array[index:index] = _several(value)
    return b""


def _add_unique(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    added = load_value(value)
    if isinstance(added, (list, dict)):
        raise Refused(Status.VALUE_CANTINSERT)
    array = _array(root, path, create)
    if any(isinstance(item, (list, dict)) for item in array):
        raise Refused(Status.PATH_MISMATCH)
    # In Python True equals 1; in JSON it does not.
    if any(item == added and type(item) is type(added) for item in array):
        raise Refused(Status.PATH_EEXISTS)
    array.append(added)
    return b""


def _counter(root: Any, path: Path, value: bytes, create: bool) -> bytes:
    try:
        delta = int(value)
    except ValueError:
        delta = 0
    if not delta or delta not in _INT64:
        raise Refused(Status.DELTA_EINVAL)
    parent = _parent(root, path, create)
    last = path[-1]
    if isinstance(parent, dict) and isinstance(last, str) and last not in parent:
        parent[last] = 0
    number = _step(parent, last)
    if isinstance(number, bool) or not isinstance(number, int):
        raise Refused(Status.PATH_MISMATCH)
    if number not in _INT64:
        raise Refused(Status.NUM_ERANGE)
    if number + delta not in _INT64:
        raise Refused(Status.VALUE_CANTINSERT)
    parent[last] = number + delta
    return b"%d" % (number + delta)


MUTATIONS: dict[int, Callable[[Any, Path, bytes, bool], bytes]] = {
    Opcode.SUBDOC_DICT_ADD: _dict_add,
    Opcode.SUBDOC_DICT_UPSERT: _dict_upsert,
    Opcode.SUBDOC_DELETE: _delete,
    Opcode.SUBDOC_REPLACE: _replace,
    Opcode.SUBDOC_ARRAY_PUSH_LAST: _push_last,
    Opcode.SUBDOC_ARRAY_PUSH_FIRST: _push_first,
    Opcode.SUBDOC_ARRAY_INSERT: _array_insert,
    Opcode.SUBDOC_ARRAY_ADD_UNIQUE: _add_unique,
    Opcode.SUBDOC_COUNTER: _counter,
}
