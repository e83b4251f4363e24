"""Checks of the embedded node through the SDK's blocking API, in processes of their own.

Each check is a sentence about documented behaviour and a function that proves it. Some malformed
answers would abort the SDK's process, so a check's crash is reported as its failure.
"""

from __future__ import annotations

from typing import Any

NODES: dict[str, dict[str, Any]] = {
    "tls": {"tls": True},
    "replicas": {"nodes": 3, "replicas": 1, "server_groups": 3},
    "durability": {"nodes": 3, "replicas": 1},
    "transactions": {"nodes": 2, "replicas": 1, "server_groups": 2},
}
"""What `EmbeddedNode` is given for an area, beside what it is by default."""
