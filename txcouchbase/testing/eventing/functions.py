"""Eventing functions as a server keeps them, and the states that they go through. No I/O.

What a server does in the background is done at once here: a function that is deployed is
``deployed`` in the next status, never ``deploying``. Rules and messages follow Couchbase's
``eventing`` (``service_manager/http_handlers.go``).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from txcouchbase.testing.eventing.errors import EventingRefused
from txcouchbase.testing.eventing.validation import (
    Keyspaces,
    check_function,
    check_settings,
    whole_numbers,
    with_defaults,
)

__all__ = ["EVERYWHERE", "EventingFunctions", "Place"]

EVERYWHERE = ("*", "*")
"""The bucket and scope of functions that belong to none."""

MASK = "*****"
"""Stands for secrets in what is shown."""

_KEYSPACES = tuple(
    f"{prefix}_{part}"
    for prefix in ("source", "metadata")
    for part in ("bucket", "scope", "collection")
)


@dataclass(frozen=True)
class Place:
    """What a function is known by."""

    name: str
    bucket: str = "*"
    scope: str = "*"

    def __str__(self) -> str:
        if (self.bucket, self.scope) == EVERYWHERE:
            return self.name
        return f"{self.bucket}/{self.scope}/{self.name}"


class EventingFunctions:
    """All functions of a cluster."""

    def __init__(self) -> None:
        self._functions: dict[Place, dict[str, Any]] = {}

    def get(self, place: Place) -> dict[str, Any]:
        """A function, secrets masked.

        :raises EventingRefused: ERR_APP_NOT_FOUND_TS.
        """
        function = deepcopy(self._get(place))
        for binding in function["depcfg"]["curl"]:
            for name in ("password", "bearer_key"):
                binding[name] = MASK
        return function

    def all(self) -> list[dict[str, Any]]:
        """All functions, secrets masked."""
        return [self.get(place) for place in self._functions]

    def put(self, place: Place, body: Any, keyspaces: Keyspaces) -> None:
        """Store a function.

        :param keyspaces: what there is.
        :raises EventingRefused: as a server refuses it.
        """
        function = with_defaults(body)
        if function["appname"] != place.name:
            raise EventingRefused(
                "ERR_APPNAME_MISMATCH",
                f"function name in the URL ({place.name}) and body ({function['appname']})"
                " must be same",
            )
        scope = function["function_scope"]
        if (scope["bucket"], scope["scope"]) != (place.bucket, place.scope):
            raise EventingRefused(
                "ERR_INVALID_REQUEST",
                f"Function scope provided in URL ({place}) doesn't match with the body({scope})",
            )
        previous, settings = self._functions.get(place), function["settings"]
        settings.setdefault("deployment_status", False)
        settings.setdefault("processing_status", False)
        if previous is None and settings["deployment_status"] != settings["processing_status"]:
            settings["deployment_status"] = settings["processing_status"] = False
        check_function(function, keyspaces)
        if previous is not None:
            self._check_change(place, previous, function)
        function["handleruuid"] = (
            uuid4().int & 0xFFFFFFFF if previous is None else previous["handleruuid"]
        )
        function["function_instance_id"] = uuid4().hex[:6]
        self._functions[place] = function

    def drop(self, place: Place) -> None:
        """Take a function out that is not deployed.

        :raises EventingRefused: ERR_APP_NOT_FOUND_TS, ERR_APP_NOT_UNDEPLOYED.
        """
        if self._state(place) != "undeployed":
            raise EventingRefused(
                "ERR_APP_NOT_UNDEPLOYED",
                f"Function: {place} skipping delete request as it hasn't been undeployed",
            )
        del self._functions[place]

    def deploy(self, place: Place, settings: Any, keyspaces: Keyspaces) -> None:
        """Deploy a function.

        :param settings: those that are changed with it.
        :raises EventingRefused: as a server refuses it.
        """
        if not isinstance(settings, dict):
            raise EventingRefused("ERR_UNMARSHAL_PLD", "the settings are not an object")
        self._refuse(place, "deployed", "ERR_APP_ALREADY_DEPLOYED")
        self._refuse(place, "paused", "ERR_APP_PAUSED")
        self._set(place, True, True, settings, keyspaces)

    def undeploy(self, place: Place) -> None:
        """Undeploy a function.

        :raises EventingRefused: ERR_APP_NOT_FOUND_TS, ERR_APP_NOT_DEPLOYED.
        """
        self._refuse(place, "undeployed", "ERR_APP_NOT_DEPLOYED")
        self._set(place, False, False)

    def pause(self, place: Place) -> None:
        """Pause a function.

        :raises EventingRefused: ERR_APP_NOT_FOUND_TS, ERR_APP_PAUSED, ERR_APP_NOT_BOOTSTRAPPED.
        """
        self._refuse(place, "paused", "ERR_APP_PAUSED")
        if self._state(place) == "undeployed":
            raise EventingRefused(
                "ERR_APP_NOT_BOOTSTRAPPED",
                f"Function: {place} not processing mutations. Operation is not permitted."
                " Edit function instead",
            )
        self._set(place, True, False)

    def resume(self, place: Place, keyspaces: Keyspaces) -> None:
        """Let a paused function run again.

        :raises EventingRefused: as a server refuses it.
        """
        self._refuse(place, "deployed", "ERR_APP_ALREADY_DEPLOYED")
        self._refuse(place, "undeployed", "ERR_APP_NOT_DEPLOYED")
        self._set(place, True, True, {}, keyspaces)

    def status(self, place: Place) -> dict[str, Any]:
        """The state of a function, as a server shows it.

        :raises EventingRefused: ERR_APP_NOT_FOUND_TS.
        """
        settings, state = self._get(place)["settings"], self._state(place)
        return {
            "composite_status": state,
            "name": place.name,
            "function_scope": {"bucket": place.bucket, "scope": place.scope},
            "num_bootstrapping_nodes": 0,
            "num_deployed_nodes": 0 if state == "undeployed" else 1,
            "deployment_status": settings["deployment_status"],
            "processing_status": settings["processing_status"],
            "redeploy_required": False,
        }

    def statuses(self) -> list[dict[str, Any]]:
        """The states of all functions."""
        return [self.status(place) for place in self._functions]

    def _get(self, place: Place) -> dict[str, Any]:
        function = self._functions.get(place)
        if function is None:
            raise EventingRefused("ERR_APP_NOT_FOUND_TS", f"Function: {place} not found")
        return function

    def _state(self, place: Place) -> str:
        settings = self._get(place)["settings"]
        if not settings["deployment_status"]:
            return "undeployed"
        return "deployed" if settings["processing_status"] else "paused"

    def _refuse(self, place: Place, state: str, error: str) -> None:
        if self._state(place) == state:
            raise EventingRefused(
                error, f"Invalid operation. Function: {place} already in {state} state."
            )

    def _set(
        self,
        place: Place,
        deployed: bool,
        running: bool,
        settings: dict[str, Any] | None = None,
        keyspaces: Keyspaces | None = None,
    ) -> None:
        function = self._get(place)
        changed = function["settings"] | whole_numbers(settings or {})
        changed |= {"deployment_status": deployed, "processing_status": running}
        check_settings(changed)
        if keyspaces is not None:
            # What the function needs may be gone since it was stored.
            check_function(function | {"settings": changed}, keyspaces)
        function["settings"] = changed

    def _check_change(
        self, place: Place, previous: dict[str, Any], function: dict[str, Any]
    ) -> None:
        state = self._state(place)
        if state == "undeployed":
            return
        if any(previous["depcfg"][name] != function["depcfg"][name] for name in _KEYSPACES):
            raise EventingRefused(
                "ERR_INVALID_CONFIG",
                "Source and Meta Keyspaces can only be changed when the function is in"
                " undeployed state.",
            )
        if state == "deployed":
            raise EventingRefused(
                "ERR_APP_ALREADY_DEPLOYED",
                f"Function: {place} another function with same name is already deployed,"
                " skipping save request",
            )
