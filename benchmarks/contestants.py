"""The supervisors that are measured: how each is started, told to stop, and known to be ready for a kill."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.environment import clean, environment
from benchmarks.supervised.note import VARIABLE
from supervisor.contract.board import Board, Role, Seat, Stage
from tests.installation import PIPELINES
from tests.troupe import Troupe

__all__ = ["Circus", "Contestant", "Gunicorn", "Ours", "Supervisord"]

_SUPERVISED = Path(__file__).parent / "supervised"
_TIED = (sys.executable, str(_SUPERVISED / "tied.py"))
_PATIENCE_S = 60.0


class Contestant:
    """A supervisor with some workers of one kind. Every moment is of the monotonic clock, in nanoseconds."""

    version = ""

    def __init__(self, name: str, directory: Path, workers: int) -> None:
        self.name = name
        self.directory = directory
        self.directory.mkdir()
        self.workers = workers
        self.pids: list[int] = []
        """The workers, in the order in which they began."""
        self._seen: dict[int, float] = {}
        path = directory / "notes"
        os.mkfifo(path, 0o600)
        # For writing, too: else the pipe would end whenever the last worker that wrote to it closes it.
        self._notes = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""

    @property
    def settings(self) -> str:
        """What differs from its defaults, in words."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until all workers have begun. Raises ``Absent``."""
        self._launch()
        self.pids = [pid for _, pid in self._began(self.workers)]

    def settle(self) -> None:
        """Wait until it is as it is between two deaths."""

    def kill(self, count: int) -> list[tuple[int, int]]:
        """SIGKILL to the workers that have lived longest, ``count`` of them at once; moment and pid of each
        replacement's beginning."""
        victims, self.pids = self.pids[:count], self.pids[count:]
        before = time.monotonic_ns()
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        began = self._began(count)
        self.pids += [pid for _, pid in began]
        # Else it would be somebody else's beginning that is measured.
        if min(began)[0] < before or len(set(self.pids)) < self.workers:
            raise RuntimeError(f"{self.name} has begun workers that replace none: {began} for {victims}")
        return began

    def steps(self, began_ns: int) -> dict[str, int]:
        """The moments on the way to the last replacement's beginning, where it tells them."""
        return {"first instruction": began_ns}

    def helpers(self) -> list[psutil.Process]:
        """What runs besides the supervisor and its workers."""
        below = psutil.Process(self.pid).children(recursive=True)
        return [process for process in below if process.pid not in self.pids]

    def close(self) -> None:
        """End it, and whatever of its workers is left."""
        try:
            self._end()
        finally:
            # A supervisor that was killed, or lost sight of one, leaves workers behind.
            for pid, born in self._seen.items():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(pid)
                    if process.create_time() == born:
                        process.kill()
            os.close(self._notes)

    def _launch(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _alive(self) -> bool:
        raise NotImplementedError

    def _began(self, count: int) -> list[tuple[int, int]]:
        """The next ``count`` workers that begin."""
        found: list[tuple[int, int]] = []
        deadline = time.monotonic() + _PATIENCE_S
        poll = select.poll()
        poll.register(self._notes, select.POLLIN)
        while len(found) < count:
            if not self._alive() or time.monotonic() > deadline:
                what = "ended" if not self._alive() else f"has begun no worker within {_PATIENCE_S:g} s"
                raise RuntimeError(f"{self.name} {what}\n{self._log()}")
            if not poll.poll(1_000):
                continue
            *lines, self._rest = (self._rest + os.read(self._notes, 4_096)).split(b"\n")
            for line in lines:
                moment, pid = map(int, line.split())
                found.append((moment, pid))
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._seen[pid] = psutil.Process(pid).create_time()
        return found

    def _log(self) -> str:
        log = self.directory / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log.exists() else ""


class Ours(Contestant):
    """This project's, over puppets in the place of workers."""

    def __init__(self, name: str, directory: Path, cache: Path, workers: int, spares: int) -> None:
        super().__init__(name, directory, workers)
        self.version = importlib.metadata.version("kafka-supervisor")
        self._spares = spares
        # A step each 0.1 s is what an OLAP worker without events makes. The budgets are for deaths that
        # nobody caused on purpose.
        self._troupe = Troupe(
            {f"olap-{index}": {"rest": 0.1} for index in range(workers)} | {"probe": {"lag": 0, "rest": 1.0}},
            toml=f"realtime.enabled = false\nruntime.spares = {spares}\n"
            "restart.budget = 1000000\nrestart.budget_total = 1000000\n",
            partitions=workers,
        )
        self._troupe.under = _TIED
        self._troupe.environment = {
            **clean(dict(os.environ), cache),
            "PYTHONPATH": f"{_SUPERVISED}:{PIPELINES}",
            VARIABLE: str(directory / "notes"),
        }
        self._troupe.configure('app.pipeline = "beginning"')
        self._board: Board | None = None

    @property
    def settings(self) -> str:
        return (
            f"runtime.spares = {self._spares}, realtime.enabled = false, restart budgets out of reach; "
            "OLAP workers are puppets"
        )

    @property
    def pid(self) -> int:
        assert self._troupe.process is not None
        return self._troupe.process.pid

    def _launch(self) -> None:
        self._board = self._troupe.serving()

    def settle(self) -> None:
        board = self._board
        assert board is not None
        self._troupe.wait_serving(board)
        self._troupe.wait(lambda: _in_standby(board) >= self._spares, "the spares are in standby")

    def steps(self, began_ns: int) -> dict[str, int]:
        board = self._board
        assert board is not None
        pid = self.pids[-1]
        found: list[Seat] = []

        def look() -> bool:
            seats = map(board.seat, range(board.header.seats))
            found[:] = [seat for seat in seats if seat.pid == pid and seat.refilled_ns > seat.noticed_ns]
            return bool(found)

        # The worker may have begun before the supervisor has noted who it is: it is told its role first.
        self._troupe.wait(look, f"it is noted that process {pid} has a seat")
        return {
            "noticed": found[0].noticed_ns,
            "refilled": found[0].refilled_ns,
            "served": board.worker(found[0].worker - 1).served_ns,
            "first instruction": began_ns,
        }

    def _alive(self) -> bool:
        return self._troupe.process is not None and self._troupe.process.poll() is None

    def _end(self) -> None:
        try:
            if self._alive():
                self._troupe.stop()
        finally:
            self._troupe.close()

    def _log(self) -> str:
        return self._troupe.tail()


def _in_standby(board: Board) -> int:
    slots = map(board.worker, range(board.workers))
    return sum((slot.role, slot.stage) == (Role.SPARE, Stage.STANDBY) for slot in slots)


class _Rival(Contestant):
    """One of PyPI, in an environment of its own, with a configuration file."""

    requirements: tuple[str, ...] = ()
    program = ""
    file = "configuration.ini"

    def __init__(self, name: str, directory: Path, cache: Path, workers: int) -> None:
        super().__init__(name, directory, workers)
        self.version = self.requirements[0].partition("==")[2]
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _configuration(self, python: Path) -> str:
        """The text of its configuration file; ``python`` is the interpreter of its environment."""
        raise NotImplementedError

    def _arguments(self, configuration: Path) -> tuple[str, ...]:
        raise NotImplementedError

    def _launch(self) -> None:
        variables = clean(dict(os.environ), self._cache)
        programs = environment(self._cache, self.requirements, variables)
        configuration = self.directory / self.file
        configuration.write_text(self._configuration(programs / "python"))
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_TIED, str(programs / self.program), *self._arguments(configuration)],
                # Not the checkout's: the import name of supervisord is ours, too.
                cwd=self.directory,
                env={**variables, VARIABLE: str(self.directory / "notes")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Supervisord(_Rival):
    """PyPI's ``supervisor``. No key makes it look more often than once a second."""

    requirements = ("supervisor==4.3.0",)
    program = "supervisord"
    settings = "startsecs = 0, autorestart = true; no server, no log files of the workers"

    def _configuration(self, python: Path) -> str:
        return f"""[supervisord]
nodaemon = true
logfile = {self.directory / "supervisord.log"}
pidfile = {self.directory / "supervisord.pid"}
childlogdir = {self.directory}
[program:worker]
command = {python} {_SUPERVISED / "worker.py"}
process_name = worker-%(process_num)d
numprocs = {self.workers}
startsecs = 0
autorestart = true
stdout_logfile = NONE
stderr_logfile = NONE
"""

    def _arguments(self, configuration: Path) -> tuple[str, ...]:
        return ("--configuration", str(configuration))


class Circus(_Rival):
    """Looks after its processes each ``check_delay`` seconds."""

    requirements = ("circus==0.19.0", "psutil==7.2.2", "pyzmq==27.3.0", "tornado==6.6.1")
    program = "circusd"

    def __init__(
        self, name: str, directory: Path, cache: Path, workers: int, check_delay_s: float | None
    ) -> None:
        super().__init__(name, directory, cache, workers)
        self._check_delay_s = check_delay_s

    @property
    def settings(self) -> str:
        delay = "5 (default)" if self._check_delay_s is None else f"{self._check_delay_s:g}"
        return f"check_delay = {delay}; its sockets are unix sockets"

    def _configuration(self, python: Path) -> str:
        delay = "" if self._check_delay_s is None else f"check_delay = {self._check_delay_s}"
        return f"""[circus]
endpoint = ipc://{self.directory / "endpoint"}
pubsub_endpoint = ipc://{self.directory / "pubsub"}
{delay}
[watcher:worker]
cmd = {python} {_SUPERVISED / "worker.py"}
numprocesses = {self.workers}
copy_env = true
"""

    def _arguments(self, configuration: Path) -> tuple[str, ...]:
        return (str(configuration),)


class Gunicorn(_Rival):
    """Forks its workers from a process that has the application loaded."""

    requirements = ("gunicorn==27.0.1",)
    program = "gunicorn"
    file = "configuration.py"
    settings = "sync workers, preload_app = True; first instruction: hook post_fork; a unix socket"

    def _configuration(self, _python: Path) -> str:
        return f"""import sys
sys.path.insert(0, "{_SUPERVISED}")
from application import post_fork
bind = "unix:{self.directory / "socket"}"
workers = {self.workers}
worker_class = "sync"
worker_tmp_dir = "{self.directory}"
preload_app = True
control_socket_disable = True
"""

    def _arguments(self, configuration: Path) -> tuple[str, ...]:
        return ("--config", f"file:{configuration}", "application:application")
