"""Ctrl-C, SIGTERM and a closed terminal: counted when they come, acted upon where it is safe.

confluent-kafka is one place where it is not: an exception raised by a signal within its C code comes out as a
SystemError or as a TypeError about an argument that has nothing wrong with it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "Interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The command was told to end, by signal ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Interrupts:
    """Use as a context manager, in the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self.number = 0
        self._at_once = False

    def check(self) -> None:
        """Raise :class:`Interrupted` if a signal has come."""
        if self.count:
            raise Interrupted(self.number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it a signal raises wherever the program is, as for a download, which nothing else ends."""
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False

    def _came(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.number = number
        if self._at_once:
            self._at_once = False
            raise Interrupted(number)

    def __enter__(self) -> Interrupts:
        # One that is ignored stays so: nohup, and the shell for what runs in the background.
        heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._former = {number: signal.signal(number, self._came) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
