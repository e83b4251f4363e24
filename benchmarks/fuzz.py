"""Does the embedded node bear nonsense? Random and damaged requests on every port, for a while.

The node runs in a process of its own. Beside the requests, probes on every port see that it goes on
answering; its memory, its file descriptors and what it says on stderr are looked at.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from base64 import b64encode
from dataclasses import dataclass, field

from support import ROOT, ask, percentile, print_table, resident, server, service_ports

sys.path.insert(0, ROOT)

from tests.fuzz.client import Client, Finding
from tests.fuzz.connection import MARK, NOOP, Connection, Target
from tests.fuzz.corpus import SERVICES
from tests.fuzz.requests import HEADER

PROBE_EVERY = 0.5
"""Seconds between two probes of one port."""

RESTORE_EVERY = 5000
"""Cases after which the node goes back to the state that it started with."""

ALIVE = {
    "mgmt": "/",
    "query": "/admin/ping",
    "analytics": "/admin/ping",
    "search": "/api/ping",
    "views": "/",
    "eventing": "/api/v1/status",
    "control": "/health",
}
MAP_NAMES = {
    "kv": "kv",
    "mgmt": "mgmt",
    "n1ql": "query",
    "cbas": "analytics",
    "fts": "search",
    "capi": "views",
    "eventingAdminPort": "eventing",
}


def target_of(where: dict[str, str]) -> Target:
    """Where a node listens."""
    ports = {MAP_NAMES[n]: port for n, port in service_ports(where).items() if n in MAP_NAMES}
    return Target("127.0.0.1", {**ports, "control": int(where["control"])})


def alive(pid: int) -> bool:
    """Whether a child process runs."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


@dataclass
class Look:
    """What a node needs at one time.

    Attributes:
        at: Seconds since the start.
        memory: Resident (MiB).
        files: How many are open.
    """

    at: float
    memory: float
    files: int


@dataclass
class Probes:
    """Asks every port again and again whether the node is there.

    Attributes:
        took: Seconds that each answer took.
        failures: What was no answer.
    """

    target: Target
    took: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(PROBE_EVERY):
            for service in self.target.ports:
                started = time.monotonic()
                try:
                    self._probe(service)
                except (OSError, AssertionError) as error:
                    self.failures.append(f"{service}: {error!r}")
                self.took.append(time.monotonic() - started)

    def _probe(self, service: str) -> None:
        connection = Connection(self.target, service)
        try:
            if service == "kv":
                connection.write(HEADER.pack(0x80, NOOP, 0, 0, 0, 0, 0, MARK, 0))
                assert connection.until_marked(), "closed"
            else:
                token = b64encode(f"{self.target.username}:{self.target.password}".encode())
                connection.write(
                    b"GET %s HTTP/1.1\r\nHost: node\r\nAuthorization: Basic %s\r\n\r\n"
                    % (ALIVE[service].encode(), token)
                )
                answer = connection.answer()
                assert answer is not None and b" 200 " in answer[:20], answer
        finally:
            connection.close()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._thread.join()


class Run:
    """Case after case, and a look at the node after each round of them.

    Attributes:
        findings: What the node should not have done.
        looks: What it needed, after each round.
        cases: How many were sent.

    :param where: the node, as `server` has it.
    """

    def __init__(self, where: dict[str, str], client: Client) -> None:
        self._where = where
        self._pid = int(where["pid"])
        self._client = client
        self.findings: list[Finding] = []
        self.looks: list[Look] = []
        self.cases = 0

    def go(self, seconds: float, most_findings: int) -> None:
        """Send for some time, or until that much was found, or the node is no more."""
        started = time.monotonic()
        self._control("/snapshots")
        while (passed := time.monotonic() - started) < seconds and alive(self._pid):
            finding = self._client.case()
            self.cases += 1
            if finding is not None:
                self.findings.append(finding)
                print(finding, flush=True)
                if len(self.findings) >= most_findings:
                    break
            if self.cases % RESTORE_EVERY == 0:
                self._look(passed)
        if alive(self._pid):
            self._look(time.monotonic() - started)

    def _look(self, passed: float) -> None:
        self._client.close()
        self._control("/snapshots/1/restore")
        files = len(os.listdir(f"/proc/{self._pid}/fd"))
        self.looks.append(Look(passed, resident(self._pid), files))

    def _control(self, path: str) -> None:
        ask(self._where, int(self._where["control"]), path, "POST")


def main() -> int:
    """Send, look, print; 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--services", nargs="+", default=SERVICES, choices=SERVICES)
    parser.add_argument("--findings", type=int, default=20, help="after which to stop")
    arguments = parser.parse_args()
    with tempfile.TemporaryFile() as errors:
        with server(None, errors) as where:
            target = target_of(where)
            client = Client(target, arguments.seed, arguments.services)
            run, probes = Run(where, client), Probes(target)
            try:
                run.go(arguments.seconds, arguments.findings)
            finally:
                client.close()
                probes.stop()
            crashed = not alive(int(where["pid"]))
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    last = run.looks[-1] if run.looks else Look(0, 0, 0)
    warm = next((look for look in run.looks if look.at > last.at / 5), last)
    problems = {
        "findings": len(run.findings),
        "crashes": int(crashed),
        "probes that failed": len(probes.failures),
        "tracebacks on stderr": said.count("Traceback"),
        "growth of memory": int(last.memory > warm.memory * 1.1 + 5),
        "growth of open files": int(last.files > warm.files + 5),
    }
    rows = [
        ("seed", str(arguments.seed)),
        ("cases", str(run.cases)),
        ("cases/s", f"{run.cases / max(last.at, 0.001):.0f}"),
        ("slowest case (s)", f"{client.slowest:.2f}"),
        ("probes", str(len(probes.took))),
        ("probe p99 (ms)", f"{percentile(probes.took, 99) * 1000:.1f}"),
        ("slowest probe (ms)", f"{max(probes.took, default=0) * 1000:.1f}"),
        ("memory after a fifth (MiB)", f"{warm.memory:.1f}"),
        ("memory at the end (MiB)", f"{last.memory:.1f}"),
        ("open files after a fifth", str(warm.files)),
        ("open files at the end", str(last.files)),
        *((name, str(count)) for name, count in problems.items()),
    ]
    print_table(("", ""), rows)
    for kind, count in sorted((client.counts + client.statuses).items()):
        print(f"  {kind}: {count}")
    for failure in probes.failures[:10]:
        print(f"probe: {failure}")
    if "Traceback" in said:
        print(said[-5000:])
    return int(any(problems.values()))


if __name__ == "__main__":
    sys.exit(main())
