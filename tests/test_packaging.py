"""The wheel and the SDK's wheel live in one environment, whatever is installed first.

Builds the wheel from an export and tries it in a fresh environment.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
EXPORTED = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md")
OURS = "import txcouchbase.workers; assert txcouchbase.__version__; print(txcouchbase.__file__)"


class PackagingTests(SynchronousTestCase):
    timeout = 400

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(parents=True)
        self.export = self.folder / "export"
        self.export.mkdir()
        for name in EXPORTED:
            shutil.copy(ROOT / name, self.export)
        shutil.copytree(
            ROOT / "txcouchbase",
            self.export / "txcouchbase",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        self.elsewhere = self.folder / "elsewhere"
        self.elsewhere.mkdir()
        # Without a pip of its own and without compiled files, which would take a third of the time.
        venv.create(self.folder / "env", with_pip=False)
        self.python = str(self.folder / "env" / "bin" / "python")
        (self.site,) = (self.folder / "env" / "lib").glob("python*/site-packages")

    def run_in(
        self, folder: Path, *command: str, check: bool = True, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            command, cwd=folder, env={**inherited, **environ}, capture_output=True, text=True
        )
        if check:
            self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done

    def pip(self, *arguments: str) -> str:
        options = ("--python", self.python, "--disable-pip-version-check")
        return self.run_in(self.elsewhere, sys.executable, "-m", "pip", *options, *arguments).stdout

    def install(self, *arguments: str) -> None:
        self.pip("install", "--quiet", "--no-compile", *arguments)

    def origin(self, folder: Path | None = None, *flags: str, **environ: str) -> Path:
        """Where ``import txcouchbase`` finds ours; fails if it finds the SDK's."""
        done = self.run_in(folder or self.elsewhere, self.python, *flags, "-c", OURS, **environ)
        return Path(done.stdout.strip()).parent

    def assert_sdk_intact(self) -> None:
        (record,) = self.site.glob("couchbase-*.dist-info/RECORD")
        checked = 0
        for name, digest, _ in csv.reader(record.read_text().splitlines()):
            if name.startswith("txcouchbase/") and digest:
                actual = hashlib.sha256((self.site / name).read_bytes()).digest()
                encoded = base64.urlsafe_b64encode(actual).decode().rstrip("=")
                self.assertEqual(digest, f"sha256={encoded}", name)
                checked += 1
        self.assertGreater(checked, 10)

    def test_one_environment(self) -> None:
        build = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
        self.install("setuptools>=77", "couchbase>=4.6.3,<4.7")
        wheels = self.folder / "wheels"
        self.run_in(self.export, self.python, "-c", build, str(wheels))
        (wheel,) = wheels.glob("*.whl")

        # Ours after the SDK, then the SDK again after ours.
        self.install(str(wheel))
        private = self.site / "_txcouchbase" / "txcouchbase"
        self.assertEqual(self.origin(), private)
        self.install("--force-reinstall", "--no-deps", "couchbase>=4.6.3,<4.7")
        self.assertIn("No broken requirements", self.pip("check"))
        self.assert_sdk_intact()

        for folder in (self.elsewhere, self.site, Path("/")):
            self.assertEqual(self.origin(folder), private)
        self.assertEqual(self.origin(None, "-I"), private)
        self.check_other_ways_in(private)
        self.check_worker()

        # A checkout in the current folder, or on PYTHONPATH, wins.
        checkout = self.export / "txcouchbase"
        self.assertEqual(self.origin(self.export), checkout)
        self.assertEqual(self.origin(PYTHONPATH=str(self.export)), checkout)

        # Uninstalled, it leaves the SDK's own; a hook that was left over does no harm.
        hook = (self.site / "_txcouchbase_hook.py").read_text()
        self.pip("uninstall", "--quiet", "--yes", "txcouchbase")
        # pip may leave the empty folder behind.
        self.assertEqual(list((self.site / "_txcouchbase").rglob("*")), [])
        self.assert_sdk_intact()
        (self.site / "_txcouchbase_hook.py").write_text(hook)
        (self.site / "txcouchbase.pth").write_text(
            "import _txcouchbase_hook; _txcouchbase_hook.install()\n"
        )
        sdk = "import txcouchbase; print(txcouchbase.__file__)"
        done = self.run_in(self.elsewhere, self.python, "-c", sdk)
        self.assertEqual(Path(done.stdout.strip()).parent, self.site / "txcouchbase")
        (self.site / "_txcouchbase_hook.py").unlink()
        (self.site / "txcouchbase.pth").unlink()

        # Editable: the checkout, also with the SDK's copy in site-packages as the current folder.
        self.install("--no-build-isolation", "--no-deps", "-e", str(self.export))
        for folder in (self.elsewhere, self.site):
            self.assertEqual(self.origin(folder), checkout)
        self.assertIn("No broken requirements", self.pip("check"))
        self.pip("uninstall", "--quiet", "--yes", "txcouchbase")
        self.assert_sdk_intact()

        # An sdist builds the same wheel.
        build = "import setuptools.build_meta as b, sys; print(b.build_sdist(sys.argv[1]))"
        self.run_in(self.export, self.python, "-c", build, str(wheels))
        (sdist,) = wheels.glob("*.tar.gz")
        self.install("--no-build-isolation", "--no-deps", str(sdist))
        self.assertEqual(self.origin(), private)
        self.assert_sdk_intact()

    def check_other_ways_in(self, private: Path) -> None:
        where = "import txcouchbase.cluster as c; print(c.TxCluster and c.__file__)"
        (self.elsewhere / "as_module.py").write_text(where)
        done = self.run_in(self.elsewhere, self.python, "-m", "as_module")
        self.assertEqual(Path(done.stdout.strip()).parent, private)
        (self.elsewhere / "test_origin.py").write_text(
            "from twisted.trial.unittest import TestCase\n"
            "class OriginTests(TestCase):\n"
            "    def test_origin(self):\n"
            "        import txcouchbase\n"
            f"        self.assertEqual(txcouchbase.__path__, [{str(private)!r}])\n"
        )
        self.run_in(self.elsewhere, self.python, "-m", "twisted.trial", "test_origin")
        (self.elsewhere / "origin.tac").write_text(
            "import txcouchbase, sys\n"
            f"assert txcouchbase.__path__ == [{str(private)!r}]\n"
            "from twisted.application.service import Application\n"
            "from twisted.internet import reactor\n"
            "application = Application('origin')\n"
            "reactor.callWhenRunning(reactor.stop)\n"
        )
        twistd = str(Path(self.python).parent / "twistd")
        self.run_in(self.elsewhere, twistd, "--nodaemon", "--pidfile=", "--python=origin.tac")

    def check_worker(self) -> None:
        """A worker of an installed pool imports the same copy."""
        (self.elsewhere / "pool.py").write_text(
            "from twisted.internet import task\n"
            "from twisted.internet.defer import ensureDeferred\n"
            "from txcouchbase.workers import PoolConfig, WorkerPool, WorkerState\n"
            "async def main(reactor):\n"
            "    pool = WorkerPool(PoolConfig(min_workers=1, max_workers=1), reactor)\n"
            "    pool.start()\n"
            "    for _ in range(1000):\n"
            "        if [w.state for w in pool.workers] == [WorkerState.READY]:\n"
            "            break\n"
            "        await task.deferLater(reactor, 0.02, lambda: None)\n"
            "    else:\n"
            "        raise SystemExit('no worker got ready')\n"
            "    await pool.close()\n"
            "task.react(lambda reactor: ensureDeferred(main(reactor)))\n"
        )
        self.run_in(self.elsewhere, self.python, "pool.py")
