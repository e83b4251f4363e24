"""The pool's decisions, without processes: events in, instructions out."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.workers import PoolConfig, WorkerState
from txcouchbase.workers.brain import (
    CrashLoop,
    CrashLoopOver,
    Drain,
    Instruction,
    Kill,
    PoolBrain,
    Spawn,
    Stop,
)
from txcouchbase.workers.events import EndCause

CONFIG = PoolConfig(
    min_workers=2, max_workers=3, crash_loop_after=3, restart_backoff=(1.0, 4.0, 0.0)
)
SILENT = "it gave no sign of life"


def brain(ready: int = 0) -> PoolBrain:
    """A pool that has started, with so many ready workers."""
    pool = PoolBrain(CONFIG, Random(1))
    pool.start()
    for generation in range(ready):
        pool.ready(generation)
    return pool


class LifeTests(SynchronousTestCase):
    def test_all_workers_start_at_once(self) -> None:
        pool = PoolBrain(CONFIG, Random(1))
        self.assertEqual(pool.start(), [Spawn(0, 0.0), Spawn(1, 0.0)])

    def test_a_ready_worker_that_dies_is_replaced_at_once(self) -> None:
        pool = brain(ready=1)
        self.assertIs(pool.cause_of_end(0), EndCause.CRASHED)
        self.assertEqual(pool.exited(0), [Spawn(2, 0.0)])
        self.assertEqual(pool.exited(0), [])

    def test_a_killed_worker_that_was_ready_is_replaced_at_once(self) -> None:
        pool = brain(ready=1)
        self.assertEqual(pool.silent(0, SILENT), [Kill(0, SILENT)])
        self.assertEqual(pool.silent(0, SILENT), [])
        self.assertIs(pool.cause_of_end(0), EndCause.SILENT)
        self.assertEqual(pool.exited(0), [Spawn(2, 0.0)])

    def test_a_broken_worker_is_killed_once(self) -> None:
        pool = brain(ready=1)
        for generation in (0, 1):
            self.assertEqual(
                pool.broken(generation, EndCause.BROKEN, "nonsense"), [Kill(generation, "nonsense")]
            )
            self.assertEqual(pool.broken(generation, EndCause.BROKEN, "nonsense"), [])

    def test_a_worker_that_never_gets_ready_is_killed(self) -> None:
        pool = brain()
        pool.ready(1)
        self.assertEqual(pool.start_overdue(0), [Kill(0, "it was not ready within start_timeout")])
        self.assertIs(pool.cause_of_end(0), EndCause.START_OVERDUE)
        self.assertEqual(pool.start_overdue(1), [])

    def test_nothing_is_replaced_while_closing(self) -> None:
        pool = brain(ready=1)
        pool.close()
        self.assertIs(pool.states[0], WorkerState.DRAINING)
        self.assertIs(pool.cause_of_end(0), EndCause.CLOSED)
        self.assertEqual(pool.exited(0) + pool.exited(1), [])
        self.assertEqual(pool.states, {})


class CrashLoopTests(SynchronousTestCase):
    def test_deaths_before_ready_back_off_and_open_the_breaker(self) -> None:
        pool = brain()
        self.assertIs(pool.cause_of_end(0), EndCause.START_FAILED)
        self.assertEqual(pool.exited(0), [Spawn(2, 1.0)])
        self.assertEqual(pool.exited(1), [Spawn(3, 2.0)])
        self.assertEqual(pool.exited(2), [Spawn(4, 4.0), CrashLoop(3, 0)])
        self.assertTrue(pool.breaker_open)
        self.assertEqual(pool.exited(3), [Spawn(5, 4.0)])
        self.assertEqual(pool.ready(4), [CrashLoopOver()])
        self.assertFalse(pool.breaker_open)
        self.assertEqual(pool.ready(4), [])

    def test_a_worker_that_is_left_goes_on(self) -> None:
        pool = brain(ready=2)
        pool.exited(1)
        pool.exited(2)
        pool.exited(3)
        self.assertEqual(pool.exited(4), [Spawn(5, 4.0), CrashLoop(3, 1)])
        self.assertFalse(pool.breaker_open)
        self.assertEqual(pool.exited(5), [Spawn(6, 4.0)])
        self.assertEqual(pool.exited(0), [Spawn(7, 0.0), CrashLoop(4, 0)])
        self.assertTrue(pool.breaker_open)
        self.assertEqual(pool.ready(6), [CrashLoopOver()])

    def test_none_is_recycled_in_a_crash_loop(self) -> None:
        pool = brain(ready=2)
        for generation in (1, 2, 3, 4):
            pool.exited(generation)
        self.assertEqual(pool.worn_out(0, EndCause.RECYCLED_AGE), [])

    def test_jitter_stays_within_its_fraction(self) -> None:
        config = PoolConfig(restart_backoff=(1.0, 4.0, 0.5))
        delays = []
        for seed in range(50):
            pool = PoolBrain(config, Random(seed))
            pool.start()
            (spawn,) = pool.exited(0)
            assert isinstance(spawn, Spawn)
            delays.append(spawn.delay)
        self.assertTrue(all(0.5 <= delay <= 1.5 for delay in delays))
        self.assertGreater(max(delays) - min(delays), 0.1)


class SizeTests(SynchronousTestCase):
    def test_more(self) -> None:
        pool = brain(ready=2)
        self.assertEqual(pool.resize(4, 5, {}), [Spawn(2, 0.0), Spawn(3, 0.0)])

    def test_fewer_the_starting_and_the_idle_ones_first(self) -> None:
        pool = brain(ready=2)
        pool.resize(5, 5, {})
        pool.ready(3)
        self.assertEqual(
            pool.resize(1, 1, {0: 7, 1: 0, 3: 5}),
            [
                Stop(4),
                Stop(2),
                Drain(1, EndCause.RESIZED),
                Drain(3, EndCause.RESIZED),
            ],
        )
        for generation in (1, 2, 3, 4):
            pool.drained(generation)
            self.assertIs(pool.cause_of_end(generation), EndCause.RESIZED)
            self.assertEqual(pool.exited(generation), [])
        self.assertEqual(pool.states, {0: WorkerState.READY})

    def test_one_that_was_not_wanted_is_no_crash(self) -> None:
        pool = brain(ready=2)
        for _ in range(5):
            pool.resize(3, 3, {})
            pool.resize(2, 2, {})
            self.assertEqual(pool.exited(max(pool.states)), [])
        self.assertFalse(pool.breaker_open)

    def test_before_the_start(self) -> None:
        pool = PoolBrain(CONFIG, Random(1))
        self.assertEqual(pool.resize(1, 1, {}), [])
        self.assertEqual(pool.start(), [Spawn(0, 0.0)])

    def test_it_grows_while_workers_do_not_keep_up(self) -> None:
        pool = brain(ready=2)
        looks = 0
        while not (spawned := pool.sampled(1.0)):
            looks += 1
        self.assertEqual(spawned, [Spawn(2, 0.0)])
        self.assertIn(looks, range(5, 10))
        self.assertEqual([pool.sampled(1.0) for _ in range(50)], [[]] * 50, "max_workers is 3")

    def test_one_at_a_time(self) -> None:
        pool = brain(ready=2)
        pool.resize(2, 9, {})
        self.assertEqual(sum(len(pool.sampled(1.0)) for _ in range(50)), 1)
        pool.ready(2)
        self.assertEqual(len(pool.sampled(1.0)), 1)

    def test_it_does_not_grow_for_a_moment_s_load(self) -> None:
        pool = brain(ready=2)
        self.assertEqual([pool.sampled(number % 3 == 0) for number in range(100)], [[]] * 100)

    def test_it_shrinks_to_the_minimum(self) -> None:
        pool = brain(ready=2)
        while not pool.sampled(1.0):
            pass
        pool.ready(2)
        self.assertEqual(pool.idle(0), [Drain(0, EndCause.IDLE)])
        self.assertEqual(pool.idle(1) + pool.idle(2), [])
        self.assertEqual(pool.drained(0), [Stop(0)])
        self.assertEqual(pool.exited(0), [])


class RecyclingTests(SynchronousTestCase):
    def test_the_replacement_comes_first(self) -> None:
        pool = brain(ready=2)
        self.assertEqual(pool.worn_out(0, EndCause.RECYCLED_OPS), [Spawn(2, 0.0)])
        self.assertEqual(pool.worn_out(0, EndCause.RECYCLED_OPS), [])
        self.assertEqual(pool.ready(2), [])
        self.assertIs(pool.states[0], WorkerState.READY)
        self.assertEqual(pool.relieved(0), [Drain(0, EndCause.RECYCLED_OPS)])
        self.assertEqual(pool.relieved(0), [])
        self.assertEqual(pool.drained(0), [Stop(0)])
        self.assertEqual(pool.exited(0), [])
        self.assertEqual(pool.states, dict.fromkeys((1, 2), WorkerState.READY))

    def test_one_at_a_time(self) -> None:
        pool = brain(ready=2)
        pool.worn_out(0, EndCause.RECYCLED_AGE)
        self.assertEqual(pool.worn_out(1, EndCause.RECYCLED_AGE), [])
        pool.ready(2)
        pool.relieved(0)
        self.assertEqual(pool.worn_out(1, EndCause.RECYCLED_AGE), [], "the first one drains")
        pool.exited(0)
        self.assertEqual(pool.worn_out(1, EndCause.RECYCLED_AGE), [Spawn(3, 0.0)])

    def test_it_dies_before_it_is_relieved(self) -> None:
        pool = brain(ready=2)
        pool.worn_out(0, EndCause.RECYCLED_RSS)
        self.assertIs(pool.cause_of_end(0), EndCause.CRASHED)
        self.assertEqual(pool.exited(0), [], "its replacement starts already")

    def test_it_crashes_while_it_drains(self) -> None:
        pool = brain(ready=2)
        pool.worn_out(0, EndCause.RECYCLED_RSS)
        pool.ready(2)
        pool.relieved(0)
        self.assertIs(pool.cause_of_end(0), EndCause.CRASHED)
        self.assertEqual(pool.exited(0), [])

    def test_its_replacement_dies(self) -> None:
        pool = brain(ready=2)
        pool.worn_out(0, EndCause.RECYCLED_OPS)
        self.assertEqual(pool.exited(2), [Spawn(3, 1.0)])
        pool.ready(3)
        self.assertEqual(pool.relieved(0), [Drain(0, EndCause.RECYCLED_OPS)])

    def test_one_that_is_to_be_recycled_is_not_the_idle_one(self) -> None:
        pool = brain(ready=2)
        pool.resize(1, 3, {})
        pool.worn_out(0, EndCause.RECYCLED_OPS)
        self.assertEqual(pool.idle(0), [])
        self.assertEqual(pool.idle(1), [Drain(1, EndCause.IDLE)])

    def test_fewer_while_one_is_recycled(self) -> None:
        pool = brain(ready=2)
        pool.worn_out(0, EndCause.RECYCLED_OPS)
        self.assertEqual(pool.resize(1, 1, {}), [Stop(2)])
        pool.exited(2)
        self.assertEqual(pool.relieved(0), [Drain(0, EndCause.RECYCLED_OPS)])
        pool.exited(0)
        self.assertEqual(pool.states, {1: WorkerState.READY})


RECYCLED = [cause for cause in EndCause if cause.recycled]


class BrainMachine(RuleBasedStateMachine):
    """Any sequence of events keeps what a pool relies on.

    It plays the driver: it remembers which processes there are and what they were told, and lets
    events happen that can, and late ones about workers that are dead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.brain = PoolBrain(CONFIG, Random(1))
        self.generations: list[int] = [0]
        self.processes: set[int] = set()
        self.killed: set[int] = set()
        self.stopped: set[int] = set()
        self.drained: set[int] = set()
        self.refusing = False

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Spawn):
                assert not self.brain.closing, "spawned while closing"
                assert 0 <= instruction.delay <= 4.0
                assert instruction.generation not in self.generations[1:], "used again"
                self.generations.append(instruction.generation)
                self.processes.add(instruction.generation)
            elif isinstance(instruction, CrashLoop):
                self.refusing = not instruction.ready
            elif isinstance(instruction, CrashLoopOver):
                self.refusing = False
            else:
                told = {Kill: self.killed, Stop: self.stopped, Drain: self.drained}
                already = told[type(instruction)]
                assert instruction.generation in self.processes, "told to a dead one"
                assert instruction.generation not in already, "told twice"
                already.add(instruction.generation)

    def state(self, generation: int) -> WorkerState | None:
        return self.brain.states.get(generation)

    @initialize()
    def start(self) -> None:
        self.carry_out(self.brain.start())

    @rule(back=st.integers(0, 6), event=st.sampled_from(("ready", "start_overdue")))
    def said_of_a_worker(self, back: int, event: str) -> None:
        generation = max(0, self.generations[-1] - back)
        self.carry_out(getattr(self.brain, event)(generation))

    @rule(back=st.integers(0, 6))
    def silent(self, back: int) -> None:
        self.carry_out(self.brain.silent(max(0, self.generations[-1] - back), SILENT))

    @rule(back=st.integers(0, 6))
    def broken(self, back: int) -> None:
        generation = max(0, self.generations[-1] - back)
        self.carry_out(self.brain.broken(generation, EndCause.BROKEN, "nonsense"))

    @rule(back=st.integers(0, 6))
    def exited(self, back: int) -> None:
        generation = max(0, self.generations[-1] - back)
        cause = self.brain.cause_of_end(generation)
        if generation in self.processes & (self.killed | self.stopped):
            assert cause not in (EndCause.CRASHED, EndCause.START_FAILED)
        self.processes.discard(generation)
        self.carry_out(self.brain.exited(generation))

    @rule(back=st.integers(0, 6), cause=st.sampled_from(RECYCLED))
    def worn_out(self, back: int, cause: EndCause) -> None:
        self.carry_out(self.brain.worn_out(max(0, self.generations[-1] - back), cause))

    @rule(back=st.integers(0, 6))
    def idle(self, back: int) -> None:
        self.carry_out(self.brain.idle(max(0, self.generations[-1] - back)))

    @precondition(lambda self: self.brain.retiring is not None)
    @rule()
    def relieved(self) -> None:
        others = set(self.brain.in_state(WorkerState.READY)) - {self.brain.retiring}
        if len(others) >= self.brain.wanted:
            self.carry_out(self.brain.relieved(self.brain.retiring))

    @rule()
    def have_drained(self) -> None:
        for generation in self.drained - self.stopped:
            if generation in self.processes:
                self.carry_out(self.brain.drained(generation))

    @rule(waiting=st.sampled_from((0.0, 0.5, 1.0)), looks=st.integers(1, 20))
    def sampled(self, waiting: float, looks: int) -> None:
        for _ in range(looks):
            self.carry_out(self.brain.sampled(waiting))

    @rule(least=st.integers(1, 4), more=st.integers(0, 3))
    def resize(self, least: int, more: int) -> None:
        loads = {generation: generation % 3 for generation in self.brain.states}
        self.carry_out(self.brain.resize(least, least + more, loads))

    @rule()
    def close(self) -> None:
        self.brain.close()

    @invariant()
    def as_many_are_wanted_as_allowed(self) -> None:
        assert self.brain.min_workers <= self.brain.wanted <= self.brain.max_workers

    @invariant()
    def as_many_there_as_wanted_and_one_more_while_one_is_recycled(self) -> None:
        """Those that drain do not count, those that are being killed keep their place."""
        if not self.brain.closing:
            states = list(self.brain.states.values())
            working = states.count(WorkerState.STARTING) + states.count(WorkerState.READY)
            most = self.brain.wanted + (self.brain.retiring is not None)
            assert working <= most
            assert working + states.count(WorkerState.KILLING) >= most

    @invariant()
    def it_knows_the_processes_and_no_others(self) -> None:
        assert set(self.brain.states) == self.processes

    @invariant()
    def what_was_killed_is_not_used_again(self) -> None:
        for generation in self.killed & self.processes:
            assert self.state(generation) is WorkerState.KILLING

    @invariant()
    def what_drains_never_gets_ready_again(self) -> None:
        for generation in (self.drained | self.stopped) & self.processes:
            assert self.state(generation) in (WorkerState.DRAINING, WorkerState.KILLING)

    @invariant()
    def one_is_recycled_at_a_time(self) -> None:
        recycled = [
            generation
            for generation, cause in self.brain.causes.items()
            if cause.recycled and self.state(generation) is not None
        ]
        assert len(recycled) <= 1

    @invariant()
    def operations_are_refused_only_while_no_worker_is_ready(self) -> None:
        assert self.refusing == self.brain.breaker_open
        if self.refusing:
            assert not self.brain.in_state(WorkerState.READY)

    @invariant()
    def causes_are_of_workers_that_are_there(self) -> None:
        assert set(self.brain.causes) <= set(self.brain.states)


class BrainMachineTests(SynchronousTestCase):
    def test_any_sequence_of_events(self) -> None:
        run_state_machine_as_test(
            BrainMachine,
            settings=settings(max_examples=100, stateful_step_count=40, deadline=None),
        )
