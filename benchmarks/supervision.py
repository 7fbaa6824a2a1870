"""How soon a killed worker is replaced, and what its supervisor costs: ours, supervisord, circus, gunicorn.

    python benchmarks/supervision.py --write
    python benchmarks/supervision.py --only "ours, with" --only gunicorn --json

All of them run at the same time, each with the same number of workers that have nothing to do. Round by round
one worker of each is killed, after a pause of random length. What is measured is the time from just before
kill(2) to the first instruction of the replacement, by the monotonic clock that all processes share. Under
ours that is the beginning of its role's work, which comes later.

The others are installed from PyPI, in fixed versions, into ``--cache``; what cannot be installed is reported
as absent. Nothing is left behind but that directory; nothing listens but on unix sockets.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contestants import Circus, Contestant, Gunicorn, Ours, Supervisord
from benchmarks.environment import Absent
from benchmarks.machine import Machine
from benchmarks.report import command, keep
from benchmarks.supervision_page import text

_CACHE = Path(__file__).parent / ".cache"
_PAUSE_S = (0.3, 1.3)
"""Before each kill: who looks once a second is to be met at any moment of it."""
_CALM_S = 3.0
_MS = 1e6

Make = Callable[[str, Path, Path, int], Contestant]
_CONTESTANTS: dict[str, Make] = {
    "ours, with the spare": lambda *where: Ours(*where, spares=1),
    "ours, a spare for each worker": lambda *where: Ours(*where, spares=where[-1]),
    "ours, without a spare": lambda *where: Ours(*where, spares=0),
    "gunicorn": Gunicorn,
    "supervisord": Supervisord,
    "circus, looking each 0.1 s": lambda *where: Circus(*where, check_delay_s=0.1),
    "circus, as it comes": lambda *where: Circus(*where, check_delay_s=None),
}


@click.command()
@click.option("--kills", default=40, show_default=True, help="Kills of one worker of each.")
@click.option("--at-once", default=10, show_default=True, help="Kills of all workers of each at once.")
@click.option("--workers", default=4, show_default=True)
@click.option("--idle", default=10.0, show_default=True, help="Seconds over which their own CPU is taken.")
@click.option("--only", multiple=True, help="Only those whose names begin so.")
@click.option("--cache", type=click.Path(path_type=Path), default=_CACHE, help="Their installations; kept.")
@click.option("--seed", default=1, show_default=True, help="Of the random pauses.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(
    kills: int,
    at_once: int,
    workers: int,
    idle: float,
    only: tuple[str, ...],
    cache: Path,
    seed: int,
    as_json: bool,
    write: bool,
) -> None:
    names = [name for name in _CONTESTANTS if name.startswith(only or ("",))]
    if not names:
        raise click.BadParameter(f"the names are: {'; '.join(_CONTESTANTS)}", param_hint="--only")
    signal.signal(signal.SIGTERM, _interrupt)
    cache.mkdir(parents=True, exist_ok=True)
    machine = Machine()
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ks-bench-")))
        running, absent = _start(stack, names, directory, cache.resolve(), workers)
        pause = random.Random(seed)
        found["idle"] = _idle(running, idle)
        found["one"] = _one_by_one(running, kills, pause)
        found["all"] = _all_at_once(running, at_once, pause)
        about = {each.name: {"version": each.version, "settings": each.settings} for each in running}
    result = {
        "command": command(),
        "machine": machine.told(),
        "workers": workers,
        "supervisors": about,
        "absent": absent,
        **found,
    }
    if write:
        keep("supervision", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _start(
    stack: contextlib.ExitStack, names: Sequence[str], directory: Path, cache: Path, workers: int
) -> tuple[list[Contestant], dict[str, str]]:
    """Those that run, and why the others do not."""
    running: list[Contestant] = []
    absent: dict[str, str] = {}
    for place, name in enumerate(names):
        contestant = _CONTESTANTS[name](name, directory / str(place), cache, workers)
        stack.callback(contestant.close)
        try:
            contestant.start()
        except Absent as reason:
            absent[name] = str(reason)
            continue
        running.append(contestant)
    return running, absent


# -- measuring ------------------------------------------------------------------------------------------


def _idle(running: list[Contestant], seconds: float) -> dict[str, dict[str, float]]:
    """What they need while nothing happens."""
    if not seconds:
        return {}
    for contestant in running:
        contestant.settle()
    time.sleep(_CALM_S)
    before = [_cpu_ns(contestant.pid) for contestant in running]
    time.sleep(seconds)
    after = [_cpu_ns(contestant.pid) for contestant in running]
    return {
        contestant.name: {
            "cpu_percent": round((then - first) / (seconds * 1e9) * 100, 3),
            "rss_mb": round(psutil.Process(contestant.pid).memory_info().rss / 1e6, 1),
            "helpers_rss_mb": round(sum(each.memory_info().rss for each in contestant.helpers()) / 1e6, 1),
            "helpers": len(contestant.helpers()),
        }
        for contestant, first, then in zip(running, before, after, strict=True)
    }


def _cpu_ns(pid: int) -> int:
    """CPU time of all its threads, as the scheduler counts it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _one_by_one(running: list[Contestant], kills: int, pause: random.Random) -> dict[str, Any]:
    steps: dict[str, list[dict[str, float]]] = {contestant.name: [] for contestant in running}
    for contestant in _rounds(running, kills, pause):
        killed = time.monotonic_ns()
        ((began, _),) = contestant.kill(1)
        moments = contestant.steps(began)
        steps[contestant.name].append({step: (at - killed) / _MS for step, at in moments.items()})
    return {
        name: {step: _spread([kill[step] for kill in kills]) for step in kills[0]}
        for name, kills in steps.items()
        if kills
    }


def _all_at_once(running: list[Contestant], rounds: int, pause: random.Random) -> dict[str, Any]:
    """Until the last of them is back."""
    back: dict[str, list[float]] = {contestant.name: [] for contestant in running}
    for contestant in _rounds(running, rounds, pause):
        killed = time.monotonic_ns()
        began = contestant.kill(contestant.workers)
        back[contestant.name].append((max(began)[0] - killed) / _MS)
    return {name: _spread(values) for name, values in back.items() if values}


def _rounds(running: list[Contestant], rounds: int, pause: random.Random) -> Iterator[Contestant]:
    """Each of them in turn, so many times; all are calm when one is given."""
    for _ in range(rounds):
        for contestant in running:
            for each in running:
                each.settle()
            time.sleep(pause.uniform(*_PAUSE_S))
            yield contestant


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "best_ms": round(ordered[0], 2),
        "median_ms": round(statistics.median(ordered), 2),
        "p95_ms": round(ordered[math.ceil(0.95 * len(ordered)) - 1], 2),
        "worst_ms": round(ordered[-1], 2),
        "kills": len(ordered),
    }


if __name__ == "__main__":
    main()
