"""The error map: names and traits of status codes, which clients fetch when they connect.

Source: kv_engine ``docs/ErrorMap.md``. No ``retry-now`` here: what is retried is left to the
client's own rules.
"""

from __future__ import annotations

import json

from txcouchbase.testing.kv.status import Status

__all__ = ["ERROR_MAP"]

_TRAITS: dict[Status, list[str]] = {
    Status.SUCCESS: ["success"],
    Status.KEY_ENOENT: ["item-only"],
    Status.KEY_EEXISTS: ["item-only"],
    Status.E2BIG: ["item-only", "invalid-input"],
    Status.EINVAL: ["internal", "invalid-input"],
    Status.NOT_STORED: ["item-only"],
    Status.DELTA_BADVAL: ["item-only", "invalid-input"],
    Status.NOT_MY_VBUCKET: ["fetch-config", "invalid-input"],
    Status.NO_BUCKET: ["conn-state-invalidated"],
    Status.LOCKED: ["item-locked", "item-only", "retry-later"],
    Status.NOT_LOCKED: ["item-only"],
    Status.AUTH_ERROR: ["conn-state-invalidated", "auth"],
    Status.AUTH_CONTINUE: ["special-handling", "auth"],
    Status.ERANGE: ["invalid-input"],
    Status.EACCESS: ["support", "auth"],
    Status.UNKNOWN_FRAME_INFO: ["support"],
    Status.UNKNOWN_COMMAND: ["support"],
    Status.ENOMEM: ["temp"],
    Status.NOT_SUPPORTED: ["support"],
    Status.EINTERNAL: ["internal"],
    Status.EBUSY: ["temp"],
    Status.TMPFAIL: ["temp", "retry-later"],
    Status.UNKNOWN_COLLECTION: ["item-only"],
    Status.UNKNOWN_SCOPE: ["item-only"],
    Status.DURABILITY_INVALID_LEVEL: ["item-only", "invalid-input"],
    Status.DURABILITY_IMPOSSIBLE: ["item-only"],
    Status.SYNC_WRITE_IN_PROGRESS: ["item-only", "retry-later"],
    Status.SYNC_WRITE_AMBIGUOUS: ["item-only"],
    Status.SYNC_WRITE_RE_COMMIT_IN_PROGRESS: ["item-only", "retry-later"],
    Status.SUCCESS_DELETED: ["success", "subdoc"],
}


def _entry(status: Status) -> dict[str, object]:
    traits = _TRAITS.get(status, ["subdoc", "item-only"])
    return {
        "name": status.name,
        "desc": status.name.replace("_", " ").capitalize(),
        "attrs": traits,
    }


ERROR_MAP = json.dumps(
    {
        "version": 1,
        "revision": 1,
        "errors": {f"{status.value:x}": _entry(status) for status in Status},
    }
).encode()
"""The whole map, as JSON."""
