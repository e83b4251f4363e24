"""Functions that do what operators do, and those that say which version answers.

Source: the names that a server's public source registers; `version` and so on are among the "Meta
and UUID Functions" of the SQL++ language reference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final

from txcouchbase.testing.kv.bootstrap import VERSION
from txcouchbase.testing.query.functions.signature import (
    ANY,
    NUMBER,
    VALUE,
    Function,
    by_name,
    function,
)
from txcouchbase.testing.query.limits import FunctionFailed
from txcouchbase.testing.query.values import (
    MISSING,
    add,
    divide,
    equals,
    less,
    less_or_equal,
    modulo,
    multiply,
    negate,
    subtract,
    type_name,
)

__all__ = ["FUNCTIONS"]

ABORTED = 5011
"""The code of a statement that ends itself."""


def _folded(operator: Callable[[Any, Any], Any]) -> Function:
    return function(lambda *values: reduce(operator, values), ANY, ANY, rest=ANY)


def _is_known(value: Any) -> bool:
    return value is not None and value is not MISSING


def _is_same(left: Any, right: Any) -> Any:
    """As ``=``, but what is not known is a value as others are."""
    if _is_known(left) and _is_known(right):
        return equals(left, right)
    return left is right


def _abort(value: Any) -> Any:
    raise FunctionFailed(f"Abort: {value if type(value) is str else type_name(value)}.", ABORTED)


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "add": _folded(add),
        "mult": _folded(multiply),
        "sub": function(subtract, ANY, ANY),
        "div": function(divide, ANY, ANY),
        "mod": function(modulo, ANY, ANY),
        "neg": function(negate, NUMBER),
        "eq": function(equals, ANY, ANY),
        "lt": function(less, ANY, ANY),
        "le": function(less_or_equal, ANY, ANY),
        "is_null isnull": function(lambda value: value is None, VALUE),
        "is_not_null isnotnull": function(lambda value: value is not None, VALUE),
        "is_missing ismissing": function(lambda value: value is MISSING, ANY),
        "is_not_missing isnotmissing": function(lambda value: value is not MISSING, ANY),
        "is_valued isvalued is_known isknown is_not_unknown isnotunknown": function(_is_known, ANY),
        "is_not_valued isnotvalued is_not_known isnotknown isunknown": function(
            lambda value: not _is_known(value), ANY
        ),
        "is_distinct_from isdistinctfrom": function(
            lambda left, right: _is_same(left, right) is not True, ANY, ANY
        ),
        "is_not_distinct_from isnotdistinctfrom": function(_is_same, ANY, ANY),
        "abort": function(_abort, ANY),
        "version ds_version": function(VERSION.decode),
        "min_version": function(lambda: "1.0.0"),
    }
)
"""The functions by name."""
