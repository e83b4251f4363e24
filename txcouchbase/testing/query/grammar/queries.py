"""What the grammar's rules of SELECT make of their parts.

Each method is named after a rule.
"""

from __future__ import annotations

from txcouchbase.testing.query.errors import not_done
from txcouchbase.testing.query.grammar.expressions import ExpressionBuilder
from txcouchbase.testing.query.grammar.parts import (
    Clause,
    Parts,
    all_of,
    names,
    part,
    value_of,
    words,
)
from txcouchbase.testing.query.syntax import (
    Execute,
    Explain,
    Expression,
    FromTerm,
    Group,
    Join,
    KeyspacePath,
    Prepare,
    Projection,
    Query,
    ResultTerm,
    SetOperation,
    SortTerm,
    Statement,
    Subquery,
    Subselect,
    TransactionControl,
)

__all__ = ["QueryBuilder"]


class QueryBuilder(ExpressionBuilder):
    """Rules of SELECT."""

    def start(self, parts: Parts) -> Statement:
        return parts[0]  # type: ignore[no-any-return]

    def explain(self, parts: Parts) -> Explain:
        return Explain(parts[0])

    def prepare(self, parts: Parts) -> Prepare:
        return Prepare(value_of(parts, "name"), "FORCE" in words(parts), parts[-1])

    def prepared_name(self, parts: Parts) -> Clause:
        return Clause("name", str(parts[0]))

    def execute(self, parts: Parts) -> Execute:
        return Execute(str(parts[0]), part(parts, Expression))

    def begin(self, parts: Parts) -> TransactionControl:
        return TransactionControl("BEGIN")

    def commit(self, parts: Parts) -> TransactionControl:
        return TransactionControl("COMMIT")

    def rollback(self, parts: Parts) -> TransactionControl:
        return TransactionControl("ROLLBACK")

    def query(self, parts: Parts) -> Query:
        body = next(item for item in parts if isinstance(item, (Subselect, SetOperation, Query)))
        limit, offset = value_of(parts, "page", (None, None))
        return Query(value_of(parts, "ctes", ()), body, value_of(parts, "order", ()), limit, offset)

    def ctes(self, parts: Parts) -> Clause:
        return Clause("ctes", tuple(parts))

    def cte(self, parts: Parts) -> tuple[str, Expression]:
        name, value = parts
        return str(name), Subquery(value) if isinstance(value, Query) else value

    def set_operation(self, parts: Parts) -> SetOperation:
        left, operator, right = parts
        kind, every = operator.value
        return SetOperation(kind, every, left, right)

    def set_operator(self, parts: Parts) -> Clause:
        return Clause("set", (parts[0].type.lower(), len(parts) > 1))

    def subselect(self, parts: Parts) -> Subselect:
        projection = part(parts, Projection)
        assert projection is not None
        source, joins = value_of(parts, "from", (None, ()))
        return Subselect(
            projection,
            source,
            joins,
            value_of(parts, "let", ()),
            value_of(parts, "where"),
            value_of(parts, "group"),
        )

    def projection(self, parts: Parts) -> Projection:
        return Projection("DISTINCT" in words(parts), False, all_of(parts, ResultTerm))

    def raw_projection(self, parts: Parts) -> Projection:
        term = ResultTerm(part(parts, Expression), value_of(parts, "alias"), False)
        return Projection("DISTINCT" in words(parts), True, (term,))

    def star(self, parts: Parts) -> ResultTerm:
        return ResultTerm(None, None, True)

    def star_of(self, parts: Parts) -> ResultTerm:
        return ResultTerm(parts[0], None, True)

    def result(self, parts: Parts) -> ResultTerm:
        return ResultTerm(parts[0], value_of(parts, "alias"), False)

    def alias(self, parts: Parts) -> Clause:
        return Clause("alias", str(parts[0]))

    def namespaced(self, parts: Parts) -> KeyspacePath:
        namespace, *path = names(parts)
        return KeyspacePath(namespace, tuple(path))

    def from_clause(self, parts: Parts) -> Clause:
        return Clause("from", (parts[0], tuple(parts[1:])))

    def from_term(self, parts: Parts) -> FromTerm:
        return FromTerm(parts[0], value_of(parts, "alias"), value_of(parts, "use"))

    def join(self, parts: Parts) -> Join:
        term = part(parts, FromTerm)
        assert term is not None
        kinds = words(parts)
        kind = "nest" if "NEST" in kinds else "join"
        return Join(kind, "LEFT" in kinds, term, value_of(parts, "on"), value_of(parts, "keys"))

    def comma_join(self, parts: Parts) -> Join:
        return Join("join", False, parts[0], None, None)

    def unnest(self, parts: Parts) -> Join:
        source = part(parts, Expression)
        assert source is not None
        term = FromTerm(source, value_of(parts, "alias"), None)
        return Join("unnest", "LEFT" in words(parts), term, None, None)

    def on_keys(self, parts: Parts) -> Clause:
        return Clause("keys", parts[0])

    def on_key_for(self, parts: Parts) -> Clause:
        raise not_done("ON KEY ... FOR (index joins)")

    def on_condition(self, parts: Parts) -> Clause:
        return Clause("on", parts[0])

    def use(self, parts: Parts) -> Clause:
        return Clause("use", value_of(parts, "keys"))

    def use_keys(self, parts: Parts) -> Clause:
        return Clause("keys", parts[0])

    def ignored(self, parts: Parts) -> Clause:
        return Clause("ignored", None)

    def let(self, parts: Parts) -> Clause:
        return Clause("let", tuple(parts))

    def named(self, parts: Parts) -> tuple[str, Expression]:
        return str(parts[0]), parts[-1]

    def where(self, parts: Parts) -> Clause:
        return Clause("where", parts[0])

    def group(self, parts: Parts) -> Clause:
        keys = tuple([item.value for item in parts if item.kind == "group key"])
        alias, letting = value_of(parts, "group as"), value_of(parts, "letting", ())
        return Clause("group", Group(keys, alias, letting, value_of(parts, "having")))

    def group_key(self, parts: Parts) -> Clause:
        return Clause("group key", (parts[0], value_of(parts, "alias")))

    def group_as(self, parts: Parts) -> Clause:
        return Clause("group as", str(parts[0]))

    def letting(self, parts: Parts) -> Clause:
        return Clause("letting", tuple(parts))

    def having(self, parts: Parts) -> Clause:
        return Clause("having", parts[0])

    def order(self, parts: Parts) -> Clause:
        return Clause("order", tuple(parts))

    def sort_term(self, parts: Parts) -> SortTerm:
        kinds = words(parts)
        nulls_last = "LAST" in kinds if "LAST" in kinds or "FIRST" in kinds else None
        return SortTerm(parts[0], "DESC" in kinds, nulls_last)

    def page(self, parts: Parts) -> Clause:
        return Clause("page", (value_of(parts, "limit"), value_of(parts, "offset")))

    def limit(self, parts: Parts) -> Clause:
        return Clause("limit", parts[0])

    def offset(self, parts: Parts) -> Clause:
        return Clause("offset", parts[0])
