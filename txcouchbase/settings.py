"""What a cluster facade makes of the options it was given."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

from couchbase.auth import Authenticator, PasswordAuthenticator
from couchbase.exceptions import InvalidArgumentException
from couchbase.options import ClusterOptions, TransactionConfig
from couchbase.serializer import DefaultJsonSerializer, Serializer
from couchbase.transcoder import JSONTranscoder, Transcoder

from txcouchbase.amp.transactions import to_data
from txcouchbase.amp.wire import ClusterSettings

__all__ = ["FacadeSettings"]

_STAYS_HERE = ("authenticator", "transcoder", "serializer", "tracer", "meter", "span")
"""Options that a worker gets in another way, or not at all: objects of the application stay in
the application, where values are encoded and decoded."""

_KV_TIMEOUT = timedelta(seconds=2.5)
_PING_TIMEOUT = timedelta(seconds=75)
_ROW_TIMEOUT = timedelta(seconds=75)
_ROW_TIMEOUTS = {
    "query": "query_timeout",
    "analytics_query": "analytics_timeout",
    "search_query": "search_timeout",
    "view_query": "views_timeout",
}


class FacadeSettings:
    """The options of a cluster, split between this process and the workers.

    Args:
        connstr: The connection string.
        options: At most one `ClusterOptions`.
        keywords: Further options by their names in `ClusterOptions`, or `username` and
            `password` instead of an authenticator.

    Attributes:
        for_workers: What the workers need to connect.
        transcoder: Encodes and decodes values here, unless a call brings its own.
        serializer: Decodes rows here, unless a call brings its own.
        kv_timeout: The default for key-value operations (seconds).
        management_timeout: The default for management and pings (seconds).
        row_timeouts: The defaults for operations with rows (seconds), by their kinds' names.

    Raises:
        InvalidArgumentException: There is no authenticator, or no connection string, or an option
            cannot be sent to another process.
    """

    def __init__(
        self, connstr: str | None, options: tuple[ClusterOptions, ...], keywords: dict[str, Any]
    ) -> None:
        if not isinstance(connstr, str) or not connstr:
            # No repr: that of options shows the password.
            given = "an empty one" if connstr == "" else type(connstr).__name__
            raise InvalidArgumentException(
                f"the connection string must be text such as couchbase://host, not {given}"
            )
        if len(options) > 1:
            raise InvalidArgumentException("give one ClusterOptions, not several")
        merged: dict[str, Any] = {**(options[0] if options else {}), **keywords}
        username, password = merged.pop("username", None), merged.pop("password", None)
        authenticator = merged.get("authenticator")
        if authenticator is None and username is not None:
            authenticator = PasswordAuthenticator(username, password)
        if not isinstance(authenticator, Authenticator):
            raise InvalidArgumentException(
                "Authenticator is mandatory: give ClusterOptions(PasswordAuthenticator(...))."
            )
        # Blocks such as `timeout_options` are spread over the options by the SDK's own class.
        spread = ClusterOptions(
            authenticator, **{k: v for k, v in merged.items() if k != "authenticator"}
        )
        serializer: Any = spread.get("serializer")
        transcoder = spread.get("transcoder")
        if transcoder is not None and not isinstance(transcoder, Transcoder):
            raise InvalidArgumentException("transcoder must be a couchbase Transcoder.")
        self.transcoder: Transcoder = transcoder or JSONTranscoder(serializer)
        self.kv_timeout: float = spread.get("kv_timeout", _KV_TIMEOUT).total_seconds()
        management_timeout = spread.get("management_timeout", _PING_TIMEOUT)
        self.management_timeout: float = management_timeout.total_seconds()
        self.serializer: Serializer = serializer or DefaultJsonSerializer()
        self.row_timeouts: dict[str, float] = {
            kind: spread.get(option, _ROW_TIMEOUT).total_seconds()
            for kind, option in _ROW_TIMEOUTS.items()
        }
        kept = {name: value for name, value in spread.items() if name not in _STAYS_HERE}
        # Nobody would see the workers' own traces and metrics: they cost time only.
        kept.setdefault("enable_tracing", False)
        kept.setdefault("enable_metrics", False)
        if isinstance(kept.get("transaction_config"), TransactionConfig):
            kept["transaction_config"] = to_data(kept["transaction_config"])
        for name, value in kept.items():
            _check_portable(name, value)
        # As they are now: workers that start later get the same.
        self.for_workers = copy.deepcopy(ClusterSettings(connstr, authenticator, kept))


def _check_portable(name: str, value: Any) -> None:
    try:
        pickle.dumps(value)
    except Exception as error:  # pickling runs the value's own code
        raise InvalidArgumentException(
            f"the option {name} cannot be sent to a worker process: {error}"
        ) from None
