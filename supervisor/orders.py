"""What people ask of a running supervisor, by signal or over the control socket.

Signals have gunicorn's meanings: TERM drains, INT and QUIT stop quickly, HUP reloads, TTIN and TTOU make it
one OLAP worker more or less, USR1 opens the log files anew.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Protocol

from supervisor.contract import logs
from supervisor.contract.faults import Fault
from supervisor.contract.settings import Settings
from supervisor.control.protocol import Ended, Talk
from supervisor.operations.floor import Floor
from supervisor.operations.queue import LoggedTalk, Operations
from supervisor.operations.reload import Reload
from supervisor.operations.rescale import Rescale
from supervisor.operations.rollout import Restart
from supervisor.rules.lifecycle import State

__all__ = ["Orders"]

_log = logging.getLogger("supervisor")

_HASTENED_S = 2.0


class Stoppable(Floor, Protocol):
    """The whole supervisor, as this module sees it."""

    def stop(self, seconds: float, why: str) -> None: ...

    def kill_all(self) -> None: ...


class Orders:
    """See the module. ``load`` reads the configuration anew; it raises :class:`Fault` for a mistake in it."""

    def __init__(self, supervisor: Stoppable, operations: Operations, load: Callable[[], Settings]) -> None:
        self._supervisor = supervisor
        self._operations = operations
        self._load = load
        self._talks: list[Talk] = []
        self._had_terminal = _has_terminal()
        handlers: dict[str, Callable[[signal.Signals], None]] = {
            "TERM": self._drain,
            "INT": self._hasten,
            "QUIT": self._hasten,
            "HUP": self._hung_up,
            "TTIN": lambda _: self._by_signal(lambda talk: self.scale(None, 1, talk)),
            "TTOU": lambda _: self._by_signal(lambda talk: self.scale(None, -1, talk)),
            "USR1": lambda _: self.reopen_logs(),
            "USR2": lambda number: _log.warning("%s has no meaning and is ignored", number.name),
        }
        for name, handler in handlers.items():
            supervisor.loop.on_signals([signal.Signals[f"SIG{name}"]], handler)

    # -- by signal --------------------------------------------------------------------------------------

    def _drain(self, number: signal.Signals) -> None:
        if not self._supervisor.stopping:
            self._supervisor.stop(self._supervisor.settings.runtime.drain_timeout_s, number.name)

    def _hasten(self, number: signal.Signals) -> None:
        if self._supervisor.stopping:
            _log.info("%s while stopping: killing what is left", number.name)
            self._supervisor.kill_all()
        else:
            self._stop_quickly(number.name)

    def _hung_up(self, number: signal.Signals) -> None:
        """A reload; but a terminal that closes says it in the same way, and then nobody is left to look."""
        if self._had_terminal and not _has_terminal():
            self._drain(number)
        else:
            self._by_signal(lambda talk: self.reload(False, talk))

    def _by_signal(self, order: Callable[[Talk], None]) -> None:
        try:
            order(LoggedTalk())
        except Fault as fault:
            _log.warning("%s", fault.cause)

    def _stop_quickly(self, why: str) -> None:
        patience = self._supervisor.settings.runtime.drain_timeout_s
        self._supervisor.stop(min(_HASTENED_S, patience), f"{why}, stopping quickly")

    # -- by command -------------------------------------------------------------------------------------

    def stop(self, quick: bool, talk: Talk) -> None:
        """Ends the talk when the last process is gone."""
        self._talks.append(talk)
        if quick and self._supervisor.stopping:
            self._supervisor.kill_all()
        elif quick:
            self._stop_quickly("stop --quick")
        elif not self._supervisor.stopping:
            self._supervisor.stop(self._supervisor.settings.runtime.drain_timeout_s, "stop")

    def stopped(self) -> None:
        """The last process is gone."""
        for talk in self._talks:
            talk.end(Ended(True, f"stopped (pid {os.getpid()})"))

    def restart(self, worker: str | None, talk: Talk) -> None:
        """Replace one worker, or all of them one after the other; whoever is parked or waits tries again."""
        self._require_running()
        seats = self._supervisor.seats
        if worker is None:
            chosen = [seat for seat in seats if seat.state is not State.CLOSED]
        else:
            seat = seats.named(worker)
            if seat is None or seat.state is State.CLOSED:
                known = ", ".join(seat.name for seat in seats if seat.state is not State.CLOSED)
                raise Fault(f"there is no worker {worker}", f"there are {known}")
            chosen = [seat]
        name = f"restart of {worker}" if worker else "restart"
        waiting = self._operations.waiting(name)
        if waiting is not None:
            waiting.talks.append(talk)
            return
        for seat in chosen:
            self._supervisor.forgive(seat)
        self._operations.submit(Restart(self._supervisor, name, [talk], chosen))

    def reload(self, everything: bool, talk: Talk) -> None:
        """Reloads that wait are one. One that has begun has read the configuration: the next one finds what
        was changed since, or nothing."""
        self._require_running()
        reload = Reload(self._supervisor, [talk], self._load, everything=everything)
        waiting = self._operations.waiting(reload.name)
        if waiting is not None:
            waiting.talks.append(talk)
            return
        self._operations.submit(reload)

    def scale(self, workers: int | None, by: int, talk: Talk) -> None:
        """Bounded by one worker and by the number of partitions."""
        self._require_running()
        supervisor = self._supervisor
        if not supervisor.seats.partitions:
            raise Fault("the partitions are not known yet", "try again when the brokers have answered")
        # What was asked for last, which may be under way still: two signals make it two workers more.
        asked = [supervisor.workers] + [
            operation.workers
            for operation in self._operations.pending()
            if isinstance(operation, Rescale) and operation.workers is not None
        ]
        now = asked[-1] or supervisor.seats.partitions
        wanted = now + by if workers is None else workers
        bounded = max(1, wanted) if workers is None else wanted
        if workers is None:
            bounded = min(bounded, supervisor.seats.partitions)
        if bounded < 1:
            raise Fault(
                "there must be at least one OLAP worker", "stop the supervisor with `supervisor stop`"
            )
        supervisor.seats.layout(supervisor.settings, supervisor.seats.partitions, bounded)
        if bounded == now:
            talk.end(Ended(True, f"{now} OLAP workers, as before"))
            return
        self._operations.submit(Rescale(supervisor, [talk], bounded))

    def reopen_logs(self) -> None:
        logs.reopen()
        for child in self._supervisor.crew.each():
            child.reopen_logs()
        _log.info("log files opened anew")

    def _require_running(self) -> None:
        if self._supervisor.stopping:
            raise Fault("the supervisor is stopping")


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal; it loses that when the terminal is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
