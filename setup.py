"""Build commands for a package whose name another wheel has too.

The package goes into a folder of its own inside site-packages, beside a start-up hook that finds
it (`txcouchbase/_hook.py` says how). An editable install is a wheel with the hook alone, which
points at the checkout.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
HOOK = "_txcouchbase_hook"
START_UP_FILES = {
    "txcouchbase.pth": f"import {HOOK}; {HOOK}.install()\n",
    "txcouchbase.start": f"{HOOK}:install\n",
}


class BuildPackage(build_py):
    """Build the package into its own folder, and the hook beside it."""

    checkout: Path | None = None

    def run(self) -> None:
        """Write the folder and the hook, or the hook alone for an editable install."""
        top = Path(self.build_lib)
        shutil.rmtree(top / "_txcouchbase", ignore_errors=True)
        top.mkdir(parents=True, exist_ok=True)
        if self.checkout is None:
            self.build_lib = str(top / "_txcouchbase")
            super().run()
            self.build_lib = str(top)
        self._write_hook(top)

    def _write_hook(self, top: Path) -> None:
        lines = (ROOT / "txcouchbase" / "_hook.py").read_text(encoding="utf-8").splitlines()
        if self.checkout is not None:
            changes = {
                "FOLDER = ": f"FOLDER = {str(self.checkout)!r}",
                "ON_PATH": "ON_PATH = False",
            }
            for start, change in changes.items():
                index = next(i for i, line in enumerate(lines) if line.startswith(start))
                lines[index] = change
        (top / f"{HOOK}.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, text in START_UP_FILES.items():
            (top / name).write_text(text, encoding="utf-8")


class EditableWheel(editable_wheel):
    """An ordinary wheel that holds the hook alone."""

    def run(self) -> None:
        """Build it where the front end wants it."""
        build = self.reinitialize_command("build_py")
        build.checkout = ROOT
        build.build_lib = self.get_finalized_command("build").build_lib + "-editable"
        shutil.rmtree(build.build_lib, ignore_errors=True)
        self.get_finalized_command("build").build_lib = build.build_lib
        wheel = self.get_finalized_command("bdist_wheel")
        wheel.dist_dir = self.dist_dir
        self.run_command("bdist_wheel")


setup(cmdclass={"build_py": BuildPackage, "editable_wheel": EditableWheel})
