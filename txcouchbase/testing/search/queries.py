"""From the JSON of a query to what evaluates it.

Source: Couchbase's documentation, *Search Request JSON Properties*; which kind an object is, and
what a wrong one is answered, follow bleve's ``query.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.mapping import DATE, Mapping
from txcouchbase.testing.search.matchers import (
    Boolean,
    Conjunction,
    Constant,
    Disjunction,
    Matcher,
    Values,
    chunks,
)
from txcouchbase.testing.search.patterns import (
    MAX_FUZZINESS,
    alike,
    between,
    literal_prefix,
    matching,
    of_wildcard,
)
from txcouchbase.testing.search.querystring import Clause, clauses
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.termmatchers import Expanded, Phrase, Term
from txcouchbase.testing.search.values import (
    distance_between,
    inside,
    metres,
    number,
    place,
    seconds_of,
)

__all__ = ["matcher_of"]

Query = dict[str, Any]


class _All(Constant):
    def candidates(self, index: Documents) -> Iterator[list[int]]:
        return chunks(index.rows)


class _None(Constant):
    def candidates(self, index: Documents) -> Iterator[list[int]]:
        return iter(())


class _Ids(Constant):
    def __init__(self, boost: float, ids: list[str]) -> None:
        super().__init__(boost, "ids")
        self._ids = frozenset(ids)

    def candidates(self, index: Documents) -> Iterator[list[int]]:
        for part in chunks(index.rows.items()):
            yield [number for number, row in part if row.key in self._ids]


def matcher_of(query: Any, mapping: Mapping) -> Matcher:
    """What evaluates a query.

    :param mapping: the rules of the index.
    :raises SearchRefused: for what is no query, or one that the node does not evaluate.
    """
    return _Parser(mapping).matcher(query)


class _Parser:
    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._kinds: tuple[tuple[tuple[str, ...], Callable[[Query], Matcher]], ...] = (
            # The first of which the query has a member.
            (("match",), self._match),
            (("match_phrase",), self._match_phrase),
            (("term",), self._term),
            (("terms",), self._terms),
            (("must", "should", "must_not"), self._boolean),
            (("conjuncts",), self._conjuncts),
            (("disjuncts",), self._disjuncts),
            (("query",), self._query_string),
            (("min", "max"), self._range),
            (("start", "end"), self._dates),
            (("prefix",), self._prefix),
            (("regexp",), self._regexp),
            (("wildcard",), self._wildcard),
            (("match_all",), lambda query: _All(_boost(query), "*:*")),
            (("match_none",), lambda query: _None(_boost(query), "none")),
            (("ids",), lambda query: _Ids(_boost(query), _texts(query, "ids"))),
            (("bool",), self._bool),
            (("top_left", "bottom_right"), self._box),
            (("distance",), self._near),
            (("polygon_points",), self._polygon),
        )

    def matcher(self, query: Any) -> Matcher:
        """What evaluates one query."""
        if isinstance(query, dict):
            for members, make in self._kinds:
                if any(member in query for member in members):
                    return make(query)
            for member in ("geometry", "cidr"):
                if member in query:
                    raise SearchRefused(
                        f"a query of {member!r} is not evaluated by this node; script an answer"
                    )
        raise SearchRefused("unknown query type")

    def _field(self, query: Query) -> str:
        return _text(query, "field", "") or self._mapping.default_field

    def _match(self, query: Query) -> Matcher:
        field, operator = self._field(query), query.get("operator", "or")
        if operator not in ("or", "and", 0, 1):
            raise SearchRefused(f"unknown match operator: {operator!r}")
        terms = [token.term for token in self._tokens(query, "match", field)]
        boost, fuzziness = _boost(query), _fuzziness(query)
        prefix = _count(query, "prefix_length")
        parts = [self._like(1.0, field, term, fuzziness, prefix) for term in terms]
        if not parts:
            return _None(boost, "none")
        return Conjunction(boost, parts) if operator in ("and", 1) else Disjunction(boost, parts)

    def _tokens(self, query: Query, member: str, field: str) -> list[Any]:
        name = _text(query, "analyzer", "")
        analyzer = self._mapping.analyzer(name) if name else self._mapping.analyzer_for(field)
        return analyzer.tokens(_text(query, member))

    def _like(self, boost: float, field: str, term: str, fuzziness: int, prefix: int) -> Matcher:
        if not fuzziness:
            return Term(boost, field, term)
        return Expanded(boost, field, term[:prefix], alike(term, fuzziness))

    def _match_phrase(self, query: Query) -> Matcher:
        field = self._field(query)
        at: dict[int, list[str]] = {}
        for token in self._tokens(query, "match_phrase", field):
            at[token.position] = [token.term]
        if not at:
            return _None(_boost(query), "none")
        places = [at.get(each, []) for each in range(min(at), max(at) + 1)]
        if _fuzziness(query):
            raise SearchRefused("fuzziness of phrases is not evaluated by this node")
        return Phrase(_boost(query), field, places)

    def _term(self, query: Query) -> Matcher:
        return self._like(
            _boost(query),
            self._field(query),
            _text(query, "term"),
            _fuzziness(query),
            _count(query, "prefix_length"),
        )

    def _terms(self, query: Query) -> Matcher:
        terms = query["terms"]
        if isinstance(terms, list) and all(isinstance(each, list) for each in terms):
            places = [_texts({"terms": each}, "terms") for each in terms]
        else:
            places = [[each] for each in _texts(query, "terms")]
        if not any(places):
            raise SearchRefused("phrase query must contain at least one term")
        return Phrase(_boost(query), self._field(query), places)

    def _boolean(self, query: Query) -> Matcher:
        parts = {
            name: self.matcher(query[name])
            for name in ("must", "should", "must_not")
            if query.get(name) is not None
        }
        if not parts:
            raise SearchRefused(
                "boolean query must contain at least one must or should or not must clause"
            )
        must, should = parts.get("must"), parts.get("should")
        if should is not None and not isinstance(should, Disjunction):
            should = Disjunction(1.0, [should], 0)
        if must is None and should is None:
            must = _All(1.0, "*:*")
        return Boolean(_boost(query), must, should, parts.get("must_not"))

    def _conjuncts(self, query: Query) -> Matcher:
        return Conjunction(_boost(query), [self.matcher(e) for e in _list(query, "conjuncts")])

    def _disjuncts(self, query: Query) -> Matcher:
        parts = [self.matcher(each) for each in _list(query, "disjuncts")]
        least = number(query.get("min", 0))
        if least is None:
            raise SearchRefused("cannot unmarshal: min of a disjunction must be a number")
        if least > len(parts):
            raise SearchRefused(
                "disjunction query has fewer than the minimum number of clauses to satisfy"
            )
        return Disjunction(_boost(query), parts, int(least))

    def _range(self, query: Query) -> Matcher:
        low, high = query.get("min"), query.get("max")
        bounds = [each for each in (low, high) if each is not None]
        within = between(low, high, *_inclusive(query, "min", "max"))
        boost, field = _boost(query), self._field(query)
        if bounds and all(isinstance(each, str) for each in bounds):
            return Expanded(boost, field, "", within)
        if not bounds or any(number(each) is None for each in bounds):
            raise SearchRefused("numeric range query must specify min or max, as numbers")
        return Values(boost, f"{field}:{low}..{high}", field, "number", within)

    def _dates(self, query: Query) -> Matcher:
        bounds: dict[str, float | None] = {"start": None, "end": None}
        parser = _text(query, "datetime_parser", "")
        if parser not in ("", DATE):
            raise SearchRefused(
                f"the datetime_parser {parser!r} is not evaluated by this node, which has {DATE};"
                " script an answer"
            )
        for name in bounds:
            text = query.get(name)
            if text is not None and text != "":
                bounds[name] = seconds_of(text)
                if bounds[name] is None:
                    raise SearchRefused(
                        f"unable to parse datetime with any of the layouts: {name} {text!r}"
                    )
        if bounds["start"] is None and bounds["end"] is None:
            raise SearchRefused("must specify start or end")
        field = self._field(query)
        low, high = bounds["start"], bounds["end"]
        within = between(low, high, *_inclusive(query, "start", "end"))
        return Values(_boost(query), f"{field}:{bounds}", field, "datetime", within)

    def _prefix(self, query: Query) -> Matcher:
        return Expanded(
            _boost(query), self._field(query), _text(query, "prefix"), lambda term: True
        )

    def _regexp(self, query: Query) -> Matcher:
        return Expanded(_boost(query), self._field(query), "", matching(_text(query, "regexp")))

    def _wildcard(self, query: Query) -> Matcher:
        pattern = _text(query, "wildcard")
        pick = matching(of_wildcard(pattern))
        return Expanded(_boost(query), self._field(query), literal_prefix(pattern), pick)

    def _bool(self, query: Query) -> Matcher:
        wanted, field = query["bool"], self._field(query)
        if not isinstance(wanted, bool):
            raise SearchRefused("cannot unmarshal: bool must be true or false")
        return Values(
            _boost(query), f"{field}:{wanted}", field, "boolean", lambda value: value is wanted
        )

    def _places(self, boost: float, field: str, label: str, test: Callable[[Any], bool]) -> Matcher:
        return Values(boost, f"{field}:{label}", field, "geopoint", test)

    def _box(self, query: Query) -> Matcher:
        (left, top), (right, bottom) = _place(query, "top_left"), _place(query, "bottom_right")
        if top < bottom:
            raise SearchRefused("geo bounding box: top_left is below bottom_right")

        def within(at: tuple[float, float]) -> bool:
            x, y = at
            # A box may lie across the date line.
            across = left <= x <= right if left <= right else x >= left or x <= right
            return across and bottom <= y <= top

        return self._places(_boost(query), self._field(query), "box", within)

    def _near(self, query: Query) -> Matcher:
        centre, far = _place(query, "location"), metres(query["distance"])
        if far is None:
            raise SearchRefused(f"geo distance {query['distance']!r} has an unknown unit or number")
        return self._places(
            _boost(query),
            self._field(query),
            "distance",
            lambda at: distance_between(centre, at) <= far,
        )

    def _polygon(self, query: Query) -> Matcher:
        corners = [
            _place({"polygon_points": e}, "polygon_points") for e in _list(query, "polygon_points")
        ]
        if len(corners) < 3:
            raise SearchRefused("geo bounding polygon: fewer than three points")
        return self._places(
            _boost(query), self._field(query), "polygon", lambda at: inside(at, corners)
        )

    def _query_string(self, query: Query) -> Matcher:
        parts: dict[str, list[Matcher]] = {"+": [], "-": [], "": []}
        for clause in clauses(_text(query, "query")):
            parts[clause.sign].append(self._clause(clause))
        boost = _boost(query)
        if not any(parts.values()):
            return _None(boost, "none")
        must = Conjunction(1.0, parts["+"]) if parts["+"] else None
        should = Disjunction(1.0, parts[""], 0 if must else 1) if parts[""] else None
        if must is None and should is None:
            must = Conjunction(1.0, [_All(1.0, "*:*")])
        must_not = Disjunction(1.0, parts["-"]) if parts["-"] else None
        return Boolean(boost, must, should, must_not)

    def _clause(self, clause: Clause) -> Matcher:
        query: Query = dict(clause.query)
        if clause.field:
            query["field"] = clause.field
        if clause.boost != 1.0:
            query["boost"] = clause.boost
        found = self.matcher(query)
        value = _as_number(query.get("match"))
        if value is None:
            return found
        # A number may be a word as well.
        exact = {"min": value, "max": value, "inclusive_max": True}
        exact |= {name: query[name] for name in ("field", "boost") if name in query}
        return Disjunction(1.0, [found, self.matcher(exact)])


def _as_number(text: Any) -> float | None:
    try:
        return float(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _boost(query: Query) -> float:
    boost = query.get("boost")
    found = 1.0 if boost is None else number(boost)
    if found is None:
        raise SearchRefused("cannot unmarshal: boost must be a number")
    return found


def _text(query: Query, member: str, default: str | None = None) -> str:
    value = query.get(member)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise SearchRefused(f"cannot unmarshal: {member} must be a string")
    return value


def _list(query: Query, member: str) -> list[Any]:
    value = query.get(member)
    if not isinstance(value, list) or not value:
        raise SearchRefused(f"cannot unmarshal: {member} must be an array that is not empty")
    return value


def _texts(query: Query, member: str) -> list[str]:
    value = query.get(member)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SearchRefused(f"cannot unmarshal: {member} must be an array of strings")
    return value


def _count(query: Query, member: str) -> int:
    value = query.get(member) or 0
    if type(value) is not int or value < 0:
        raise SearchRefused(f"cannot unmarshal: {member} must be a number that is not negative")
    return value


def _fuzziness(query: Query) -> int:
    if query.get("fuzziness") == "auto":
        raise SearchRefused("fuzziness 'auto' is not evaluated by this node; script an answer")
    found = _count(query, "fuzziness")
    if found > MAX_FUZZINESS:
        raise SearchRefused(f"fuzziness exceeds max ({MAX_FUZZINESS})")
    return found


def _inclusive(query: Query, low: str, high: str) -> tuple[bool, bool]:
    found = []
    for name, default in ((f"inclusive_{low}", True), (f"inclusive_{high}", False)):
        value = query.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise SearchRefused(f"cannot unmarshal: {name} must be true or false")
        found.append(value)
    return found[0], found[1]


def _place(query: Query, member: str) -> tuple[float, float]:
    found = place(query.get(member))
    if found is None:
        raise SearchRefused(f"cannot unmarshal: {member} must be a place: longitude, latitude")
    return found
