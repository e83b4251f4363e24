"""Let ``import txcouchbase`` give this package, although the SDK's wheel has one of that name.

The build copies this file to the top of site-packages as ``_txcouchbase_hook.py``, where a
``.pth`` file (a ``.start`` file from Python 3.15 on, PEP 829) runs `install` when Python starts.
It steps in only where Python would otherwise take the SDK's copy, or find none; so a checkout in
the current folder or on PYTHONPATH still wins.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_txcouchbase")
ON_PATH = True
"""Whether `FOLDER` goes on `sys.path` too, for type checkers, freezers and Twisted's modules."""


def _holds_sdk(folder: str) -> bool:
    return os.path.isdir(os.path.join(folder, "couchbase"))


class Finder:
    """Finds this package where Python would take the SDK's."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """The spec of this package, or None to leave it to the other finders."""
        if name != "txcouchbase":
            return None
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.origin is not None:
            if not _holds_sdk(os.path.dirname(os.path.dirname(spec.origin))):
                return None
        return PathFinder.find_spec(name, [FOLDER])


def install() -> None:
    """Put the finder first, and the folder before the SDK's. A second call does nothing."""
    if any(getattr(finder, "__name__", "") == "Finder" for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder)
    if ON_PATH and FOLDER not in sys.path:
        holding = [index for index, entry in enumerate(sys.path) if entry and _holds_sdk(entry)]
        sys.path.insert(holding[0] if holding else len(sys.path), FOLDER)
