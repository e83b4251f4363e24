"""How functions are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query.aggregates import AGGREGATES
from txcouchbase.testing.query.errors import QueryError, not_done
from txcouchbase.testing.query.execution import Evaluator, Row
from txcouchbase.testing.query.functions import ABSENT, FUNCTIONS, FunctionFailed
from txcouchbase.testing.query.syntax import Call

if TYPE_CHECKING:
    from txcouchbase.testing.query.compiler import Compiler

__all__ = ["COMPILERS"]

_WINDOW = frozenset(
    "row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value "
    "nth_value ratio_to_report".split()
)


def _call(compiler: Compiler, node: Call) -> Evaluator:
    found = FUNCTIONS.get(node.name)
    name = node.name.upper()
    if found is None:
        if node.name in AGGREGATES:
            raise QueryError(3100, f"The aggregate function {name} is not allowed here.")
        if node.name in _WINDOW:
            raise not_done(f"the window function {name}")
        if node.name in ABSENT:
            raise QueryError(1020, f"The embedded node does not have the function {name}")
        raise QueryError(3000, f"syntax error - Invalid function {name}")
    if node.star or node.distinct or node.condition is not None:
        raise QueryError(3000, f"syntax error - {name} is no aggregate function")
    count = len(node.arguments)
    if count < found.minimum or (found.maximum is not None and count > found.maximum):
        raise QueryError(3000, f"syntax error - {_arity(name, found.minimum, found.maximum)}")
    arguments = [compiler.resolved(argument) for argument in node.arguments]
    call = found.call
    if found.clock:
        now = compiler.execution.now
        return _guarded(name, lambda row: call(now, *[argument(row) for argument in arguments]))
    if count == 1:
        (only,) = arguments
        return _guarded(name, lambda row: call(only(row)))
    return _guarded(name, lambda row: call(*[argument(row) for argument in arguments]))


def _arity(name: str, minimum: int, maximum: int | None) -> str:
    if minimum == maximum:
        return f"Number of arguments to function {name} must be {minimum}."
    if maximum is None:
        return f"Number of arguments to function {name} must be at least {minimum}."
    return f"Number of arguments to function {name} must be between {minimum} and {maximum}."


def _guarded(name: str, evaluate: Evaluator) -> Evaluator:
    def guarded(row: Row) -> Any:
        try:
            return evaluate(row)
        except FunctionFailed as failed:
            raise QueryError(failed.code, failed.text) from None

    return guarded


COMPILERS: dict[type, Callable[[Any, Any], Evaluator]] = {Call: _call}
