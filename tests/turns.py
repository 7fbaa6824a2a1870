"""Whose turn it is among test processes: most tests run beside others, and a few run alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared_cluster import ADDRESS

__all__ = ["turn"]


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Run beside others, or wait until nobody else runs a test and let nobody begin one.

    Locks of files, so that the kernel gives back those of a process that died.
    """
    if (address := os.environ.get(ADDRESS)) is None:
        yield
        return
    directory = Path(address).parent
    with (directory / "room").open("w") as room:
        # Who waits for the room to be empty stands in the door: else others would go in and out for ever.
        with (directory / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
