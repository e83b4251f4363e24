"""Answers on their way into the SDK's own result objects."""

from __future__ import annotations

from typing import Any

__all__ = ["RawResult", "raw_result"]


class RawResult:
    """Stands in for the binding's result behind a Result of the SDK.

    Attributes:
        raw_result: What the binding told, as a map.
    """

    __slots__ = ("raw_result",)

    core_span = None
    start_time = None
    end_time = None

    def __init__(self, raw_result: dict[str, Any]) -> None:
        self.raw_result = raw_result

    def __repr__(self) -> str:
        return f"RawResult:{self.raw_result}"


def raw_result(data: dict[str, Any]) -> Any:
    """A `RawResult`, typed so that the SDK's annotations take it for the binding's own."""
    return RawResult(data)
