"""Every exception class that the SDK defines, raised in this process or in a job worker."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import couchbase
import couchbase.exceptions as sdk

from txcouchbase.amp.errors import CoreError, encode_error

FIELDS: dict[str, Any] = {
    "last_dispatched_to": "127.0.0.1:11210",
    "last_dispatched_from": "127.0.0.1:4711",
    "retry_attempts": 3,
    "retry_reasons": {"key_value_locked", "node_not_available"},
    "key": "schlüssel",
    "bucket_name": "b",
    "scope_name": "s",
    "collection_name": "c",
    "opaque": 2**32,
    "status_code": 1,
    "error_map_info": {"name": "X", "attributes": ["a"]},
    "extended_error_info": {"reference": "r", "context": "because"},
    "first_error_path": "a.b",
    "first_error_index": 1,
    "deleted": True,
    "client_context_id": "id",
    "method": "POST",
    "path": "/query/service",
    "http_status": 404,
    "http_body": '{"errors": []}',
    "content": "text",
    "first_error_code": 12003,
    "first_error_message": "Keyspace not found",
    "statement": "SELECT 1",
    "parameters": '{"a": 1}',
    "index_name": "i",
    "query": "{}",
    "design_document_name": "d",
    "view_name": "v",
    "query_string": "limit=1",
    "failure_type": "fail",
}
"""Something for each field that a context class knows."""

CONTEXTS = sorted(
    name
    for name, found in vars(sdk).items()
    if isinstance(found, type) and issubclass(found, sdk.ErrorContext)
)

FORMS = ("plain", "with a context", "as the core made it", "with a cause")


def classes_of_the_sdk() -> list[str]:
    """The full names of all exception classes in the SDK's modules that can be imported."""
    found = set()
    for module in pkgutil.walk_packages(couchbase.__path__, "couchbase."):
        if module.name.startswith("couchbase.tests"):
            continue
        try:
            imported = importlib.import_module(module.name)
        except ImportError:  # it stands on something optional
            continue
        for _, cls in inspect.getmembers(imported, inspect.isclass):
            ours = cls.__module__.startswith("couchbase.")
            if ours and issubclass(cls, Exception) and not issubclass(cls, Warning):
                found.add(f"{cls.__module__}.{cls.__qualname__}")
    return sorted(found)


def make_error(name: str, form: str) -> Exception:
    """An exception of that class; always the same one."""
    module, _, class_name = name.rpartition(".")
    cls: type[sdk.CouchbaseException] = getattr(importlib.import_module(module), class_name)
    if form == "plain" and "message" in inspect.signature(cls).parameters:
        return cls(message=f"the text of {class_name}: é")
    error = cls.__new__(cls)
    context: Any = None
    base: Any = None
    info: Any = None
    code = message = None
    number = sum(name.encode())
    if form == "as the core made it":
        fields = {**FIELDS, "context_type": CONTEXTS[number % len(CONTEXTS)]}
        base = CoreError(number, "couchbase.key_value", f"a_{class_name}", fields)
        info = {"cinfo": ("src/binding.cxx", 12)}
    else:
        message = f"the text of {class_name}"
    if form == "with a context":
        context = getattr(sdk, CONTEXTS[number % len(CONTEXTS)])(**FIELDS)
        code = number
    elif form == "with a cause":
        cause = sdk.DocumentNotFoundException(
            message="missing", context=sdk.KeyValueErrorContext(**FIELDS), exc_info={"n": 1}
        )
        inner = cause if number % 2 else KeyError("k", number)
        info = {"inner_cause": inner, "cinfo": ("src/binding.cxx", 34)}
    sdk.CouchbaseException.__init__(
        error, base=base, message=message, context=context, error_code=code, exc_info=info
    )
    return error


def raise_error(name: str, form: str) -> None:
    """A job that raises it."""
    raise make_error(name, form)


def encoded_errors(names: list[str]) -> list[bytes]:
    """A job: all of them raised, and encoded as those of operations are."""
    encoded = []
    for name in names:
        for form in FORMS:
            try:
                raise make_error(name, form)
            except Exception as error:
                encoded.append(encode_error(error))
    return encoded
