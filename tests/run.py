"""Run tests under trial and close with a line ``N passed, N failed``.

``python -m tests.run [--jobs N] [--rounds N] [name ...]``; all tests if none is named. A name is
that of a package, a module, a class or a test. Several modules are spread over N processes, by
default one per processor (``tests/spread.py``). With one job, or one module, the tests run in this
process. ``--rounds`` runs them again and again, each time in new processes, until something fails.
The exit status is 0 only if something passed and nothing failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.spread import Tally, run_here, run_spread

ROOT = Path(__file__).resolve().parent.parent


def modules_of(name: str) -> list[str]:
    """The test modules of a package; anything else is its own."""
    folder = ROOT.joinpath(*name.split("."))
    if not folder.is_dir():
        return [name]
    paths = [path.relative_to(ROOT).with_suffix("") for path in folder.rglob("test_*.py")]
    return sorted(".".join(path.parts) for path in paths)


def main(arguments: list[str]) -> int:
    """Run the tests that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument("names", nargs="*", default=["tests"], metavar="name")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys(module for name in options.names for module in modules_of(name)))
    here = options.rounds == 1 and (options.jobs == 1 or len(names) == 1)

    folder = tempfile.mkdtemp(prefix="trial-")
    total = Tally()
    for number in range(1, options.rounds + 1):
        if here:
            total += run_here(names, folder)
        else:
            print(f"Round {number} of {options.rounds}\n" * (options.rounds > 1), end="")
            total += run_spread(names, options.jobs, folder)
        if total.failures:
            break
    if total.failures:
        print(f"\nWhat the tests left behind is in {folder}. Failed:")
        print(*total.failures, sep="\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    print(total)
    return 0 if total.passed and not total.failures else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
