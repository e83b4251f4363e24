"""Each exception class of the SDK, raised in a real worker, is the same on this side."""

from __future__ import annotations

import inspect
from typing import Any

import couchbase.exceptions as sdk
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from tests.jobfunctions import Refused, refuse
from tests.sdkerrors import (
    CONTEXTS,
    FIELDS,
    FORMS,
    classes_of_the_sdk,
    encoded_errors,
    make_error,
    raise_error,
)
from txcouchbase.amp.errors import decode_error
from txcouchbase.exceptions import RemoteError
from txcouchbase.workers import PoolConfig, WorkerPool


def properties_of(cls: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(cls, lambda found: isinstance(found, property))]


def seen(error: BaseException | None) -> Any:
    """All that a user can see of an exception, its context and its causes."""
    if not isinstance(error, sdk.CouchbaseException):
        return type(error), getattr(error, "args", None)
    context = error.error_context
    return (
        type(error),
        str(error),
        repr(error),
        error.args,
        error.message,
        error.error_code,
        type(context),
        str(context),
        context._get_base(),
        {name: getattr(context, name) for name in properties_of(type(context))},
        error.context is context,
        seen(error.inner_cause),
    )


class SdkExceptionTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.names = classes_of_the_sdk()
        self.pool = WorkerPool(PoolConfig(min_workers=1, max_workers=1, job_workers=1))
        self.addCleanup(self.pool.close)

    def test_the_table_is_complete(self) -> None:
        self.assertGreater(len(self.names), 90)
        for cls in (sdk.CouchbaseException, sdk.TransactionFailed, sdk.DecrypterNotFoundException):
            self.assertIn(f"{cls.__module__}.{cls.__name__}", self.names)
        for name in CONTEXTS:
            for field in properties_of(getattr(sdk, name)):
                value = getattr(getattr(sdk, name)(**FIELDS), field)
                if name != "TransactionsErrorContext" or field == "failure_type":
                    self.assertIsNotNone(value, f"{name}.{field}")

    @inlineCallbacks
    def test_errors_of_operations(self) -> Any:
        encoded = yield self.pool.run(encoded_errors, self.names)
        cases = [(name, form) for name in self.names for form in FORMS]
        contexts = set()
        for (name, form), data in zip(cases, encoded, strict=True):
            error = decode_error(data)
            self.assertEqual(seen(error), seen(make_error(name, form)), f"{name} {form}")
            assert isinstance(error, sdk.CouchbaseException)
            contexts.add(type(error.error_context).__name__)
        self.assertEqual(contexts, set(CONTEXTS))

    @inlineCallbacks
    def test_errors_of_jobs(self) -> Any:
        for name in self.names:
            for form in FORMS:
                expected = make_error(name, form)
                error = yield self.assertFailure(
                    self.pool.run(raise_error, name, form), type(expected)
                )
                self.assertEqual(seen(error), seen(expected), f"{name} {form}")
                remote = error.__cause__
                self.assertIsInstance(remote, RemoteError)
                self.assertEqual(remote.class_name, name)
                self.assertIn("in raise_error", remote.remote_traceback)
        error = yield self.assertFailure(self.pool.run(refuse, "\ud800"), Refused)
        self.assertEqual(error.args, ("\ud800",))
        self.assertIn("\\ud800", str(error.__cause__))
