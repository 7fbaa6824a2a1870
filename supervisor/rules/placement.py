"""Which worker owns which partitions. All that knows about ownership is here, so that a placement over
several hosts is another module and changes none."""

from __future__ import annotations

from supervisor.contract.faults import ConfigurationFault

__all__ = ["place"]


def place(partitions: int, workers: int) -> list[tuple[int, ...]]:
    """The partitions of each worker: worker ``i`` of ``N`` owns every partition ``p`` with ``p mod N == i``.

    ``workers`` of 0 is one per partition. Raises :class:`ConfigurationFault` for more workers than
    partitions: a worker without a partition could only wait.
    """
    if workers > partitions:
        raise ConfigurationFault(
            f"{workers} OLAP workers are more than the input's {partitions} partitions",
            f"use at most {partitions} (--olap-workers), or raise topics.partitions to {workers}",
        )
    count = workers or partitions
    return [tuple(range(index, partitions, count)) for index in range(count)]
