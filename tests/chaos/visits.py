"""The load of clusters that come and go while others share their pool."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests.chaos.calls import Call
from tests.chaos.load import DEFAULT_TIMEOUT, Load, content, increment, reader_of
from tests.chaos.model import CounterModel, RegisterModel

__all__ = ["VisitLoad"]

_CONNECTING = 30.0
"""How long the calls of a cluster that connects may take besides (seconds)."""


class VisitLoad(Load):
    """A cluster is made, used before it is connected, and closed at any moment.

    A document of it is used by a cluster that stays, too: operations on one key keep their order
    across those that share a pool.
    """

    @inlineCallbacks
    def _run(self) -> Generator[Deferred[Any], Any, None]:
        while not self.stopping:
            shared = RegisterModel(self.place.key("shared"))
            counter = CounterModel(self.place.key("shared-counter"))
            yield self._visit(shared, counter)
            for model in (shared, counter):
                yield self.read_at_last(model)
            yield self.pause(self.random.uniform(0.0, 2.0))

    @inlineCallbacks
    def _visit(
        self, shared: RegisterModel, counter: CounterModel
    ) -> Generator[Deferred[Any], Any, None]:
        cluster = self.place.another()
        visiting: Any = cluster.bucket(self.place.bucket).default_collection()
        calls: list[Call] = []
        close_after = self.random.randrange(40)
        closed: Deferred[Any] | None = None
        for number in range(30):
            collection = self.random.choice((visiting, self.place.collection))
            if self.random.random() < 0.7:
                name = self.random.choice(("upsert", "get"))
                calls.append(self._call(name, shared, collection))
            else:
                name = self.random.choice(("increment", "get"))
                calls.append(self._call(name, counter, collection))
            self.cancel_some(calls[-1], None)
            if number == close_after:
                closed = cluster.close()
            if self.random.random() < 0.2:
                yield self.pause(self.random.choice((0.0, 0.01, 0.2)))
        if self.random.random() < 0.5:
            yield self.book.when_over(calls)
        yield closed if closed is not None else cluster.close()
        yield self.book.when_over(calls)

    def _call(self, name: str, model: RegisterModel | CounterModel, collection: Any) -> Call:
        call = self.book.open(name, model.key, DEFAULT_TIMEOUT + _CONNECTING)
        model.calls.append(call)
        if name == "upsert":
            self.book.follow(call, collection.upsert(model.key, {"n": call.number}))
        elif name == "increment":
            self.book.follow(call, increment(collection, model.key), content)
        else:
            self.book.follow(call, collection.get(model.key), reader_of(model))
        return call
