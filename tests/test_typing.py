"""Type checkers know the API: ``examples/typed.py`` passes mypy with a user's settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.applications import ROOT

EXAMPLE = Path(ROOT) / "examples" / "typed.py"
CACHE = Path(ROOT) / ".mypy_cache" / "example"

OURS_IN_A_CHECKOUT = """
[mypy-txcouchbase.*]
follow_imports = silent
"""
"""An installed package's own errors are not shown; in a checkout mypy has to be told."""


class TypingTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        if find_spec("mypy") is None:
            raise SkipTest("mypy is not installed")
        readme = (Path(ROOT) / "README.md").read_text("utf-8")
        advice = re.search(r"```ini\n(\[mypy\]\n.*?)```", readme, re.S)
        assert advice is not None
        self.settings = Path(self.mktemp()).resolve()
        self.settings.write_text(advice[1] + OURS_IN_A_CHECKOUT)

    def mypy(self, program: str) -> str:
        """What mypy says about a program."""
        path = self.settings.with_suffix(".py")
        path.write_text(program)
        options = ("--strict", "--config-file", str(self.settings), "--cache-dir", str(CACHE))
        done = subprocess.run(
            (sys.executable, "-m", "mypy", *options, "--no-error-summary", str(path)),
            env={**os.environ, "MYPYPATH": ROOT},
            cwd=path.parent,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    def test_the_example(self) -> None:
        program = EXAMPLE.read_text("utf-8")
        self.assertEqual(self.mypy(program), "")
        # The types are not Any, which would be equal to none of these.
        wrong = program.replace("Deferred[GetResult]", "Deferred[ExistsResult]")
        wrong = wrong.replace("AsyncResult[GetResult]", "AsyncResult[ExistsResult]")
        said = self.mypy(wrong)
        changed = program.count("Deferred[GetResult]") + program.count("AsyncResult[GetResult]")
        self.assertGreater(changed, 3)
        self.assertEqual(said.count("[assert-type]"), changed, said)

    def test_reveal_type(self) -> None:
        said = self.mypy(
            "from txcouchbase.workers import PoolConfig\nreveal_type(PoolConfig().min_workers)\n"
        )
        self.assertIn('Revealed type is "int"', said)
