"""Run tests under trial and close with a line ``N passed, N failed``.

``python -m tests.run [module ...]``; all tests if none is named. The exit status is 0 only if
something passed and nothing failed.
"""

from __future__ import annotations

import sys
import tempfile
import warnings

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner


def main(names: list[str]) -> int:
    """Run the tests of these modules."""
    # A warning from our own code is an error; others are their authors' to mend.
    warnings.filterwarnings("error", module=r"txcouchbase\.|tests\.")
    folder = tempfile.mkdtemp(prefix="trial-")
    runner = TrialRunner(
        TreeReporter, workingDirectory=f"{folder}/_trial_temp", realTimeErrors=True
    )
    suite = TestLoader().loadByNames(names or ["tests"], recurse=True)
    result = runner.run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skips)
    print(f"{result.successes} passed, {failed} failed" + (f", {skipped} skipped" * bool(skipped)))
    return 0 if result.successes and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
