"""One selector loop: descriptors, timers and signals. Nothing in it blocks or sleeps."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import Self

__all__ = ["Loop", "Timer"]

Callback = Callable[[], None]
# epoll takes at most 2^31 ms; a setting of a year, or of `inf`, is a timer all the same.
_LONGEST_WAIT_S = 24 * 60 * 60.0


class Timer:
    """A call that is due at some time, until it is cancelled."""

    def __init__(self, act: Callback) -> None:
        self.act: Callback | None = act

    def cancel(self) -> None:
        self.act = None


class Loop:
    """Calls back when a descriptor is readable or writable, a timer is due, or a signal has come."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False
        self._signals: dict[int, Callback] = {}
        self._previous: dict[int, object] = {}
        # Signals are bytes in this pipe: a handler runs between any two instructions, a callback does not.
        self._wakeup_read, self._wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_wakeup = -1

    def __enter__(self) -> Self:
        self._previous_wakeup = signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        self.watch(self._wakeup_read, self._take_signals)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._previous_wakeup)
        self._selector.close()
        os.close(self._wakeup_read)
        os.close(self._wakeup_write)

    def on_signals(self, numbers: Iterable[signal.Signals], act: Callable[[signal.Signals], None]) -> None:
        for number in numbers:
            self._signals[number] = lambda number=number: act(number)  # type: ignore[misc]
            self._previous[number] = signal.signal(number, _noticed)
            # A mask outlives exec: whoever started us may have blocked it, or we have (``strangers``).
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})

    def watch(self, descriptor: int, act: Callback) -> None:
        """Call ``act`` whenever ``descriptor`` is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, act)

    def watch_writable(self, descriptor: int, act: Callback) -> None:
        """Call ``act`` whenever ``descriptor`` takes more, or its other end is gone.

        A descriptor is watched for this or for reading, not for both at a time.
        """
        self._selector.register(descriptor, selectors.EVENT_WRITE, act)

    def unwatch(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def after(self, seconds: float, act: Callback) -> Timer:
        """Call ``act`` once, in ``seconds``."""
        timer = Timer(act)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def stop(self) -> None:
        """Leave :meth:`run` after the callbacks that are due."""
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select(self._wait()):
                # An earlier callback of this round may have unwatched the descriptor, closed it, and opened
                # and watched another one that got the same number. So it is the registration that counts.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            self._call_due()

    def _wait(self) -> float | None:
        while self._timers and self._timers[0][2].act is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - time.monotonic()), _LONGEST_WAIT_S)

    def _call_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            act = heapq.heappop(self._timers)[2].act
            if act is not None:
                act()

    def _take_signals(self) -> None:
        for number in os.read(self._wakeup_read, 4096):
            if number in self._signals:
                self._signals[number]()


def _noticed(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor has it already."""
