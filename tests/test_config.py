"""`PoolConfig` refuses what is wrong, by name."""

from __future__ import annotations

import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.workers import PoolConfig


class PoolConfigTests(SynchronousTestCase):
    def test_defaults_are_valid_and_documented(self) -> None:
        config = PoolConfig()
        self.assertEqual((config.min_workers, config.max_workers), (2, 2))
        for field in dataclasses.fields(PoolConfig):
            self.assertIn(field.name, PoolConfig.__doc__ or "")

    def test_frozen(self) -> None:
        with self.assertRaises(dataclasses.FrozenInstanceError):
            PoolConfig().min_workers = 3  # type: ignore[misc]

    def test_every_wrong_value_is_refused_by_name(self) -> None:
        wrong: list[tuple[str, object]] = [
            (field.name, value)
            for field in dataclasses.fields(PoolConfig)
            for value in (0, -1, "many", object())
        ]
        for name, value in wrong:
            with self.assertRaises(ValueError) as raised:
                PoolConfig(**{name: value})  # type: ignore[arg-type]
            self.assertIn(name, str(raised.exception))

    def test_workers_in_order(self) -> None:
        with self.assertRaises(ValueError) as raised:
            PoolConfig(min_workers=3, max_workers=2)
        self.assertIn("max_workers", str(raised.exception))

    def test_heartbeats_fit(self) -> None:
        with self.assertRaises(ValueError) as raised:
            PoolConfig(heartbeat_interval=5, heartbeat_timeout=5)
        self.assertIn("heartbeat_timeout", str(raised.exception))

    def test_from_mapping_takes_text(self) -> None:
        config = PoolConfig.from_mapping(
            {
                "max_workers": "4",
                "start_timeout": "1.5",
                "recycle_after_ops": "none",
                "recycle_after_age": "60",
                "restart_backoff": "0.5, 2, 0",
                "client": "sync",
            }
        )
        self.assertEqual(config.max_workers, 4)
        self.assertEqual(config.start_timeout, 1.5)
        self.assertIsNone(config.recycle_after_ops)
        self.assertEqual(config.recycle_after_age, 60.0)
        self.assertEqual(config.restart_backoff, (0.5, 2.0, 0.0))
        self.assertEqual(config.client, "sync")

    def test_from_mapping_refuses_unknown_names(self) -> None:
        with self.assertRaises(ValueError) as raised:
            PoolConfig.from_mapping({"workers": 2})
        self.assertIn("workers", str(raised.exception))

    def test_from_env(self) -> None:
        config = PoolConfig.from_env({"TXCOUCHBASE_MIN_WORKERS": "1", "PATH": "/bin"})
        self.assertEqual(config.min_workers, 1)
        with self.assertRaises(ValueError) as raised:
            PoolConfig.from_env({"TXCOUCHBASE_MIN_WORKERS": "two"})
        self.assertIn("min_workers", str(raised.exception))
