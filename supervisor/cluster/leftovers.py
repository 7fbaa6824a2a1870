"""Temporary directories of clusters whose process was killed before it could remove them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from supervisor.cluster.layout import Layout, Lock
from supervisor.contract.faults import Fault

__all__ = ["new_temporary", "sweep"]

_PREFIX = "kafka-supervisor-"


def new_temporary() -> Path:
    """A new temporary directory; those that killed processes left are removed first."""
    sweep(Path(tempfile.gettempdir()))
    return Path(tempfile.mkdtemp(prefix=_PREFIX))


def sweep(parent: Path) -> None:
    """Remove the abandoned ones in ``parent``: nobody holds the lock, and the data was not to be kept.

    One that was just made has no ``cluster.json`` yet, and from when it has one its owner holds the lock; so
    none is taken from under a process that is about to use it.
    """
    for root in parent.glob(f"{_PREFIX}*"):
        layout = Layout(root)
        with contextlib.suppress(Fault, OSError):
            identity = layout.read_identity()
            if identity is None or identity.keep:
                continue
            lock = Lock.acquire(layout)
            try:
                layout.remove()
            finally:
                lock.release()
