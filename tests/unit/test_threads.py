"""CPUs and priority reach every thread of a process: with real ones."""

from __future__ import annotations

import os
import subprocess
import sys

CONFINE = """
import contextlib, os, sys, threading
from workers import threads

stop = threading.Event()
for _ in range(3):
    threading.Thread(target=stop.wait, daemon=True).start()
breeding = True
def breed():
    # Threads that start threads while it is done, as clients that connect do.
    while breeding:
        child = threading.Thread(target=stop.wait, args=(0.002,), daemon=True)
        child.start()
        child.join()
breeder = threading.Thread(target=breed, daemon=True)
breeder.start()
one = min(os.sched_getaffinity(0))
threads.confine((one,), int(sys.argv[1]))
breeding = False
breeder.join()
late = threading.Thread(target=stop.wait, daemon=True)
late.start()
found = []
for task in os.listdir("/proc/self/task"):
    # One that was joined is done with Python, and may end for the kernel only now.
    with contextlib.suppress(ProcessLookupError):
        found.append((os.getpriority(os.PRIO_PROCESS, int(task)), tuple(os.sched_getaffinity(int(task)))))
print(len(found) >= 5)
print({nice for nice, _ in found} == {int(sys.argv[2])})
print({cpus for _, cpus in found} == {(one,)})
sys.stdout.flush()
os._exit(0)
"""


def run(source: str, wanted: int, expected: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", source, str(wanted), str(expected)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_thread_takes_the_cpus_and_the_priority_also_one_that_starts_meanwhile_or_later() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)  # of whoever runs the tests
    assert run(CONFINE, 10, max(ours, 10)) == ["True"] * 3


def test_a_process_that_was_made_nicer_before_does_not_get_its_priority_back() -> None:
    """Raising it takes a privilege that not everybody has."""
    nicer = min(os.getpriority(os.PRIO_PROCESS, 0) + 15, 19)
    assert run(f"import os; os.nice(15){CONFINE}", 10, max(nicer, 10)) == ["True"] * 3
