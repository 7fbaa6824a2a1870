"""Carries one event to a hook, in a process of its own: run as a script, by ``hooks.py``.

    courier.py run PROGRAM ARGUMENT…      becomes the program; the event is on standard input
    courier.py post                       posts it to the URL in $KAFKA_SUPERVISOR_WEBHOOK

The standard library alone, and little of it: it is started without site-packages.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

__all__ = ["WEBHOOK"]

WEBHOOK = "KAFKA_SUPERVISOR_WEBHOOK"
"""Not an argument: arguments are in ``ps`` for everybody, and a URL may hold a token."""
_PR_SET_PDEATHSIG = 1
_NOT_FOUND = 127


def _main(arguments: list[str]) -> NoReturn:
    _die_with_parent()
    if arguments[0] == "run":
        _become(arguments[1:])
    _post(os.environ.pop(WEBHOOK))


def _die_with_parent() -> None:
    """A hook does not outlive the supervisor that would end it at its time-out. It holds over exec."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _become(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        _fail(f"{command[0]}: {error.strerror}", _NOT_FOUND)


def _post(url: str) -> NoReturn:
    import urllib.error
    import urllib.request

    headers = {"Content-Type": "application/json", "User-Agent": "kafka-supervisor"}
    # No time-out of its own: who has started this process ends it.
    try:
        request = urllib.request.Request(url, sys.stdin.buffer.read(), headers)  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            answer.read(1024)
    except urllib.error.HTTPError as error:
        _fail(f"answered with {error.code} {error.reason}")
    except (OSError, ValueError) as error:
        # Not the error's own words where it is the URL that it complains of: they repeat it.
        reason = getattr(error, "reason", None)
        _fail(f"cannot be reached: {reason or type(error).__name__}")
    sys.exit(0)


def _fail(text: str, code: int = 1) -> NoReturn:
    sys.stderr.write(text + "\n")
    sys.exit(code)


if __name__ == "__main__":
    _main(sys.argv[1:])
