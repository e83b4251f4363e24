"""From expressions to closures that take a row. Each kind of node has its entry in a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query import basics, calls, conditions, loops
from txcouchbase.testing.query.execution import Evaluator, Execution, Row
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.syntax import Constant, Expression, Parameter
from txcouchbase.testing.query.values import truth

if TYPE_CHECKING:
    from txcouchbase.testing.query.syntax import Query

__all__ = ["Compiler"]

_TABLE: dict[type, Callable[[Any, Any], Evaluator]] = {
    **basics.COMPILERS,
    **conditions.COMPILERS,
    **loops.COMPILERS,
    **calls.COMPILERS,
}


class Compiler:
    """Compiles the expressions of one place of a statement.

    :param subquery: makes an evaluator of a query that stands in an expression, and says whether
        one row of it is enough.
    """

    def __init__(
        self,
        execution: Execution,
        scope: Scope,
        subquery: Callable[[Query, Scope, bool], Evaluator],
    ) -> None:
        self.execution = execution
        self.scope = scope
        self._subquery = subquery

    def expression(self, node: Expression) -> Evaluator:
        """The evaluator of an expression as it was written."""
        return self.resolved(self.scope.resolve(node))

    def resolved(self, node: Expression) -> Evaluator:
        """The evaluator of an expression whose names are resolved."""
        return _TABLE[type(node)](self, node)

    def predicate(self, node: Expression) -> Callable[[Row], bool]:
        """Whether a condition, whose names are resolved, holds."""
        evaluate = self.resolved(node)

        def holds(row: Row) -> bool:
            value = evaluate(row)
            return value is True or (value is not False and truth(value) is True)

        return holds

    def subquery(self, query: Query, scope: Scope, one: bool) -> Evaluator:
        """The rows of a query in an expression.

        :param one: whether the first row is all that counts.
        """
        return self._subquery(query, scope, one)

    def known(self, node: Expression) -> tuple[bool, Any]:
        """Whether a value is the same for all rows, and the value."""
        if isinstance(node, Constant):
            return True, node.value
        if isinstance(node, Parameter):
            return True, self.execution.parameter(node.key)
        return False, None
