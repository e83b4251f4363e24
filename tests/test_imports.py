"""Importing installs no reactor, and imports run one way."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txcouchbase

ROOT = Path(txcouchbase.__file__).parent
WORKER_SIDE = {
    "txcouchbase.workers.bootstrap",
    "txcouchbase.workers.child",
    "txcouchbase.workers.process",
}
"""Modules that only a worker imports, or the pool when it starts."""

_CHECK = """
import importlib, sys
importlib.import_module(sys.argv[1])
for name in ("ampoule", "twisted.internet.reactor"):
    if name in sys.modules:
        sys.exit(f"importing {sys.argv[1]} imports {name}")
"""


def modules() -> list[str]:
    return ["txcouchbase"] + [
        module.name
        for module in pkgutil.walk_packages([str(ROOT)], "txcouchbase.")
        if not module.name.endswith("__main__")
    ]


def imported_by(name: str) -> set[str]:
    """The project's modules that a module imports at its top level."""
    path = ROOT.parent / (name.replace(".", "/") + ".py")
    if not path.exists():
        path = ROOT.parent / name.replace(".", "/") / "__init__.py"
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {module for module in found if module.split(".")[0] == "txcouchbase"}


class ImportTests(SynchronousTestCase):
    def test_no_public_module_imports_a_reactor_or_ampoule(self) -> None:
        environ = {"PYTHONPATH": str(ROOT.parent)}
        running = [
            (
                name,
                subprocess.Popen(
                    [sys.executable, "-c", _CHECK, name],
                    env=environ,
                    stderr=subprocess.PIPE,
                    text=True,
                ),
            )
            for name in ("txcouchbase.cluster", "txcouchbase.testing", "txcouchbase.exceptions")
        ]
        for name, process in running:
            _, stderr = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, f"{name}: {stderr}")

    def test_only_the_worker_side_names_ampoule(self) -> None:
        for name in modules():
            path = ROOT.parent / (name.replace(".", "/") + ".py")
            if not path.exists() or name in WORKER_SIDE:
                continue
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    text = ast.unparse(node)
                    self.assertNotIn("ampoule", text, name)
                    self.assertNotIn("internet import reactor", text, name)

    def test_facades_know_workers_and_workers_know_amp(self) -> None:
        for name in modules():
            for other in imported_by(name):
                if name.startswith("txcouchbase.amp"):
                    allowed = ("txcouchbase.amp", "txcouchbase.exceptions")
                elif name.startswith("txcouchbase.workers"):
                    allowed = ("txcouchbase.amp", "txcouchbase.workers", "txcouchbase.exceptions")
                elif name.startswith("txcouchbase.testing"):
                    allowed = ("txcouchbase.testing",)
                else:
                    allowed = ("txcouchbase",)
                self.assertTrue(
                    other == "txcouchbase" or other.startswith(allowed),
                    f"{name} imports {other}",
                )
            if not name.startswith("txcouchbase.testing"):
                self.assertFalse(
                    [other for other in imported_by(name) if "testing" in other],
                    f"{name} imports the embedded node",
                )
