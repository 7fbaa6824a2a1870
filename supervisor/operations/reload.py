"""A reload: new configuration and new code, checked first, then rolled out, and rolled back if they fail.

1. The configuration is read anew. A mistake in it: nothing changes.
2. One process of the new generation is started. It imports the pipeline; if it cannot, nothing changes.
3. What differs decides who is touched: keys of the configuration by role, other code everybody. If it leads
   to other brokers, the new process has to be connected to them; else nothing changes.
4. The first OLAP worker is replaced and watched for a while, the *canary*: more dead letters or less speed
   than before, or its death, and it is rolled back.
5. The others follow, one at a time. If one of the new ones dies meanwhile, all of them are rolled back.

To roll back the configuration is always possible. To roll back code takes a process that imported the old
one: the spare of the old generation is kept until the reload is over, for the canary.
"""

from __future__ import annotations

from collections.abc import Callable

from supervisor.config.changes import changed, require_changeable, roles_touched
from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault
from supervisor.contract.settings import Settings
from supervisor.control.protocol import Talk
from supervisor.host.child import Child
from supervisor.host.loop import Timer
from supervisor.operations.floor import Floor
from supervisor.operations.rollout import Rollout
from supervisor.rules.canary import Sample, compare
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Intent
from supervisor.seat import Seat
from supervisor.watch import between

__all__ = ["Reload"]

_LOOK_S = 1.0
# A client that gets no answer asks twice, five seconds each, within that.
_REACH_S = 15.0
_STARTS = 3
_UNCHANGED = "nothing is changed"


class Reload(Rollout):
    """See the module. ``load`` reads the configuration; with ``everything`` nobody is left untouched."""

    def __init__(
        self, floor: Floor, talks: list[Talk], load: Callable[[], Settings], *, everything: bool
    ) -> None:
        super().__init__(floor, "reload of everything" if everything else "reload", talks)
        self._load = load
        self._everything = everything
        self._old = floor.generation
        self._new = 0
        self._settings = floor.settings
        self._changes: list[str] = []
        self._checking = False
        self._why = ""
        """Why it is rolled back; empty while it is not."""
        self._before = Sample(0, 0, 0.0)
        self._began = Sample(0, 0, 0.0)
        self._least_lag = 0
        self._canary: Timer | None = None
        self._failed_starts = 0
        self._parked_before: frozenset[int] = frozenset()
        """Partitions that it is not the new processes' doing that nobody serves."""

    def begin(self) -> None:
        # Also of one that will be refused: `systemctl reload` waits for a reload to begin, and to end.
        self._floor.reloading()
        try:
            self._settings = self._load()
            self._changes = changed(self._floor.settings, self._settings)
            require_changeable(self._changes)
            if self._floor.seats.partitions:  # else they are not known yet
                self._floor.seats.layout(
                    self._settings, self._floor.seats.partitions, self._settings.olap.workers
                )
        except Fault as fault:
            self._refuse(Fault(f"{fault.cause}: {_UNCHANGED}", fault.remedy), fault.exit_code)
            return
        self._floor.journal.publish("reload-began", f"reload begins: {_listed(self._changes)}")
        self._old = self._floor.generation
        self._new = self._floor.crew.add_generation(self._settings)
        self._checking = True
        self._floor.refill()

    def wants(self) -> dict[int, int]:
        return {self._new: 1} if self._checking else super().wants()

    def keeps(self) -> set[int]:
        return {self._old, self._new}

    def ready(self, child: Child) -> None:
        if not self._checking:
            super().ready(child)
        elif child.generation == self._new:
            self._checking = False
            self._choose(child)

    def died(self, child: Child, seat: Seat | None, text: str, *, blamed: bool) -> None:
        new = child.generation == self._new
        if not new and seat is not None:
            self._parked_before |= set(self._floor.seats.parked(seat))
        if self._checking:
            if new:
                self._checking = False
                self._refuse(Fault(f"the new workers cannot start: {text}: {_UNCHANGED}"), Exit.CONFIGURATION)
        elif self._why and not new and seat is not None and seat is self._seat:
            # It has the old configuration again, and that does not help it: the brokers are away, say. As
            # before the reload it is tried again and again, and the reload is over. Else none could follow,
            # and mend it.
            self._next()
        elif self._why and not new and seat is None and self._waiting and child.intent is not Intent.STOP:
            self._count_failed_start(text)
        elif (new and not self._why) or (seat is not None and self.awaits(seat)):
            super().died(child, seat, text, blamed=blamed)

    def _count_failed_start(self, text: str) -> None:
        """While it is rolled back, a process of the old generation could not start: its code may not be on
        disk any more. After some of them the seats that are left keep their new processes."""
        self._failed_starts += 1
        if self._failed_starts >= _STARTS and self._seat is not None:
            self.say(f"{self._seat.name} keeps its new process: the old ones cannot start: {text}")
            self._next()

    def abandon(self) -> None:
        super().abandon()
        if self._canary is not None:
            self._canary.cancel()

    # -- who is touched ---------------------------------------------------------------------------------

    def _choose(self, child: Child) -> None:
        """The new generation can start; who is replaced?"""
        codes = {
            other.code for other in self._floor.crew.each() if other.generation == self._old and other.ready
        }
        new_code = any(code != child.code for code in codes)
        if new_code:
            self.say("the code has changed")
        roles = roles_touched(self._changes)
        order = {"olap": 0, "realtime": 1, "probe": 2}
        seats = [
            seat
            for seat in sorted(self._floor.seats, key=lambda seat: (order[seat.role], seat.index))
            if seat.state is not State.CLOSED
            and not seat.idle  # a person has to say first that its partitions are tried again
            and (self._everything or new_code or seat.role in roles)
        ]
        self._parked_before = frozenset(p for seat in seats for p in self._floor.seats.parked(seat))
        if not seats and not self._changes:
            self._finish("nothing has changed; `supervisor reload --all` replaces the workers all the same")
            return
        self.replace(seats, self._new)

    def replaced(self, seat: Seat) -> None:
        patience = self._settings.runtime.canary_s
        first = seat.role == "olap" and len(self._replaced) == 1
        if self._why or not first or not patience:
            self._next()
            return
        self.say(f"{seat.name} is the canary: watched for {patience:g} s")
        self._began = self._floor.watch.counts(seat)
        self._least_lag = self._floor.watch.lag(seat)
        self._watch_canary(seat, patience)

    def connection_patience_s(self) -> float:
        return _REACH_S if self._may_be_unreachable() else super().connection_patience_s()

    def _may_be_unreachable(self) -> bool:
        """Whether the new configuration may be why nobody is connected, and nobody was replaced yet."""
        elsewhere = self._settings.kafka != self._floor.settings.kafka
        return elsewhere and not self._why and not self._replaced

    def unconnected(self) -> bool:
        if not self._may_be_unreachable() or not self._floor.watch.brokers_answer:
            return False
        self._waiting = False
        new, old = self._settings.kafka.bootstrap_servers, self._floor.settings.kafka.bootstrap_servers
        fault = Fault(
            f"the new workers do not get on with the brokers at {new}, and the old ones do with those at "
            f"{old}: {_UNCHANGED}",
            "`supervisor topics check` with the new configuration says what these brokers say, and "
            "docs/operations.md what a client needs to be allowed",
        )
        self._refuse(fault, Exit.BROKERS_UNREACHABLE)
        return True

    def _replace_if_ready(self) -> None:
        seat = self._seat
        if seat is not None and self._waiting and not self._replaced and seat.role == "olap":
            self._before = self._floor.watch.lately(seat)
        super()._replace_if_ready()

    def _watch_canary(self, seat: Seat, left_s: float) -> None:
        """Look at its lag every second, and judge it when the time is over."""
        self._least_lag = min(self._least_lag, self._floor.watch.lag(seat))
        if left_s <= 0:
            self._judge_canary(seat)
            return
        step = min(_LOOK_S, left_s)
        self._canary = self._floor.loop.after(step, lambda: self._watch_canary(seat, left_s - step))

    def _judge_canary(self, seat: Seat) -> None:
        self._canary = None
        after = between(self._began, self._floor.watch.counts(seat))
        worse = compare(self._before, after, self._least_lag)
        if worse is not None:
            self.failed(f"{seat.name}, the canary: {worse}")
        else:
            self._next()

    # -- the end ----------------------------------------------------------------------------------------

    def failed(self, why: str) -> None:
        """Those that were replaced get processes of the old generation again."""
        if self._canary is not None:
            self._canary.cancel()
            self._canary = None
        self._why = why
        self.say(f"rolling back: {why}")
        touched = [*self._replaced, self._seat] if self._seat is not None else list(self._replaced)
        self._replaced = []
        for seat in touched:
            seat.generation = self._old
            self._floor.forgive(seat, but=self._parked_before)
            if seat.state is State.PARKED and not seat.idle:
                seat.release()
        self._floor.crew.dismiss(self._new)
        # Whoever is still of the old generation, or will be when it is filled, needs no turn.
        self.replace(
            [seat for seat in dict.fromkeys(touched) if seat.child and seat.child.generation == self._new],
            self._old,
            at_once=True,
        )

    def completed(self) -> None:
        if self._why:
            self._refuse(
                Fault(f"{self._why}: rolled back", "`supervisor logs` has the new workers' own words"),
                Exit.FAILED,
            )
            return
        text = f"reload: {len(self._replaced)} workers replaced"
        if self._floor.adopt(self._settings, self._new, self.talks):
            self.say(text)
            self.talks = []  # they wait for what follows
        self._finish(text)

    def _finish(self, text: str) -> None:
        if self._floor.generation != self._new:
            self._floor.crew.dismiss(self._new)
        self._floor.journal.publish("reload-done", text)
        self.succeed(text)

    def _refuse(self, fault: Fault, exit_code: Exit) -> None:
        fault.exit_code = exit_code
        if self._new:
            self._floor.crew.dismiss(self._new)
        self._floor.journal.publish("reload-failed", f"reload failed: {fault.cause}")
        self.fail(fault)


def _listed(changes: list[str]) -> str:
    return f"changed: {', '.join(changes)}" if changes else "the configuration is the same"
