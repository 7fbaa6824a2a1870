"""The processes of one run: started, their CPU time followed, ended."""

from __future__ import annotations

import bisect
import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

__all__ = ["CpuTimes", "Pids", "Tree"]

_STOP_S = 30.0
_TAIL = 25


class CpuTimes:
    """CPU seconds that were used up to a moment, of samples taken now and then."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        self._used: list[float] = []

    def add(self, moment: float, used: float) -> None:
        # A process that is collected between two looks is seen by neither; what was used stays used.
        self._moments.append(moment)
        self._used.append(max(used, self._used[-1] if self._used else 0.0))

    def at(self, moment: float) -> float:
        """Between two samples, in proportion; before the first and behind the last one, theirs."""
        place = bisect.bisect_right(self._moments, moment)
        if place == 0:
            return self._used[0]
        if place == len(self._moments):
            return self._used[-1]
        began, ended = self._moments[place - 1 : place + 1]
        before, after = self._used[place - 1 : place + 1]
        return before + (after - before) * (moment - began) / (ended - began)


class Pids:
    """Processes that somebody else has started, and their CPU time."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.cpu = CpuTimes()
        self._processes = [psutil.Process(pid) for pid in pids]
        self.sample()

    def sample(self) -> None:
        self.cpu.add(time.time(), sum(map(_used, self._processes)))


class Tree:
    """The processes of a peer, and all that they start. Moments are of the clock that brokers have, too."""

    def __init__(self, commands: Sequence[Sequence[str]], variables: dict[str, str], directory: Path) -> None:
        self._log = directory / "log"
        self.cpu = CpuTimes()
        self.started = time.time()
        self._seen: set[psutil.Process] = set()
        with self._log.open("ab") as log:
            self._top = [
                subprocess.Popen(
                    command, env=variables, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
                for command in commands
            ]
        self.sample()

    def sample(self) -> None:
        """Note the CPU time that all of them have used by now."""
        self.cpu.add(time.time(), sum(map(_used, self._processes())))

    def ended(self) -> bool:
        """Whether none of its processes does anything any more. They are not collected, since their CPU
        time would go with them."""
        return all(psutil.Process(one.pid).status() == psutil.STATUS_ZOMBIE for one in self._top)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to whatever does not end by it."""
        list(self._processes())
        for one in self._top:
            one.terminate()
        deadline = time.monotonic() + _STOP_S
        for one in self._top:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(max(0.1, deadline - time.monotonic()))
        for process in self._seen:
            # psutil compares the start time, too: no stranger with the same number is ended.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for one in self._top:
            one.wait()

    def tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL:])

    def _processes(self) -> Iterator[psutil.Process]:
        for one in self._top:
            with contextlib.suppress(psutil.NoSuchProcess):
                top = psutil.Process(one.pid)
                below = top.children(recursive=True)
                self._seen.update(below, (top,))
                yield from (top, *below)


def _used(process: psutil.Process) -> float:
    """Its own, and that of the children that it has collected."""
    try:
        return sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:
        return 0.0
