"""Restarts leave nothing behind: a thousand of them, and fewer where time is short.

To start a process costs some 0.15 s of a core, so that 150 take half a minute on two. The whole of it is
``LEAK_RESTARTS=1000 python -m pytest -s tests/e2e/test_supervision_leaks.py``.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from supervisor.contract.board import Board, Stage
from supervisor.contract.board import Seat as SeatRecord
from supervisor.contract.exits import Exit
from tests.procfs import descriptors
from tests.troupe import Troupe, alive

Playing = Callable[..., Troupe]

RESTARTS = int(os.environ.get("LEAK_RESTARTS", "150"))
SETTLING = min(100, RESTARTS // 3)
"""Restarts before the first look: what is imported or allocated once is there by then."""
WORKERS = 8
SPARES = 3
ROOM_KB = 1024 + 2 * (RESTARTS - SETTLING)
"""On purpose the supervisor remembers the last thousand deaths and events, some 1 KB for each restart."""
TOML = f"""
realtime.enabled = false
runtime.spares = {SPARES}
runtime.max_starting = 4
restart.budget = 100000
restart.budget_total = 100000
log.level = "error"
"""


@dataclass(frozen=True)
class Holdings:
    """What the supervisor holds, and its guardian and the tracker of multiprocessing with it."""

    descriptors: Counter[tuple[str, str]]
    threads: Counter[str]
    mapped: Counter[str]
    """Files in the supervisor's address space, such as the board."""
    processes: int
    zombies: int
    shared: int
    """Files in /dev/shm."""
    slots: int
    """Slots of the board that were ever used."""
    files: int
    """Files in the run directory."""
    rss_kb: int


@pytest.mark.timeout(900)
def test_restarts_leak_no_descriptor_thread_shared_memory_slot_zombie_or_memory(playing: Playing) -> None:
    troupe = playing({}, TOML, partitions=WORKERS)
    board = troupe.serving()
    restart(troupe, board, SETTLING)
    before = look(troupe, board)
    restart(troupe, board, RESTARTS - SETTLING)
    after = look(troupe, board)
    print(f"{RESTARTS} restarts, {before.rss_kb} kB after {SETTLING} of them, {after.rss_kb} kB at the end")

    assert sum(board.seat(place).restarts for place in range(board.header.seats)) == RESTARTS
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    assert after.mapped == before.mapped
    assert (after.processes, after.zombies) == (before.processes, 0)
    # Other programs have files there, too.
    assert after.shared - before.shared < RESTARTS - SETTLING
    # Those that are dead and not collected yet have theirs still: one more may come to be used, and not many.
    assert after.slots <= 2 * (WORKERS + SPARES + 1)
    assert after.files <= before.files + after.slots - before.slots
    assert after.rss_kb <= before.rss_kb + ROOM_KB
    assert troupe.stop() == Exit.OK


def restart(troupe: Troupe, board: Board, times: int) -> None:
    """Kill workers as fast as they come back, and wait until all is quiet again."""
    seats = [troupe.seat(board, f"olap-{index}") for index in range(WORKERS)]
    killed = [0] * WORKERS
    left = times

    def kill_those_at_work() -> bool:
        nonlocal left
        for index, seat in enumerate(seats):
            pid = seat.pid
            if left and pid not in (0, killed[index]) and at_work(board, index, seat):
                os.kill(pid, signal.SIGKILL)
                killed[index] = pid
                left -= 1
        return not left

    troupe.wait(kill_those_at_work, "every kill has happened", 600)
    for index, seat in enumerate(seats):
        troupe.wait_replaced(seat, killed[index])
    troupe.wait(lambda: len(standby(board)) == SPARES, "the spares are ready again")


def at_work(board: Board, partition: int, seat: SeatRecord) -> bool:
    """It has committed: the death of one that has not would be followed by a wait."""
    record = board.olap(partition)
    return seat.owned_ns != 0 and record.committed_ns > record.owned_ns > seat.refilled_ns


def standby(board: Board) -> list[int]:
    workers = map(board.worker, range(board.workers))
    return [worker.pid for worker in workers if worker.stage == Stage.STANDBY and alive(worker.pid)]


def look(troupe: Troupe, board: Board) -> Holdings:
    supervisor, *below = troupe.processes()
    workers = {board.worker(slot).pid for slot in range(board.workers)}
    lasting = {part(process): process for process in [supervisor, *below] if process.pid not in workers}
    maps = supervisor.memory_maps(grouped=False)
    return Holdings(
        descriptors=Counter((name, kind) for name in lasting for kind in kinds_open(lasting[name].pid)),
        threads=Counter({name: process.num_threads() for name, process in lasting.items()}),
        mapped=Counter(region.path for region in maps if region.path.startswith("/")),
        processes=len(below),
        zombies=sum(process.status() == psutil.STATUS_ZOMBIE for process in below),
        shared=len(list(Path("/dev/shm").iterdir())),
        slots=sum(board.worker(slot).started_ns != 0 for slot in range(board.workers)),
        files=sum(1 for _ in troupe.run_dir.rglob("*")),
        rss_kb=supervisor.memory_info().rss // 1024,
    )


def part(process: psutil.Process) -> str:
    """What it is for: its command line begins alike for all of them, and ends with what it runs."""
    line = process.cmdline()
    names = ("guardian", "resource_tracker")
    return next((name for name in names if name in "".join(line)), "supervisor")


def kinds_open(pid: int) -> list[str]:
    """What is open, without the number that tells one pipe from another."""
    return [target.partition(":[")[0] for _, target in descriptors(pid)]
