"""The built-in reduce functions, and groups. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.views.collation import collated

if TYPE_CHECKING:
    from txcouchbase.testing.query.pipeline import Batches

__all__ = ["BUILT_IN", "ReduceFailed", "reduced"]


class ReduceFailed(Exception):
    """A reduce function does not take a value; the message says which."""


def reduced(batches: Batches, name: str, level: int | None) -> Batches:
    """A row for each group of entries, which come in order.

    :param name: of the function.
    :param level: as `ViewQuery` has it.
    """
    function = BUILT_IN[name]
    values: list[Any] = []
    identity: Any = None
    key: Any = None
    for batch in batches:
        done = []
        for entry in batch:
            found = _group(entry.key, level)
            # Of several keys that are asked for, each has groups of its own.
            place = (entry.place[0], collated(found))
            if values and place != identity:
                done.append({"key": key, "value": function(name, values)})
                values = []
            identity, key = place, found
            values.append(entry.value)
        yield done
    if values:
        yield [{"key": key, "value": function(name, values)}]


def _group(key: Any, level: int | None) -> Any:
    if level == 0:
        return None
    return key[:level] if isinstance(key, list) else key


def _count(name: str, values: list[Any]) -> int:
    return len(values)


def _sum(name: str, values: list[Any]) -> Any:
    return sum(_numbers(name, values))


def _stats(name: str, values: list[Any]) -> dict[str, Any]:
    numbers = _numbers(name, values)
    return {
        "sum": sum(numbers),
        "count": len(numbers),
        "min": min(numbers),
        "max": max(numbers),
        "sumsqr": sum([number * number for number in numbers]),
    }


def _numbers(name: str, values: list[Any]) -> list[Any]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ReduceFailed(
                f"Builtin {name} function requires map values to be numbers, not {value!r}"
            )
    return values


BUILT_IN: dict[str, Callable[[str, list[Any]], Any]] = {
    "_count": _count,
    "_sum": _sum,
    "_stats": _stats,
}
