"""How each kind of statement is carried out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from txcouchbase.testing.query import mutations
from txcouchbase.testing.query.definitions import DEFINITIONS
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Execution
from txcouchbase.testing.query.explain import explained
from txcouchbase.testing.query.pipeline import Batches
from txcouchbase.testing.query.prepared import Prepared
from txcouchbase.testing.query.projection import signature
from txcouchbase.testing.query.queries import Planner
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.syntax import (
    Delete,
    Execute,
    Explain,
    Insert,
    Prepare,
    Query,
    Statement,
    TransactionControl,
    Update,
)
from txcouchbase.testing.query.transaction_statements import (
    CLIENT_REQUESTS,
    client_request,
    control,
    ended,
    undone,
)
from txcouchbase.testing.query.values import MISSING, is_array

__all__ = ["Run", "run", "run_prepared"]

READ_ONLY = "The server or request is read-only and cannot accept this write statement."


@dataclass(frozen=True)
class Run:
    """A statement that is running.

    :param batches: its rows; empty ones say that it is not done yet.
    :param signature: the types of the rows; None where there are none.
    :param prepared: the name of what was prepared and is executed at once.
    """

    batches: Batches
    signature: Any
    prepared: str | None = None


_MUTATIONS: dict[type[Statement], Callable[[Planner, Any], Batches]] = {
    Insert: mutations.insert,
    Update: mutations.update,
    Delete: mutations.delete,
}

_IN_TRANSACTIONS = (Query, Insert, Update, Delete)


def run(
    execution: Execution, statement: Statement, text: str = "", auto_execute: bool = False
) -> Run:
    """Start a statement.

    :param text: as it was sent.
    :param auto_execute: whether what PREPARE prepares is executed too.
    :raises QueryError: for what cannot be planned, and for what definitions come to.
    """
    planner = Planner(execution)
    within = execution.transaction
    if within is None and execution.settings.implicit and isinstance(statement, _IN_TRANSACTIONS):
        return _implicit(execution, statement)
    if isinstance(statement, Query):
        plan = planner.query(statement, Scope())
        return Run(_driven(execution, plan.batches(())), plan.signature)
    if isinstance(statement, Prepare):
        return _prepare(execution, statement, text, auto_execute)
    if isinstance(statement, Execute):
        return _execute(planner, statement)
    if isinstance(statement, Explain):
        trial = Planner(_without_values(execution))
        shown = {"plan": explained(trial, statement.statement), "text": text}
        return Run(iter([[shown]]), "json")
    if isinstance(statement, TransactionControl):
        return Run(iter([control(execution, statement.kind)]), "json")
    if execution.readonly:
        raise QueryError(1000, READ_ONLY)
    change = _MUTATIONS.get(type(statement))
    if change is not None:
        assert isinstance(statement, (Insert, Update, Delete))
        batches = change(planner, statement)
        if within is not None:
            batches = undone(within, batches)
        returned = None if statement.returning is None else signature(statement.returning)
        return Run(_driven(execution, batches), returned)
    if within is not None:
        raise QueryError(17002, "This statement is not supported within a transaction")
    DEFINITIONS[type(statement)](planner, statement)
    return Run(iter(()), None)


def _implicit(execution: Execution, statement: Statement) -> Run:
    """Start a statement that is a transaction by itself."""
    transactions = execution.state.transactions
    transaction = transactions.begin(execution.settings, execution.state.seconds())
    execution.transaction = transaction
    try:
        running = run(execution, statement)
    except QueryError:
        transactions.close(transaction)
        raise
    return replace(running, batches=ended(execution, transaction, running.batches))


def _driven(execution: Execution, batches: Batches) -> Batches:
    for once in execution.prefetch:
        yield from once.steps()
    yield from batches


def _prepare(execution: Execution, statement: Prepare, text: str, auto_execute: bool) -> Run:
    if isinstance(statement.statement, (Prepare, Execute, Explain)):
        raise QueryError(
            3000, "syntax error - only queries, mutations and definitions are prepared"
        )
    if isinstance(statement.statement, (Query, Insert, Update, Delete)) and not auto_execute:
        explained(Planner(_without_values(execution)), statement.statement)
    prepared = execution.state.statements.prepare(
        statement.name, text, statement.statement, execution.context, statement.force
    )
    if auto_execute:
        return replace(run(execution, prepared.statement, text), prepared=prepared.name)
    return Run(iter([[_shown(execution, prepared)]]), "json")


def _without_values(execution: Execution) -> Execution:
    """For planning alone: parameters are not needed yet."""
    return replace(execution, positional=_AnyValue(), named=_AnyName(), prefetch=[])


class _AnyValue(list[Any]):
    def __len__(self) -> int:
        return 1 << 31

    def __getitem__(self, index: Any) -> Any:
        return None


class _AnyName(dict[str, Any]):
    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return None


def _shown(execution: Execution, prepared: Prepared) -> dict[str, Any]:
    context = "" if execution.context is None else "default:" + ".".join(execution.context)
    return {
        "encoded_plan": b64encode(prepared.text.encode("utf-8", "replace")).decode(),
        "featureControls": 76,
        "indexApiVersion": 4,
        "indexScanKeyspaces": {},
        "name": prepared.name,
        "namespace": "default",
        "operator": {"#operator": "Authorize"},
        "queryContext": context,
        "reqType": type(prepared.statement).__name__.upper(),
        "signature": _signature(prepared.statement),
        "text": prepared.text,
    }


def _signature(statement: Statement) -> Any:
    if isinstance(statement, (Insert, Update, Delete)):
        return None if statement.returning is None else signature(statement.returning)
    return "json"


def _execute(planner: Planner, statement: Execute) -> Run:
    execution = planner.execution
    if statement.using is not None:
        value = planner.compiler(Scope()).expression(statement.using)(())
        if is_array(value):
            execution.positional = list(value)
        elif type(value) is dict:
            execution.named = value
        elif value is not MISSING:
            raise QueryError(1070, "USING has to be of type array or object")
    if statement.name in CLIENT_REQUESTS and execution.settings.told.kv:
        return Run(iter([client_request(execution, statement.name)]), "json")
    return run_prepared(execution, statement.name)


def run_prepared(execution: Execution, name: str) -> Run:
    """Start a prepared statement.

    :raises QueryError: 4040 if there is none of that name; else as `run`.
    """
    prepared = execution.state.statements.find(name, execution.context)
    return run(execution, prepared.statement, prepared.text)
