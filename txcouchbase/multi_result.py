"""The SDK's results of multi operations, as mappings too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from couchbase import result as sdk

from txcouchbase.results import raw_result

__all__ = [
    "MultiCounterResult",
    "MultiExistsResult",
    "MultiGetReplicaResult",
    "MultiGetResult",
    "MultiMutationResult",
    "MultiUnlockResult",
]

T = TypeVar("T")


class _Outcomes(Mapping[str, "T | Exception"]):
    """The view of a multi operation's outcomes as a mapping: every key in the caller's order, with
    its Result or its exception."""

    def __init__(self, outcomes: dict[str, Any], all_ok: bool) -> None:
        # The SDK's own constructor takes the binding's object apart, in which a document
        # of the name all_okay has no place.
        self._orig = raw_result({})
        self._results = outcomes
        self._all_ok = all_ok

    def __getitem__(self, key: str) -> T | Exception:
        outcome: T | Exception = self._results[key]
        return outcome

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)


class MultiGetResult(_Outcomes[sdk.GetResult], sdk.MultiGetResult):
    """The SDK's class, also a mapping."""

    _result_type: Any = sdk.GetResult


class MultiGetReplicaResult(
    _Outcomes["sdk.GetReplicaResult | list[sdk.GetReplicaResult]"], sdk.MultiGetReplicaResult
):
    """The SDK's class, also a mapping: to one Result, or to a list of those of all copies."""

    _result_type: Any = sdk.GetReplicaResult


class MultiExistsResult(_Outcomes[sdk.ExistsResult], sdk.MultiExistsResult):
    """The SDK's class, also a mapping."""


class MultiMutationResult(_Outcomes[sdk.MutationResult], sdk.MultiMutationResult):
    """The SDK's class, also a mapping."""


class MultiCounterResult(_Outcomes[sdk.CounterResult], sdk.MultiCounterResult):
    """The SDK's class, also a mapping."""


class MultiUnlockResult(dict[str, "Exception | None"]):
    """A dict, as in the SDK, which has no class for it: None, or the exception, for each key.

    Attributes:
        all_ok: Whether every key was unlocked.
    """

    def __init__(self, outcomes: dict[str, Exception | None], all_ok: bool) -> None:
        super().__init__(outcomes)
        self.all_ok = all_ok

    @property
    def results(self) -> dict[str, None]:
        """The keys that were unlocked."""
        return {key: None for key, error in self.items() if error is None}

    @property
    def exceptions(self) -> dict[str, Exception]:
        """The others, with their exceptions."""
        return {key: error for key, error in self.items() if error is not None}
