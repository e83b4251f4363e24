"""Functions on objects.

Source: the SQL++ language reference, "Object Functions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from txcouchbase.testing.query.functions.patterns import pattern
from txcouchbase.testing.query.functions.signature import (
    ANY,
    ARRAY,
    OBJECT,
    STRING,
    Function,
    by_name,
    function,
)
from txcouchbase.testing.query.limits import FunctionFailed
from txcouchbase.testing.query.values import MISSING, equals, is_array, type_name

__all__ = ["FUNCTIONS"]

Object = dict[str, Any]


def _pairs(value: Object, options: Object | None = None) -> list[Object]:
    if options is not None and options.get("types") is True:
        return [{"name": name, "type": type_name(value[name])} for name in sorted(value)]
    return [{"name": name, "val": value[name]} for name in sorted(value)]


def _values(value: Object) -> list[Any]:
    return [value[name] for name in sorted(value)]


def _inner(value: Object) -> Object:
    """An object whose arrays have lost what is MISSING; of one item, only that is left."""
    if len(value) == 1:
        return value
    found = dict(value)
    for name, items in value.items():
        if is_array(items):
            kept = [item for item in items if item is not MISSING]
            found[name] = kept[0] if len(kept) == 1 else kept
    return found


def _types(value: Any) -> Any:
    return {name: type_name(item) for name, item in value.items()}


def _with(value: Object, name: str, item: Any) -> Object:
    found = dict(value)
    if item is MISSING:
        found.pop(name, None)
    else:
        found[name] = item
    return found


def _add(value: Any, name: Any, item: Any) -> Any:
    if value is MISSING or name is MISSING:
        return MISSING
    if type(value) is not dict or type(name) is not str:
        return None
    return value if name in value else _with(value, name, item)


def _put(value: Any, name: Any, item: Any) -> Any:
    if value is MISSING or name is MISSING:
        return MISSING
    if type(value) is not dict or type(name) is not str:
        return None
    return _with(value, name, item)


def _concatenation(first: Object, *others: Any) -> Object | None:
    found = dict(first)
    for other in others:
        for part in other if is_array(other) else [other]:
            if type(part) is not dict:
                return None
            found.update(part)
    return found


def _remove(value: Object, *names: str) -> Object:
    return {name: item for name, item in value.items() if name not in names}


def _rename(value: Object, old: str, new: str) -> Object:
    if old not in value:
        return value
    found = _remove(value, old)
    found[new] = value[old]
    return found


def _replace(value: Any, old: Any, new: Any) -> Any:
    if value is MISSING or old is MISSING:
        return MISSING
    if type(value) is not dict or old is None:
        return None
    found = dict(value)
    for name, item in value.items():
        if equals(old, item) is True:
            found = _with(found, name, new)
    return found


def _unwrap(value: Object) -> Any:
    return next(iter(value.values())) if len(value) == 1 else None


# Paths.

_STEP = re.compile(r"\.(?:`(?P<quoted>[^`]+)`|(?P<name>[A-Za-z_]\w*))|\[(?P<place>-?\d{1,9})\]")


def _field(value: Object, path: str) -> Any:
    """What a path leads to, such as ``a.b[0]``; None if it is no path."""
    steps, at, found = "." + path, 0, value
    while at < len(steps):
        step = _STEP.match(steps, at)
        if step is None:
            return None
        found = _stepped(found, step)
        at = step.end()
    return found


def _stepped(value: Any, step: re.Match[str]) -> Any:
    if step["place"] is None:
        name = step["quoted"] or step["name"]
        return value.get(name, MISSING) if type(value) is dict else MISSING
    place = int(step["place"])
    if not is_array(value) or not -len(value) <= place < len(value):
        return MISSING
    return value[place]


_QUOTED = re.compile(r"[ \t.`]")
_FIELDS = re.compile(r"(?:`[^`]*`|[^.`])+")


def _walk(value: Any, star: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """All fields of an object and items of arrays in it: path, value, whether it is an item.

    :param star: whether items have no path of their own, and fields below them one with ``[*]``.
    """
    pending: list[tuple[str, Any, bool]] = [("", value, False)]
    while pending:
        path, found, item = pending.pop()
        if path:
            yield path, found, item
        if type(found) is dict:
            prefix = path + "[*]" * (star and item)
            pending += [
                (_named(prefix, name), found[name], False) for name in sorted(found, reverse=True)
            ]
        elif is_array(found):
            places = [path if star else f"{path}[{place}]" for place in range(len(found))]
            pending += [(place, part, True) for place, part in zip(places, found, strict=True)][
                ::-1
            ]


def _named(prefix: str, name: str) -> str:
    if _QUOTED.search(name):
        name = "`" + name.replace("`", "\\u0060") + "`"
    return f"{prefix}.{name}" if prefix else name


def _is_leaf(value: Any) -> bool:
    return type(value) is not dict and not is_array(value)


def _fits(options: Object) -> Callable[[str], bool]:
    """Whether a path, or a field in it, matches the option ``pattern``."""
    text = options.get("pattern")
    if type(text) is not str or not text:
        return lambda path: True
    search = pattern(text).search
    if options.get("patternspace") == "field":
        return lambda path: any(search(field) for field in _FIELDS.findall(path))
    return lambda path: search(path) is not None


def _check(name: str, options: Object, known: set[str]) -> None:
    """See that no option is given that would be ignored.

    :raises FunctionFailed: with its name.
    """
    for option in sorted(options.keys() - known):
        raise FunctionFailed(f"{name}: the embedded node does not know the option {option!r}")


def _paths(value: Any, options: Object | None = None) -> list[str]:
    chosen = options or {}
    _check(
        "OBJECT_PATHS",
        chosen,
        {"arraysubscript", "composites", "pattern", "patternspace", "unique"},
    )
    fits, composites = _fits(chosen), chosen.get("composites") is not False
    found = sorted(
        path
        for path, part, item in _walk(value, star=chosen.get("arraysubscript") is False)
        if (not item if composites else _is_leaf(part)) and fits(path)
    )
    return found if chosen.get("unique") is False else list(dict.fromkeys(found))


def _nested_pairs(value: Any, options: Object | None = None) -> list[Object]:
    chosen = options or {}
    _check("OBJECT_PAIRS_NESTED", chosen, {"composites", "pattern", "patternspace"})
    fits, composites = _fits(chosen), chosen.get("composites") is True
    found = [
        {"name": path, "val": part}
        for path, part, _ in _walk(value)
        if (composites or _is_leaf(part)) and fits(path)
    ]
    return sorted(found, key=lambda pair: pair["name"])


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "object_add": function(_add, ANY, ANY, ANY),
        "object_concat": function(_concatenation, OBJECT, OBJECT, rest=OBJECT),
        "object_concat2": function(_concatenation, OBJECT, OBJECT | ARRAY, rest=OBJECT | ARRAY),
        "object_field": function(_field, OBJECT, STRING),
        "object_inner_pairs object_innerpairs": function(
            lambda value: _pairs(_inner(value)), OBJECT
        ),
        "object_inner_values object_innervalues": function(
            lambda value: _values(_inner(value)), OBJECT
        ),
        "object_length": function(len, OBJECT),
        "object_names": function(sorted, OBJECT),
        "object_pairs object_outer_pairs object_outerpairs": function(
            _pairs, OBJECT, OBJECT, optional=1
        ),
        "object_pairs_nested": function(_nested_pairs, OBJECT | ARRAY, OBJECT, optional=1),
        "object_paths": function(_paths, OBJECT | ARRAY, OBJECT, optional=1),
        "object_put": function(_put, ANY, ANY, ANY),
        "object_remove": function(_remove, OBJECT, STRING, rest=STRING),
        "object_rename": function(_rename, OBJECT, STRING, STRING),
        "object_replace": function(_replace, ANY, ANY, ANY),
        "object_types": function(_types, OBJECT),
        "object_unwrap": function(_unwrap, OBJECT),
        "object_values object_outer_values object_outervalues": function(_values, OBJECT),
    }
)
"""The functions by name."""
