"""Models of documents: whether what the calls on one key have seen is allowed.

Calls that ended for certain happen in the order in which they were made. One that ended
ambiguously happens at most once, at any time after it was made, or never. A call that failed for
certain never happens. The models look at a key when no call on it is pending.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.calls import Call, Fate, Finding, Violation

__all__ = [
    "ABSENT",
    "CounterModel",
    "DocumentModel",
    "Ledger",
    "RegisterModel",
    "TallyModel",
    "TextModel",
]

ABSENT = 0
"""Stands for the number of a document that is not there."""

PRESENT = -1
"""Stands for any number of a document that is there."""

_MOST_STATES = 2000

_READS = ("get",)

_State = tuple[int, frozenset[int]]
"""The number in the document, and which of the ambiguous writes have happened."""


_TOLD = {
    "get": Fate.MISSING,
    "replace": Fate.MISSING,
    "remove": Fate.MISSING,
    "insert": Fate.EXISTS,
}
"""What calls may tell of the document, besides that they were done."""


class _Broken(Exception):
    """What was seen is not allowed."""

    def __init__(self, violation: Violation, what: str) -> None:
        super().__init__(what)
        self.violation = violation
        self.what = what


class DocumentModel:
    """One key, its calls, and what they may see.

    Attributes:
        key: The document's key.
        calls: All calls on it, in the order in which they were made.
        tired: Whether too much is uncertain for it to be of further use.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.calls: list[Call] = []
        self.tired = False
        self._settled = 0

    def settle(self) -> list[Finding]:
        """Look at the calls since the last time, none of which is pending."""
        new = self.calls[self._settled :]
        self._settled = len(self.calls)
        if self.tired or not new:
            return []
        try:
            for call in new:
                self._expect_possible(call)
            self._settle(new)
        except _Broken as broken:
            self.tired = True
            history = tuple(map(str, self.calls))
            return [Finding(broken.violation, self.key, broken.what, history)]
        return []

    def _settle(self, new: list[Call]) -> None:
        raise NotImplementedError

    def _expect_possible(self, call: Call) -> None:
        """No call ends with what makes no sense for it."""
        if call.fate in (Fate.MISSING, Fate.EXISTS) and call.fate is not _TOLD.get(call.name):
            raise _Broken(Violation.ALIEN, f"{call.name} {call.number} ended as {call.fate.value}")

    def _steps(self, new: list[Call]) -> Iterator[list[Call]]:
        """Calls that ended for certain, in their order; reads that may overtake each other, since
        they overlap and no write is between them, come together."""
        together: list[Call] = []
        for call in new:
            if call.fate in (Fate.AMBIGUOUS, Fate.REFUSED) or call.name == "select":
                continue
            if call.name in _READS:
                if together and call.called > max(read.ended for read in together):
                    yield together
                    together = []
                together.append(call)
                continue
            if together:
                yield together
                together = []
            yield [call]
        if together:
            yield together


class RegisterModel(DocumentModel):
    """A document that holds the number of the call that wrote it."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self._states: set[_State] = {(ABSENT, frozenset())}
        self._floating: list[int] = []

    @property
    def uncertain(self) -> int:
        """How many writes may still happen."""
        return len(self._floating)

    def _settle(self, new: list[Call]) -> None:
        for call in new:
            if call.name == "select":
                self._glimpse(call)
            elif call.name not in _READS:
                number = ABSENT if call.name == "remove" else call.number
                if call.fate is Fate.AMBIGUOUS:
                    # Sent twice, it may happen twice.
                    self._floating += [number] * (2 if call.repeats else 1)
                elif call.fate is Fate.DONE and call.repeats:
                    self._floating.append(number)
        for step in self._steps(new):
            self._take(step)
            if len(self._states) > _MOST_STATES:
                self.tired = True
                return

    def _glimpse(self, select: Call) -> None:
        """A query is outside of the order, but it cannot have seen what was never there."""
        for number in select.value or ():
            writers = [call for call in self.calls if call.number == number]
            what = f"select {select.number} saw {number}"
            if not writers:
                raise _Broken(Violation.ALIEN, what)
            if writers[0].fate not in (Fate.DONE, Fate.AMBIGUOUS):
                raise _Broken(Violation.DENIED, what)

    def _take(self, step: list[Call]) -> None:
        call = step[0]
        if call.name in _READS:
            seen = {ABSENT if read.fate is Fate.MISSING else read.value for read in step}
            self._see(seen, step)
            return
        if call.fate is Fate.EXISTS:
            self._see({PRESENT}, step)
            return
        if call.fate is Fate.MISSING or call.name == "insert":
            self._see({ABSENT}, step)
        elif call.name in ("replace", "remove"):
            self._see({PRESENT}, step)
        if call.fate is Fate.DONE:
            number = ABSENT if call.name == "remove" else call.number
            self._states = {(number, happened) for _, happened in self._states}
            self._prune()

    def _see(self, seen: set[int], step: list[Call]) -> None:
        after = {state for before in self._states for state in self._after(before, seen)}
        if not after:
            raise self._explained(seen, step)
        self._states = after
        self._prune()

    def _after(self, before: _State, seen: set[int]) -> Iterator[_State]:
        """The states after something was seen, in any order."""
        number, happened = before
        if seen == {PRESENT}:
            if number != ABSENT:
                yield before
                return
            for index, written in enumerate(self._floating):
                if written != ABSENT and index not in happened:
                    yield written, happened | {index}
            return
        for new in seen - {number}:
            free = self._free(new, happened)
            if free is None:
                return
            happened |= {free}
        for last in (seen - {number}) or seen:
            yield last, happened

    def _free(self, number: int, happened: frozenset[int]) -> int | None:
        for index, written in enumerate(self._floating):
            if written == number and index not in happened:
                return index
        return None

    def _prune(self) -> None:
        """Forget the states in which more has happened than in others that are the same."""
        if len(self._states) > 1:
            self._states = {
                state
                for state in self._states
                if not any(other[0] == state[0] and other[1] < state[1] for other in self._states)
            }

    def _explained(self, seen: set[int], step: list[Call]) -> _Broken:
        call = step[0]
        expected = sorted({number for number, _ in self._states})
        names = [{ABSENT: "no document", PRESENT: "a document"}.get(n, n) for n in sorted(seen)]
        what = f"{call.name} {call.number} saw {names}, expected {expected} (0: no document)"
        by_number = {each.number: each for each in self.calls if each.name not in _READS}
        for number in seen - {ABSENT, PRESENT} - set(expected):
            writer = by_number.get(number)
            if writer is None:
                return _Broken(Violation.ALIEN, what)
            if writer.fate in (Fate.REFUSED, Fate.MISSING, Fate.EXISTS):
                return _Broken(Violation.DENIED, what)
            if writer.fate is Fate.AMBIGUOUS:
                return _Broken(Violation.TWICE, what)
            if writer.called > call.called:
                return _Broken(Violation.ORDER, what)
        # What it ought to have seen was written before it was called, or was on its way.
        expected_calls = [by_number[number] for number in expected if number in by_number]
        if any(each.ended > call.called for each in expected_calls):
            return _Broken(Violation.ORDER, what)
        return _Broken(Violation.LOST, what)


class CounterModel(DocumentModel):
    """A counter that starts at 1 and that each call increases by 1."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self._count = 0
        self._floating = 0

    @property
    def uncertain(self) -> int:
        """How many increments may still happen."""
        return self._floating

    def _settle(self, new: list[Call]) -> None:
        for call in new:
            if call.name not in _READS:
                if call.fate is Fate.AMBIGUOUS:
                    self._floating += 2 if call.repeats else 1
                elif call.fate is Fate.DONE and call.repeats:
                    self._floating += 1
        for step in self._steps(new):
            if step[0].name in _READS:
                for call in sorted(step, key=_count_of):
                    self._see(call, _count_of(call), 0)
            else:
                self._see(step[0], step[0].value, 1)

    def _see(self, call: Call, count: int, own: int) -> None:
        more = count - self._count - own
        what = (
            f"{call.name} {call.number} saw {count}, expected {self._count + own} and up to "
            f"{self._floating} more"
        )
        if more < 0:
            pending_then = any(
                each.called < call.called < each.ended and each.fate is Fate.DONE
                for each in self.calls
            )
            raise _Broken(Violation.ORDER if pending_then else Violation.LOST, what)
        if more > self._floating:
            raise _Broken(Violation.TWICE, what)
        self._floating -= more
        self._count = count


def _count_of(call: Call) -> int:
    return 0 if call.fate is Fate.MISSING else int(call.value)


class TallyModel(CounterModel):
    """A number in a document that queries and jobs increase by 1, in no order.

    It is read when none of them is pending, so that it has to hold all those that ended before.
    """

    def _settle(self, new: list[Call]) -> None:
        done = 0
        for call in new:
            if call.name in _READS:
                if call.fate in (Fate.DONE, Fate.MISSING):
                    self._see(call, _count_of(call), done)
                    done = 0
            elif call.fate is Fate.DONE:
                done += 1
            elif call.fate is Fate.AMBIGUOUS:
                self._floating += 1
        self._count += done


class TextModel(DocumentModel):
    """A text to whose ends calls add their numbers.

    It is made as `origin`; ``prepend`` 1, ``append`` 2, ``append`` 3 make ``1;|;2;3;`` of it.
    """

    origin = "|;"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self._seen = ""

    @property
    def uncertain(self) -> int:
        """Ambiguous calls do no harm here."""
        return 0

    def _settle(self, new: list[Call]) -> None:
        for call in new:
            if call.fate is Fate.MISSING:
                raise _Broken(Violation.LOST, f"{call.name} {call.number} saw no document")
        for step in self._steps(new):
            if step[0].name in _READS:
                for read in sorted(step, key=lambda each: len(each.value)):
                    self._read(read)

    def _read(self, read: Call) -> None:
        text: str = read.value
        what = f"get {read.number} saw {text!r}"
        if self._seen not in text:
            raise _Broken(Violation.LOST, f"{what} after {self._seen!r}")
        self._seen = text
        parts = text.split(";")
        if parts.count("|") != 1 or parts.pop() != "":
            raise _Broken(Violation.ALIEN, what)
        origin = parts.index("|")
        ends = {"prepend": parts[:origin][::-1], "append": parts[origin + 1 :]}
        before = self.calls.index(read)
        for name, tokens in ends.items():
            writers = {
                str(call.number): (index, call)
                for index, call in enumerate(self.calls)
                if call.name == name
            }
            certain = []
            for token in tokens:
                if token not in writers:
                    raise _Broken(Violation.ALIEN, f"{what}: {token}")
                index, call = writers[token]
                if call.fate is Fate.REFUSED:
                    raise _Broken(Violation.DENIED, f"{what}: {token}")
                if tokens.count(token) > (2 if call.repeats else 1):
                    raise _Broken(Violation.TWICE, f"{what}: {token}")
                if call.fate is Fate.DONE:
                    if index > before:
                        raise _Broken(Violation.ORDER, f"{what}: {token} was called later")
                    if token not in certain:
                        certain.append(token)
            expected = [
                token
                for token, (index, call) in writers.items()
                if call.fate is Fate.DONE and index < before
            ]
            lost = [token for token in expected if token not in certain]
            if lost:
                pending_then = any(writers[token][1].ended > read.called for token in lost)
                violation = Violation.ORDER if pending_then else Violation.LOST
                raise _Broken(violation, f"{what}: without {lost}")
            if certain != expected:
                raise _Broken(Violation.ORDER, f"{what}: {name} of {expected} as {certain}")


class Ledger:
    """Jobs that write their number where all can see it: each once or not at all."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def check(self, written: list[int]) -> list[Finding]:
        """Compare with what was written, when no job is left that could run.

        Args:
            written: The numbers of the jobs that ran.
        """
        findings = []
        counts: dict[int, int] = {}
        for number in written:
            counts[number] = counts.get(number, 0) + 1
        for call in self.calls:
            count = counts.pop(call.number, 0)
            violation = None
            if count > 1:
                violation = Violation.TWICE
            elif count and call.fate is Fate.REFUSED:
                violation = Violation.DENIED
            elif not count and call.fate is Fate.DONE:
                violation = Violation.LOST
            if violation is not None:
                findings.append(Finding(violation, call.key, f"it ran {count} times", (str(call),)))
        if counts:
            findings.append(Finding(Violation.ALIEN, "jobs", f"nobody called {sorted(counts)}"))
        return findings
