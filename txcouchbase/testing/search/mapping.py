"""From documents to fields: which documents an index holds, and what it keeps of them.

Source: Couchbase's documentation, *Search Index JSON Properties*, and bleve's ``mapping`` package:
flags that a definition leaves out are false, names of nested properties are joined with dots, an
element of an array is a value of the array's field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from txcouchbase.testing.search.analyzers import Analyzer, analyzer_of
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.values import number, place, seconds_of, vector

__all__ = ["DATE", "Field", "Mapping", "VectorField"]

DATE = "dateTimeOptional"
"""The one reader of dates; what it cannot read is text."""

_SCOPED = "scope.collection."


@dataclass(slots=True)
class Field:
    """One value of one field of one document.

    :param kind: ``text``, ``number``, ``datetime``, ``boolean``, ``geopoint`` or ``vector``.
    :param value: what is compared: of dates seconds since the epoch, of places a pair.
    :param raw: what the document holds.
    :param path: the places in arrays on the way to it.
    :param in_all: whether queries without a field find it.
    :param vectors: whether the places of terms are kept.
    """

    name: str
    kind: str
    value: Any
    raw: Any
    path: tuple[int, ...]
    index: bool
    store: bool
    in_all: bool
    vectors: bool
    analyzer: Analyzer


@dataclass(frozen=True, slots=True)
class VectorField:
    """How a field of vectors is searched."""

    dims: int
    similarity: str


@dataclass(slots=True)
class _Walk:
    """Where a walk through a document is."""

    names: tuple[str, ...]
    path: tuple[int, ...]
    rules: tuple[dict[str, Any], ...]
    """The mapping of each name so far, as far as there are any."""
    analyzer: str


Reader = Callable[[Any], Any]

_READERS: dict[str, Reader] = {
    "text": lambda value: value if isinstance(value, str) else None,
    "number": number,
    "datetime": seconds_of,
    "boolean": lambda value: value if isinstance(value, bool) else None,
    "geopoint": place,
    "vector": lambda value: vector(value) if isinstance(value, list) else None,
    "vector_base64": lambda value: vector(value) if isinstance(value, str) else None,
}
_WHOLE = ("geopoint", "vector")
"""Kinds whose value may be an object or an array."""

SIMILARITIES = ("l2_norm", "dot_product", "cosine")


class Mapping:
    """The rules of one index.

    :param params: of a definition that is stored.
    :raises SearchRefused: where the node cannot tell which documents it holds.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        rules = params["mapping"]
        config = params["doc_config"]
        self._mode = config.get("mode") or "type_field"
        self._type_field = config.get("type_field") or "type"
        self._delimiter = config.get("docid_prefix_delim") or ""
        try:
            self._id_pattern = re.compile(config.get("docid_regexp") or "")
        except re.error as error:
            raise SearchRefused(f"doc_config.docid_regexp: {error}") from None
        if self._mode.removeprefix(_SCOPED) not in ("type_field", "docid_prefix", "docid_regexp"):
            raise SearchRefused(
                f"the mode {self._mode!r} of doc_config is not evaluated by this node;"
                " script an answer"
            )
        self._types = {k: v for k, v in (rules.get("types") or {}).items() if v is not None}
        self._default = rules.get("default_mapping") or {}
        self._default_type = rules.get("default_type", "_default")
        self.default_field = rules.get("default_field") or "_all"
        self._custom = (rules.get("analysis") or {}).get("analyzers") or {}
        self._analyzers: dict[str, Analyzer] = {}
        self._default_analyzer = rules.get("default_analyzer") or "standard"
        self._dates = rules.get("default_datetime_parser") or DATE
        self._flags = {
            "index": rules.get("index_dynamic", True),
            "store": rules.get("store_dynamic", False),
            "include_in_all": True,
            "include_term_vectors": True,
        }
        self.vector_fields: dict[str, VectorField] = {}
        self._field_analyzers: dict[str, str] = {}

    def check(self) -> None:
        """Refuse what the node does not evaluate, before anything is indexed.

        :raises SearchRefused: if there is something.
        """
        if self._dates != DATE:
            raise SearchRefused(
                f"the date parser {self._dates!r} is not evaluated by this node, which has {DATE};"
                " script an answer"
            )
        for each in (*self._types.values(), self._default):
            self._check(each, (), each.get("default_analyzer") or self._default_analyzer)
        self.analyzer(self._default_analyzer)

    def analyzer(self, name: str) -> Analyzer:
        """An analyzer by its name.

        :raises SearchRefused: for one that the node does not have.
        """
        found = self._analyzers.get(name)
        if found is None:
            found = self._analyzers[name] = analyzer_of(name, self._custom)
        return found

    def analyzer_for(self, field: str | None) -> Analyzer:
        """The analyzer of the texts that a query looks for in a field."""
        return self.analyzer(self._field_analyzers.get(field or "", self._default_analyzer))

    def _check(self, rules: dict[str, Any], names: tuple[str, ...], analyzer: str) -> None:
        """Take note of fields, and refuse what is not evaluated."""
        self.analyzer(analyzer)
        for field in rules.get("fields") or ():
            kind = field.get("type", "text")
            name = _field_name(names, field)
            if kind not in _READERS:
                raise SearchRefused(
                    f"the type {kind!r} of the field {name!r} is not evaluated by this node;"
                    " script an answer"
                )
            if kind == "text":
                own = field.get("analyzer") or analyzer
                self.analyzer(own)
                self._field_analyzers.setdefault(name, own)
            elif kind == "datetime" and (field.get("date_format") or DATE) != DATE:
                raise SearchRefused(
                    f"the date_format {field['date_format']!r} of the field {name!r} is not"
                    f" evaluated by this node, which has {DATE}; script an answer"
                )
            elif kind.startswith("vector"):
                similarity = field.get("similarity") or SIMILARITIES[0]
                if similarity not in SIMILARITIES:
                    raise SearchRefused(
                        f"the similarity {similarity!r} of the field {name!r} is none of"
                        f" {', '.join(SIMILARITIES)}"
                    )
                self.vector_fields[name] = VectorField(int(field.get("dims") or 0), similarity)
        for name, each in (rules.get("properties") or {}).items():
            self._check(each, (*names, name), each.get("default_analyzer") or analyzer)

    def rules_of(
        self, scope: str, collection: str, key: str, document: Callable[[], Any]
    ) -> dict[str, Any] | None:
        """The rules for a document; None if the index does not hold it.

        :param document: reads it; called where its type counts.
        """
        place = f"{scope}.{collection}"
        if self._mode.startswith(_SCOPED):
            if any(each.startswith(f"{place}.") for each in self._types):
                kind = self._type_of(key, document)
                found = self._types.get(f"{place}.{kind}")
                if found is not None:
                    return found if found.get("enabled", True) else None
            found = self._types.get(place)
        elif place != "_default._default":
            return None
        else:
            kind = self._type_of(key, document) if self._types else self._default_type
            found = self._types.get(kind)
        if found is None and place == "_default._default":
            found = self._default
        return found if found is not None and found.get("enabled", True) else None

    def all_rules(self) -> Iterator[dict[str, Any]]:
        """The rules for documents of any kind, without those that hold none."""
        for each in (*self._types.values(), self._default):
            if each.get("enabled", True):
                yield each

    def _type_of(self, key: str, document: Callable[[], Any]) -> str:
        mode = self._mode.removeprefix(_SCOPED)
        if mode == "docid_prefix":
            prefix, delimiter, _ = key.partition(self._delimiter) if self._delimiter else ("",) * 3
            return prefix if delimiter else self._default_type
        if mode == "docid_regexp":
            match = self._id_pattern.search(key)
            return match.group() if match else self._default_type
        value = document()
        for name in self._type_field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, str) else self._default_type

    def fields(self, rules: dict[str, Any], document: Any) -> Iterator[Field]:
        """What an index keeps of a document, by the rules for it."""
        if isinstance(document, dict):
            analyzer = rules.get("default_analyzer") or self._default_analyzer
            yield from self._object(document, _Walk((), (), (rules,), analyzer))

    def _object(self, value: dict[str, Any], at: _Walk) -> Iterator[Field]:
        for name, each in value.items():
            rules, analyzer = at.rules, at.analyzer
            if len(rules) == len(at.names) + 1:
                found = (rules[-1].get("properties") or {}).get(name)
                if found is not None:
                    rules = (*rules, found)
                    analyzer = found.get("default_analyzer") or analyzer
            yield from self._value(each, _Walk((*at.names, name), at.path, rules, analyzer))

    def _value(self, value: Any, at: _Walk) -> Iterator[Field]:
        explicit = at.rules[-1] if len(at.rules) == len(at.names) + 1 else None
        if value is None or (explicit is not None and not explicit.get("enabled", True)):
            return
        nested = isinstance(value, (dict, list))
        if explicit is not None:
            for field in explicit.get("fields") or ():
                kind = field.get("type", "text")
                if not nested or kind in _WHOLE:
                    yield from self._explicit(field, kind, value, at)
        elif not nested and at.rules[-1].get("dynamic", True):
            yield from self._dynamic(value, at)
        if isinstance(value, dict):
            yield from self._object(value, at)
        elif isinstance(value, list):
            whole = _is_whole(explicit)
            for index, each in enumerate(value):
                if not whole or isinstance(each, (dict, list)):
                    step = _Walk(at.names, (*at.path, index), at.rules, at.analyzer)
                    yield from self._value(each, step)

    def _explicit(self, field: dict[str, Any], kind: str, value: Any, at: _Walk) -> Iterator[Field]:
        read = _READERS[kind](value)
        if read is None:
            return
        kind = kind.removesuffix("_base64")
        name = _field_name(at.names, field)
        if kind == "vector" and len(read) != self.vector_fields[name].dims:
            return
        analyzer = field.get("analyzer") or at.analyzer
        yield self._field(name, kind, read, value, at, field, analyzer)

    def _dynamic(self, value: Any, at: _Walk) -> Iterator[Field]:
        kind, read = "text", value
        if isinstance(value, bool):
            kind = "boolean"
        elif not isinstance(value, str):
            kind, read = "number", number(value)
        else:
            seconds = seconds_of(value)
            if seconds is not None:
                kind, read = "datetime", seconds
        yield self._field(".".join(at.names), kind, read, value, at, self._flags, at.analyzer)

    def _field(
        self,
        name: str,
        kind: str,
        read: Any,
        raw: Any,
        at: _Walk,
        flags: dict[str, Any],
        analyzer: str,
    ) -> Field:
        return Field(
            name,
            kind,
            read,
            raw,
            at.path,
            bool(flags.get("index")),
            bool(flags.get("store")),
            bool(flags.get("include_in_all")),
            bool(flags.get("include_term_vectors")),
            self.analyzer(analyzer),
        )


def _is_whole(rules: dict[str, Any] | None) -> bool:
    """Whether an array at this place is one value, not many."""
    return rules is not None and any(
        field.get("type") in _WHOLE for field in rules.get("fields") or ()
    )


def _field_name(names: tuple[str, ...], field: dict[str, Any]) -> str:
    own = field.get("name")
    return ".".join((*names[:-1], own) if own else names)
