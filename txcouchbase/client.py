"""What clusters, buckets, scopes and collections have in common: connection events, and the
two forms in which answers are delivered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from couchbase.exceptions import InvalidArgumentException
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txcouchbase.keyvalue import DeferredOperation, KeyValueOperation, RawOperation
from txcouchbase.multi_operation import DeferredMulti, MultiOperation, RawMulti
from txcouchbase.results import AsyncResult
from txcouchbase.workers.target import Target

if TYPE_CHECKING:
    from txcouchbase.settings import FacadeSettings
    from txcouchbase.workers.pool import WorkerPool

__all__ = [
    "REQUIRED",
    "TxDeferredClientMixin",
    "TxRawClientMixin",
    "raw",
    "require_parent",
]

P = ParamSpec("P")
T = TypeVar("T")

REQUIRED: Any = None
"""Stands where an argument is missing, so that `require_parent` can say what is."""


class TxRawClientMixin:
    """Connection events; key-value methods return an `AsyncResult`.

    Attributes:
        quiet: Whether a missing document is a Result whose `success` is false and whose `value`
            is None, instead of an error. Inherited by what is made from now on; every
            key-value method also takes it as a keyword.
    """

    _operation: type[KeyValueOperation] = RawOperation
    _multi_operation: type[MultiOperation] = RawMulti
    _pool: WorkerPool
    _settings: FacadeSettings
    _target: Target
    quiet: bool

    def registerDeferred(self, event: str, d: Deferred[Any]) -> None:
        """Fire a Deferred at an event; on a later turn if it has happened.

        Args:
            event: ``"connect"``, which fires once a worker is connected and errbacks as
                `on_connect` does, or ``"_dtor"``, which fires when `close` has ended.
            d: The Deferred.

        Raises:
            ValueError: There is no such event.
        """
        if event == "connect":
            self._target.when_connected().chainDeferred(d)
        elif event == "_dtor":
            self._target.when_ended().chainDeferred(d)
        else:
            raise ValueError(f"the events are 'connect' and '_dtor', not {event!r}")

    def on_connect(self) -> Deferred[None]:
        """A new Deferred each time, which fires once a worker is connected.

        It errbacks with the SDK's exception if none can be: a refused login or an unknown
        bucket at once, an unreachable server when the SDK's `bootstrap_timeout` is over.
        """
        return self._target.when_connected()

    def defer(self, opres: AsyncResult[T]) -> Deferred[T]:
        """A Deferred of what an `AsyncResult` waits for, in place of its callbacks."""
        deferred: Deferred[T] = Deferred(lambda _: _give_up(opres))
        opres.set_callbacks(
            deferred.callback,
            lambda _, kind, value, traceback: deferred.errback(Failure(value, kind, traceback)),
        )
        return deferred

    @property
    def connected(self) -> bool:
        """Whether a worker has been connected; still true after `close()`."""
        return self._target.ever_connected


class TxDeferredClientMixin(TxRawClientMixin):
    """Connection events; key-value methods return a Deferred."""

    _operation: type[KeyValueOperation] = DeferredOperation
    _multi_operation: type[MultiOperation] = DeferredMulti


def raw(
    method: Callable[Concatenate[Any, P], Deferred[T]],
) -> Callable[Concatenate[Any, P], AsyncResult[T]]:
    """The same method, which in a raw form returns an `AsyncResult`."""
    return cast("Callable[Concatenate[Any, P], AsyncResult[T]]", method)


def _give_up(opres: AsyncResult[Any]) -> None:
    opres.cancel()
    # The outcome may be there and about to be delivered: nobody wants it any more.
    opres.set_callbacks(None, lambda *_: None)


def require_parent(child: str, parent: object, name: object, keywords: dict[str, Any]) -> None:
    """Refuse arguments that are not a parent with a method of the child's name, and a name.

    Raises:
        InvalidArgumentException: It is, for example, a connection string.
    """
    made = isinstance(parent, TxRawClientMixin) and hasattr(parent, child)
    if not made or keywords or not isinstance(name, str):
        # Their types, since the repr of options shows the password.
        given = [type(value).__name__ for value in (parent, name) if value is not None]
        raise InvalidArgumentException(
            f"a {child} is made by {child}(name) of its parent, or as (parent, name), and not "
            f"from a connection string; given were {', '.join([*given, *keywords]) or 'none'}"
        )
