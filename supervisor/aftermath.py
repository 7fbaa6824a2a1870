"""What becomes of a seat whose process has ended: vacant, held back for a while, or parked; and it is said.

What the death means is judged before, by ``deaths``.
"""

from __future__ import annotations

from supervisor.deaths import Judgement
from supervisor.host.child import Child
from supervisor.operations.floor import Floor
from supervisor.rules.lifecycle import Event
from supervisor.rules.policy import Cause, Verdict, blamed
from supervisor.seat import Seat

__all__ = ["Aftermath", "when"]


class Aftermath:
    """See the module."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def vacate(self, seat: Seat, child: Child, exit_code: int, found: Judgement, noticed_ns: int) -> None:
        """``child``, which had ``seat``, has ended and was judged."""
        stopping = self._floor.stopping
        seat.vacate(exit_code, found.cause, noticed_ns, blamed=blamed(found.cause))
        self._tell(seat, child.pid, exit_code, found)
        if found.verdict is Verdict.PARK and not stopping:
            self._park(seat, child, found)
        elif stopping or found.wait_s == 0 or found.verdict is Verdict.GIVE_UP:
            seat.advance(Event.DIED)
        else:
            timer = self._floor.loop.after(found.wait_s, lambda: self._retry(seat))
            seat.hold_back(noticed_ns + int(found.wait_s * 1e9), timer)

    def _tell(self, seat: Seat, pid: int, exit_code: int, found: Judgement) -> None:
        if found.verdict is Verdict.STOPPED or found.cause is Cause.RECYCLED:
            return  # it was told to, and that was said
        self._floor.journal.publish(
            "died",
            f"{seat.name} ended ({found.text}); {_sequel(found)}",
            worker=seat.name,
            partition=found.partition,
            offset=found.offset,
            pid=pid,
            exit_code=exit_code,
            cause=found.cause.name.lower(),
        )

    def _park(self, seat: Seat, child: Child, found: Judgement) -> None:
        self._floor.seats.park(seat, found.partitions, found.parked_for)
        if seat.partitions and seat.role == "olap":
            seat.advance(Event.DIED)  # its other partitions are served on
        else:
            seat.park()
        seat.alarmed = True
        which = ", ".join(map(str, found.partitions))
        what = (
            f"{seat.name}: partition {which} is parked" if seat.role == "olap" else f"{seat.name} is parked"
        )
        self._floor.journal.publish(
            "parked",
            f"{what}: {found.reason}; `supervisor restart {seat.name}` lets it try again",
            worker=seat.name,
            partition=found.partitions[0] if seat.role == "olap" and found.partitions else None,
            offset=found.offset,
            pid=child.pid,
            cause=found.parked_for.name.lower(),
        )

    def _retry(self, seat: Seat) -> None:
        seat.release()
        self._floor.refill()


def _sequel(found: Judgement) -> str:
    """What follows a death, in words."""
    if found.verdict is Verdict.GIVE_UP:
        return "not replaced"
    return "parked" if found.verdict is Verdict.PARK else f"replaced {when(found.wait_s)}"


def when(wait_s: float) -> str:
    """When somebody is replaced who has to wait, in words."""
    return "at once" if wait_s < 0.001 else f"in {wait_s:.3g} s"
