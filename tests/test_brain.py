"""The pool's decisions, without processes: events in, instructions out."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.workers import PoolConfig, WorkerState
from txcouchbase.workers.brain import (
    CloseBreaker,
    Instruction,
    Kill,
    OpenBreaker,
    PoolBrain,
    Spawn,
)

CONFIG = PoolConfig(
    min_workers=2, max_workers=2, crash_loop_after=3, restart_backoff=(1.0, 4.0, 0.0)
)

EVENTS = ("ready", "exited", "start_overdue", "silent")


def brain() -> PoolBrain:
    return PoolBrain(CONFIG, Random(1))


class PoolBrainTests(SynchronousTestCase):
    def test_all_workers_start_at_once(self) -> None:
        self.assertEqual(brain().start(), [Spawn(0, 0.0), Spawn(1, 0.0)])

    def test_a_ready_worker_that_dies_is_replaced_at_once(self) -> None:
        pool = brain()
        pool.start()
        pool.ready(0)
        self.assertEqual(pool.exited(0), [Spawn(2, 0.0)])
        self.assertEqual(pool.exited(0), [])

    def test_a_killed_worker_that_was_ready_is_replaced_at_once(self) -> None:
        pool = brain()
        pool.start()
        pool.ready(0)
        self.assertEqual(pool.silent(0), [Kill(0, "no sign of life within heartbeat_timeout")])
        self.assertEqual(pool.silent(0), [])
        self.assertEqual(pool.exited(0), [Spawn(2, 0.0)])

    def test_deaths_before_ready_back_off_and_open_the_breaker(self) -> None:
        pool = brain()
        pool.start()
        self.assertEqual(pool.exited(0), [Spawn(2, 1.0)])
        self.assertEqual(pool.exited(1), [Spawn(3, 2.0)])
        self.assertEqual(pool.exited(2), [Spawn(4, 4.0), OpenBreaker(3)])
        self.assertEqual(pool.exited(3), [Spawn(5, 4.0)])
        self.assertEqual(pool.ready(4), [CloseBreaker()])
        self.assertEqual(pool.ready(4), [])

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

    def test_a_worker_that_never_gets_ready_is_killed(self) -> None:
        pool = brain()
        pool.start()
        pool.ready(1)
        self.assertEqual(pool.start_overdue(0), [Kill(0, "not ready within start_timeout")])
        self.assertEqual(pool.start_overdue(1), [])

    def test_nothing_is_replaced_while_closing(self) -> None:
        pool = brain()
        pool.start()
        pool.ready(0)
        pool.close()
        self.assertEqual(pool.states[0], WorkerState.DRAINING)
        self.assertEqual(pool.exited(0) + pool.exited(1), [])
        self.assertEqual(pool.states, {})


class BrainMachine(RuleBasedStateMachine):
    """Any sequence of events keeps what a pool relies on."""

    def __init__(self) -> None:
        super().__init__()
        self.brain = brain()
        self.became_ready = False
        self.killed: set[int] = set()
        self.generations: list[int] = []
        self.carry_out(self.brain.start())

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Spawn):
                assert not self.brain.closing
                assert instruction.delay >= 0
                self.generations.append(instruction.generation)
            elif isinstance(instruction, Kill):
                assert instruction.generation not in self.killed, "killed twice"
                self.killed.add(instruction.generation)

    @rule(
        back=st.integers(0, 5),
        event=st.sampled_from(("ready", "exited", "start_overdue", "silent")),
    )
    def event(self, back: int, event: str) -> None:
        # Also generations that died long ago: late events must do no harm.
        generation = max(0, self.generations[-1] - back)
        starting = self.brain.states.get(generation) is WorkerState.STARTING
        self.became_ready = event == "ready" and starting
        self.carry_out(getattr(self.brain, event)(generation))

    @rule()
    def close(self) -> None:
        self.brain.close()

    @invariant()
    def as_many_workers_as_configured(self) -> None:
        if not self.brain.closing:
            assert len(self.brain.states) == CONFIG.min_workers

    @invariant()
    def generations_are_never_used_again(self) -> None:
        assert len(self.generations) == len(set(self.generations))

    @invariant()
    def the_breaker_is_closed_by_the_next_worker_that_gets_ready(self) -> None:
        if self.became_ready:
            assert not self.brain.breaker_open


class BrainMachineTests(SynchronousTestCase):
    def test_any_sequence_of_events(self) -> None:
        run_state_machine_as_test(
            BrainMachine,
            settings=settings(max_examples=100, stateful_step_count=30, deadline=None),
        )
