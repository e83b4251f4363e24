"""Statements that were parsed or prepared before. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.parse import Parser
from txcouchbase.testing.query.syntax import Statement

__all__ = ["Prepared", "Statements"]

MAX_PREPARED = 16384
"""How many are kept, as on a server; the one that was used least recently goes first."""

Context = tuple[str, str] | None


@dataclass(frozen=True)
class Prepared:
    """A prepared statement.

    :param text: as it was sent.
    """

    name: str
    text: str
    statement: Statement


class Statements:
    """The parser, and the prepared statements by their names."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._prepared: OrderedDict[tuple[Context, str], Prepared] = OrderedDict()

    def parse(self, text: str) -> Statement:
        """The statement that a text is.

        :raises QueryError: as `parse.parse`.
        """
        return self._parser.parse(text)

    def prepare(
        self, name: str | None, text: str, statement: Statement, context: Context, force: bool
    ) -> Prepared:
        """Keep a statement.

        :param name: None for one that follows from the text.
        :param force: whether it may take the place of another one of that name.
        :raises QueryError: 4060 if the name is taken.
        """
        if name is None:
            name = str(uuid5(NAMESPACE_URL, f"{context}{text}"))
        present = self._prepared.get((context, name))
        if present is not None and present.statement != statement and not force:
            raise QueryError(4060, f"Unable to add name: duplicate name: {name}")
        prepared = Prepared(name, text, statement)
        self._prepared[context, name] = prepared
        self._prepared.move_to_end((context, name))
        if len(self._prepared) > MAX_PREPARED:
            self._prepared.popitem(last=False)
        return prepared

    def find(self, name: str, context: Context) -> Prepared:
        """A prepared statement.

        :raises QueryError: 4040 if there is none of that name.
        """
        prepared = self._prepared.get((context, name))
        if prepared is None:
            where = "unset" if context is None else "default:" + ".".join(context)
            raise QueryError(4040, f"No such prepared statement: {name}, context: {where}")
        self._prepared.move_to_end((context, name))
        return prepared

    def forget(self, name: str | None = None) -> None:
        """Forget what is prepared under a name, or, without one, everything."""
        for key in list(self._prepared):
            if name in (None, key[1]):
                del self._prepared[key]

    def all(self) -> list[Prepared]:
        """All that are prepared."""
        return list(self._prepared.values())
