"""EXPLAIN: a plan in the form of a server's, as far as the node plans at all.

Source: the SQL++ language reference, "EXPLAIN".
"""

from __future__ import annotations

from typing import Any

from txcouchbase.testing.query import mutations
from txcouchbase.testing.query.queries import Planner
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.syntax import (
    Delete,
    Insert,
    Query,
    SetOperation,
    Statement,
    Subselect,
    Update,
)

__all__ = ["explained"]


def explained(planner: Planner, statement: Statement) -> dict[str, Any]:
    """The plan of a statement, which is not carried out.

    :raises QueryError: for what cannot be planned.
    """
    if isinstance(statement, Query):
        planner.query(statement, Scope())
        steps = [*planner.operators, *_query(statement)]
    elif isinstance(statement, (Insert, Update, Delete)):
        steps = _mutation(planner, statement)
    else:
        steps = [{"#operator": type(statement).__name__}]
    return {"#operator": "Sequence", "~children": steps}


def _mutation(planner: Planner, statement: Insert | Update | Delete) -> list[dict[str, Any]]:
    # Planning alone changes nothing: the pipeline has not begun to run.
    if isinstance(statement, Insert):
        mutations.insert(planner, statement)
        word = "SendUpsert" if statement.upsert else "SendInsert"
    elif isinstance(statement, Update):
        mutations.update(planner, statement)
        word = "SendUpdate"
    else:
        mutations.delete(planner, statement)
        word = "SendDelete"
    return [*planner.operators, {"#operator": word}]


def _query(query: Query) -> list[dict[str, Any]]:
    steps = _body(query.body)
    for present, operator in (
        (bool(query.order), "Order"),
        (query.offset is not None, "Offset"),
        (query.limit is not None, "Limit"),
    ):
        if present:
            steps.append({"#operator": operator})
    return [*steps, {"#operator": "Stream"}]


def _body(body: Subselect | SetOperation | Query) -> list[dict[str, Any]]:
    if isinstance(body, Query):
        return _query(body)
    if isinstance(body, SetOperation):
        word = {"union": "Union", "intersect": "Intersect", "except": "Except"}[body.kind]
        return [{"#operator": word + "All" * body.all}]
    return [
        {"#operator": operator}
        for present, operator in (
            (bool(body.joins), "Join"),
            (bool(body.let), "Let"),
            (body.where is not None, "Filter"),
            (body.group is not None, "Group"),
            (True, "InitialProject"),
            (body.projection.distinct, "Distinct"),
        )
        if present
    ]
