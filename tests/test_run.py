"""The test run counts and names what fails, also what takes its process with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

MODULE = """
import os
from twisted.trial.unittest import SynchronousTestCase

class Tests(SynchronousTestCase):
    def test_first(self):
        {first}

    def test_second(self):
        {second}
"""


class RunTests(SynchronousTestCase):
    timeout = 60

    def run_modules(self, *options: str, **modules: tuple[str, str]) -> tuple[str, list[str], int]:
        """Run modules of two tests each: what was printed, its last lines, the exit status."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        for name, (first, second) in modules.items():
            (folder / f"{name}.py").write_text(MODULE.format(first=first, second=second))
        done = subprocess.run(
            (sys.executable, "-m", "tests.run", *options, *modules),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(folder), "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout, done.stdout.splitlines()[-4:], done.returncode

    def test_every_end_is_counted(self) -> None:
        said, last, status = self.run_modules(
            "--jobs=2",
            good=("pass", "self.skipTest('why')"),
            failing=("self.fail('seen')", "pass"),
            leaving=("self.fail('seen too')", "os._exit(0)"),
            killed=("print('so far')", "os.kill(os.getpid(), 9)"),
        )
        self.assertEqual(last[-1], "2 passed, 3 failed, 1 skipped")
        self.assertEqual(status, 1)
        for name in (
            "failing.Tests.test_first",
            "leaving: the process ended with 0",
            "killed: the process ended with SIGKILL",
        ):
            self.assertIn(f"\n{name}\n", said)
        for text in ("seen\n", "seen too\n", "so far\n"):
            self.assertIn(text, said)

    def test_rounds_end_with_the_first_failure(self) -> None:
        said, last, status = self.run_modules("--rounds=2", good=("pass", "pass"))
        self.assertEqual((said.count("Round "), last[-1], status), (2, "4 passed, 0 failed", 0))
        said, last, status = self.run_modules("--rounds=9", bad=("pass", "open('/nowhere')"))
        self.assertEqual((said.count("Round "), last[-1], status), (1, "1 passed, 1 failed", 1))
