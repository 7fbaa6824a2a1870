"""Which CPUs each role may use. Pure; the worker applies it to itself before its first thread starts."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["olap_cpus", "realtime_cpus"]

# With fewer CPUs than this none is set aside: a CPU that idles for the real-time worker's sake would cost the
# OLAP side half of a small machine, while nice 10 already lets the real-time worker in first.
_ENOUGH_TO_RESERVE = 4


def realtime_cpus(configured: Sequence[int], available: Sequence[int]) -> tuple[int, ...]:
    """The real-time worker's CPUs: as configured, else the first one where there are enough of them.

    An empty tuple leaves it wherever the kernel puts it.
    """
    if configured:
        return tuple(configured)
    return (min(available),) if len(available) >= _ENOUGH_TO_RESERVE else ()


def olap_cpus(index: int, configured: Sequence[int], available: Sequence[int]) -> tuple[int, ...]:
    """OLAP worker ``index``'s CPU: one of those configured, in turn; else all but the real-time worker's."""
    if configured:
        return (configured[index % len(configured)],)
    return tuple(sorted(available)[1:]) if len(available) >= _ENOUGH_TO_RESERVE else ()
