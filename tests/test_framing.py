"""Payloads of any length survive the pipe, in boxes of our own and in commands."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.amp.commands import Configure
from txcouchbase.amp.framing import ACK, KIND, RESULTS, encode_box, payload_of

LENGTHS = (0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 3_000_000)


class _Boxes(amp.BinaryBoxProtocol):
    """Collects boxes as AMP's own parser reads them."""

    def __init__(self) -> None:
        self.boxes: list[Any] = []
        super().__init__(self)

    def startReceivingBoxes(self, sender: object) -> None:
        pass

    def ampBoxReceived(self, box: Any) -> None:
        self.boxes.append(box)


def parsed(data: bytes, step: int = 8192) -> list[Any]:
    parser = _Boxes()
    for start in range(0, len(data), step):
        parser.dataReceived(data[start : start + step])
    return parser.boxes


class BoxTests(SynchronousTestCase):
    def test_every_length(self) -> None:
        for length in LENGTHS:
            payload = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
            (box,) = parsed(encode_box(RESULTS, payload, 3))
            self.assertEqual(box[KIND], RESULTS)
            self.assertEqual(box[ACK], b"3")
            self.assertTrue(payload_of(box) == payload, length)

    def test_acknowledgement_alone(self) -> None:
        (box,) = parsed(encode_box(ACK, b"", 1))
        self.assertEqual((box[KIND], box[ACK], payload_of(box)), (ACK, b"1", b""))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 40))
    def test_any_chunking(self, payloads: list[bytes], step: int) -> None:
        data = b"".join(encode_box(RESULTS, payload) for payload in payloads)
        self.assertEqual([payload_of(box) for box in parsed(data, step)], payloads)


class LongBytesTests(SynchronousTestCase):
    def test_every_length(self) -> None:
        for length in LENGTHS:
            value = b"v" * length
            box = Configure.makeArguments({"settings": value}, None)  # type: ignore[no-untyped-call]
            self.assertTrue(all(len(chunk) <= 65_535 for chunk in box.values()))
            read = Configure.parseArguments(box, None)  # type: ignore[no-untyped-call]
            self.assertTrue(read["settings"] == value, length)
