"""The embedded node through the SDK's blocking API, in processes of their own.

The checks are in ``tests/conformance/``; a process that a check aborts is started again with the
checks that are left.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.conformance import NODES
from txcouchbase.testing import EmbeddedNode

ROOT = Path(__file__).resolve().parent.parent
AREAS = sorted(
    path.stem
    for path in (ROOT / "tests" / "conformance").glob("*.py")
    if path.stem not in ("__init__", "__main__", "checks")
)


class Checker(ProcessProtocol):
    """A process that runs checks."""

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        self._output = b""
        self._errors = b""

    def outReceived(self, data: bytes) -> None:
        self._output += data

    def errReceived(self, data: bytes) -> None:
        self._errors += data

    def processEnded(self, reason: Failure) -> None:
        code = reason.value.exitCode
        if reason.check(ProcessTerminated) and reason.value.signal:
            code = -reason.value.signal
        self.ended.callback(code)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.splitlines() if line.startswith(b"{")]

    def errors(self) -> str:
        return self._errors.decode(errors="replace")[-2000:]


class ConformanceTests(TestCase):
    timeout = 120

    @inlineCallbacks
    def run_area(self, area: str) -> Any:
        node = EmbeddedNode(reactor=reactor, **NODES.get(area, {}))
        yield node.start()
        self.addCleanup(node.stop)
        where = {
            "connstr": node.connstr,
            "username": node.username,
            "password": node.password,
            "bucket": "default",
            "mgmt": node.mgmt_port,
            "control": node.control_port,
            "cert": node.certificate_path,
        }
        passed: list[str] = []
        failures: list[str] = []
        begun: list[str] = []
        while True:
            arguments = [sys.executable, "-m", "tests.conformance", area, "--where"]
            for name in begun:
                arguments += ["--skip", name]
            checker = Checker()
            process = reactor.spawnProcess(  # type: ignore[attr-defined]
                checker, sys.executable, arguments, env=dict(os.environ), path=str(ROOT)
            )
            process.write(json.dumps(where).encode() + b"\n")
            code = yield checker.ended
            open_check = None
            for line in checker.lines():
                if not line.get("ended"):
                    open_check = line
                    begun.append(line["check"])
                    continue
                if line["error"]:
                    failures.append(f"{line['check']}: {open_check}\n{line['error']}")
                else:
                    passed.append(line["check"])
                open_check = None
            if open_check is None:
                break
            failures.append(f"{open_check}: the process ended with {code}\n{checker.errors()}")
        self.assertEqual(failures, [], "\n".join(failures))
        self.assertEqual(code, 0, checker.errors())
        self.assertGreater(len(passed), 0)


def _of_area(area: str) -> Callable[[ConformanceTests], Any]:
    return lambda self: self.run_area(area)


for _area in AREAS:
    setattr(ConformanceTests, f"test_{_area}", _of_area(_area))
