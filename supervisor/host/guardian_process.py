"""The guardian's own process: it waits for the end of the supervisor, and then kills what the workers left.

Run by its path with ``python -I -S``. It imports nothing but a built-in module, and so has 2.6 MB of memory
to itself. Standard input is a pipe whose other end only the supervisor holds, with these lines::

    +PID                 the group of worker PID is to be killed
    +PID DIRECTORY       and everything in its cgroup too
    -PID                 it is no more: its number may be somebody else's from now on

The pipe ends when the supervisor does, in whatever way: a SIGKILL closes descriptors like everything else.
"""

import posix

_SIGKILL = 9


def _main() -> None:
    guarded: dict[bytes, bytes] = {}
    rest = b""
    while chunk := posix.read(0, 65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            pid, _, leaf = line[1:].partition(b" ")
            if line[:1] == b"+":
                guarded[pid] = leaf
            else:
                guarded.pop(pid, None)
    for pid, leaf in guarded.items():
        _kill(int(pid), leaf)


def _kill(pid: int, leaf: bytes) -> None:
    # One call gets all of them: a fork that is under way is undone when its process has a signal to take.
    try:  # noqa: SIM105  (contextlib is not imported)
        posix.killpg(pid, _SIGKILL)
    except OSError:
        pass  # its worker died by itself, and left nobody
    if leaf:
        try:  # noqa: SIM105
            posix.write(posix.open(leaf + b"/cgroup.kill", posix.O_WRONLY), b"1")
        except OSError:
            pass  # it has been removed


_main()
