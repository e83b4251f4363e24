"""`RawClient`: key-value operations through the SDK's binding, with callbacks.

The binding is not public API. All use of it is in this module, `mismatch` tells whether it is
as expected, and the public API takes over where it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from couchbase.cluster import Cluster
from couchbase.exceptions import ErrorMapper
from couchbase.subdocument import (
    StoreSemantics,
    build_lookup_in_path_flags,
    build_mutate_in_path_flags,
)

from txcouchbase.amp.errors import timeout_error
from txcouchbase.amp.wire import OF_REPLICAS

if TYPE_CHECKING:
    from txcouchbase.workers.executor import Task

__all__ = ["RawClient"]

try:
    from couchbase.logic import pycbc_core
    from couchbase.logic.operation_types import KeyValueOperationCode

    # Its stub asks for an argument that the SDK itself never gives.
    pycbc_kv_request: Any = pycbc_core.pycbc_kv_request
except ImportError as import_error:  # reported by `RawClient.mismatch`
    _missing: str = str(import_error)
else:
    _missing = ""

_CODE_NAMES = {
    "get": "Get",
    "exists": "Exists",
    "lookup_in": "LookupIn",
    "get_any_replica": "GetAnyReplica",
    "get_all_replicas": "GetAllReplicas",
    "lookup_in_any_replica": "LookupInAnyReplica",
    "lookup_in_all_replicas": "LookupInAllReplicas",
    "get_and_lock": "GetAndLock",
    "get_and_touch": "GetAndTouch",
    "insert": "Insert",
    "upsert": "Upsert",
    "replace": "Replace",
    "remove": "Remove",
    "touch": "Touch",
    "unlock": "Unlock",
    "mutate_in": "MutateIn",
    "append": "Append",
    "prepend": "Prepend",
    "increment": "Increment",
    "decrement": "Decrement",
}
_FIELDS = (
    "opcode bucket scope collection key value flags timeout callback errback cas expiry "
    "preserve_expiry durability_level persist_to replicate_to lock_time delta initial_value "
    "specs store_semantics with_expiry projections read_preference"
).split()


_OF_ALL_REPLICAS = ("get_all_replicas", "lookup_in_all_replicas")


class RawClient:
    """Starts key-value operations on a connected cluster.

    Args:
        cluster: The SDK's cluster; it stays connected as long as this object is used.
    """

    def __init__(self, cluster: Cluster) -> None:
        kv_operations: Any = cluster._impl._client_adapter.binding_map.kv_ops
        self._codes = {
            name: KeyValueOperationCode[code].value for name, code in _CODE_NAMES.items()
        }
        self._functions = {code.value: kv_operations[code] for code in KeyValueOperationCode}
        self._legacy = {
            name: KeyValueOperationCode[f"{code}WithLegacyDurability"].value
            for name, code in _CODE_NAMES.items()
            if f"{code}WithLegacyDurability" in KeyValueOperationCode.__members__
        }
        self._projected = KeyValueOperationCode.GetProjected.value

    @staticmethod
    def mismatch() -> str:
        """What about the installed SDK's binding is not as expected; empty if all is."""
        if _missing:
            return _missing
        lacking = [field for field in _FIELDS if not hasattr(pycbc_kv_request, field)]
        lacking += [
            code
            for code in (*_CODE_NAMES.values(), "GetProjected")
            if code not in KeyValueOperationCode.__members__
        ]
        return f"lacks {', '.join(lacking)}" if lacking else ""

    @staticmethod
    def exception(error: Any) -> Exception:
        """The SDK's exception for the binding's error object."""
        exception: Exception = ErrorMapper.build_exception(error)
        return exception

    def start(self, task: Task, complete: Callable[[Task, Any], None]) -> None:
        """Start an operation.

        Args:
            task: The operation.
            complete: Called in the SDK's I/O thread with the task and its outcome: the
                result's map, or the binding's error object.
        """
        name = task.kind.name
        code = self._codes[name]
        place = task.place
        request = pycbc_kv_request()
        request.bucket = place.bucket
        request.scope = place.scope
        request.collection = place.collection
        request.key = task.key
        if task.value is not None:
            request.value = task.value
            request.flags = task.flags
        if task.options is not None:
            code = self._set_options(request, name, code, task.options)
        timeout = task.remaining()
        if timeout:
            request.timeout = timeout

        if name in _OF_ALL_REPLICAS:

            def succeeded(result: Any) -> None:
                complete(task, _gathered(result))
        else:

            def succeeded(result: Any) -> None:
                complete(task, result.raw_result)

        def failed(error: Any) -> None:
            complete(task, error)

        request.opcode = code
        request.callback = succeeded
        request.errback = failed
        self._functions[code](request)

    def _set_options(self, request: Any, name: str, code: int, options: dict[str, Any]) -> int:
        for option, value in options.items():
            if option == "specs":
                build = _mutation_spec if name == "mutate_in" else _lookup_spec
                value = [build(index, *spec) for index, spec in enumerate(value)]
            elif option == "store_semantics":
                value = StoreSemantics(value)
            setattr(request, option, value)
        if "persist_to" in options:
            return self._legacy[name]
        if name == "get" and ("with_expiry" in options or "projections" in options):
            return self._projected
        return code


def _gathered(results: Any) -> Any:
    """What all copies of a document gave: their maps, or an error.

    The binding calls back when it has them all, so that its iterator never waits here. It ends
    with None.
    """
    found = []
    try:
        while (result := next(results)) is not None:
            if not hasattr(result, "raw_result"):
                return result
            found.append(result.raw_result)
    except StopIteration:  # the binding waited for more of them than there are
        return timeout_error("the results of replicas did not come to their end")
    return {OF_REPLICAS: found}


def _lookup_spec(index: int, code: int, path: str, xattr: bool) -> dict[str, Any]:
    flags = build_lookup_in_path_flags(xattr, False).value
    return {
        "opcode": code,
        "path": path,
        "value": None,
        "flags": flags,
        "original_index": index,
    }


def _mutation_spec(
    index: int,
    code: int,
    path: str,
    create_path: bool,
    xattr: bool,
    expand_macro: bool,
    value: bytes | None = None,
) -> dict[str, Any]:
    flags = build_mutate_in_path_flags(xattr, create_path, expand_macro, False).value
    return {
        "opcode": code,
        "path": path,
        "value": value,
        "flags": flags,
        "original_index": index,
    }
