"""The supervisor: seats to be filled, processes to fill them, and what happens when one of them ends.

It holds no Kafka client. Processes start without a role; one in standby is given the first vacant seat, and
one more than there are seats is kept, the spare. A death is noticed through the process' sentinel, its seat
becomes vacant, the spare takes it at once, and a new spare is started. All of it happens in one loop.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from pathlib import Path

from supervisor import instance, isolation
from supervisor.child import Child, spawn
from supervisor.contract.board import Board, Role
from supervisor.contract.exits import Exit, WorkerExit
from supervisor.contract.faults import ConfigurationFault, Fault, GaveUp
from supervisor.contract.messages import Failed, Found, Owned, Report, Serve, Standby, WorkerRole
from supervisor.contract.settings import Restart, Settings
from supervisor.lifecycle import Event, State
from supervisor.loop import Loop, Timer
from supervisor.placement import place
from supervisor.policy import Backoff, Intent, Verdict, classify, judge
from supervisor.seat import Seat

__all__ = ["Supervisor"]

_log = logging.getLogger("supervisor")

MAX_PARTITIONS = 1024
_SPARES = 1
_SPAWN_RETRY_S = 1.0
_BROKERS_PAUSE_S = 2.0
_BROKERS_PATIENCE_S = 3.0
_HASTENED_S = 2.0
_STOP_GRACEFULLY = (signal.SIGTERM,)
_STOP_QUICKLY = (signal.SIGINT, signal.SIGQUIT)
# Their default is to end or to halt the process.
_NOT_YET = (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2)


class Supervisor:
    """Runs everything until it is told to stop."""

    def __init__(self, settings: Settings, run_dir: Path, loop: Loop) -> None:
        self._settings = settings
        self._loop = loop
        self._lock = instance.claim(run_dir)
        self._board = Board.create(
            run_dir / instance.BOARD, workers=self._slots_needed(), partitions=MAX_PARTITIONS
        )
        self._available = sorted(os.sched_getaffinity(0))
        self._seats: list[Seat] = []
        self._children: dict[int, Child] = {}
        self._standby: deque[Child] = deque()
        self._respawn: Timer | None = None
        self._starts = Backoff(Restart(backoff_jitter=0.0))
        self._started = 0
        self._fault: Fault | None = None
        self._failures: dict[int, Failed] = {}
        self._stopping = False
        self._deadline: Timer | None = None

    def _slots_needed(self) -> int:
        """Board slots: every seat, the spare, and as many again for the dead that are not reaped yet."""
        declared = self._settings.topics.declared()["input"].partitions or 0
        return 2 * max(MAX_PARTITIONS // 8, declared) + 8

    def run(self) -> None:
        """Start everything and watch it until the last process is gone.

        Raises :class:`Fault` where it ended for another reason than being told to.
        """
        # Whoever started us may have ignored it, which outlives exec: then no child could be collected.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._loop.on_signals(_STOP_QUICKLY + _STOP_GRACEFULLY, self._on_stop_signal)
        # A terminal that closes sends SIGHUP; there is no one left to see what a supervisor in it does.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # unless it runs under nohup
            self._loop.on_signals([signal.SIGHUP], self._on_stop_signal)
        self._loop.on_signals(_NOT_YET, self._on_other_signal)
        header = self._board.header
        header.started_ns = time.monotonic_ns()
        declared = self._settings.topics.declared()["input"].partitions
        assert declared is not None
        owned = place(declared, self._settings.olap.workers)
        self._add_seat("probe", 0, ())
        self._loop.after(_BROKERS_PATIENCE_S, self._mention_waiting)
        # The others start while the probe looks at the topics; they get their seats when it has found them.
        self._fill_up(expected=1 + len(owned) + self._settings.realtime.enabled)
        self._loop.run()
        os.close(self._lock)
        if self._fault is not None:
            raise self._fault

    def _mention_waiting(self) -> None:
        if len(self._seats) == 1 and not self._stopping:
            _log.info("waiting for the brokers at %s", self._settings.kafka.bootstrap_servers)

    # -- seats ------------------------------------------------------------------------------------------

    def _add_seat(self, role: WorkerRole, index: int, partitions: tuple[int, ...]) -> None:
        record = self._board.seat(len(self._seats))
        record.role, record.index = Role[role.upper()], index
        self._seats.append(Seat(role, index, partitions, record))
        self._board.header.seats = len(self._seats)

    def _add_worker_seats(self, found: Found) -> None:
        """The seats of the workers, now that the number of partitions is known."""
        if len(self._seats) > 1:
            return  # a restarted probe tells what we know
        try:
            owned = place(found.partitions, self._settings.olap.workers)
            if len(owned) + 2 > self._board.workers - _SPARES or found.partitions > MAX_PARTITIONS:
                raise ConfigurationFault(
                    f"{found.partitions} partitions with {len(owned)} OLAP workers are more than one "
                    f"supervisor runs ({self._board.workers - _SPARES - 2} workers, "
                    f"{MAX_PARTITIONS} partitions)",
                    "set olap.workers to fewer: each then owns several partitions",
                )
        except Fault as fault:
            self._end_with(fault)
            return
        self._board.header.topic_partitions = found.partitions
        if self._settings.realtime.enabled:
            self._add_seat("realtime", 0, tuple(range(found.partitions)))
        for index, partitions in enumerate(owned):
            self._add_seat("olap", index, partitions)
        _log.info(
            "cluster %s: %d brokers, %d partitions, %d OLAP workers",
            found.cluster_id,
            found.brokers,
            found.partitions,
            len(owned),
        )

    def _fill_seats(self) -> None:
        """Give vacant seats to processes in standby, the longest vacant and the longest waiting first."""
        for seat in self._seats:
            if seat.state is State.VACANT and self._standby:
                self._fill(seat, self._standby.popleft())

    def _fill(self, seat: Seat, child: Child) -> None:
        olap, realtime = self._settings.olap, self._settings.realtime
        cpus: tuple[int, ...] = ()
        nice = 0
        if seat.role == "olap":
            cpus, nice = isolation.olap_cpus(seat.index, olap.cpus, self._available), olap.nice
        elif seat.role == "realtime":
            cpus, nice = isolation.realtime_cpus(realtime.cpus, self._available), realtime.nice
        seat.fill(child)
        # If it cannot be told it has just died; its sentinel vacates the seat again.
        child.serve(Serve(seat.role, seat.index, seat.partitions, cpus, nice, seat.contested))

    # -- processes --------------------------------------------------------------------------------------

    def _fill_up(self, expected: int = 0) -> None:
        """Start processes until every seat that is not closed has one, and a spare is left."""
        if self._stopping or self._respawn is not None:
            return
        seats = max(expected, sum(seat.state is not State.CLOSED for seat in self._seats))
        everyone_serves = all(seat.state is State.SERVING for seat in self._seats)
        # The spare is prepared at leisure: not while processes that are needed now are starting.
        wanted = seats + (_SPARES if everyone_serves and not expected else 0)
        while len(self._children) < wanted:
            if not self._spawn_one():
                return

    def _spawn_one(self) -> bool:
        slot = next(number for number in range(self._board.workers) if number not in self._children)
        self._board.worker(slot).clear()
        try:
            child = spawn(slot, self._board.path, self._settings)
        except OSError as error:  # EAGAIN, ENOMEM, EMFILE: the system may have room again in a moment
            _log.warning("cannot start a process: %s; trying again", error)
            self._respawn = self._loop.after(_SPAWN_RETRY_S, self._spawn_again)
            return False
        self._children[slot] = child
        self._loop.watch(child.sentinel, lambda: self._died(child))
        self._loop.watch(child.reports, lambda: self._reported(child))
        self._loop.after(self._settings.runtime.start_timeout_s, lambda: self._check_started(child))
        return True

    def _spawn_again(self) -> None:
        self._respawn = None
        self._fill_up()

    def _check_started(self, child: Child) -> None:
        if self._children.get(child.slot) is child and child.serving is None and child not in self._standby:
            _log.error("process %d is not ready after its start timeout: killed", child.pid)
            child.kill()

    def _reported(self, child: Child) -> None:
        report = child.take_report()
        if report is None:
            # The pipe ended; the sentinel says the rest.
            self._loop.unwatch(child.reports)
            return
        self._take_report(child, report)

    def _take_report(self, child: Child, report: Report) -> None:
        seat = self._seat_of(child)
        if isinstance(report, Standby):
            self._started += 1
            self._standby.append(child)
        elif isinstance(report, Found):
            if not self._stopping:
                self._add_worker_seats(report)
        elif isinstance(report, Owned):
            if seat is not None:
                seat.own()
        else:
            self._failed(child, report)
        if not self._stopping:
            self._fill_seats()
            self._fill_up()

    def _failed(self, child: Child, report: Failed) -> None:
        self._failures[child.slot] = report

    def _seat_of(self, child: Child) -> Seat | None:
        return next((seat for seat in self._seats if seat.child is child), None)

    def _died(self, child: Child) -> None:
        """Its sentinel is readable: collect it, judge it, replace it."""
        noticed = time.monotonic_ns()
        # Its last words may still be in the pipe: they say why.
        while (report := child.take_report()) is not None:
            self._take_report(child, report)
        seat = self._seat_of(child)
        self._forget(child)
        exit_code = child.reap()
        verdict = judge(classify(exit_code, Intent.STOP if child.told_to_stop else Intent.NONE))
        if seat is not None:
            self._vacate(seat, exit_code, noticed, verdict)
        elif verdict is Verdict.REPLACE:
            self._hold_back_starts(exit_code)
        report = self._failures.pop(child.slot, None)
        if verdict is Verdict.GIVE_UP:
            self._give_up(seat, exit_code, report)
        if self._stopping:
            self._finish_if_alone()
            return
        self._fill_seats()
        self._fill_up()

    def _hold_back_starts(self, exit_code: int) -> None:
        """A process without a seat ended. Where none gets as far as standby, the next has to wait: a pipeline
        whose import crashes the interpreter would be started again and again, as fast as the machine can."""
        wait = self._starts.died(self._started)
        _log.warning("a process without a role ended (%s); replaced %s", describe(exit_code), _when(wait))
        if wait and self._respawn is None:
            self._respawn = self._loop.after(wait, self._spawn_again)

    def _forget(self, child: Child) -> None:
        del self._children[child.slot]
        if child in self._standby:
            self._standby.remove(child)
        self._loop.unwatch(child.sentinel)
        try:
            self._loop.unwatch(child.reports)
        except KeyError:
            return  # its pipe had ended before

    def _vacate(self, seat: Seat, exit_code: int, noticed: int, verdict: Verdict) -> None:
        seat.vacate(exit_code, noticed, blamed=verdict not in (Verdict.STOPPED, Verdict.WAIT))
        # That the brokers are away is not the worker's fault, and makes no later death of it wait longer.
        away = verdict is Verdict.WAIT
        wait = _BROKERS_PAUSE_S if away else seat.backoff.died(self._progress(seat))
        if self._stopping or wait == 0:
            seat.advance(Event.DIED)
        else:
            timer = self._loop.after(wait, lambda: self._retry(seat))
            seat.hold_back(noticed + int(wait * 1e9), timer)
        if verdict in (Verdict.REPLACE, Verdict.WAIT):
            _log.warning("%s ended (%s); replaced %s", seat.name, describe(exit_code), _when(wait))

    def _progress(self, seat: Seat) -> int:
        if seat.role == "olap":
            return sum(self._board.olap(partition).committed for partition in seat.partitions)
        if seat.role == "realtime":
            return sum(self._board.realtime(partition).committed for partition in seat.partitions)
        return self._board.header.brokers_answered_ns

    def _retry(self, seat: Seat) -> None:
        seat.release()
        if not self._stopping:
            self._fill_seats()
            self._fill_up()

    # -- the end ----------------------------------------------------------------------------------------

    def _on_stop_signal(self, number: signal.Signals) -> None:
        patience = self._settings.runtime.drain_timeout_s
        if number not in _STOP_QUICKLY:
            if not self._stopping:
                _log.info("%s: draining for at most %g s", number.name, patience)
                self._stop(patience)
        elif not self._stopping:
            _log.info("%s: stopping quickly", number.name)
            self._stop(min(_HASTENED_S, patience))
        else:
            _log.info("%s while stopping: killing what is left", number.name)
            self._kill_all()

    def _on_other_signal(self, number: signal.Signals) -> None:
        _log.warning("%s has no meaning yet and is ignored", number.name)

    def _give_up(self, seat: Seat | None, exit_code: int, report: Failed | None) -> None:
        """A successor would end the same way: stop, and say why."""
        name = seat.name if seat else "a worker"
        cause = report.cause if report else describe(exit_code)
        kind = ConfigurationFault if exit_code == Exit.CONFIGURATION else GaveUp
        self._end_with(kind(f"{name} cannot go on: {cause}", report.remedy if report else ""))

    def _end_with(self, fault: Fault) -> None:
        if self._fault is None:
            self._fault = fault
        if not self._stopping:
            self._stop(self._settings.runtime.drain_timeout_s)

    def _stop(self, seconds: float) -> None:
        """Drain everybody at once; they share one deadline."""
        self._stopping = True
        for seat in self._seats:
            seat.close()
        for child in self._children.values():
            occupied = self._seat_of(child)
            if occupied is not None and occupied.served:
                child.drain(seconds)
            else:
                # It has nothing in hand, and may be waiting in a call for brokers that are away.
                child.told_to_stop = True
                child.kill()
        self._deadline = self._loop.after(seconds, self._kill_all)
        self._finish_if_alone()

    def _kill_all(self) -> None:
        for child in self._children.values():
            _log.warning("process %d did not finish in time: killed", child.pid)
            child.told_to_stop = True
            child.kill()

    def _finish_if_alone(self) -> None:
        if not self._children:
            self._say_goodbye()
            self._loop.stop()

    def _say_goodbye(self) -> None:
        for seat in self._seats:
            if seat.role == "olap":
                for partition in seat.partitions:
                    record = self._board.olap(partition)
                    _log.info(
                        "partition %d: committed up to %d, in flight %d",
                        partition,
                        record.committed,
                        max(0, record.position - record.committed),
                    )
        _log.info("stopped")


def describe(exit_code: int) -> str:
    """An exit code as people say it."""
    if exit_code < 0:
        try:
            return signal.Signals(-exit_code).name
        except ValueError:
            return f"signal {-exit_code}"
    names = {int(known): known.name.lower().replace("_", " ") for known in WorkerExit}
    return f"exit code {exit_code}, {names[exit_code]}" if exit_code in names else f"exit code {exit_code}"


def _when(wait: float) -> str:
    return "at once" if wait == 0 else f"in {wait:g} s"
