"""Programs written for the SDK's own `txcouchbase` run unchanged on this package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue

from tests.applications import ROOT
from tests.support import ServerTestCase

EXAMPLES = Path(ROOT) / "examples"

PRINTED = {
    "keyvalue": """\
airline: 40-Mile Air airline_10
replaced: True
refused: CasMismatchException 9
refused: DocumentExistsException airline_10
expires: True
exists: False
refused: DocumentNotFoundException
seats: 99
hotel: 89073 3 False 1
visits: 105
stops: 1225
""",
    "queries": """\
primary: True
row: Ulm 126
row: Bern 134
row: Graz 289
rows: 3 SUCCESS
large: ['Bern', 'Graz']
people: [126]
refused: ParsingFailedException 3000
""",
    "management": """\
nodes: True
ping: True
diagnostics: Online
refused: ScopeAlreadyExistsException
collections: ['orders']
order: chair shop orders
scopes: False
user: clerk ['data_reader']
refused: UserNotFoundException
refused: BucketAlreadyExistsException
bucket: archive 128 COUCHBASE
buckets: True
""",
}
"""What they print, on either."""


class ExampleTests(ServerTestCase):
    @inlineCallbacks
    def check(self, name: str) -> Any:
        environment = {
            **os.environ,
            "PYTHONPATH": ROOT,
            "COUCHBASE_CONNSTR": self.connstr,
            "COUCHBASE_USERNAME": self.username,
            "COUCHBASE_PASSWORD": self.password,
            "COUCHBASE_BUCKET": self.bucket_name,
        }
        program = str(EXAMPLES / f"{name}.py")
        out, err, status = yield getProcessOutputAndValue(sys.executable, [program], environment)
        self.assertEqual(out.decode(), PRINTED[name], err.decode())
        self.assertEqual((status, err), (0, b""), err.decode())

    def test_keyvalue(self) -> Any:
        return self.check("keyvalue")

    def test_queries(self) -> Any:
        return self.check("queries")

    def test_management(self) -> Any:
        return self.check("management")
