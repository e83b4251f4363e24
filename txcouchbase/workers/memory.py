"""How much memory this process has."""

from __future__ import annotations

import os
import resource
import sys

__all__ = ["resident_bytes"]


def resident_bytes() -> int:
    """The resident memory of this process (bytes); where no `/proc` tells it, its peak."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
