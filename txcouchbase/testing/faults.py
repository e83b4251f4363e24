"""Faults on demand: which requests they strike, and what happens to them. No I/O.

A fault is a plain description; `Faults.add` puts it into force. Where chance decides, it is drawn
from the fault's own seed, so that the same requests in the same order meet the same fate.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from txcouchbase.testing.kv.frames import Opcode
from txcouchbase.testing.kv.status import Status

__all__ = ["EFFECTS", "SERVICES", "ActiveFault", "Fault", "Faults"]

SERVICES: Final = ("kv", "mgmt", "query", "analytics", "search", "views", "eventing")
"""The services of a node, as faults, scripts and records name them."""

EFFECTS: Final = ("delay", "refuse", "drop", "truncate", "garble", "silence")


@dataclass(frozen=True)
class Fault:
    """What happens to some requests.

    Which: those of ``service`` for which each of these holds.

    :param service: ``kv``, ``mgmt``, ``query``, ``analytics``, ``search``, ``views`` or
        ``eventing``.
    :param operation: a regular expression that must match somewhere in the name of the opcode
        (``kv``, such as ``^(GET|SET)$``) or in method and path (``POST /query/service``).
    :param key: a regular expression for the document's key (``kv`` only).
    :param bucket: the name of the connection's bucket (``kv`` only); None for any.
    :param skip: how many of them are let through first.
    :param times: how many are struck then; None for all.
    :param probability: the chance of each of them, from 0.0 to 1.0.
    :param seed: of that chance, and of the bytes of ``garble``.

    What:

    :param effect: ``delay``: nothing but the delay. ``refuse``: it is not carried out, its answer
        is ``status``. ``drop``: the connection closes after ``size`` bytes of the answer.
        ``truncate``: the body of the answer is cut to ``size`` bytes, in a frame that says so.
        ``garble``: the body of the answer is other bytes. ``silence``: no answer, and the
        connection stays.
    :param delay: seconds by which the answer leaves later. The request is carried out at once.
    :param status: with ``refuse``: the name of a key-value status, such as ``TMPFAIL`` or
        ``LOCKED``; or an HTTP status code.
    :param body: with ``refuse`` over HTTP: the answer's body.
    :param size: bytes, for ``drop`` and ``truncate``.
    :param carried_out: with ``drop`` and ``silence``: whether the request takes effect.
    :raises ValueError: for what contradicts itself; it says what.
    """

    service: str
    operation: str = ""
    key: str = ""
    bucket: str | None = None
    skip: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    effect: str = "delay"
    delay: float = 0.0
    status: str | int | None = None
    body: str = ""
    size: int = 0
    carried_out: bool = True

    def __post_init__(self) -> None:
        if self.service not in SERVICES:
            raise ValueError(f"service: {self.service!r} is none of {', '.join(SERVICES)}")
        if self.effect not in EFFECTS:
            raise ValueError(f"effect: {self.effect!r} is none of {', '.join(EFFECTS)}")
        for name in ("operation", "key"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise ValueError(f"{name}: not a regular expression: {error}") from None
        if self.delay < 0 or self.size < 0 or self.skip < 0:
            raise ValueError("delay, size and skip cannot be negative")
        if self.times is not None and self.times < 1:
            raise ValueError("times: at least 1, or None for all")
        if not 0 <= self.probability <= 1:
            raise ValueError("probability: from 0.0 to 1.0")
        if self.service != "kv" and (self.key or self.bucket is not None):
            raise ValueError("key and bucket choose key-value requests only")
        if (self.status is not None) != (self.effect == "refuse"):
            raise ValueError("status: goes with the effect refuse, and only with it")
        if self.body and (self.effect != "refuse" or self.service == "kv"):
            raise ValueError("body: goes with the effect refuse of an HTTP service only")
        if self.effect == "refuse":
            self._check_status()
        if not self.carried_out and self.effect not in ("drop", "silence"):
            raise ValueError("carried_out: goes with the effects drop and silence only")
        if self.effect == "delay" and not self.delay > 0:
            raise ValueError("delay: a fault without another effect needs one above 0 seconds")
        if self.service == "kv" and self.operation:
            if not any(re.search(self.operation, opcode.name) for opcode in Opcode):
                raise ValueError(f"operation: {self.operation!r} matches no opcode's name")

    def _check_status(self) -> None:
        if self.service == "kv":
            if not isinstance(self.status, str) or self.status not in Status.__members__:
                known = ", ".join(Status.__members__)
                raise ValueError(f"status: {self.status!r} is none of {known}")
        elif not isinstance(self.status, int) or not 200 <= self.status <= 599:
            raise ValueError(f"status: {self.status!r} is no HTTP status from 200 to 599")


@dataclass
class ActiveFault:
    """A fault in force.

    :param number: what tells it from others.
    :param struck: how many requests it has struck so far.
    """

    number: int
    fault: Fault
    struck: int = 0
    _seen: int = 0
    _random: Random = field(default_factory=Random, repr=False)

    def __post_init__(self) -> None:
        self._random.seed(self.fault.seed)

    def strikes(self, operation: str, key: str, bucket: str | None) -> bool:
        """Whether a request of its service is struck; counts it."""
        fault = self.fault
        if fault.times is not None and self.struck >= fault.times:
            return False
        if fault.bucket is not None and fault.bucket != bucket:
            return False
        if not re.search(fault.operation, operation) or not re.search(fault.key, key):
            return False
        self._seen += 1
        if self._seen <= fault.skip or self._random.random() >= fault.probability:
            return False
        self.struck += 1
        return True

    def garbled(self, body: bytes) -> bytes:
        """Other bytes, as many."""
        return self._random.randbytes(len(body))


class Faults:
    """The faults in force; the first that strikes a request is the only one.

    :param changed: told when one comes or goes.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._numbers = count(1)
        self._active: dict[int, ActiveFault] = {}

    def add(self, fault: Fault) -> ActiveFault:
        """Put a fault into force, after those that are."""
        active = ActiveFault(next(self._numbers), fault)
        self._active[active.number] = active
        self._changed()
        return active

    def remove(self, number: int) -> None:
        """End a fault.

        :raises LookupError: if there is none of that number.
        """
        if self._active.pop(number, None) is None:
            raise LookupError(f"no fault {number}")
        self._changed()

    def clear(self) -> None:
        """End all."""
        self._active.clear()
        self._changed()

    def active(self) -> list[ActiveFault]:
        """Those in force, the oldest first."""
        return list(self._active.values())

    def concern(self, service: str) -> bool:
        """Whether any could strike a request of a service."""
        return any(active.fault.service == service for active in self._active.values())

    def strike(
        self, service: str, operation: str, key: str = "", bucket: str | None = None
    ) -> ActiveFault | None:
        """The fault that strikes a request, if one does."""
        for active in self._active.values():
            if active.fault.service == service and active.strikes(operation, key, bucket):
                return active
        return None
