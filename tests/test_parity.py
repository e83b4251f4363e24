"""Nothing that the SDK has goes unnoticed, and ``docs/parity.md`` says how it stands."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any
from unittest.mock import patch

from couchbase import result
from couchbase.collection import Collection
from couchbase.datastructures import CouchbaseQueue
from twisted.trial.unittest import SynchronousTestCase

from tests import parity
from tests.surface import missing_parameters, parameters_of
from txcouchbase.collection import TxCollection, TxRawCollection

TABLE = Path(__file__).resolve().parent.parent / "docs" / "parity.md"


class ParityTests(SynchronousTestCase):
    def test_all_is_there_or_listed(self) -> None:
        self.assertEqual(parity.problems(parity.sections()), [])

    def test_the_table_is_up_to_date(self) -> None:
        made = parity.written(parity.sections())
        self.assertEqual(
            TABLE.read_text("utf-8").splitlines(),
            made.splitlines(),
            "run: python -m tests.parity > docs/parity.md",
        )

    def test_all_areas_are_looked_at(self) -> None:
        rows = {row.name for section in parity.sections() for row in section.rows}
        for name in (
            "ref.TxRawClientMixin.registerDeferred",
            "tx.Collection.get",
            "tx.TxCluster.loop",
            "Cluster.set_authenticator",
            "Bucket.view_query",
            "Scope.search",
            "Collection.get",
            "Collection.lock_multi",
            "BinaryCollection.prepend_multi",
            "ScopeEventingFunctionManager.deploy_function",
            "CouchbaseList",
            "transactions.AttemptContext",
            "result.MultiGetResult",
        ):
            self.assertIn(name, rows)

    def seen_with(self, target: Any, name: str, value: Any) -> list[str]:
        """What is found when a class has another member."""
        with patch.object(target, name, value, create=True):
            return parity.problems(parity.sections())

    def test_a_new_method_of_the_sdk_is_noticed(self) -> None:
        found = self.seen_with(Collection, "get_soon", lambda self, key: None)
        self.assertEqual(found, ["Collection.get_soon is missing"])

    def test_a_new_result_of_the_sdk_is_noticed(self) -> None:
        made = type("NewResult", (), {"__module__": "couchbase.result"})
        found = self.seen_with(result, "NewResult", made)
        self.assertEqual(found, ["result.NewResult is missing"])

    def test_a_new_parameter_of_the_sdk_is_noticed(self) -> None:
        def get(self: Any, key: str, soon: bool = False, *opts: Any, **kwargs: Any) -> None: ...

        found = self.seen_with(Collection, "get", get)
        self.assertEqual(
            found,
            ["TxCollection.get lacks soon", "TxRawCollection.get lacks soon"],
        )

    def test_a_new_parameter_of_a_data_structure_is_noticed(self) -> None:
        found = self.seen_with(CouchbaseQueue, "pop", lambda self, soon, timeout=None: None)
        self.assertEqual(found[0], "CouchbaseQueue.pop lacks soon, timeout as argument 2")

    def test_one_of_the_two_forms_is_not_enough(self) -> None:
        with patch.object(TxCollection, "get_soon", TxCollection.get, create=True):
            found = self.seen_with(Collection, "get_soon", lambda self, key: None)
        self.assertEqual(found, ["Collection.get_soon is missing"])

    def test_what_only_refuses_is_missing(self) -> None:
        def get(self: Any, key: str, *opts: Any, **kwargs: Any) -> None:
            """Not yet."""

        found = self.seen_with(TxRawCollection, "get", get)
        self.assertIn("Collection.get is missing", found)

    def test_what_is_left_out_and_there_is_noticed(self) -> None:
        found = self.seen_with(parity, "LEFT_OUT", {**parity.LEFT_OUT, "Collection.get": "x"})
        self.assertIn("Collection.get is listed as deliberately not, and is there", found)

    def test_what_nobody_has_and_is_listed_is_noticed(self) -> None:
        found = self.seen_with(parity, "LEFT_OUT", {**parity.LEFT_OUT, "Collection.gone": "x"})
        self.assertEqual(found, ["Collection.gone is listed, and nobody has it"])

    def test_parameters(self) -> None:
        def ours(self: Any, /, key: str, value: Any, *opts: Any, **kwargs: Any) -> None: ...

        def missing(theirs: Any) -> list[str]:
            return missing_parameters(parameters_of(theirs), ours)

        self.assertEqual(missing(ours), [])
        self.assertEqual(missing(lambda self, key, value, *options, **kwargs: 0), [])
        self.assertEqual(missing(lambda self, key, other, *o, **k: 0), ["other"])
        self.assertEqual(
            missing(lambda self, value, key, *o, **k: 0),
            ["value as argument 1", "key as argument 2"],
        )
        self.assertEqual(
            missing(lambda self, key, value=None, *o, **k: 0), ["the default of value"]
        )
        self.assertEqual(missing(lambda self, key: 0), ["fewer required parameters"])
        self.assertEqual(missing_parameters(None, ours), ["it is no property"])
        self.assertEqual(missing_parameters((), 5), ["it is no method"])
        (extra,) = inspect.signature(lambda *args: 0).parameters.values()
        found = missing_parameters((extra,), lambda self: 0)
        self.assertEqual(found, ["*args"])
