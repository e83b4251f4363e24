"""Statements of the analytics service that are no queries, and what they say. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from txcouchbase.testing.analytics.errors import COMPILATION, AnalyticsRefused, not_done

if TYPE_CHECKING:
    from lark import Lark

__all__ = ["Path", "Statement", "is_query", "parse", "split_use"]

Path = tuple[str, ...]
"""A name with what it is qualified by."""

MAX_STATEMENT = 64 * 1024
"""Characters of the longest statement that is looked at."""

_QUERY = re.compile(
    r"(?:\s|\(|--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*(?:select|from|with|let)\b", re.IGNORECASE
)
_PART = r"`[^`]+`|\w+"
_USE = re.compile(rf"\s*use\s+((?:{_PART})(?:\s*\.\s*(?:{_PART}))*)\s*;(?=.*\S)", re.I | re.S)
_UNDONE = re.compile(
    r"(alter(?!\s+collection)|analyze|copy|delete|execute|explain|insert|load|refresh|set|truncate"
    r"|update|upsert|use"
    r"|(?:create|drop)\s+(?:or\s+replace\s+)?(?!dataset|dataverse|index|analytics\s+scope"
    r"|analytics\s+collection)\w+(?:\s+\w+)?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """A statement that is carried out.

    :param kind: the name of its rule in the grammar, such as ``create_scope``.
    :param paths: what it is about, in the order in which the statement names it.
    :param lenient: whether it says ``IF EXISTS`` or ``IF NOT EXISTS``.
    :param source: what a collection is filled from: bucket, or bucket, scope and collection.
    :param condition: which documents a collection takes; None for all.
    :param fields: of an index: names and types.
    :param options: after ``WITH``.
    """

    kind: str
    paths: tuple[Path, ...]
    lenient: bool = False
    source: Path = ()
    condition: str | None = None
    fields: tuple[tuple[Path, str], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def split_use(text: str) -> tuple[Path | None, str]:
    """The scope that ``USE`` before a statement names, None without it, and the statement."""
    match = _USE.match(text)
    if match is None:
        return None, text
    return tuple(part.strip("`") for part in re.findall(_PART, match.group(1))), text[match.end() :]


def is_query(text: str) -> bool:
    """Whether a statement begins as one that reads collections."""
    return _QUERY.match(text) is not None


def parse(text: str) -> Statement:
    """What a statement says that is no query.

    :raises AnalyticsRefused: COMPILATION for one that is none, INTERNAL for one that is not done.
    :raises ImportError: without lark.
    """
    parser = _parser()
    from lark import UnexpectedInput

    if len(text) > MAX_STATEMENT:
        raise AnalyticsRefused(
            COMPILATION, f"the statement is longer than {MAX_STATEMENT} characters"
        )
    try:
        tree = parser.parse(text)
    except UnexpectedInput as error:
        undone = _UNDONE.match(text.lstrip())
        if undone is not None:
            raise not_done(" ".join(undone.group(1).upper().split())) from None
        line, column = max(getattr(error, "line", 1), 1), max(getattr(error, "column", 1), 1)
        raise AnalyticsRefused(
            COMPILATION, f"Syntax error: In line {line} at column {column}: {_near(text, error)}"
        ) from None
    statement = tree.children[0]
    assert not isinstance(statement, str)
    return _RULES[statement.data](statement)


@cache
def _parser() -> Lark:
    try:
        from lark import Lark
    except ImportError as error:
        raise ImportError(f"{error}; install txcouchbase[testing]") from error
    grammar = files(__package__).joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False)


def _near(text: str, error: Any) -> str:
    position = getattr(error, "pos_in_stream", None)
    if position is None or getattr(getattr(error, "token", None), "type", "") == "$END":
        return "Encountered <EOF>"
    return f"Encountered {text[position : position + 20].split(chr(10))[0]!r}"


# From trees to statements.

_Tree = Any


def _path(tree: _Tree) -> Path:
    return tuple(str(each.children[0]).strip("`") for each in tree.children)


def _paths(tree: _Tree) -> tuple[Path, ...]:
    return tuple(_path(each) for each in tree.find_pred(lambda one: one.data == "path"))


def _children(tree: _Tree, rule: str) -> list[_Tree]:
    return [each for each in tree.children if getattr(each, "data", None) == rule]


def _token(tree: _Tree, kind: str) -> str | None:
    return next((str(each) for each in tree.children if getattr(each, "type", None) == kind), None)


def _plain(tree: _Tree) -> Statement:
    """A statement of paths, and perhaps a condition on their existence."""
    lenient = bool(_children(tree, "if_exists") or _children(tree, "if_not_exists"))
    return Statement(
        str(tree.data), tuple(_path(each) for each in _children(tree, "path")), lenient
    )


def _create_collection(tree: _Tree) -> Statement:
    plain = _plain(tree)
    name, source, *link = plain.paths
    condition = _token(tree, "CONDITION")
    if condition is not None and not condition.strip():
        raise AnalyticsRefused(COMPILATION, "Syntax error: WHERE without a condition")
    return Statement(
        plain.kind,
        (name, *link),
        plain.lenient,
        source=source,
        condition=None if condition is None else condition.strip(),
    )


def _create_index(tree: _Tree) -> Statement:
    plain = _plain(tree)
    index = str(_children(tree, "name")[0].children[0]).strip("`")
    fields = tuple(
        (_path(each.children[0]), str(each.children[1].children[0]).strip("`").lower())
        for each in _children(tree, "field")
    )
    return Statement(plain.kind, (*plain.paths, (index,)), plain.lenient, fields=fields)


def _connect_link(tree: _Tree) -> Statement:
    plain, text = _plain(tree), _token(tree, "OBJECT")
    try:
        options = {} if text is None else msgspec.json.decode(text)
    except ValueError as error:
        raise AnalyticsRefused(COMPILATION, f"Syntax error: WITH {text}: {error}") from None
    unknown = options.keys() - {"force"}
    if unknown:
        raise AnalyticsRefused(COMPILATION, f"Unknown option of WITH: {', '.join(unknown)}")
    return Statement(plain.kind, plain.paths, options=options)


_RULES: dict[str, Callable[[_Tree], Statement]] = {
    "create_scope": _plain,
    "drop_scope": _plain,
    "create_collection": _create_collection,
    "drop_collection": _plain,
    "create_index": _create_index,
    "drop_index": _plain,
    "connect_link": _connect_link,
    "disconnect_link": _plain,
    "enable_analytics": _plain,
    "disable_analytics": _plain,
}
