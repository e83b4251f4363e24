"""What an index makes of a document: the terms of each of its texts."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from txcouchbase.testing.search.mapping import Field, Mapping

__all__ = ["analyzed"]


def analyzed(mapping: Mapping, document: Any) -> list[dict[str, Any]]:
    """The terms of a document's texts, as the search service tells them: one object for each.

    :param mapping: the rules of an index; those for its default collection apply.
    """
    rules = mapping.rules_of("_default", "_default", "", lambda: document)
    if rules is None:
        rules = next(mapping.all_rules(), None)
    fields = mapping.fields(rules, document) if rules is not None else iter(())
    return [_terms(each) for each in fields if each.index and each.kind == "text"]


def _terms(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for token in field.analyzer.tokens(field.value, field.path):
        term = found.setdefault(
            token.term,
            {"Term": b64encode(token.term.encode()).decode(), "Locations": []},
        )
        term["Locations"].append(
            {
                "Field": field.name,
                "ArrayPositions": list(token.path),
                "Start": token.start,
                "End": token.end,
                "Position": token.position,
            }
        )
    return found
