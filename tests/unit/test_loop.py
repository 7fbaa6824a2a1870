"""The selector loop: descriptors, timers and signals, in every order that has bitten somebody."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import pytest

from supervisor.host.loop import Loop
from tests.procfs import descriptors, left_open


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


class Pipe:
    def __init__(self, content: bytes = b"") -> None:
        self.read, self.write = os.pipe()
        if content:
            os.write(self.write, content)

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


def test_a_readable_descriptor_is_called_back_until_it_is_read(loop: Loop) -> None:
    pipe, seen = Pipe(b"abc"), []

    def read() -> None:
        seen.append(os.read(pipe.read, 1))
        if len(seen) == 3:
            loop.stop()

    loop.watch(pipe.read, read)
    loop.run()
    assert seen == [b"a", b"b", b"c"]
    pipe.close()


def fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, bytes(4096))


def test_a_writable_descriptor_is_called_back_once_it_takes_more_and_when_nobody_reads_it_any_more(
    loop: Loop,
) -> None:
    pipe, called = Pipe(), list[str]()
    fill(pipe.write)

    def read() -> None:
        called.append("read")
        os.read(pipe.read, 1 << 20)

    def act() -> None:
        called.append("called")
        if called.count("called") == 1:
            fill(pipe.write)
            os.close(pipe.read)
        else:
            loop.stop()

    loop.watch_writable(pipe.write, act)
    loop.after(0.01, read)
    loop.run()
    assert called == ["read", "called", "called"]
    os.close(pipe.write)


def test_what_is_no_longer_watched_is_not_called_back(loop: Loop) -> None:
    """Both are readable in the same round; whichever is called first unwatches the other."""
    pipes, called = [Pipe(b"x"), Pipe(b"x")], []

    def act(mine: int) -> None:
        called.append(mine)
        loop.unwatch(pipes[1 - mine].read)
        loop.stop()

    for number, pipe in enumerate(pipes):
        loop.watch(pipe.read, lambda number=number: act(number))  # type: ignore[misc]
    loop.run()
    assert len(called) == 1
    for pipe in pipes:
        pipe.close()


def test_a_descriptor_number_that_was_reused_is_not_mistaken_for_the_old_one(loop: Loop) -> None:
    """Two are readable in one round. The first that is called closes the other and opens a pipe that gets the
    same number, without anything to read: called back for it, a blocking read would hang the supervisor."""
    pipes, called = [Pipe(b"x"), Pipe(b"x")], []
    reused: list[tuple[int, int]] = []

    def replace(mine: int) -> None:
        called.append("first")
        other = pipes[1 - mine].read
        loop.unwatch(other)
        os.close(other)
        read, write = os.pipe()
        if read != other:
            os.dup2(read, other)
            os.close(read)
        reused.append((other, write))
        loop.watch(other, lambda: called.append("second"))
        loop.stop()

    for number, pipe in enumerate(pipes):
        loop.watch(pipe.read, lambda number=number: replace(number))  # type: ignore[misc]
    loop.run()
    assert called == ["first"]
    for descriptor in {
        reused[0][0],
        reused[0][1],
        *(pipe.read for pipe in pipes),
        *(pipe.write for pipe in pipes),
    }:
        os.close(descriptor)


@contextlib.contextmanager
def at_one_moment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However long it takes: what is due later than something else is."""
    now = time.monotonic()
    with monkeypatch.context() as frozen:
        frozen.setattr(time, "monotonic", lambda: now)
        yield


def test_timers_are_called_in_the_order_in_which_they_are_due(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    with at_one_moment(monkeypatch):
        loop.after(0.02, lambda: called.append("later"))
        loop.after(0.0, lambda: called.append("first"))
        loop.after(0.01, lambda: called.append("between"))
        loop.after(0.03, loop.stop)
    loop.run()
    assert called == ["first", "between", "later"]


def test_a_timer_is_never_early(loop: Loop) -> None:
    began = time.monotonic()
    loop.after(0.05, loop.stop)
    loop.run()
    assert time.monotonic() - began >= 0.05


def test_a_cancelled_timer_is_not_called_even_by_one_that_is_due_with_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    with at_one_moment(monkeypatch):
        second = loop.after(0.001, lambda: called.append("second"))
        loop.after(0.0, lambda: (second.cancel(), time.sleep(0.002)))  # type: ignore[func-returns-value]
        loop.after(0.01, loop.stop)
    loop.run()
    assert called == []


def test_a_timer_may_be_cancelled_after_it_was_called_and_twice(loop: Loop) -> None:
    timer = loop.after(0.0, loop.stop)
    loop.run()
    timer.cancel()
    timer.cancel()


def test_a_timer_that_sets_itself_again_does_not_starve_a_descriptor(loop: Loop) -> None:
    pipe = Pipe(b"x")

    def again() -> None:
        loop.after(0.0, again)

    loop.after(0.0, again)
    loop.watch(pipe.read, loop.stop)
    loop.run()
    pipe.close()


@pytest.mark.parametrize("seconds", [1e7, 1e12, math.inf])
def test_a_timer_further_off_than_the_system_can_wait_is_no_error(loop: Loop, seconds: float) -> None:
    """runtime.drain_timeout_s = inf is a legal setting; epoll takes no more than 24 days."""
    pipe = Pipe(b"x")
    loop.after(seconds, lambda: pytest.fail("not due"))
    loop.watch(pipe.read, loop.stop)
    loop.run()
    pipe.close()


def test_a_signal_is_called_back_from_the_loop_and_not_from_the_handler(loop: Loop) -> None:
    seen: list[signal.Signals] = []

    def noticed(number: signal.Signals) -> None:
        seen.append(number)
        loop.stop()

    loop.on_signals((signal.SIGUSR1, signal.SIGUSR2), noticed)
    signal.raise_signal(signal.SIGUSR2)
    assert seen == []
    loop.run()
    assert seen == [signal.SIGUSR2]


def test_a_signal_wakes_a_loop_that_waits_for_nothing_else(loop: Loop) -> None:
    loop.on_signals((signal.SIGUSR1,), lambda _number: loop.stop())
    sender = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    sender.start()
    loop.run()
    sender.join()


def test_different_signals_in_one_moment_are_all_noticed_in_order(loop: Loop) -> None:
    seen: list[signal.Signals] = []
    loop.on_signals((signal.SIGUSR1, signal.SIGUSR2), seen.append)
    signal.raise_signal(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR1)
    loop.after(0.0, loop.stop)
    loop.run()
    assert seen == [signal.SIGUSR2, signal.SIGUSR1]


def test_more_signals_than_the_pipe_holds_neither_block_nor_break_it(loop: Loop) -> None:
    seen: list[signal.Signals] = []
    loop.on_signals((signal.SIGUSR1,), seen.append)
    for _ in range(66_000):
        signal.raise_signal(signal.SIGUSR1)
    loop.after(0.0, loop.stop)
    loop.run()
    assert seen


def test_leaving_gives_back_handlers_and_descriptors() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    open_before = descriptors()
    for _ in range(50):
        with Loop() as loop:
            loop.on_signals((signal.SIGUSR1,), lambda _number: None)
    assert signal.getsignal(signal.SIGUSR1) is before
    assert signal.set_wakeup_fd(-1) == -1
    assert left_open(open_before) < 50


def test_a_loop_that_was_stopped_before_does_not_run(loop: Loop) -> None:
    loop.after(0.0, lambda: pytest.fail("called"))
    loop.stop()
    loop.run()


def test_an_exception_in_a_callback_is_not_swallowed(loop: Loop) -> None:
    def fail() -> NoReturn:
        raise ZeroDivisionError

    loop.after(0.0, fail)
    with pytest.raises(ZeroDivisionError):
        loop.run()


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0], ids=["set back", "set forward"])
def test_a_clock_that_is_set_by_an_hour_changes_no_timer(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """As somebody, or NTP, sets it while timers run: supervisord has had to guard against that."""
    wall, wall_ns, clock_gettime = time.time, time.time_ns, time.clock_gettime
    called: list[str] = []

    def jump() -> None:
        monkeypatch.setattr(time, "time", lambda: wall() + jump_s)
        monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(jump_s * 1e9))
        monkeypatch.setattr(
            time,
            "clock_gettime",
            lambda clock: clock_gettime(clock) + jump_s * (clock == time.CLOCK_REALTIME),
        )
        called.append("jump")
        loop.after(0.05, finish)

    def finish() -> None:
        called.append("set after it")
        loop.stop()

    began = time.monotonic()
    loop.after(0.01, jump)
    loop.after(0.03, lambda: called.append("set before it"))
    loop.after(30.0, lambda: pytest.fail("not due for a long time"))
    loop.run()
    assert called == ["jump", "set before it", "set after it"]
    assert 0.06 <= time.monotonic() - began < 15
