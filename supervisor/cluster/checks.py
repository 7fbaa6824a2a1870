"""What is looked at before anything is started, so that a shortage is one sentence and not a dead broker."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from supervisor.contract.faults import Fault

__all__ = ["OVERHEAD_MB", "memory_fault", "require_disk", "require_memory"]

OVERHEAD_MB = 300
"""What a broker takes beside its heap: code, class data, thread stacks, network buffers."""

_DISK_MB_PER_BROKER = 100


def memory_fault(brokers: int, heap_mb: int, available_mb: int) -> Fault | None:
    """Pure: the fault if ``available_mb`` does not hold the brokers, else None."""
    needed = brokers * (heap_mb + OVERHEAD_MB)
    if available_mb >= needed:
        return None
    return Fault(
        f"{brokers} broker{'s need' if brokers > 1 else ' needs'} {needed} MB of memory "
        f"({heap_mb} MB of heap and about {OVERHEAD_MB} MB more each) and {available_mb} MB are available",
        "use --brokers 1 or a smaller --heap, or end other programs"
        if brokers > 1
        else "use a smaller --heap",
    )


def require_memory(brokers: int, heap_mb: int) -> None:
    """Raises Fault where memory is short: a kernel out of memory would kill a broker, or something dearer."""
    fault = memory_fault(brokers, heap_mb, psutil.virtual_memory().available >> 20)
    if fault:
        raise fault


def require_disk(directory: Path, brokers: int) -> None:
    """Raises Fault where not even an empty cluster fits."""
    free = shutil.disk_usage(directory).free >> 20
    needed = brokers * _DISK_MB_PER_BROKER
    if free < needed:
        raise Fault(
            f"{brokers} broker{'s need' if brokers > 1 else ' needs'} at least {needed} MB of disk "
            f"and {free} MB are free in {directory}",
            "free some space, or name a directory on another disk with --dir",
        )
