"""Scans of a collection: of a range of keys, of a prefix, or of a random sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException
from couchbase.kv_range_scan import PrefixScan, RangeScan, SamplingScan, ScanTerm
from couchbase.logic.collection_req_builder import CollectionRequestBuilder
from couchbase.logic.collection_types import CollectionDetails
from couchbase.logic.validation import validate_bool
from couchbase.options import ScanOptions
from couchbase.result import ScanResult, ScanResultIterable

from txcouchbase.amp import wire
from txcouchbase.arguments import block_of, refuse_unknown
from txcouchbase.base_collection import BaseCollection
from txcouchbase.results import raw_result
from txcouchbase.row_methods import RowPlace
from txcouchbase.row_requests import RowRequest, refuse_retry
from txcouchbase.row_streams import RowStream
from txcouchbase.settings import FacadeSettings

if TYPE_CHECKING:
    from couchbase.kv_range_scan import ScanType

__all__ = ["ScanMethods", "ScanRequest", "ScanStream"]

DEFAULT_TIMEOUT = 75.0
"""The SDK's default for scans (seconds); no option of clusters changes it."""

_OPTIONS = frozenset(ScanOptions.get_valid_keys())

_NO_CONNECTION: Any = None
"""In place of the SDK's, which a request that is only built does not use."""

_U64 = 2**64 - 1
_MOST = {"batch_byte_limit": 2**32 - 1, "batch_item_limit": 2**32 - 1, "concurrency": 2**16 - 1}
"""What the binding's fields hold."""


class ScanRequest(RowRequest[ScanResult, None]):
    """A scan, built from the arguments of the SDK's `Collection.scan`."""

    _name = "scan"
    _ticks = 1e3

    def __init__(
        self, settings: FacadeSettings, builder: CollectionRequestBuilder, args: Any, kwargs: Any
    ) -> None:
        scan_type, *options = args
        refuse_retry(self._name, options, kwargs)
        _check_scan_type(scan_type)
        given = {name: value for name, value in kwargs.items() if value is not None}
        refuse_unknown(self._name, {**block_of(self._name, options), **kwargs}, _OPTIONS)
        built = builder.build_range_scan_request(_NO_CONNECTION, scan_type, *options, **given)
        scan: dict[str, Any] = built._scan_args
        given = scan["orchestrator_options"]
        request = {
            "scan_type": int(scan["scan_type"]),
            "scan_config": scan["scan_config"],
            "orchestrator_options": _checked(given),
            "timeout": given.get("timeout"),
        }
        super().__init__(settings, request, only_reads=True, default_timeout=DEFAULT_TIMEOUT)
        self._transcoder = built.transcoder
        self._ids_only = bool(given.get("ids_only"))

    def decode(self, row: bytes) -> ScanResult:
        """The SDK's result, which decodes the document when it is asked for it."""
        return ScanResult(raw_result(wire.decode(row)), self._ids_only, self._transcoder)

    def metadata(self) -> None:
        """A scan has none."""


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """The options that the binding knows, as it needs them: it does not say what is wrong.

    Raises:
        InvalidArgumentException: One is of the wrong type or out of range.
    """
    options: dict[str, Any] = {}
    if given.get("ids_only") is not None:
        options["ids_only"] = validate_bool(given["ids_only"])
    for name, most in _MOST.items():
        if given.get(name) is not None:
            _check_number(name, given[name], most)
            options[name] = given[name]
    if "consistent_with" in given:
        options["consistent_with"] = given["consistent_with"]
    return options


def _check_number(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidArgumentException(
            f"{name} must be a whole number from 0 to {most}, not {value!r}"
        )


def _check_scan_type(scan_type: object) -> None:
    """Check what the SDK finds out later, or not at all.

    Raises:
        InvalidArgumentException: It is made of the wrong things.
    """
    if isinstance(scan_type, RangeScan):
        for term in (scan_type.start, scan_type.end):
            if not isinstance(term, (ScanTerm, type(None))):
                raise InvalidArgumentException(f"a range goes from ScanTerm to ScanTerm: {term!r}")
            if term is not None and term.to_dict()["exclusive"] is not None:
                validate_bool(term.to_dict()["exclusive"])
    elif isinstance(scan_type, PrefixScan):
        if not isinstance(scan_type.prefix, str):
            raise InvalidArgumentException(f"a prefix must be text, not {scan_type.prefix!r}")
    elif isinstance(scan_type, SamplingScan):
        _check_number("limit", scan_type.limit, _U64)
        if scan_type.seed is not None:
            _check_number("seed", scan_type.seed, _U64)


class ScanStream(RowStream[ScanResult, None], ScanResultIterable):
    """The documents of a scan, for one ``async for``, as the SDK's `ScanResult`; see `RowStream`.

    They come in no order.
    """

    __iter__ = None  # type: ignore[assignment]

    def rows(self) -> ScanStream:
        """This object, as in the SDK."""
        return self

    def cancel_scan(self) -> None:
        """Stop the scan, at the server too. No more documents come."""
        self._stop()


class ScanMethods(BaseCollection):
    """The method of collections whose documents come as they are found, in both forms."""

    def scan(self, /, scan_type: ScanType, *opts: ScanOptions, **kwargs: Any) -> ScanStream:
        """Scan for documents, whose results come with ``async for``.

        A bad argument raises at once; everything else is told by the iterator. `timeout` (75
        seconds by default) ends with the first documents. A scan whose worker dies is started
        once more if no documents had arrived, else it fails with `WorkerLost`.

        All nodes that have vBuckets of the bucket have to answer: while one of them does not, a
        scan waits for it, and times out.

        The server does not hold a scan against a slow reader, nor does the SDK: what was not read
        yet waits in the worker.

        Args:
            scan_type: A `RangeScan`, a `PrefixScan`, or a `SamplingScan`.
            opts: `ScanOptions`.
            kwargs: Options by name.

        Errors: The SDK's exceptions. UnAmbiguousTimeoutException also if a node did not answer: it
        says which, if that is known. RequestCanceledException where the SDK ends a scan before
        all documents were there, without saying why. That a collection does not exist is told by
        an UnsuccessfulOperationException.

        Raises:
            InvalidArgumentException: An argument is wrong.
        """
        details = CollectionDetails(*self._place, self._transcoder)
        builder = CollectionRequestBuilder(details)
        place = RowPlace(self._pool, self._keyspace, self._settings, builder)
        return place.stream(ScanRequest, ScanStream, scan_type, *opts, **kwargs)
