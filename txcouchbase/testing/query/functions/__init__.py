"""The scalar functions of SQL++, one module per family.

Aggregates, `META` and whatever needs more than the values of its arguments are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from txcouchbase.testing.query.functions import (
    arrays,
    conditions,
    dates,
    durations,
    encoding,
    numbers,
    objects,
    operators,
    patterns,
    strings,
    tokens,
)
from txcouchbase.testing.query.functions.absent import ABSENT
from txcouchbase.testing.query.functions.signature import Function
from txcouchbase.testing.query.limits import FunctionFailed

__all__ = ["ABSENT", "FUNCTIONS", "Function", "FunctionFailed"]

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {
        name: found
        for family in (
            arrays,
            conditions,
            dates,
            durations,
            encoding,
            numbers,
            objects,
            operators,
            patterns,
            strings,
            tokens,
        )
        for name, found in family.FUNCTIONS.items()
    }
)
"""The functions by their names in lower case."""
