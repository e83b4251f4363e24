"""Print constraints that pin every dependency to the lowest version that is promised."""

from __future__ import annotations

import re
from pathlib import Path

text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
section = text.split("dependencies = [", 1)[1].split("]", 1)[0]
for name, lowest in re.findall(r'"([\w-]+)>=([\d.]+),', section):
    print(f"{name}=={lowest}" if lowest.count(".") > 1 else f"{name}=={lowest}.*")
