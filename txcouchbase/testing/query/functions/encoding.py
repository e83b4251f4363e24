"""Functions on how values are written: JSON, Base64, digests.

Not like a server: digests are those of `hashlib` and CRC-32 with its usual polynomial.

Source: the SQL++ language reference, "JSON Functions", "Meta Functions" and "Miscellaneous
Utility Functions".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import uuid
import zlib
from typing import Any, Final

import msgspec

from txcouchbase.testing.query.functions.conditions import number_text
from txcouchbase.testing.query.functions.signature import (
    ANY,
    ARRAY,
    KNOWN,
    OBJECT,
    STRING,
    VALUE,
    Function,
    by_name,
    function,
)
from txcouchbase.testing.query.functions.strings import utf8
from txcouchbase.testing.query.limits import FunctionFailed, bounded
from txcouchbase.testing.query.values import MISSING, is_array, is_number

__all__ = ["FUNCTIONS"]


def _json(value: Any) -> str:
    """JSON without white space, with names in order."""
    if value is MISSING:
        return "null"
    try:
        return _dump(value)
    except RecursionError:
        raise FunctionFailed("a value is nested too deeply") from None
    except ValueError:
        return _dump(_finite(value))


def _dump(value: Any) -> str:
    return json.dumps(
        value,
        allow_nan=False,
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
        default=lambda other: list(other) if type(other) is range else None,
    )


def _finite(value: Any) -> Any:
    """A value in which texts stand for the numbers that JSON does not have."""
    if type(value) is float and not math.isfinite(value):
        return "NaN" if value != value else "+Infinity" if value > 0 else "-Infinity"
    if is_array(value):
        return [_finite(item) for item in value]
    if type(value) is dict:
        return {name: _finite(item) for name, item in value.items()}
    return value


def _encoded(value: Any) -> str:
    text = _json(value)
    bounded("ENCODE_JSON()", len(text), 1)
    return text


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _size(value: Any) -> int:
    return 0 if value is MISSING else len(utf8(_json(value)))


def _length(value: Any) -> int | None:
    return len(utf8(value)) if type(value) is str else len(value)


def _any_length(value: Any) -> int | None:
    if type(value) is bool:
        return 1
    if is_number(value):
        return len(number_text(value))
    return len(value) if type(value) is bytes else _length(value)


def _pairs(value: Any) -> list[list[Any]]:
    """Names and values of all objects in a value; of an array, also each item with the name."""
    found: list[list[Any]] = []
    pending = [value]
    while pending:
        value = pending.pop()
        if is_array(value):
            pending += value[::-1]
        elif type(value) is dict:
            for name, item in value.items():
                found.append([name, item])
                if is_array(item):
                    found += [[name, part] for part in item]
            pending += list(value.values())[::-1]
    return found


def _to_base64(value: Any) -> str:
    data = value if type(value) is bytes else utf8(_json(value))
    bounded("BASE64_ENCODE()", len(data), 1)
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str) -> Any:
    try:
        data = base64.b64decode(utf8(text), validate=True)
    except binascii.Error:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


_DIGESTS = {
    name: name.replace("/", "_")
    for name in ("md5", "sha224", "sha256", "sha384", "sha512", "sha512/224", "sha512/256")
}


def _digest(value: Any, options: Any = None) -> str | None:
    if type(options) is dict:
        if "polynomial" in options:
            raise FunctionFailed("HASHBYTES: the embedded node does not know 'polynomial'")
        options = options.get("algorithm")
    if options is None or options is MISSING:
        options = "sha256"
    if type(options) is not str:
        return None
    data = value if type(value) is bytes else utf8(value if type(value) is str else _json(value))
    name = options.lower().replace("sha-", "sha", 1)
    if name == "crc32":
        return f"{zlib.crc32(data):08x}"
    if name not in _DIGESTS:
        return None
    return hashlib.new(_DIGESTS[name], data, usedforsecurity=False).hexdigest()


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "base64 base64_encode encode_base64": function(_to_base64, VALUE),
        "base64_decode decode_base64": function(_from_base64, STRING),
        "encode_json json_encode": function(_encoded, ANY),
        "decode_json json_decode": function(_decoded, STRING),
        "encoded_size": function(_size, ANY),
        "hashbytes": function(_digest, KNOWN, ANY, optional=1),
        "len": function(_any_length, KNOWN),
        "pairs": function(_pairs, OBJECT | ARRAY),
        "poly_length": function(_length, STRING | ARRAY | OBJECT),
        "uuid": function(lambda: str(uuid.uuid4()), volatile=True),
    }
)
"""The functions by name."""
