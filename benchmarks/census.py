"""What the processes of a running product hold, by what they are: memory, descriptors, threads, CPU time."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from supervisor.contract.board import Board, Role

__all__ = ["GROUPS", "HELD", "Held", "cpu_s", "held"]

GROUPS = ("supervisor", "olap", "realtime", "others")
"""The others are the spare, the probe and the two helpers that end what is left behind."""
HELD = ("uss_mb", "rss_mb", "descriptors", "threads")

Held = dict[str, dict[str, float]]
_ROLES = {Role.OLAP: "olap", Role.REALTIME: "realtime"}


def held(processes: Iterable[psutil.Process], board: Board) -> Held:
    """Sums over each group. One that ends meanwhile counts for nothing."""
    seats = [board.seat(place) for place in range(board.header.seats)]
    names = {seat.pid: _ROLES.get(Role(seat.role), "others") for seat in seats}
    names[board.header.supervisor_pid] = "supervisor"
    found: Held = {group: dict.fromkeys(HELD, 0.0) for group in GROUPS}
    for process in processes:
        try:
            memory = process.memory_full_info()
            figures = (memory.uss / 1e6, memory.rss / 1e6, process.num_fds(), process.num_threads())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        sums = found[names.get(process.pid, "others")]
        for name, figure in zip(HELD, figures, strict=True):
            sums[name] += figure
    return found


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds of all of them, and of the children that they have collected."""
    used = 0.0
    for process in processes:
        try:
            used += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return used
