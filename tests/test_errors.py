"""Exceptions cross the pipe as plain data and come back as the SDK's own classes."""

from __future__ import annotations

import inspect

import couchbase.exceptions as sdk
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.amp.errors import CoreError, decode_error, encode_error
from txcouchbase.exceptions import RemoteError, WorkerLost

CLASSES = sorted(
    (
        found
        for _, found in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(found, sdk.CouchbaseException) and found.__module__ == sdk.__name__
    ),
    key=lambda found: found.__name__,
)


class ErrorTests(SynchronousTestCase):
    def test_every_class_of_the_sdk(self) -> None:
        self.assertGreater(len(CLASSES), 80)
        fields = {"key": "k", "bucket_name": "b", "status_code": 1, "retry_reasons": {"x"}}
        for found in CLASSES:
            context = sdk.KeyValueErrorContext(**fields)
            base = CoreError(101, "couchbase.key_value", "document_not_found", fields)
            error = found.__new__(found)
            sdk.CouchbaseException.__init__(error, base=base, message="a text", context=context)
            again = decode_error(encode_error(error))
            self.assertIs(type(again), found)
            assert isinstance(again, sdk.CouchbaseException)
            self.assertEqual(again.message, error.message)
            self.assertEqual(again.error_code, error.error_code)
            self.assertIs(type(again.error_context), type(error.error_context))
            self.assertEqual(again.error_context._get_base(), fields)
            self.assertEqual(str(again), str(error))

    def test_message_from_the_core(self) -> None:
        base = CoreError(101, "couchbase.key_value", "document_not_found", {})
        again = decode_error(encode_error(sdk.DocumentNotFoundException(base=base)))
        assert isinstance(again, sdk.CouchbaseException)
        self.assertEqual(again.message, "document not found")

    def test_inner_cause(self) -> None:
        error = sdk.InternalSDKException(
            message="outer", exc_info={"inner_cause": KeyError("inner")}
        )
        again = decode_error(encode_error(error))
        assert isinstance(again, sdk.CouchbaseException)
        self.assertIsInstance(again.inner_cause, KeyError)

    def test_builtin_exceptions(self) -> None:
        again = decode_error(encode_error(ValueError("wrong", 3)))
        self.assertIsInstance(again, ValueError)
        self.assertEqual(again.args, ("wrong", 3))

    def test_texts_that_are_not_unicode(self) -> None:
        again = decode_error(encode_error(ValueError("\ud800")))
        self.assertEqual(again.args, ("\\ud800",))
        error = sdk.InternalSDKException("\ud800", exc_info={"inner_cause": "a text"})
        again = decode_error(encode_error(error))
        assert isinstance(again, sdk.CouchbaseException)
        self.assertEqual((again.message, again.inner_cause), ("\\ud800", "a text"))

    def test_a_context_is_one_of_the_sdk(self) -> None:
        class Json(sdk.ErrorContext):
            pass

        Json.__name__ = "json"  # what that module calls something else
        error = sdk.HTTPException(message="m", context=Json(path="/"))
        again = decode_error(encode_error(error))
        assert isinstance(again, sdk.CouchbaseException)
        self.assertIs(type(again.error_context), sdk.ErrorContext)
        self.assertEqual(again.error_context._get_base(), {"path": "/"})

    def test_what_cannot_be_rebuilt_arrives_by_name(self) -> None:
        class Local(Exception):
            pass

        try:
            raise Local("no way")
        except Local as error:
            again = decode_error(encode_error(error))
        assert isinstance(again, RemoteError)
        self.assertIn("Local", again.class_name)
        self.assertEqual(again.text, "no way")
        self.assertIn("raise Local", again.remote_traceback)

    def test_nothing_but_exceptions_is_looked_up(self) -> None:
        class Impostor(Exception):
            pass

        Impostor.__module__, Impostor.__name__ = "builtins", "exit"
        self.assertIsInstance(decode_error(encode_error(Impostor())), RemoteError)

    def test_worker_lost_tells_what_to_do(self) -> None:
        error = WorkerLost(
            ambiguous=True, operation="upsert", key="k", exit_code=None, signal=9, stderr="oops"
        )
        for part in ("signal 9", "upsert", "'k'", "may have been applied", "oops"):
            self.assertIn(part, str(error))
