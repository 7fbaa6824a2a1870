"""What of the machine a worker in a seat may use: CPUs, priority, and a cgroup where they are ours."""

from __future__ import annotations

import os
from collections.abc import Iterable

from supervisor.contract.settings import Limits, Settings
from supervisor.host.cgroup import CgroupTree
from supervisor.host.child import Child
from supervisor.host.guardian import Guardian
from supervisor.rules import isolation
from supervisor.seat import Seat

__all__ = ["Shares"]


class Shares:
    """See the module. To be made before any worker is started."""

    def __init__(self, limits: Limits, guardian: Guardian) -> None:
        self._guardian = guardian
        self._cgroups = CgroupTree.open(limits)
        self._available = sorted(os.sched_getaffinity(0))

    def of(self, seat: Seat, settings: Settings) -> tuple[tuple[int, ...], int]:
        """The CPUs, none for all, and the priority of who serves a seat."""
        if seat.role == "olap":
            return self.olap_cpus(seat, settings), settings.olap.nice
        if seat.role == "realtime":
            realtime = settings.realtime
            return isolation.realtime_cpus(realtime.cpus, self._available), realtime.nice
        return (), 0

    def olap_cpus(self, seat: Seat, settings: Settings) -> tuple[int, ...]:
        return isolation.olap_cpus(seat.index, settings.olap.cpus, self._available)

    # -- cgroups ----------------------------------------------------------------------------------------

    def place(self, seat: Seat, child: Child, limits: Limits) -> int:
        """Move a process into the cgroup of its seat; returns its weight there, 0 for none."""
        if self._cgroups is None or seat.role == "probe":
            return 0
        weight = self._cgroups.place(seat.name, child.pid, _weight(seat, limits))
        self._guardian.guard(child.pid, self._cgroups.leaf(seat.name))
        return weight

    def adopt(self, limits: Limits, seats: Iterable[Seat]) -> None:
        """Those who are in their cgroups stay there, with other weights and another limit of memory."""
        if self._cgroups is None:
            return
        self._cgroups.adopt(limits)
        for seat in seats:
            seat.record.cpu_weight = self._cgroups.weigh(seat.name, _weight(seat, limits))

    def out_of_memory(self, seat: Seat) -> bool:
        """Whether the kernel killed something in its cgroup for want of memory. Ask before :meth:`clear`."""
        return self._cgroups is not None and self._cgroups.out_of_memory(seat.name)

    def clear(self, seat: Seat) -> None:
        """Its process has ended: kill whatever that has started and left."""
        if self._cgroups is not None:
            self._cgroups.kill(seat.name)

    def close(self) -> None:
        if self._cgroups is not None:
            self._cgroups.close()


def _weight(seat: Seat, limits: Limits) -> int:
    return limits.olap_cpu_weight if seat.role == "olap" else limits.realtime_cpu_weight
