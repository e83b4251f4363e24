"""What requests of the query service say of transactions.

Source: what the C++ client sends, ``core/transactions/attempt_context_impl.cxx``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

__all__ = ["Place", "Settings", "Told"]


class Attempt(msgspec.Struct, frozen=True):
    """The names of a client's attempt."""

    atmpt: str = ""


class Place(msgspec.Struct, frozen=True):
    """A document of a client's transaction: bucket, scope, collection and key."""

    bkt: str
    scp: str
    coll: str
    id: str = ""


class Mutation(Place, frozen=True, kw_only=True):
    """A document in which the client has staged something.

    :param cas: of the document since then.
    """

    cas: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}\\Z")]


class Told(msgspec.Struct, frozen=True):
    """What a client tells of its own transaction.

    :param kv: whether it asks in the place of a key-value request.
    :param scas: the CAS that the document must have then.
    :param id: the attempt, where it begins.
    :param atr: its record of attempts; without a key where it has none yet.
    """

    kv: bool = False
    scas: str | None = None
    id: Attempt = Attempt()
    atr: Place | None = None
    mutations: tuple[Mutation, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What a request says of transactions.

    :param id: the transaction that the statement belongs to.
    :param told: what the client tells of its own transaction.
    :param timeout: seconds; None for the default.
    :param implicit: whether the statement is a transaction by itself.
    """

    id: str | None = None
    told: Told = field(default_factory=Told)
    timeout: float | None = None
    implicit: bool = False
