"""``python -m tests.conformance AREA [CHECK ...]``: run the checks of one area.

With ``--where JSON`` on a running server, otherwise on an embedded node in a process of its own.
Prints one line of JSON for each check, before it starts and when it has ended.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import traceback
from typing import Any

from tests.conformance import NODES
from tests.conformance.checks import CHECKS, Context


def run(area: str, wanted: list[str], where: dict[str, Any], skip: list[str]) -> int:
    """Run checks; returns how many failed."""
    importlib.import_module(f"tests.conformance.{area}")
    context = Context(where)
    failed = 0
    for check in CHECKS:
        if check.area != area or (wanted and check.name not in wanted) or check.name in skip:
            continue
        print(json.dumps({"check": check.name, "behaviour": check.behaviour}), flush=True)
        error = None
        try:
            check.function(context)
        except BaseException:
            error = traceback.format_exc()
            failed += 1
        print(json.dumps({"check": check.name, "ended": True, "error": error}), flush=True)
    if "cluster" in vars(context):
        context.cluster.close()
    return failed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("area")
    parser.add_argument("checks", nargs="*")
    parser.add_argument("--where", action="store_true", help="read the server's JSON from stdin")
    parser.add_argument("--skip", action="append", default=[], metavar="CHECK")
    options = parser.parse_args()
    if options.where:
        where = json.loads(sys.stdin.readline())
        return 1 if run(options.area, options.checks, where, options.skip) else 0
    command = [sys.executable, "-m", "txcouchbase.testing"]
    for name, value in NODES.get(options.area, {}).items():
        option = f"--{name.replace('_', '-')}"
        command += [option] if value is True else [option, str(value)]
    node = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert node.stdout is not None
        # In a process of its own, since a check may abort it, and the node must end all the same.
        return subprocess.run(
            [sys.executable, "-m", "tests.conformance", *sys.argv[1:], "--where"],
            input=node.stdout.readline(),
        ).returncode
    finally:
        node.terminate()
        node.wait()


if __name__ == "__main__":
    sys.exit(main())
