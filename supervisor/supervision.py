"""The supervisor: seats to be filled, processes to fill them, and what happens when one of them ends.

It holds no Kafka client. Processes start without a role; one in standby is given the first vacant seat, and
spares are kept. A death is noticed through the process' pidfd, its seat becomes vacant, a spare takes it at
once, and a new spare is started at leisure. All of it happens in one loop.

The parts: ``crew`` has the processes, ``seats`` who owns what, ``shares`` what of the machine they may use,
``deaths`` judges, ``aftermath`` does what follows for a seat, ``watch`` looks for those that neither die nor
work, ``operations`` are what takes several steps, ``orders`` is what people ask for.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

from supervisor.aftermath import Aftermath, when
from supervisor.alarms import Alarms
from supervisor.contract import logs
from supervisor.contract.board import Board, Phase
from supervisor.contract.faults import ConfigurationFault, Fault, GaveUp
from supervisor.contract.messages import Failed, Found, Owned, Prepare, Prepared, Report, Serve
from supervisor.contract.settings import Settings
from supervisor.control.protocol import Talk
from supervisor.control.server import Server
from supervisor.crew import Crew
from supervisor.deaths import Deaths, Judgement
from supervisor.governor.rounds import Governor
from supervisor.host import instance, priority
from supervisor.host.child import Child
from supervisor.host.guardian import Guardian
from supervisor.host.loop import Loop, Timer
from supervisor.host.memory import OomKills
from supervisor.host.strangers import Strangers
from supervisor.operations.queue import Operations
from supervisor.operations.upkeep import Upkeep
from supervisor.orders import Orders
from supervisor.reporting.hooks import Hooks
from supervisor.reporting.journal import Journal
from supervisor.rules.lifecycle import Event, State
from supervisor.rules.policy import Cause, Intent, Verdict, blamed
from supervisor.seat import Seat
from supervisor.seats import MAX_PARTITIONS, Seats, slots_needed
from supervisor.shares import Shares
from supervisor.systemd import notices
from supervisor.watch import Watch

__all__ = ["Supervisor"]

_log = logging.getLogger("supervisor")

_BROKERS_PATIENCE_S = 3.0
_SETTLED = frozenset({State.SERVING, State.CLOSED, State.PARKED, State.BACKOFF})


class Supervisor:
    """Runs everything until it is told to stop."""

    def __init__(
        self, settings: Settings, run_dir: Path, loop: Loop, load: Callable[[], Settings] | None = None
    ) -> None:
        self.settings = settings
        self.generation = 1
        self.workers = settings.olap.workers
        self.loop = loop
        self._lock = instance.claim(run_dir)
        self._board = Board.create(
            run_dir / instance.BOARD, workers=slots_needed(settings), partitions=MAX_PARTITIONS
        )
        self.journal = Journal()
        self._systemd = notices.Systemd(loop)
        self._hooks = Hooks(settings.hooks, loop)
        self.journal.subscribe(self._hooks.hear)
        self._guardian = Guardian(loop)
        self._shares = Shares(settings.limits, self._guardian)
        self._oom_kills = OomKills.of_this_process()
        self.crew = Crew(loop, self._board, settings, self, self._guardian)
        self._strangers = Strangers(loop, self._ours)
        self.seats = Seats(self._board, settings)
        self.deaths = Deaths(settings, self._board, self.seats)
        self._aftermath = Aftermath(self)
        self.operations = Operations(self._operation_ended)
        self._upkeep = Upkeep(self, self.operations)
        self._alarms = Alarms(self, self._board, self.deaths, self.operations, self._systemd, self._oom_kills)
        self.watch = Watch(loop, self._board, self.seats, settings, self._alarms)
        self._governor = Governor(loop, self._board, self.seats, settings, self.journal)
        self._orders = Orders(self, self.operations, load or (lambda: settings))
        self._control = Server(loop, run_dir, self._orders, self.journal)
        self._failures: dict[int, Failed] = {}
        self._probed = 1
        """The generation of the probe that said last which topic the input is."""
        self._fault: Fault | None = None
        self._deadline: Timer | None = None
        self.stopping = False
        self._gone = False

    def run(self) -> None:
        """Start everything and watch it until the last process is gone.

        Raises :class:`Fault` where it ended for another reason than being told to.
        """
        # Whoever started us may have ignored it, which outlives exec: then no child could be collected.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        priority.step_ahead()
        self._strangers.start()
        self._board.header.started_ns = time.monotonic_ns()
        self.loop.after(_BROKERS_PATIENCE_S, self._mention_waiting)
        self.watch.start()
        self._governor.start()
        # The others start while the probe looks at the topics; they get their seats when it has found them.
        declared = self.settings.topics.declared()["input"].partitions
        assert declared is not None
        try:
            self._expected = 1 + len(self.seats.layout(self.settings, declared, self.workers))
            self.refill()
            self.loop.run()
        finally:
            self._close()
        if self._fault is not None:
            raise self._fault

    def _close(self) -> None:
        self._orders.stopped()
        self._control.close()
        self._guardian.close()
        self._shares.close()
        self._lock.close()

    def _ours(self) -> set[int]:
        """The processes that are ours to collect, and nobody else's."""
        helpers = {self._guardian.pid} if self._guardian.pid else set()
        return {child.pid for child in self.crew.each()} | helpers | self._hooks.pids

    def _mention_waiting(self) -> None:
        if len(self.seats) == 1 and not self.stopping:
            text = f"waiting for the brokers at {self.settings.kafka.bootstrap_servers}"
            _log.info("%s", text)
            self._systemd.status(text)

    # -- seats and the processes for them ---------------------------------------------------------------

    def refill(self) -> None:
        """Give vacant seats to processes in standby, and start the processes that are wanted."""
        if self.stopping:
            return
        self._tell_phase()
        # In the order in which they became vacant: one that empties again as soon as it is filled would
        # otherwise take every process from those behind it.
        for seat in sorted(self.seats, key=lambda seat: seat.vacant_ns):
            child = self.crew.standby(seat.generation, seat.partitions) if seat.fillable else None
            if child is not None:
                self._fill(seat, child)
        self.crew.fill_up(self._wanted(), self.refill)

    def _tell_phase(self) -> None:
        """How far it is, for whoever looks at the board; that the start is over the service manager, too.

        That is asked after whatever has happened: a seat may settle by being served, by a backoff, or by
        being parked.
        """
        before = self._board.header.phase
        if before != Phase.STARTING or (
            self.seats.partitions and all(seat.state in _SETTLED for seat in self.seats)
        ):
            self._board.header.phase = Phase.RELOADING if self.operations.current else Phase.RUNNING
            if before == Phase.STARTING:
                self._systemd.ready(self._alarms.summary())

    def _wanted(self) -> dict[int, int]:
        """How many processes without a role there should be, of each generation, the most urgent first.

        That is what an operation waits for: at most a few. Where processes of the old generation end before
        they are ready, again and again, they would else be started again and again, and the one that mends
        it never.
        """
        operation = self.operations.current
        wanted = dict(operation.wants()) if operation else {}
        wanted.setdefault(self.generation, 0)
        for seat in self.seats:
            if seat.fillable:
                wanted[seat.generation] = wanted.get(seat.generation, 0) + 1
        if not self.seats.partitions:
            # The seats are not known yet; the processes for them need not wait for that.
            taken = sum(seat.child is not None for seat in self.seats)
            wanted[self.generation] = max(wanted[self.generation], self._expected - taken)
        elif all(seat.state in _SETTLED for seat in self.seats):
            # Spares are prepared at leisure: not while processes that are needed now are starting.
            wanted[self.generation] += self.settings.runtime.spares
        return wanted

    def _fill(self, seat: Seat, child: Child) -> None:
        settings = self.crew.settings(child.generation)
        cpus, nice = self._shares.of(seat, settings)
        # While a reload leads to other brokers, what is known is of another topic: the probe comes last.
        known = settings.kafka == self.crew.settings(self._probed).kafka
        # First of all: every millisecond before it is one in which nobody owns its partitions. If it cannot
        # be told it has just died; its sentinel vacates the seat again.
        child.serve(
            Serve(
                seat.role,
                seat.index,
                seat.partitions,
                cpus,
                nice,
                seat.contested,
                self.deaths.suspects(seat) if seat.role == "olap" and known else (),
                self.deaths.topic_id if known else "",
            )
        )
        seat.fill(child, cpus, nice, self._shares.place(seat, child, settings.limits))

    # -- what the processes say -------------------------------------------------------------------------

    def ready(self, child: Child) -> None:
        """A process has come to standby."""
        if self.stopping:
            return
        self.journal.publish("standby", f"process {child.pid} is in standby", pid=child.pid)
        if self.operations.current is not None:
            self.operations.current.ready(child)
        self.refill()

    def reported(self, child: Child, report: Report) -> None:
        """A process has said something."""
        seat = self.seats.of(child)
        if isinstance(report, Found):
            self._found(report, child.generation)
        elif isinstance(report, Owned):
            if seat is not None:
                self._owned(seat, child)
        elif isinstance(report, Prepared):
            if self.operations.current is not None:
                self.operations.current.prepared(child, report.partitions)
        elif isinstance(report, Failed):
            self._failures[child.slot] = report
        self.refill()

    def _owned(self, seat: Seat, child: Child) -> None:
        if seat.state is not State.OPENING:
            return  # it was told to finish in the same moment
        seat.own()
        self.seats.note_owned(seat)
        self.journal.publish(
            "serving", f"{seat.name} is served (pid {child.pid})", worker=seat.name, pid=child.pid
        )
        if self.operations.current is not None:
            self.operations.current.owned(seat)

    def _found(self, found: Found, generation: int) -> None:
        """The partitions of the input are known now, or there are more of them than before."""
        self.deaths.recognize(found.topic_id)
        self._probed = generation
        if self.stopping or found.partitions <= self.seats.partitions:
            return  # a restarted probe tells what we know
        if self.seats.partitions:
            text = f"the input has {found.partitions} partitions now"
            _log.info("%s", text)
            self._board.header.topic_partitions = found.partitions
            self._upkeep.look()
            return
        try:
            layout = self.seats.layout(self.settings, found.partitions, self.workers)
        except Fault as fault:
            self._end_with(fault)
            return
        self._board.header.topic_partitions = found.partitions
        self.seats.lay_out(layout, self.generation)
        _log.info(
            "cluster %s: %d brokers, %d partitions, %d OLAP workers",
            found.cluster_id,
            found.brokers,
            found.partitions,
            len(self.seats.olap),
        )

    # -- deaths -----------------------------------------------------------------------------------------

    def died(self, child: Child) -> None:
        """A process has ended: collect it, judge it, replace it."""
        noticed = time.monotonic_ns()
        seat = self.seats.of(child)
        # Before it is collected: until then its slot on the board and its cgroup are its own.
        out_of_memory = seat is not None and self._shares.out_of_memory(seat)
        exit_code = child.reap()
        killed = exit_code == -signal.SIGKILL and child.intent is Intent.NONE
        out_of_memory = out_of_memory or (killed and self._oom_kills.claim())
        failed = self._failures.pop(child.slot, None)
        if seat is not None:
            # What it got past before it died is none of the suspects of its successor.
            self._alarms.tell_passed(seat)
        found = self.deaths.judge(child, seat, exit_code, failed, out_of_memory=out_of_memory)
        if seat is not None:
            self._shares.clear(seat)
            self._aftermath.vacate(seat, child, exit_code, found, noticed)
        elif (blamed(found.cause) or found.verdict is Verdict.GIVE_UP) and not self.stopping:
            wait = self.crew.hold_back()
            _log.warning("a process without a role ended (%s); replaced %s", found.reason, when(wait))
        if found.verdict is Verdict.GIVE_UP and self._is_final(child, seat):
            self._give_up(seat, found, failed)
        if self.operations.current is not None:
            self.operations.current.died(child, seat, found.reason, blamed=self._unexpected(child, found))
            if seat is not None and seat.state is State.PARKED and self.operations.current is not None:
                self.operations.current.parked(seat)
        if self.stopping:
            self._finish_if_alone()
        else:
            self.refill()

    def _unexpected(self, child: Child, found: Judgement) -> bool:
        """Whether it ended for another reason than that it was told to, or that brokers were away. Where
        other brokers are being tried nobody knows whether there are any."""
        if found.verdict is Verdict.WAIT:
            return self.crew.settings(child.generation).kafka != self.settings.kafka
        return found.verdict is not Verdict.STOPPED and found.cause is not Cause.RECYCLED

    def _is_final(self, child: Child, seat: Seat | None) -> bool:
        """Whether what a process cannot do, no other one can.

        Not where it is of a generation that is being tried: that is rolled back. And not where it was to
        become a spare, and others of its generation came to standby before: somebody has changed the code on
        disk since, and those who serve shall go on.
        """
        if child.generation > self.generation:
            return False
        return seat is not None or not self.crew.proven(child.generation)

    # -- what operations do -----------------------------------------------------------------------------

    def prepare(self, child: Child, seat: Seat) -> None:
        """Have a process in standby do what can be done for an OLAP worker's seat before it has it."""
        settings = self.crew.settings(child.generation)
        child.prepare(Prepare(seat.partitions, self._shares.olap_cpus(seat, settings)))

    def retire(self, seat: Seat, intent: Intent) -> None:
        """Have the process in a seat finish, and another one follow it."""
        assert seat.child is not None
        self._finish(seat.child, intent, seat)
        seat.advance(Event.RETIRE)

    def close(self, seat: Seat) -> None:
        """Have the process in a seat finish, if there is one, and nobody follow it."""
        if seat.child is not None:
            self._finish(seat.child, Intent.RETIRE, seat)
        seat.close()

    def _finish(self, child: Child, intent: Intent, seat: Seat) -> None:
        patience = self.settings.runtime.drain_timeout_s
        if not seat.served:
            child.kill(intent)  # it has nothing in hand, and may be waiting for brokers that are away
            return
        self.journal.publish(
            "retiring", f"{seat.name} (pid {child.pid}) finishes", worker=seat.name, pid=child.pid
        )
        child.drain(patience, intent)
        self.loop.after(patience, lambda: self._kill_late(child))

    def _kill_late(self, child: Child) -> None:
        if self.crew.children.get(child.slot) is child:
            _log.warning("process %d did not finish in time: killed", child.pid)
            child.kill(child.intent)

    def forgive(self, seat: Seat, *, but: Collection[int] = ()) -> None:
        """A person has looked after it, or what it did was another configuration's or code's doing: what is
        parked is tried again, ``but`` for some, and what it has done is forgotten."""
        unparked = self.seats.unpark(seat, but)
        self.deaths.forgive(seat)
        seat.backoff.forget()
        if unparked or seat.state is State.PARKED:
            self.journal.publish("unparked", f"{seat.name} tries again", worker=seat.name)

    def reloading(self) -> None:
        self._systemd.reloading()

    def adopt(self, settings: Settings, generation: int, talks: list[Talk]) -> bool:
        """A reload has succeeded: these settings hold. Whether another layout follows; it ends ``talks``."""
        before, self.settings, self.generation = self.settings, settings, generation
        for seat in self.seats:
            seat.generation = generation
        self.crew.adopt(settings)
        self.seats.adopt(settings)
        self._upkeep.adopt(settings)
        self.deaths.adopt(settings)
        self.watch.adopt(settings)
        self._governor.adopt(settings)
        self._hooks.adopt(settings.hooks)
        if settings.log != before.log:
            logs.set_up(settings.log, "supervisor", self._board.path.parent)
        if settings.limits != before.limits:
            self._shares.adopt(settings.limits, self.seats)
        if settings.olap.workers != before.olap.workers:  # else what was asked for by `scale` stays
            self.workers = settings.olap.workers
        return self._upkeep.look(talks)

    def _operation_ended(self) -> None:
        if self.stopping:
            return
        # Whoever is left of a generation that is not to be used any more, or came to be one too many.
        for child in self.crew.each():
            if child.serving is None and child.generation != self.generation:
                self.crew.dismiss(child.generation)
        self.refill()
        self._systemd.reloaded(self._alarms.summary())

    # -- the end ----------------------------------------------------------------------------------------

    def _give_up(self, seat: Seat | None, found: Judgement, failed: Failed | None) -> None:
        """A successor would end the same way: stop, and say why."""
        name = seat.name if seat else "a worker"
        kind = ConfigurationFault if found.cause is Cause.CONFIGURATION else GaveUp
        fault = kind(f"{name} cannot go on: {found.reason}", failed.remedy if failed else "")
        if self._fault is None and not self.stopping:
            self.journal.publish(
                "gave-up",
                fault.cause,
                worker=seat.name if seat else None,
                partition=found.partition,
                offset=found.offset,
                cause=found.cause.name.lower(),
            )
            self._systemd.status(notices.gave_up(name, found.reason))
        self._end_with(fault)

    def _end_with(self, fault: Fault) -> None:
        if self._fault is None:
            self._fault = fault
        if not self.stopping:
            self.stop(self.settings.runtime.drain_timeout_s, "giving up")

    def stop(self, seconds: float, why: str) -> None:
        """Drain everybody at once; they share one deadline."""
        self.stopping = True
        self._board.header.phase = Phase.STOPPING
        self._systemd.stopping()
        self.journal.publish("stopping", f"{why}: draining for at most {seconds:g} s")
        self.operations.abandon()
        for seat in self.seats:
            seat.close()
        for child in self.crew.each():
            occupied = self.seats.of(child)
            if occupied is not None and occupied.served:
                child.drain(seconds, Intent.STOP)
            else:
                # It has nothing in hand, and may be waiting in a call for brokers that are away.
                child.kill(Intent.STOP)
        self._deadline = self.loop.after(seconds, self.kill_all)
        self._finish_if_alone()

    def kill_all(self) -> None:
        """Somebody is impatient, or the deadline is over."""
        if self._gone:
            self._hooks.abandon()
        for child in self.crew.each():
            _log.warning("process %d did not finish in time: killed", child.pid)
            child.kill(Intent.STOP)

    def _finish_if_alone(self) -> None:
        if not self.crew.children and not self._gone:
            self._gone = True
            self._say_goodbye()
            # That we gave up is still told.
            self._hooks.close(self.loop.stop)

    def _say_goodbye(self) -> None:
        for partition in range(self.seats.partitions):
            record = self._board.olap(partition)
            if record.owned_ns:
                _log.info(
                    "partition %d: committed up to %d, in flight %d",
                    partition,
                    record.committed,
                    max(0, record.position - record.committed),
                )
        self.journal.publish("stopped", "stopped")
