"""Imports the Kafka client without what no process of ours uses of it.

confluent_kafka imports asyncio for the serdes of its asyncio clients. With TLS and all that comes with it,
that is a fifth of the CPU time of a worker's imports, and 2 MB that each process has for itself.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["import_client"]

_NAME = "asyncio"


def import_client() -> None:
    """Import ``confluent_kafka``; what it has of asyncio is imported when it is used.

    Whoever else imports asyncio, a pipeline for one, gets it as ever.
    """
    if _NAME in sys.modules:
        import confluent_kafka

        return
    later = _Later(_NAME)
    sys.modules[_NAME] = later
    try:
        import confluent_kafka  # noqa: F401
    finally:
        # Unless it was needed after all, and is there by now.
        if sys.modules.get(_NAME) is later:
            del sys.modules[_NAME]


class _Later(ModuleType):
    """A module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)
