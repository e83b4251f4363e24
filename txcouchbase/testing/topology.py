"""Which nodes a cluster has, and where the copies of each vBucket are. No I/O.

A vBucket's chain lists the numbers of the nodes that have a copy of it: first the active one, then
its replicas; `NOWHERE` where there is none. All nodes share one store, so that every copy is
always up to date.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import uuid4

__all__ = ["NOWHERE", "Chain", "Copies", "Member", "Topology", "check_replicas", "majority_of"]

NOWHERE = -1

Chain = tuple[int, ...]

MAX_NODES = 16
"""How many nodes one process may be asked for."""

MAX_REPLICAS = 3


@dataclass
class Member:
    """One node.

    :param number: it is never given to another node.
    :param group: its server group.
    :param services: ports by the names of the cluster map.
    :param running: whether it answers, as far as other nodes know.
    :param failed_over: whether it is in no cluster map any more.
    """

    number: int
    group: str
    uuid: str = field(default_factory=lambda: uuid4().hex)
    services: dict[str, int] = field(default_factory=dict)
    running: bool = True
    failed_over: bool = False


class Topology:
    """The nodes of a cluster.

    :param nodes: how many there are at first.
    :param server_groups: how many groups they take turns in.
    :raises ValueError: for numbers that a cluster cannot have.
    """

    def __init__(self, nodes: int, server_groups: int) -> None:
        _check("nodes", nodes, 1, MAX_NODES)
        _check("server_groups", server_groups, 1, nodes)
        self._groups = server_groups
        self.all: list[Member] = []
        """All that there ever were, by number."""
        for _ in range(nodes):
            self.add({})

    def add(self, services: dict[str, int]) -> Member:
        """Take a new node in; it has no vBuckets yet.

        :raises ValueError: if there are too many.
        """
        self.check_room()
        number = len(self.all)
        member = Member(number, f"Group {number % self._groups + 1}", services=services)
        self.all.append(member)
        return member

    def check_room(self) -> None:
        """Whether there may be another node.

        :raises ValueError: if there may not.
        """
        if len(self.all) == MAX_NODES:
            raise ValueError(f"there can be no more than {MAX_NODES} nodes")

    @property
    def members(self) -> list[Member]:
        """Those that are in the cluster map, by number; its lists are in this order."""
        return [member for member in self.all if not member.failed_over]

    def member(self, number: int) -> Member:
        """One of those that are in the cluster map.

        :raises LookupError: for another one.
        """
        if not 0 <= number < len(self.all) or self.all[number].failed_over:
            raise LookupError(f"no node {number!r} in the cluster")
        return self.all[number]

    def spread(self, vbuckets: int, replicas: int) -> list[Chain]:
        """The chains of a bucket: evenly over all nodes, replicas in other groups if possible."""
        members = self.members
        chains = []
        for vbucket in range(vbuckets):
            turn, place = divmod(vbucket, len(members))
            active = members[place]
            others = members[place + 1 :] + members[:place]
            if others:
                turn %= len(others)
                others = others[turn:] + others[:turn]
            others.sort(key=lambda other: other.group == active.group)
            copies = [active, *others[:replicas]]
            missing = replicas + 1 - len(copies)
            chains.append((*(member.number for member in copies), *[NOWHERE] * missing))
        return chains

    def alive(self, chain: Chain) -> int:
        """How many of a vBucket's copies are on nodes that answer."""
        return sum(self.all[number].running for number in chain if number != NOWHERE)

    def after(self, chain: Chain, number: int) -> Chain:
        """A chain without a node; of its other nodes one that answers is the active one."""
        if number not in chain:
            return chain
        left = [other for other in chain if other not in (number, NOWHERE)]
        if chain[0] == number:
            left.sort(key=lambda other: not self.all[other].running)
        return (*left, *[NOWHERE] * (len(chain) - len(left)))


class Copies:
    """Where the copies of a bucket's vBuckets are.

    :param chains: by vBucket.
    """

    def __init__(self, chains: list[Chain]) -> None:
        self.chains = chains
        active: dict[int, set[int]] = {}
        replicas: dict[int, set[int]] = {}
        for vbucket, chain in enumerate(chains):
            active.setdefault(chain[0], set()).add(vbucket)
            for number in chain[1:]:
                replicas.setdefault(number, set()).add(vbucket)
        self._active = {number: frozenset(found) for number, found in active.items()}
        self._replicas = {number: frozenset(found) for number, found in replicas.items()}

    def active_on(self, node: int) -> frozenset[int]:
        """The vBuckets whose active copy is on a node, by its number."""
        return self._active.get(node, frozenset())

    def replicas_on(self, node: int) -> frozenset[int]:
        """The vBuckets of which a node, by its number, has a replica."""
        return self._replicas.get(node, frozenset())


def majority_of(chain: Chain) -> int:
    """How many copies a durable write needs, counted from the copies that there should be."""
    return len(chain) // 2 + 1


def check_replicas(replicas: int) -> None:
    """Refuse a number of replicas that no bucket has.

    :raises ValueError: it says what is wrong.
    """
    _check("replicas", replicas, 0, MAX_REPLICAS)


def _check(name: str, number: int, low: int, high: int) -> None:
    if type(number) is not int or not low <= number <= high:
        raise ValueError(f"{name}: {number!r} is no number from {low} to {high}")
