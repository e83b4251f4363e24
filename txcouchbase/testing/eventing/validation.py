"""What an eventing function must look like. No I/O.

Checks and messages follow Couchbase's ``eventing`` (``service_manager/validation.go``). Of the
function's code only brackets and quotes are checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from txcouchbase.testing.eventing.errors import EventingRefused
from txcouchbase.testing.javascript import syntax_error

__all__ = [
    "SETTINGS",
    "Keyspaces",
    "check_function",
    "check_settings",
    "whole_numbers",
    "with_defaults",
]

Keyspaces = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""What there is: collections by bucket and scope."""

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*\Z")
MAX_NAME = 100
ALIAS = re.compile(r"[a-zA-Z_$][a-zA-Z0-9_$]*\Z")
MAX_ALIAS = 64
MAX_CODE = 128 * 1024
"""Characters of the longest code."""

MAX_NUMBER = 2**63 - 1
VERSION = "evt-7.6.2-5694-ee"
DEFAULT_TIMER_PARTITIONS = 128
AUTHENTICATIONS = ("no-auth", "basic", "digest", "bearer")
_MEMBERS: dict[str, type] = {
    "appname": str,
    "appcode": str,
    "version": str,
    "enforce_schema": bool,
    "handleruuid": int,
    "function_instance_id": str,
    "function_scope": dict,
    "depcfg": dict,
    "settings": dict,
}


def _invalid(description: str) -> EventingRefused:
    return EventingRefused("ERR_INVALID_CONFIG", description)


def _boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _invalid(f"{name} must be a boolean")


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _invalid(f"{name} must be a number")
    if value > MAX_NUMBER:
        raise _invalid(f"{name} can not be more than {MAX_NUMBER}")
    if value < least:
        raise _invalid(f"{name} can not be {'zero or ' if least else ''}negative")
    if value != int(value):
        raise _invalid(f"{name} must be a positive integer")


def _positive(name: str, value: Any) -> None:
    _whole(name, value, 1)


def _natural(name: str, value: Any) -> None:
    _whole(name, value, 0)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _invalid(f"{name} must be a string")


def _prefix(name: str, value: Any) -> None:
    _text(name, value)
    if not value:
        raise _invalid(f"{name} must not be empty")
    if len(value) > 16:
        raise _invalid(f"{name} must have no more than 16 characters")


def _texts(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _invalid(f"{name} must be an array of strings")


def _context_size(name: str, value: Any) -> None:
    _positive(name, value)
    if not 20 <= value <= 20 * 1024 * 1024:
        raise _invalid(f"{name} value can not be less than 20 bytes or more than 20MB")


def _timer_partitions(name: str, value: Any) -> None:
    _positive(name, value)
    if value > 1024:
        raise _invalid(f"{name} field value must be between 1 and 1024.")


def _one_of(*values: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value not in values:
            raise _invalid(f"Invalid value for {name}, possible values are {', '.join(values)}")

    return check


_SETTINGS: dict[Callable[[str, Any], None], str] = {
    _boolean: "processing_status deployment_status n1ql_prepare_all allow_transaction_mutations"
    " cursor_aware enable_applog_rotation",
    _positive: "checkpoint_interval cpp_worker_thread_count curl_max_allowed_resp_size"
    " execution_timeout cursor_checkpoint_timeout ondeploy_timeout feedback_batch_size"
    " feedback_read_buffer_size idle_checkpoint_interval poll_bucket_interval sock_batch_size"
    " tick_duration worker_count worker_feedback_queue_cap worker_queue_cap worker_queue_mem_cap"
    " worker_response_timeout timer_queue_mem_cap timer_queue_size undeploy_routine_count"
    " bucket_cache_size bucket_cache_age app_log_max_size app_log_max_files lcb_inst_capacity"
    " lcb_timeout",
    _natural: "lcb_retry_count",
    _text: "description app_log_dir",
    _prefix: "user_prefix",
    _texts: "handler_headers handler_footers",
    _context_size: "timer_context_size",
    _timer_partitions: "num_timer_partitions",
    _one_of("everything", "from_now"): "dcp_stream_boundary",
    _one_of("7.2.0", "6.6.2", "6.0.0", "6.5.0"): "language_compatibility",
    _one_of("INFO", "ERROR", "WARNING", "DEBUG", "TRACE"): "log_level",
    _one_of("none", "request"): "n1ql_consistency",
}

SETTINGS: dict[str, Callable[[str, Any], None]] = {
    name: check for check, names in _SETTINGS.items() for name in names.split()
}
"""What checks the value of each setting."""


def check_settings(settings: dict[str, Any]) -> None:
    """Whether a function may have such settings; a server keeps those that it does not know.

    :raises EventingRefused: ERR_INVALID_CONFIG.
    """
    for name in ("processing_status", "deployment_status"):
        if name not in settings:
            raise _invalid(f"{name} is required")
    for name, value in settings.items():
        if name in SETTINGS:
            SETTINGS[name](name, value)


def with_defaults(function: Any) -> dict[str, Any]:
    """A function as it is stored: a copy, with what was left out.

    :raises EventingRefused: ERR_UNMARSHAL_PLD for members of other types.
    """
    if not isinstance(function, dict):
        raise EventingRefused("ERR_UNMARSHAL_PLD", "the function is not an object")
    for name, kind in _MEMBERS.items():
        if name in function and type(function[name]) is not kind:
            raise EventingRefused("ERR_UNMARSHAL_PLD", f"{name} is of another type")
    scope = dict(function.get("function_scope", {}))
    for name in ("bucket", "scope"):
        _require_text(scope, name, "*")
    settings = {
        "num_timer_partitions": DEFAULT_TIMER_PARTITIONS,
        "language_compatibility": "7.2.0",
        "dcp_stream_boundary": "everything",
    } | whole_numbers(function.get("settings", {}))
    return (
        {"appname": "", "appcode": "", "version": VERSION, "enforce_schema": False}
        | {name: function[name] for name in _MEMBERS if name in function}
        | {
            "depcfg": _with_keyspaces(function.get("depcfg", {})),
            "settings": settings,
            "function_scope": scope,
        }
    )


def whole_numbers(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings whose numbers are whole where they can be; clients read no other ones."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in settings.items()
    }


def _with_keyspaces(given: dict[str, Any]) -> dict[str, Any]:
    """The keyspaces and bindings of a function, with what was left out."""
    config = dict(given)
    for name in ("source", "metadata"):
        _require_text(config, f"{name}_bucket", "")
        _require_text(config, f"{name}_scope", "_default")
        _require_text(config, f"{name}_collection", "_default")
    for name in ("buckets", "curl", "constants"):
        bindings = config.get(name, [])
        if not isinstance(bindings, list) or not all(isinstance(each, dict) for each in bindings):
            raise EventingRefused("ERR_UNMARSHAL_PLD", f"depcfg.{name} is of another type")
        config[name] = [dict(each) for each in bindings]
    for binding in config["buckets"]:
        for name in ("alias", "bucket_name", "access"):
            _require_text(binding, name, "")
        for name in ("scope_name", "collection_name"):
            _require_text(binding, name, "_default")
    for binding in config["curl"]:
        for name in ("value", "hostname", "auth_type", "username", "password", "bearer_key"):
            _require_text(binding, name, "")
        for name in ("allow_cookies", "validate_ssl_certificate"):
            if type(binding.setdefault(name, False)) is not bool:
                raise EventingRefused("ERR_UNMARSHAL_PLD", f"{name} is of another type")
    for binding in config["constants"]:
        for name in ("value", "literal"):
            _require_text(binding, name, "")
    return config


def _require_text(members: dict[str, Any], name: str, default: str) -> None:
    value = members.get(name) or default
    if not isinstance(value, str):
        raise EventingRefused("ERR_UNMARSHAL_PLD", f"{name} is of another type")
    members[name] = value


def check_function(function: dict[str, Any], keyspaces: Keyspaces) -> None:
    """Whether a function may be stored.

    :param function: with its defaults.
    :raises EventingRefused: as a server refuses it.
    """
    name, config = function["appname"], function["depcfg"]
    if not name:
        raise _invalid("Function name should not be empty")
    if len(name) > MAX_NAME:
        raise _invalid(f"Function name length must be less than {MAX_NAME}")
    if not NAME.match(name):
        raise _invalid(
            "Function name can only start with characters in range A-Z, a-z, 0-9 and can only"
            " contain characters in range A-Z, a-z, 0-9, underscore and hyphen"
        )
    for prefix, title in (("source", "Source"), ("metadata", "Metadata")):
        if not config[f"{prefix}_bucket"]:
            raise _invalid(f"{title} bucket name should not be empty")
        _check_keyspace(_keyspace(config, prefix), keyspaces, wild=prefix == "source")
    _check_bindings(config, keyspaces)
    scope = function["function_scope"]
    if (scope["bucket"], scope["scope"]) != ("*", "*"):
        if scope["scope"] not in keyspaces.get(scope["bucket"], {}):
            raise EventingRefused(
                "ERR_BUCKET_MISSING", f"Missing Scope {scope['bucket']}.{scope['scope']}"
            )
    if not function["appcode"]:
        raise _invalid("Function handler should not be empty")
    check_settings(function["settings"])
    if _keyspace(config, "source") == _keyspace(config, "metadata"):
        raise EventingRefused(
            "ERR_SRC_MB_SAME",
            f"Function: {name} source keyspace same as metadata keyspace."
            f" source : {_keyspace(config, 'source')} metadata : {_keyspace(config, 'metadata')}",
        )
    size = len(function["appcode"])
    if size > MAX_CODE:
        raise EventingRefused(
            "ERR_APPCODE_SIZE",
            f"Function: {name} handler Code size is more than {MAX_CODE}. Code Size: {size}",
        )
    error = syntax_error(function["appcode"])
    if error is not None:
        raise EventingRefused(
            "ERR_HANDLER_COMPILATION",
            {"language": "JavaScript", "compile_success": False, "description": error},
        )


def _keyspace(config: dict[str, Any], prefix: str) -> tuple[str, str, str]:
    return (
        config[f"{prefix}_bucket"],
        config[f"{prefix}_scope"],
        config[f"{prefix}_collection"],
    )


def _check_keyspace(keyspace: tuple[str, str, str], keyspaces: Keyspaces, wild: bool) -> None:
    bucket, scope, collection = keyspace
    if scope == "*" != collection:
        raise EventingRefused(
            "ERR_INVALID_REQUEST", "Invalid keyspace. collection should be '*' when scope is '*'"
        )
    if "*" in (scope, collection) and not wild:
        raise EventingRefused("ERR_INVALID_REQUEST", "wildcard keyspace not allowed")
    if bucket not in keyspaces:
        raise EventingRefused("ERR_BUCKET_MISSING", f"Bucket {bucket} does not exist")
    if scope == "*":
        return
    collections = keyspaces[bucket].get(scope)
    if collections is None or (collection != "*" and collection not in collections):
        raise EventingRefused(
            "ERR_COLLECTION_MISSING", f"bucket: {bucket} scope: {scope} collection: {collection}"
        )


def _check_bindings(config: dict[str, Any], keyspaces: Keyspaces) -> None:
    aliases: set[str] = set()
    for binding in config["buckets"]:
        _check_alias(binding["alias"], "Bucket", aliases)
        keyspace = (binding["bucket_name"], binding["scope_name"], binding["collection_name"])
        try:
            _check_keyspace(keyspace, keyspaces, wild=True)
        except EventingRefused as refused:
            raise EventingRefused(
                refused.name,
                "Keyspace bucket: {} scope: {} collection: {}".format(*keyspace)
                + f" used for binding: {binding['alias']} doesn't exist",
            ) from None
        if binding["access"] not in ("r", "rw"):
            raise EventingRefused(
                "ERR_BUCKET_ACCESS", 'Invalid bucket access, should be either "r" or "rw"'
            )
    for binding in config["curl"]:
        alias = binding["value"]
        if not binding["hostname"].startswith(("http://", "https://")):
            raise _invalid(
                f"Invalid URL for URL alias {alias} : URL starts with invalid scheme type."
                " Please ensure URL starts with http:// or https://"
            )
        if binding["auth_type"] not in AUTHENTICATIONS:
            raise _invalid(f'URL alias {alias} has invalid value for "auth type"')
        _check_alias(alias, "URL", aliases)
    for binding in config["constants"]:
        if not binding["literal"]:
            raise _invalid("Constant binding literal should not be empty")
        _check_alias(binding["value"], "Constant", aliases)


def _check_alias(alias: str, kind: str, aliases: set[str]) -> None:
    if not alias:
        raise _invalid("Alias name should not be empty")
    if len(alias) > MAX_ALIAS:
        raise _invalid(f"Alias name length must be less than {MAX_ALIAS}")
    if not ALIAS.match(alias):
        raise _invalid("Alias must be a valid JavaScript variable")
    if alias in aliases:
        raise _invalid(f"{kind} alias {alias} is not unique")
    aliases.add(alias)
