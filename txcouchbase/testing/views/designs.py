"""Design documents as a server stores them. No I/O.

Checks and messages follow Couchbase's ``couchdb`` (``couch_set_view_mapreduce``). Of the functions
only brackets and quotes are checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from txcouchbase.testing.javascript import syntax_error
from txcouchbase.testing.views.reducing import BUILT_IN

__all__ = ["DesignDocument", "DesignRefused", "checked"]

MAX_FUNCTION = 128 * 1024
"""Characters of the longest function that is looked at."""


class DesignRefused(Exception):
    """A design document that a server does not take."""


@dataclass(frozen=True)
class DesignDocument:
    """One design document.

    :param body: as it was stored.
    :param number: how often it was stored under its name.
    """

    body: dict[str, Any]
    number: int = 1

    @property
    def revision(self) -> str:
        """What tells it from those before, such as ``1-0f3c...``."""
        text = json.dumps(self.body, sort_keys=True)
        return f"{self.number}-{md5(text.encode(), usedforsecurity=False).hexdigest()[:8]}"

    def with_view(self, name: str, reduce: str | None) -> DesignDocument:
        """The document with one view more, whose map function is not in it.

        :raises DesignRefused: for a reduce function, or a name, that a server does not take.
        """
        view = {"map": ""} | ({} if reduce is None else {"reduce": reduce})
        views = self.body.get("views", {}) | {name: view}
        return DesignDocument(checked(self.body | {"views": views}), self.number + 1)

    def view(self, name: str) -> dict[str, Any] | None:
        """The definition of a view, None for an unknown one."""
        found: dict[str, Any] | None = self.body.get("views", {}).get(name)
        return found


def checked(body: Any) -> dict[str, Any]:
    """The body of a design document, if it is one.

    :raises DesignRefused: otherwise.
    """
    if not isinstance(body, dict):
        raise DesignRefused("Content is not json.")
    views = body.get("views", {})
    if not isinstance(views, dict):
        raise DesignRefused("The field `views' is not a json object.")
    for name, view in views.items():
        if not name:
            raise DesignRefused("View name cannot be an empty string")
        if not isinstance(view, dict):
            raise DesignRefused(f"Value for view `{name}' is not a json object.")
        if name != name.strip(" \t\r\n"):
            raise DesignRefused(f"View name `{name}` cannot have leading or trailing whitespace")
        if "map" not in view:
            raise DesignRefused(f"The `map' field for the view `{name}' is missing.")
        _check_function(name, "map", view["map"])
        if "reduce" in view:
            _check_function(name, "reduce", view["reduce"])
    return body


def _check_function(view: str, field: str, source: Any) -> None:
    if not isinstance(source, str):
        raise DesignRefused(f"The `{field}' field of the view `{view}' is not a json string.")
    if field == "reduce" and source.startswith("_"):
        if source not in BUILT_IN:
            raise DesignRefused(f"Invalid built-in reduce function for view `{view}': {source}")
        return
    error = syntax_error(source) if len(source) <= MAX_FUNCTION else None
    if error is not None:
        raise DesignRefused(f"Syntax error in the {field} function of the view `{view}': {error}")
