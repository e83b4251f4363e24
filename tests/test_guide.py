"""The complete example of ``docs/testing.md``, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "testing.md"

_example = re.search(r"## A complete test\n+```python\n(.*?)```", GUIDE.read_text("utf-8"), re.S)
assert _example is not None
_names: dict[str, Any] = {"__name__": __name__}
exec(compile(_example[1], str(GUIDE), "exec"), _names)

ShopTests = _names["ShopTests"]
