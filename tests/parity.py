"""What the reference and the SDK have, beside what this package has.

``python -m tests.parity > docs/parity.md`` writes the table anew. All of it is found by looking at
the classes; only what is left out on purpose, or differs, is said here.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from dataclasses import dataclass, field
from inspect import Parameter
from typing import get_args

from couchbase import result, transactions

from tests.surface import (
    Parameters,
    class_of_ours,
    is_there,
    missing_parameters,
    own_classes,
    parameters_of,
    parsed_members,
    parsed_parameters,
    public_members,
    sdk_txcouchbase,
    shown_parameters,
)

LEFT_OUT = {
    "tx.TxCluster.loop": "no asyncio loop is needed",
    "tx.N1QLRequest": "of the SDK's own making; a result is a BatchedQueryResult",
    "tx.AnalyticsRequest": "of the SDK's own making; a result is a BatchedAnalyticsResult",
    "tx.FullTextSearchRequest": "of the SDK's own making; a result is a BatchedSearchResult",
    "tx.ViewRequest": "of the SDK's own making; a result is a BatchedViewResult",
    "Transactions.close": "closed with the job workers",
    "Transactions.run_async": "of the SDK's own making; `run` does not block",
    "result.HttpResult": "no method of the SDK returns it",
    "result.ValueResult": "no method of the SDK returns it",
}
"""What will not be there, and why."""

SHARED = {
    "result.Result": "the base class of results",
    "result.MultiResult": "the base class of multi results",
    "result.ContentProxy": "what `content_as` of a GetResult is",
    "result.ContentSubdocProxy": "what `content_as` of a LookupInResult is",
    "result.MutationToken": "what `mutation_token()` of a MutationResult gives",
}
"""Classes that no method returns by itself: the SDK's own, as part of others."""

OTHERWISE = {
    "Transactions.run": "the function gets arguments of its own, as `run_in_worker` says",
}
"""Methods whose parameters differ on purpose, and why."""

REFERENCE: dict[str, tuple[str, ...]] = {
    "TxRawClientMixin": ("registerDeferred(event, d)", "on_connect()", "defer(opres)", "connected"),
    "TxDeferredClientMixin": (),
    "TxRawCluster": (
        "__init__(connstr=None, *args, **kwargs)",
        "analytics_query(*args, **kwargs)",
        "search_query(*args, **kwargs)",
        "query(*args, **kwargs)",
        "query_ex(cls, *args, **kwargs)",
    ),
    "TxCluster": ("__init__(connection_string, *args, **kwargs)",),
    "TxRawBucket": (),
    "TxBucket": ("view_query(*args, **kwargs)", "view_query_ex(viewcls, *args, **kwargs)"),
    "TxRawCollection": (),
    "TxCollection": (),
    "BatchedViewResult": ("__iter__()",),
    "BatchedQueryResult": ("__iter__()",),
    "BatchedAnalyticsResult": ("__iter__()",),
    "BatchedSearchResult": ("__iter__()",),
}
"""The reference's classes, all importable from `txcouchbase.cluster`, and their members."""

MANAGERS = (
    "analytics",
    "buckets",
    "collections",
    "eventing",
    "queries",
    "search",
    "users",
    "views",
)
THERE, IS_LEFT_OUT, MISSING = "there", "deliberately not", "**missing**"


@dataclass
class Row:
    """One member of a class of theirs, beside ours.

    Attributes:
        name: What `LEFT_OUT` and the others call it.
        shown: How the table calls it.
        state: Whether we have it.
        why: What to add to that.
        problems: What the test has to complain about.
    """

    name: str
    shown: str
    state: str
    why: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass
class Section:
    """One table.

    Attributes:
        title: Its heading.
        about: What stands above the rows.
        rows: Its rows.
    """

    title: str
    about: str
    rows: list[Row] = field(default_factory=list)


def returned_by_ours() -> set[type]:
    """The classes of what our public methods return, or their Deferreds fire with, or their
    streams consist of."""
    found: set[type] = set()
    for _, cls in inspect.getmembers(importlib.import_module("txcouchbase.cluster")):
        if not isinstance(cls, type) or not cls.__module__.startswith("txcouchbase."):
            continue
        for _, member in inspect.getmembers(cls, inspect.isfunction):
            annotation = str(inspect.signature(member).return_annotation)
            for name in re.findall(r"\w+", annotation):
                value = member.__globals__.get(name)
                if isinstance(value, type) and is_there(cls, member.__name__):
                    found.add(value)
                    for base in getattr(value, "__orig_bases__", ()):
                        found.update(part for part in get_args(base) if isinstance(part, type))
    return found


def compared(
    name: str, shown: str, theirs: Parameters | None, ours: list[type], member: str
) -> Row:
    """The row of one member.

    Args:
        name: What the lists above call it.
        shown: How the table calls it.
        theirs: Its parameters, None for a property.
        ours: Our classes; it is there if all of them have it.
        member: Its name.
    """
    there = bool(ours) and all(is_there(cls, member) for cls in ours)
    row = _judged(name, shown + shown_parameters(theirs), there)
    if there:
        for cls in ours:
            missing = missing_parameters(theirs, getattr(cls, member))
            if missing and name not in OTHERWISE:
                row.problems.append(f"{cls.__name__}.{member} lacks {', '.join(missing)}")
        row.why = OTHERWISE.get(name, "")
    return row


def _judged(name: str, shown: str, there: bool) -> Row:
    why = LEFT_OUT.get(name, LEFT_OUT.get(name.removeprefix("tx.")))
    if why is not None:
        row = Row(name, shown, IS_LEFT_OUT, why)
        if there:
            row.problems.append(f"{name} is listed as {IS_LEFT_OUT}, and is there")
        return row
    if there:
        return Row(name, shown, THERE)
    return Row(name, shown, MISSING, problems=[f"{name} is missing"])


def the_reference() -> Section:
    """The reference that this package implements."""
    section = Section("The reference", "All classes can be imported from `txcouchbase.cluster`.")
    cluster = importlib.import_module("txcouchbase.cluster")
    for name, members in REFERENCE.items():
        cls = getattr(cluster, name, None)
        section.rows.append(_judged(f"ref.{name}", name, isinstance(cls, type)))
        for text in members:
            member = text.partition("(")[0]
            row = _judged(f"ref.{name}.{member}", f"{name}.{text}", hasattr(cls, member))
            if "(" in text and hasattr(cls, member):
                arguments = text[len(member) :].replace("(", "(self,", 1)
                (function,) = ast.parse(f"def f{arguments}: 0").body
                assert isinstance(function, ast.FunctionDef)
                kinds = {p.kind for p in parameters_of(getattr(cls, member)) or ()}
                for parameter in parsed_parameters(function):
                    if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) and (
                        parameter.kind not in kinds
                    ):
                        row.problems.append(f"{name}.{member} lacks {parameter}")
            section.rows.append(row)
    return section


def the_twisted_sdk() -> Section:
    """The SDK's own, in-process `txcouchbase`."""
    section = Section(
        "The SDK's own `txcouchbase`",
        "The same modules and classes; a program for it runs on ours, as `examples/keyvalue.py`, "
        "`queries.py` and `management.py` do on both. `Tx` and short names are the same classes. "
        "There, an error of a query comes when its rows are read; here its Deferred errbacks.",
    )
    for module, cls in sdk_txcouchbase():
        ours = [found for found in class_of_ours(module, cls.name) if "Raw" not in found.__name__]
        shown = f"{module.removeprefix('txcouchbase.')}.{cls.name}"
        short = f"tx.Tx{cls.name}" if f"tx.Tx{cls.name}.loop" in LEFT_OUT else f"tx.{cls.name}"
        section.rows.append(_judged(short, shown, bool(ours)))
        if short in LEFT_OUT:
            continue
        for member, parameters in parsed_members(cls).items():
            section.rows.append(
                compared(f"{short}.{member}", f"{shown}.{member}", parameters, ours, member)
            )
    return section


def the_blocking_sdk() -> list[Section]:
    """The SDK's blocking API, each method of which has one of ours that returns a Deferred."""
    sections = []
    places = [
        ("cluster", "Cluster"),
        ("bucket", "Bucket"),
        ("scope", "Scope"),
        ("collection", "Collection"),
        ("binary_collection", "BinaryCollection"),
    ]
    for module in MANAGERS:
        found = importlib.import_module(f"couchbase.management.{module}")
        places += [
            (f"management.{module}", cls.__name__)
            for cls in own_classes(found)
            if cls.__name__.endswith("Manager")
        ]
    places.append(("transactions", "Transactions"))
    for module, name in places:
        cls = getattr(importlib.import_module(f"couchbase.{module}"), name)
        ours = class_of_ours(f"txcouchbase.{module}", name)
        section = Section(
            f"`couchbase.{module}.{name}`",
            "Ours: " + (", ".join(f"`{found.__name__}`" for found in ours) or "none") + ".",
        )
        for member, value in public_members(cls).items():
            parameters = parameters_of(value)
            section.rows.append(compared(f"{name}.{member}", member, parameters, ours, member))
        sections.append(section)
    return sections


def the_data_structures() -> Section:
    """The SDK's data structures."""
    section = Section("`couchbase.datastructures`", "Documents as lists, maps, queues and sets.")
    for cls in own_classes(importlib.import_module("couchbase.datastructures")):
        name = cls.__name__
        ours = class_of_ours("txcouchbase.datastructures", name)
        members = public_members(cls)
        shown = f"{name}: {', '.join(members)}"
        there = bool(ours) and all(is_there(found, member) for found in ours for member in members)
        row = _judged(name, shown, there)
        for found in ours if there else ():
            for member, theirs in members.items():
                missing = missing_parameters(parameters_of(theirs), getattr(found, member))
                if missing:
                    row.problems.append(f"{found.__name__}.{member} lacks {', '.join(missing)}")
        section.rows.append(row)
    return section


def the_results() -> Section:
    """The SDK's results."""
    section = Section(
        "`couchbase.result`",
        "Ours are instances of these classes: the SDK's own, or classes derived from them.",
    )
    returned = returned_by_ours()
    for cls in own_classes(result):
        matches = sorted(
            (found for found in returned if issubclass(found, cls)), key=lambda c: c.__name__
        )
        exact = cls in matches
        derived = [found for found in matches if found.__module__.startswith("txcouchbase.")]
        name = f"result.{cls.__name__}"
        row = _judged(name, cls.__name__, exact or bool(derived) or name in SHARED)
        if row.state == THERE:
            named = ", ".join(f"`{found.__name__}`" for found in derived)
            row.why = SHARED.get(name, f"as {named}" if derived else "the SDK's own")
        section.rows.append(row)
    return section


def the_rest_of_transactions() -> Section:
    """What a function in a transaction gets."""
    section = Section(
        "`couchbase.transactions`",
        "A transaction's function runs in a job worker: what it gets there is the SDK's own.",
    )
    module = importlib.import_module("txcouchbase.transactions")
    for name, cls in vars(transactions).items():
        if isinstance(cls, type) and name != "Transactions":
            own = getattr(module, name, None)
            row = _judged(f"transactions.{name}", name, True)
            derived = own is not None and own is not cls
            row.why = "a class derived from it" if derived else "the SDK's own"
            section.rows.append(row)
    return section


def sections() -> list[Section]:
    """The whole comparison."""
    return [
        the_reference(),
        the_twisted_sdk(),
        *the_blocking_sdk(),
        the_data_structures(),
        the_rest_of_transactions(),
        the_results(),
    ]


def problems(found: list[Section]) -> list[str]:
    """What is not as the lists above say."""
    rows = [row for section in found for row in section.rows]
    known = {row.name for row in rows}
    stale = [
        f"{name} is listed, and nobody has it"
        for listed in (LEFT_OUT, OTHERWISE, SHARED)
        for name in listed
        if name not in known
    ]
    return stale + [problem for row in rows for problem in row.problems]


def counted(found: list[Section]) -> dict[str, int]:
    """How many rows there are of each state."""
    states = [row.state for section in found for row in section.rows]
    return {state: states.count(state) for state in (THERE, IS_LEFT_OUT, MISSING)}


def written(found: list[Section]) -> str:
    """The comparison as Markdown."""
    counts = counted(found)
    lines = [
        "# Parity",
        "",
        "Made by `python -m tests.parity`, which looks at the classes of the SDK and at ours; "
        "`tests/test_parity.py` fails when it is out of date.",
        "",
        f"{counts[THERE]} rows are there, {counts[IS_LEFT_OUT]} are deliberately not there.",
    ]
    for section in found:
        lines += [
            "",
            f"## {section.title}",
            "",
            section.about,
            "",
            "| Theirs | Ours |",
            "|---|---|",
        ]
        for row in section.rows:
            state = f"{row.state}; {row.why}" if row.why else row.state
            lines.append(f"| `{row.shown}` | {state} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(written(sections()))
