"""The models of chaos see every kind of violation, and suspect nothing that is allowed."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.calls import Book, Call, Fate, Violation
from tests.chaos.model import (
    CounterModel,
    DocumentModel,
    Ledger,
    RegisterModel,
    TallyModel,
    TextModel,
)


class Histories:
    """Makes up what calls on one key have seen."""

    def __init__(self, model: DocumentModel) -> None:
        self.book = Book()
        self.model = model

    def begin(self, name: str, repeats: bool = False) -> Call:
        call = self.book.open(name, self.model.key, 1.0, repeats=repeats)
        self.model.calls.append(call)
        return call

    def end(self, call: Call, fate: Fate = Fate.DONE, value: Any = None) -> Call:
        self.book.end(call, fate, value)
        return call

    def one(self, name: str, fate: Fate = Fate.DONE, value: Any = None, **options: Any) -> Call:
        """A call that ends before the next one begins."""
        return self.end(self.begin(name, **options), fate, value)

    def found(self) -> list[Violation]:
        return [finding.violation for finding in self.model.settle()]


class RegisterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.past = Histories(RegisterModel("k"))

    def test_what_is_allowed(self) -> None:
        past = self.past
        past.one("get", Fate.MISSING)
        past.one("replace", Fate.MISSING)
        first = past.one("upsert")
        past.one("insert", Fate.EXISTS)
        past.one("get", value=first.number)
        second = past.one("replace")
        past.one("upsert", Fate.REFUSED)
        past.one("get", value=second.number)
        past.one("remove")
        past.one("remove", Fate.MISSING)
        past.one("get", Fate.MISSING)
        self.assertEqual(past.found(), [])

    def test_an_ambiguous_write_may_happen_late_or_never(self) -> None:
        past = self.past
        late = past.one("upsert", Fate.AMBIGUOUS)
        past.one("remove", Fate.AMBIGUOUS)
        never = past.one("upsert", Fate.AMBIGUOUS)
        sure = past.one("upsert")
        past.one("get", value=sure.number)
        past.one("get", value=late.number)
        self.assertEqual(past.found(), [])
        past.one("get", value=late.number)
        past.one("get", Fate.MISSING)
        past.one("insert", Fate.EXISTS)
        past.one("get", value=never.number)
        self.assertEqual(past.found(), [])

    def test_reads_without_a_write_between_may_overtake_each_other(self) -> None:
        past = self.past
        sure = past.one("upsert")
        late = past.one("upsert", Fate.AMBIGUOUS)
        reads = [past.begin("get") for _ in range(3)]
        for read, seen in zip(reads, (late, sure, late), strict=True):
            past.end(read, value=seen.number)
        past.one("get", value=late.number)
        self.assertEqual(past.found(), [])
        past.one("get", value=sure.number)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_a_lost_write(self) -> None:
        past = self.past
        past.one("upsert")
        past.one("get", Fate.MISSING)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_a_lost_write_over_another(self) -> None:
        past = self.past
        first = past.one("upsert")
        past.one("upsert")
        past.one("get", value=first.number)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_a_lost_remove(self) -> None:
        past = self.past
        past.one("upsert")
        past.one("remove")
        past.one("insert", Fate.EXISTS)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_a_write_that_an_insert_overwrites(self) -> None:
        past = self.past
        past.one("upsert")
        past.one("insert")
        self.assertEqual(past.found(), [Violation.LOST])

    def test_a_read_that_overtakes_a_write(self) -> None:
        past = self.past
        first = past.one("upsert")
        second, read = past.begin("upsert"), past.begin("get")
        past.end(read, value=first.number)
        past.end(second)
        self.assertEqual(past.found(), [Violation.ORDER])

    def test_a_write_that_overtakes_a_read(self) -> None:
        past = self.past
        past.one("upsert")
        read, second = past.begin("get"), past.begin("upsert")
        past.end(second)
        past.end(read, value=second.number)
        self.assertEqual(past.found(), [Violation.ORDER])

    def test_writes_that_overtake_each_other(self) -> None:
        past = self.past
        first, second, read = past.begin("upsert"), past.begin("upsert"), past.begin("get")
        past.end(second)
        past.end(first)
        past.end(read, value=first.number)
        self.assertEqual(past.found(), [Violation.ORDER])

    def test_an_ambiguous_write_that_happens_twice(self) -> None:
        past = self.past
        late = past.one("upsert", Fate.AMBIGUOUS)
        past.one("get", value=late.number)
        sure = past.one("upsert")
        past.one("get", value=sure.number)
        past.one("get", value=late.number)
        self.assertEqual(past.found(), [Violation.TWICE])

    def test_an_ambiguous_remove_that_happens_twice(self) -> None:
        past = self.past
        past.one("upsert")
        past.one("remove", Fate.AMBIGUOUS)
        past.one("get", Fate.MISSING)
        past.one("upsert")
        past.one("get", Fate.MISSING)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_what_may_be_sent_twice_may_happen_twice_but_not_more(self) -> None:
        past = self.past
        repeated = past.one("upsert", repeats=True)
        sure = past.one("upsert")
        past.one("get", value=sure.number)
        past.one("get", value=repeated.number)
        self.assertEqual(past.found(), [])
        past.one("upsert")
        past.one("get", value=repeated.number)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_a_write_that_failed_for_certain_and_happened(self) -> None:
        past = self.past
        denied = past.one("upsert", Fate.REFUSED)
        past.one("get", value=denied.number)
        self.assertEqual(past.found(), [Violation.DENIED])

    def test_what_nobody_wrote(self) -> None:
        past = self.past
        past.one("upsert")
        past.one("get", value=77)
        self.assertEqual(past.found(), [Violation.ALIEN])

    def test_an_end_that_makes_no_sense(self) -> None:
        past = self.past
        past.one("upsert", Fate.EXISTS)
        self.assertEqual(past.found(), [Violation.ALIEN])

    def test_a_query_sees_what_was_there_once(self) -> None:
        past = self.past
        first = past.one("upsert")
        past.one("upsert")
        past.one("select", value=[first.number])
        past.one("select", value=[])
        self.assertEqual(past.found(), [])
        denied = past.one("upsert", Fate.REFUSED)
        past.one("select", value=[denied.number])
        self.assertEqual(past.found(), [Violation.DENIED])

    def test_a_finding_tells_its_history_once(self) -> None:
        past = self.past
        past.one("upsert")
        past.one("get", Fate.MISSING)
        (finding,) = past.model.settle()
        self.assertEqual(len(finding.history), 2)
        self.assertIn("LOST k: get 2 saw ['no document'], expected [1]", str(finding))
        past.one("get", Fate.MISSING)
        self.assertEqual(past.found(), [], "one violation is enough for a key")


class CounterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.past = Histories(CounterModel("k"))

    def test_what_is_allowed(self) -> None:
        past = self.past
        past.one("get", Fate.MISSING)
        past.one("increment", value=1)
        past.one("increment", Fate.AMBIGUOUS)
        past.one("increment", Fate.AMBIGUOUS)
        past.one("increment", Fate.REFUSED)
        past.one("increment", value=2)
        reads = [past.begin("get"), past.begin("get")]
        past.end(reads[0], value=3)
        past.end(reads[1], value=2)
        past.one("increment", value=5)
        self.assertEqual(past.found(), [])

    def test_lost(self) -> None:
        past = self.past
        past.one("increment", value=1)
        past.one("increment", value=1)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_twice(self) -> None:
        past = self.past
        past.one("increment", value=1)
        past.one("get", value=2)
        self.assertEqual(past.found(), [Violation.TWICE])

    def test_an_ambiguous_one_twice(self) -> None:
        past = self.past
        past.one("increment", Fate.AMBIGUOUS)
        past.one("increment", value=3)
        self.assertEqual(past.found(), [Violation.TWICE])

    def test_order(self) -> None:
        past = self.past
        first, second = past.begin("increment"), past.begin("increment")
        past.end(second, value=1)
        past.end(first, value=2)
        self.assertEqual(len(past.found()), 1)

    def test_a_read_that_overtakes(self) -> None:
        past = self.past
        past.one("increment", value=1)
        second, read = past.begin("increment"), past.begin("get")
        past.end(read, value=1)
        past.end(second, value=2)
        self.assertEqual(past.found(), [Violation.ORDER])


class TallyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.past = Histories(TallyModel("k"))

    def test_what_is_allowed(self) -> None:
        past = self.past
        past.one("update")
        past.one("update", Fate.AMBIGUOUS)
        past.one("update", Fate.REFUSED)
        past.one("get", value=1)
        past.one("get", value=2)
        past.one("update")
        past.one("get", Fate.REFUSED)
        past.one("get", value=3)
        self.assertEqual(past.found(), [])

    def test_lost(self) -> None:
        past = self.past
        past.one("update")
        past.one("update")
        past.one("get", value=1)
        self.assertEqual(past.found(), [Violation.LOST])

    def test_twice(self) -> None:
        past = self.past
        past.one("update")
        past.one("get", value=2)
        self.assertEqual(past.found(), [Violation.TWICE])


class TextTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.past = Histories(TextModel("k"))

    def test_what_is_allowed(self) -> None:
        past = self.past
        past.one("get", value="|;")
        past.one("append")
        past.one("prepend")
        past.one("append", Fate.AMBIGUOUS)
        past.one("append", Fate.REFUSED)
        past.one("append")
        past.one("prepend")
        past.one("get", value="7;3;|;2;6;")
        past.one("get", value="7;3;|;2;6;4;")
        self.assertEqual(past.found(), [])

    def after(self, text: str) -> list[Violation]:
        """What is found when the text is read after two appends, the second one ambiguous, two
        more, and one that was refused."""
        past = self.past
        past.one("append")
        past.one("append", Fate.AMBIGUOUS)
        past.one("append")
        past.one("append")
        past.one("append", Fate.REFUSED)
        past.one("get", value=text)
        return past.found()

    def test_an_ambiguous_one_anywhere(self) -> None:
        self.assertEqual(self.after("|;1;3;2;4;"), [])

    def test_lost(self) -> None:
        self.assertEqual(self.after("|;1;4;"), [Violation.LOST])

    def test_no_document(self) -> None:
        self.past.one("get", Fate.MISSING)
        self.assertEqual(self.past.found(), [Violation.LOST])

    def test_twice(self) -> None:
        self.assertEqual(self.after("|;1;2;3;4;2;"), [Violation.TWICE])

    def test_order(self) -> None:
        self.assertEqual(self.after("|;1;4;3;"), [Violation.ORDER])

    def test_denied(self) -> None:
        self.assertEqual(self.after("|;1;3;4;5;"), [Violation.DENIED])

    def test_alien(self) -> None:
        self.assertEqual(self.after("|;1;3;4;99;"), [Violation.ALIEN])
        self.assertEqual(len(self.past.model.calls), 6)

    def test_a_text_that_was_made_anew(self) -> None:
        past = self.past
        past.one("append")
        past.one("append", Fate.AMBIGUOUS)
        past.one("get", value="|;1;2;")
        past.one("get", value="|;1;")
        self.assertEqual(past.found(), [Violation.LOST])

    def test_a_read_that_sees_what_was_called_later(self) -> None:
        past = self.past
        read, later = past.begin("get"), past.begin("append")
        past.end(later)
        past.end(read, value="|;2;")
        self.assertEqual(past.found(), [Violation.ORDER])


class _Server:
    """A document as a correct pool treats it, or one with a fault of its own."""

    def __init__(self, random: Random, fault: str) -> None:
        self.random = random
        self.fault = fault
        self.faults = 0
        self.number = 0
        self.count = 0
        self.late: list[int] = []

    def write(self, call: Call) -> Fate:
        draw = self.random.random()
        if draw < 0.1:
            return Fate.REFUSED
        if draw < 0.3:
            if self.random.random() < 0.5:
                self._apply(call.number)
            elif self.random.random() < 0.5:
                self.late.append(call.number)
            return Fate.AMBIGUOUS
        if self.fault == "lose" and self._strikes():
            return Fate.DONE
        self._apply(call.number)
        if self.fault == "repeat" and self._strikes():
            self.count += 1
        return Fate.DONE

    def read(self) -> int:
        if self.late and self.random.random() < 0.3:
            self._apply(self.late.pop(self.random.randrange(len(self.late))))
        return self.number

    def _apply(self, number: int) -> None:
        self.number = number
        self.count += 1

    def _strikes(self) -> bool:
        strikes = self.random.random() < 0.05
        self.faults += strikes
        return strikes


class RandomHistoryTests(SynchronousTestCase):
    """Made-up histories: none that is correct is suspected, those with a fault mostly are."""

    def history(self, seed: int, counter: bool, fault: str = "") -> tuple[int, list[Violation]]:
        random = Random(seed)
        model = CounterModel("k") if counter else RegisterModel("k")
        past = Histories(model)
        server = _Server(random, fault)
        for _ in range(60):
            call = past.begin(
                ("increment" if counter else "upsert") if random.random() < 0.5 else "get"
            )
            if call.name != "get":
                fate = server.write(call)
                past.end(call, fate, server.count if fate is Fate.DONE else None)
            else:
                seen = server.read()
                value = server.count if counter else seen
                past.end(call, Fate.DONE if server.count else Fate.MISSING, value or None)
        return server.faults, past.found()

    def test_what_is_correct(self) -> None:
        for seed in range(150):
            for counter in (False, True):
                self.assertEqual(self.history(seed, counter), (0, []), f"seed {seed}")

    def test_what_is_not(self) -> None:
        for counter, fault, expected in (
            (False, "lose", {Violation.LOST}),
            (True, "lose", {Violation.LOST}),
            (True, "repeat", {Violation.TWICE}),
        ):
            seen, suspected, faults = set(), 0, 0
            for seed in range(150):
                struck, found = self.history(seed, counter, fault)
                faults += bool(struck)
                suspected += bool(found)
                seen.update(found)
                self.assertFalse(found and not struck, f"seed {seed}")
            self.assertLessEqual(expected, seen)
            self.assertGreater(suspected, faults / 5, "ambiguous calls hide many, not most")


class LedgerTests(SynchronousTestCase):
    def test_jobs(self) -> None:
        book, ledger = Book(), Ledger()
        fates = (Fate.DONE, Fate.AMBIGUOUS, Fate.AMBIGUOUS, Fate.REFUSED)
        for fate in fates:
            call = book.open("run", "jobs", 1.0)
            book.end(call, fate)
            ledger.calls.append(call)
        self.assertEqual(ledger.check([1, 2]), [])
        for written, expected in (
            ([2], Violation.LOST),
            ([1, 1], Violation.TWICE),
            ([1, 3, 3], Violation.TWICE),
            ([1, 4], Violation.DENIED),
            ([1, 9], Violation.ALIEN),
        ):
            found = [finding.violation for finding in ledger.check(written)]
            self.assertEqual(found, [expected], str(written))
