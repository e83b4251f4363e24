"""Which terms are in which documents: an inverted index on SQLite's FTS5, in memory.

A document is one row of an FTS5 table. Its text is made of one word for each term of each field:
the field's number and the term, in hexadecimal digits, so that FTS5 takes no term apart and keeps
the order of their bytes. FTS5's vocabulary tables give the terms of a field and their documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from txcouchbase.testing.search.refusals import SearchRefused

__all__ = ["TextIndex"]

BATCH = 500
"""Rows that are read at once."""

LONGEST = 4096
"""Characters of a term; longer ones are not indexed."""

_DIGITS = 6
"""Of the number of a field, which precedes a term."""

_LAST = "g"
"""Sorts behind all hexadecimal digits."""

_TABLES = (
    "CREATE VIRTUAL TABLE texts USING fts5(words, tokenize='ascii')",
    # Small pieces, so that no step takes long.
    "INSERT INTO texts(texts, rank) VALUES ('hashsize', 131072)",
    "CREATE VIRTUAL TABLE terms USING fts5vocab(texts, row)",
    "CREATE VIRTUAL TABLE places USING fts5vocab(texts, instance)",
)


def _word(field: int, term: str) -> str:
    return f"{field:06x}{term.encode().hex()}"


def _term(word: str) -> str:
    return bytes.fromhex(word[_DIGITS:]).decode()


def _lacking(error: Exception) -> SearchRefused:
    reason = f"text is searched with FTS5 of sqlite3, which this Python lacks: {error}"
    return SearchRefused(reason, 500)


class TextIndex:
    """The terms of documents, which are known by the numbers of their rows.

    :raises SearchRefused: where the standard library's ``sqlite3`` has no FTS5.
    """

    def __init__(self) -> None:
        # Not at the top: some Pythons lack it, and most nodes search nothing.
        try:
            import sqlite3
        except ImportError as error:
            raise _lacking(error) from None
        # Threads: it is made and used in the reactor's, and may be collected in any.
        self._database: Any = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA journal_mode = OFF")
        try:
            for statement in _TABLES:
                self._database.execute(statement)
        except sqlite3.OperationalError as error:
            raise _lacking(error) from None

    def __del__(self) -> None:
        # Newer Pythons warn of connections that nobody closed.
        if hasattr(self, "_database"):
            self._database.close()

    def begin(self) -> None:
        """What follows until `commit` is written together, which is faster."""
        self._database.execute("BEGIN")

    def commit(self) -> None:
        """End what `begin` began."""
        self._database.execute("COMMIT")

    def finish(self) -> None:
        """As `commit`, where nothing may have been begun."""
        if self._database.in_transaction:
            self.commit()

    def add(self, row: int, texts: Iterable[tuple[int, list[str]]]) -> None:
        """Add a document.

        :param texts: numbers of fields, and the terms there.
        """
        words = " ".join(
            _word(field, term) for field, terms in texts for term in terms if len(term) <= LONGEST
        )
        self._database.execute("INSERT INTO texts(rowid, words) VALUES (?, ?)", (row, words))

    def remove(self, row: int) -> None:
        """Take a document out."""
        self._database.execute("DELETE FROM texts WHERE rowid = ?", (row,))

    def rows(self, field: int, term: str) -> Iterator[list[int]]:
        """The documents that have a term in a field, once for each time, in batches."""
        cursor = self._database.execute(
            "SELECT doc FROM places WHERE term = ?", (_word(field, term),)
        )
        while batch := cursor.fetchmany(BATCH):
            yield [row for (row,) in batch]

    def count(self, field: int, term: str) -> int:
        """In how many documents a field has a term."""
        found = self._database.execute(
            "SELECT doc FROM terms WHERE term = ?", (_word(field, term),)
        ).fetchone()
        return found[0] if found else 0

    def terms(self, field: int, prefix: str = "") -> Iterator[list[str]]:
        """The terms of a field that begin with a prefix, sorted, in batches."""
        start = _word(field, prefix)
        cursor = self._database.execute(
            "SELECT term FROM terms WHERE term >= ? AND term < ?", (start, start + _LAST)
        )
        while batch := cursor.fetchmany(BATCH):
            yield [_term(word) for (word,) in batch]
