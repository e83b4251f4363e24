"""`Manager`: what the managers have in common."""

from __future__ import annotations

import copy
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar, NoReturn

from couchbase.exceptions import InvalidArgumentException
from couchbase.logic.observability import ObservabilityInstruments
from couchbase.logic.observability.no_op import NoOpMeter, NoOpTracer
from couchbase.logic.observability.observability_types import WrappedTracer
from twisted.internet.defer import Deferred

from txcouchbase.amp import objects
from txcouchbase.amp.operations import manager_call
from txcouchbase.calls import Caller, encode_arguments

__all__ = ["Manager"]

_kind = cache(manager_call)
# What is rehearsed here is traced and measured, if at all, where it happens.
_NO_TRACER: Any = NoOpTracer()
_UNOBSERVED = ObservabilityInstruments(WrappedTracer(_NO_TRACER, False), NoOpMeter())


class Manager:
    """Calls the methods of one of the SDK's managers in a worker.

    All methods take the SDK's options block of their name, or its fields as keywords. An
    argument that the SDK refuses before it sends anything raises at once, as in the SDK;
    arguments are taken as they are at the call, later changes are not seen. `timeout` (a
    `timedelta`) runs from the call to the answer; the default is the cluster's
    `management_timeout` (75 seconds). No method is called twice if a worker dies: then the
    error is `WorkerLost`, and what was to be changed may have been.

    Args:
        caller: Calls methods of the cluster, bucket, scope or collection whose manager it is.
        names: Those of the bucket, the scope and the collection, as far as it is theirs.
    """

    _accessor: ClassVar[str]
    _sdk: ClassVar[type[Any]]

    def __init__(self, caller: Caller, *names: str) -> None:
        self._caller = caller
        self._rehearsal = self._sdk(_Stage(), *names, _UNOBSERVED)

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        args = tuple(map(_without_span, args))
        kwargs.pop("parent_span", None)
        try:
            arguments = encode_arguments(args, kwargs)
        except InvalidArgumentException:
            self._rehearse(method, args, kwargs)  # the SDK's own refusal says more
            raise
        self._rehearse(method, *objects.decode(arguments))
        kind = _kind(f"{self._accessor}.{method}")
        return self._caller.call(kind, arguments, _timeout(args, kwargs))

    def _rehearse(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let the SDK's manager do all that it does before it sends a request.

        Raises:
            Exception: Whatever the SDK raises for bad arguments.
        """
        with suppress(_WouldSend):
            getattr(self._rehearsal, method)(*args, **kwargs)


class _Stage:
    """Takes the place of the SDK's connection in a rehearsal."""

    def execute_mgmt_request(self, request: Any, **kwargs: Any) -> NoReturn:
        """What gets here has passed all of the SDK's checks."""
        raise _WouldSend


class _WouldSend(BaseException):
    """The rehearsal is over. No Exception, so that nothing on its way out takes it for one."""


def _without_span(argument: Any) -> Any:
    """The argument without a `parent_span`, an object that stays in the application."""
    if isinstance(argument, objects.OPTION_CLASSES) and "parent_span" in argument:
        argument = copy.copy(argument)
        del argument["parent_span"]
    return argument


def _timeout(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """The option of that name, which the SDK has seen (seconds); None if it is not given."""
    for options in (kwargs, *args):
        if isinstance(options, dict) and isinstance(options.get("timeout"), timedelta):
            seconds: float = options["timeout"].total_seconds()
            return seconds
    return None
