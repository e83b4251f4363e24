"""A real worker that does, when it is told to, what no worker should do.

`bootstrap` makes the text that a test puts in the place of that in `txcouchbase.workers.process`.
The worker goes wrong at a moment of its life, or when an operation on a special key starts:

    fault:WHAT:NAME    do it in place of the operation, which gets no answer
    after:WHAT:NAME    answer the operation, and do it a little later
    await:WHAT:NAME    do it when the test says `go`; the operation gets no answer
    hold:NAME          nothing: the operation gets no answer

Each moment goes wrong only as often as the test says, each key once, in whichever worker comes to
it first; so a worker that takes the place of another does what it should.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["FAULTS", "GARBAGE", "Faulty", "bootstrap", "go"]

_HOGGED = 60
"""How long a worker that is stuck in C would stay there (seconds)."""

_SOON = 0.05

_BOOTSTRAP = """\
import sys
if sys.path[0] == "":
    del sys.path[0]
sys.path.insert(0, sys.argv[1])
from tests.faultyworker import main
main(*{arguments!r}, *sys.argv[2:])
"""


def bootstrap(folder: str, faults: Mapping[str, str], times: int = 1) -> str:
    """The first code of a faulty worker.

    Args:
        folder: An empty folder of this test, where workers leave marks.
        faults: What goes wrong, by moment: ``import``, ``configure``, ``open_cluster``,
            ``open_bucket``, ``close``.
        times: In how many workers each of them does.
    """
    return _BOOTSTRAP.format(arguments=(folder, json.dumps(dict(faults)), times))


def go(folder: str, pid: int) -> None:
    """Tell a worker that awaits it to go wrong now."""
    Path(folder, f"go.{pid}").touch()


class Faulty:
    """What this worker does wrong."""

    def __init__(self, folder: str, faults: dict[str, str], times: int) -> None:
        self.folder = Path(folder)
        self.faults = faults
        self.times = times
        self.executor: Any = None
        self.task: Any = None

    def claim(self, name: str, times: int = 1) -> bool:
        """Whether it is this worker's turn to go wrong there."""
        for number in range(times):
            try:
                mark = self.folder / f"{name.replace('/', '_')}.{number}"
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False

    def at(self, moment: str) -> None:
        """The worker has come to this moment of its life."""
        fault = self.faults.get(moment)
        if fault is not None and self.claim(moment, self.times):
            self.do(fault)

    def do(self, fault: str) -> None:
        """Go wrong."""
        os.write(2, f"last words before {fault}\n".encode())
        name, _, argument = fault.partition("=")
        FAULTS[name](self, argument)

    # -- in the place of parts of the worker ----------------------------------------------

    def instrument(self) -> None:
        """Put itself between the worker's parts."""
        from txcouchbase.workers.child import Worker
        from txcouchbase.workers.executor import Executor
        from txcouchbase.workers.sync_client import SyncClient

        start = Executor._start
        faulty = self

        def start_or_not(executor: Any, task: Any) -> None:
            faulty.executor = executor
            if not faulty.starts(task):
                start(executor, task)

        patched: Any = Executor
        patched._start = start_or_not
        for owner, method, moment in (
            (Worker, "_configure", "configure"),
            (SyncClient, "connect", "open_cluster"),
            (SyncClient, "open_bucket", "open_bucket"),
            (SyncClient, "close", "close"),
        ):
            self.wrap(owner, method, moment)

    def wrap(self, owner: Any, method: str, moment: str) -> None:
        """Go wrong before a method of a class."""
        original = owner.__dict__[method]
        function = getattr(original, "__func__", original)

        def wrapped(*args: Any) -> Any:
            self.at(moment)
            return function(*args)

        setattr(owner, method, type(original)(wrapped) if function is not original else wrapped)

    def starts(self, task: Any) -> bool:
        """Whether this operation makes the worker go wrong."""
        when, _, rest = (task.key or "").partition(":")
        if when not in ("fault", "after", "await", "hold") or not self.claim(task.key):
            return False
        self.task = task
        fault = rest.partition(":")[0]
        if when == "fault":
            self.do(fault)
        elif when == "after":
            self.executor._complete(task, {"cas": 1})
            self.executor._reactor.callLater(_SOON, self.do, fault)
        elif when == "await":
            self.await_go(fault)
        return True

    def await_go(self, fault: str) -> None:
        """Go wrong as soon as the test says so."""
        if (self.folder / f"go.{os.getpid()}").exists():
            self.do(fault)
        else:
            self.executor._reactor.callLater(0.01, self.await_go, fault)

    def write(self, data: bytes) -> None:
        """Bytes to the application, past everything else."""
        os.write(_to_application(), data)

    def send(self, kind: bytes, content: Any, acknowledged: int = 0) -> None:
        """A box of our own."""
        from txcouchbase.amp import wire
        from txcouchbase.amp.framing import encode_box

        self.write(encode_box(kind, wire.encode(content), acknowledged))


def _to_application() -> int:
    from ampoule.main import FROM_CHILD

    return int(FROM_CHILD)


def _signal(number: int) -> Callable[[Faulty, str], None]:
    return lambda faulty, argument: os.kill(os.getpid(), number)


def _segv(faulty: Faulty, argument: str) -> None:
    ctypes.string_at(0)


def _print(faulty: Faulty, argument: str) -> None:
    os.write(1, b"to stdout\n")
    faulty.executor._complete(faulty.task, {"cas": 1})


_FLOODS = {
    "lines": b"x" * 79 + b"\n",
    "short": b"x\n",
    "endless": b"x" * 80,
    "invalid": b"\xff\xfe\x80" * 26 + b"\n",
    "empty": b"\n" * 80,
}


def _flood(faulty: Faulty, argument: str) -> None:
    """4 MiB on stderr, in a thread, since it takes as long as the application needs to read it."""

    def flood() -> None:
        piece = _FLOODS[argument]
        piece *= 64 * 1024 // len(piece)
        for _ in range(64):
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(2, rest) :]
        os.write(2, b"\nthe last line\n")
        faulty.executor._complete(faulty.task, {"cas": 1})

    faulty.executor._reactor.callInThread(flood)


def _raise(faulty: Faulty, argument: str) -> None:
    """In the thread of an operation."""

    class Raising:
        def run(self, task: Any) -> Any:
            if argument == "unshowable":
                raise _Unshowable()
            raise getattr(__import__("builtins"), argument)("raised on purpose")

    faulty.executor._reactor.callInThread(faulty.executor._run_blocking, Raising(), faulty.task)


class _Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def _raise_here(faulty: Faulty, argument: str) -> None:
    """Wherever it is: out of the method of a moment."""
    if argument == "unshowable":
        raise _Unshowable()
    raise getattr(__import__("builtins"), argument)("raised on purpose")


def _responder_raises(faulty: Faulty, argument: str) -> None:
    """From now on, in the responder of an AMP command, unguarded."""
    from txcouchbase.amp.commands import Heartbeat
    from txcouchbase.workers.child import Worker

    def raising(worker: Any) -> None:
        raise RuntimeError("raised by a responder")

    Worker._commandDispatch = {  # type: ignore[attr-defined]
        **Worker._commandDispatch,  # type: ignore[attr-defined]
        Heartbeat.commandName: (Heartbeat, raising),
    }


def _packing_fails(faulty: Faulty, argument: str) -> None:
    """As out of memory in the worker's reactor thread, when answers are packed."""

    def packed(answers: Any) -> bytes:
        raise MemoryError("no room to pack answers")

    faulty.executor._packed = packed
    faulty.executor._complete(faulty.task, {"cas": 1})


def _calls_back_twice(faulty: Faulty, argument: str) -> None:
    for _ in range(2):
        faulty.executor._complete(faulty.task, {"cas": 1})


def _limit_memory(faulty: Faulty, argument: str) -> None:
    """No more address space than now and so many MiB; then the operation runs as it should."""
    import resource

    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = now + int(argument) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    faulty.executor._start(faulty.task)


def _use_memory(faulty: Faulty, argument: str) -> None:
    """As `_raise`, by asking for more memory than there is."""

    class Greedy:
        def run(self, task: Any) -> Any:
            return [bytearray(1 << 44)]

    faulty.executor._reactor.callInThread(faulty.executor._run_blocking, Greedy(), faulty.task)


def _grandchild(faulty: Faulty, argument: str) -> None:
    """One that holds stdout and stderr, or all pipes, and lives on when this process ends."""
    if argument == "all":
        pid = os.fork()
        if not pid:
            signal.pause()
            os._exit(0)
    else:
        writes = "import os, time\nwhile True: os.write(2, b'still here\\n'); time.sleep(0.001)"
        code = writes if argument == "writes" else "import time; time.sleep(60)"
        pid = subprocess.Popen([sys.executable, "-c", code]).pid
    (faulty.folder / "grandchild").write_text(str(pid))
    os._exit(3)


def _hog(faulty: Faulty, argument: str) -> None:
    """Hold the interpreter in C."""
    if argument == "regex":
        import re

        re.match("(a+)+b", "a" * 64)
    else:
        ctypes.PyDLL(None).sleep(_HOGGED)


def _close_pipe(faulty: Faulty, argument: str) -> None:
    """Close an end of the pipe, and go on: stuck in C, so that nothing here notices."""
    os.close({"answers": _to_application(), "requests": _to_application() - 1}[argument])
    ctypes.PyDLL(None).sleep(_HOGGED)


def _ignore_term(faulty: Faulty, argument: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _other_package(faulty: Faulty, argument: str) -> None:
    """Import another copy of the package."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "txcouchbase"]:
        del sys.modules[name]
    sys.path.insert(0, argument)


def _garbage(faulty: Faulty, argument: str) -> None:
    GARBAGE[argument](faulty)


def _own(faulty: Faulty) -> int:
    number: int = faulty.task.id
    return number


def _results(make: Callable[[int], Any]) -> Callable[[Faulty], None]:
    return lambda faulty: faulty.send(b"r", make(_own(faulty)))


def _rows(content: Any) -> Callable[[Faulty], None]:
    return lambda faulty: faulty.send(b"w", content)


def _bytes(data: bytes) -> Callable[[Faulty], None]:
    return lambda faulty: faulty.write(data)


def _amp(**box: bytes) -> Callable[[Faulty], None]:
    def send(faulty: Faulty) -> None:
        from twisted.protocols.amp import AmpBox

        faulty.write(AmpBox({name.encode(): value for name, value in box.items()}).serialize())

    return send


def _acknowledgement(text: bytes) -> Callable[[Faulty], None]:
    return lambda faulty: faulty.write(
        b"\x00\x01+\x00\x01a\x00\x01a" + len(text).to_bytes(2, "big") + text + b"\x00\x00"
    )


def _truncated(faulty: Faulty) -> None:
    faulty.write(b"\x00\x01+\x00\x01r\x00\x010\x00\x09abc")
    os._exit(0)


_NOBODY = 10**9

GARBAGE: dict[str, Callable[[Faulty], None]] = {
    "noise": lambda faulty: faulty.write(random.Random(5).randbytes(20_000)),
    "no-key": _bytes(b"\x00\x00"),
    "amp-unknown-answer": _amp(_answer=b"ffff"),
    "amp-unknown-error": _amp(_error=b"ffff", _error_code=b"X", _error_description=b"x"),
    "amp-half-an-error": _amp(_error=b"1"),
    "amp-command": _amp(_command=b"StartTLS", _ask=b"1"),
    "unknown-kind": lambda faulty: faulty.send(b"?", None),
    "no-msgpack": _bytes(b"\x00\x01+\x00\x01r\x00\x010\x00\x01\xc1\x00\x00"),
    "no-payload": _bytes(b"\x00\x01+\x00\x01r\x00\x00"),
    "no-list": _results(lambda number: number),
    "map": _results(lambda number: {"id": number}),
    "empty-answer": _results(lambda number: [[]]),
    "number-alone": _results(lambda number: [[number]]),
    "number-in-no-list": _results(lambda number: [number]),
    "unhashable-number": _results(lambda number: [[[number], {}]]),
    "text-number": _results(lambda number: [[str(number), {}]]),
    "too-long": _results(lambda number: [[number, None, {}, {}]]),
    "no-result": _results(lambda number: [[number, None]]),
    "no-error": _results(lambda number: [[number, None, None]]),
    "result-no-map": _results(lambda number: [[number, 5]]),
    "error-no-map": _results(lambda number: [[number, None, [1]]]),
    "unknown-number": _results(lambda number: [[_NOBODY, {}]]),
    "answer-twice": _results(lambda number: [[number, {"cas": 1}], [number, {"cas": 1}]]),
    "rows-for-nobody": _rows([_NOBODY, [b"{}"]]),
    "rows-no-pair": _rows([1]),
    "rows-no-list": _rows([1, 5]),
    "rows-no-bytes": _rows([1, ["text", 5]]),
    "acknowledges-text": _acknowledgement(b"x"),
    "acknowledges-too-many": _acknowledgement(b"999"),
    "acknowledges-fewer-than-none": _acknowledgement(b"-1"),
    "truncated": _truncated,
}
"""What a worker can send that makes no sense, by name."""

FAULTS: dict[str, Callable[[Faulty, str], None]] = {
    "exit": lambda faulty, argument: os._exit(int(argument)),
    "kill": _signal(signal.SIGKILL),
    "term": _signal(signal.SIGTERM),
    "abort": lambda faulty, argument: os.abort(),
    "segv": _segv,
    "stop": _signal(signal.SIGSTOP),
    "hang": lambda faulty, argument: time.sleep(_HOGGED),
    "hog": _hog,
    "print": _print,
    "flood": _flood,
    "raise": _raise,
    "raise-here": _raise_here,
    "responder-raises": _responder_raises,
    "packing-fails": _packing_fails,
    "calls-back-twice": _calls_back_twice,
    "use-memory": _use_memory,
    "limit-memory": _limit_memory,
    "grandchild": _grandchild,
    "close-pipe": _close_pipe,
    "ignore-term": _ignore_term,
    "other-package": _other_package,
    "garbage": _garbage,
}
"""What can go wrong, by name; what follows after ``=`` is an argument."""


def main(folder: str, faults: str, times: int, parent: str) -> None:
    """Run a worker that goes wrong.

    Args:
        folder: Where workers leave marks.
        faults: As for `bootstrap`, as JSON.
        times: As for `bootstrap`.
        parent: The application's process id.
    """
    # A crash is meant: it shall leave neither a core file nor a thread dump.
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulty = Faulty(folder, json.loads(faults), times)
    faulty.at("import")
    from txcouchbase.workers import bootstrap as real

    if faulty.faults.get("import", "").startswith("other-package"):
        real.main(parent)
    # The worker's module imports the reactor, which the real bootstrap installs before.
    log_warnings = real._log_warnings

    def instrumented() -> None:
        log_warnings()
        faulty.instrument()

    real._log_warnings = instrumented
    real.main(parent)
