"""sd_notify against a socket of our own, by path and by abstract name."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service_manager import Manager

from supervisor.host.loop import Loop
from supervisor.systemd import notices
from supervisor.systemd.notices import Systemd, gave_up, summary
from supervisor.systemd.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    name = secrets.token_hex(8)
    # Not pytest's directory: the path of a unix socket has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ks-") as directory:
        address = str(Path(directory, name)) if request.param == "path" else f"@{name}"
        made = Manager(address)
        yield made
        made.socket.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def run_until(loop: Loop, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20

    def look() -> None:
        assert time.monotonic() < deadline, "it has not come to hold within 20 s"
        if holds():
            loop.stop()
        else:
            loop.after(0.005, look)

    look()
    loop.run()
    loop._stopped = False


# -- the wire -------------------------------------------------------------------------------------------


def test_a_datagram_has_a_field_a_line(manager: Manager) -> None:
    notifier = Notifier(manager.environ())
    assert notifier.send(READY=1, STATUS="serving 4 partitions")
    assert manager.take() == [{"READY": "1", "STATUS": "serving 4 partitions"}]


def test_its_variables_are_gone_before_a_worker_could_inherit_them(manager: Manager) -> None:
    environ = manager.environ(WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid()), HOME="/")
    Notifier(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    "address", ["", "@", "relative", "vsock:2:1234", "/nowhere/at/all", "/" + 200 * "x", "@nobody-listens"]
)
def test_whatever_the_address_is_nothing_is_raised(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert notifier.send(READY=1) is not notifier.active
    notifier.close()


def test_without_a_socket_there_is_no_watchdog_either() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    assert (notifier.active, notifier.watchdog_s) == (False, None)


@pytest.mark.parametrize(
    ("usec", "pid", "period"),
    [
        ("30000000", "", 30.0),
        pytest.param("30000000", str(os.getpid()), 30.0, id="our-own"),  # each process has another
        ("30000000", "1", None),
        ("0", "", None),
        ("", "", None),
        ("-5", "", None),
        ("soon", "", None),
        ("²", "", None),
    ],
)
def test_the_watchdog_is_for_the_process_that_it_names(usec: str, pid: str, period: float | None) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid})
    assert notifier.watchdog_s == period


def test_a_status_cannot_smuggle_in_a_field(manager: Manager) -> None:
    Notifier(manager.environ()).send(STATUS="olap-0: bad\nMAINPID=1\r\x00\x85READY=1")
    assert manager.take() == [{"STATUS": "olap-0: bad MAINPID=1 READY=1"}]


@pytest.mark.parametrize("text", ["x" * 5000, "ж" * 5000, "€" * 5000, "\udcff" * 5000])
def test_a_long_status_is_cut_between_characters_and_its_datagram_is_one_that_systemd_reads(
    manager: Manager, text: str
) -> None:
    Notifier(manager.environ()).send(READY=1, STATUS=text)
    (fields,) = manager.take()
    assert fields["STATUS"].endswith("…")
    assert 1000 < len(fields["STATUS"].encode()) <= 1024


def test_a_full_queue_does_not_block(manager: Manager) -> None:
    notifier = Notifier(manager.environ())
    manager.fill()
    assert notifier.send(READY=1) is False
    manager.take()
    assert notifier.send(READY=1) is True


def test_a_socket_that_is_made_anew_is_found_again() -> None:
    with tempfile.TemporaryDirectory(prefix="ks-") as directory:
        address = f"{directory}/n"
        first = Manager(address)
        notifier = Notifier(first.environ())
        assert notifier.send(WATCHDOG=1)
        first.socket.close()
        assert not notifier.send(WATCHDOG=1)
        Path(address).unlink()
        second = Manager(address)
        assert notifier.send(WATCHDOG=1)
        assert second.take() == [{"WATCHDOG": "1"}]
        second.socket.close()


# -- what is said when ----------------------------------------------------------------------------------


def test_a_life_is_told_in_order(manager: Manager, loop: Loop) -> None:
    systemd = Systemd(loop, manager.environ())
    before = time.monotonic_ns() // 1000
    systemd.ready("serving 4 partitions")
    systemd.reloading("reloading")
    systemd.reloaded("serving 4 partitions")
    systemd.stopping("draining")
    ready, reloading, again, stopping = manager.take()
    assert ready == again == {"READY": "1", "STATUS": "serving 4 partitions"}
    moment = int(reloading.pop("MONOTONIC_USEC"))
    assert before <= moment <= time.monotonic_ns() // 1000
    assert reloading == {"RELOADING": "1", "STATUS": "reloading"}
    assert stopping == {"STOPPING": "1", "STATUS": "draining"}


def test_a_worker_that_is_ready_late_does_not_undo_stopping(manager: Manager, loop: Loop) -> None:
    systemd = Systemd(loop, manager.environ())
    systemd.stopping()
    systemd.ready("serving")
    systemd.reloading()
    assert manager.take() == [{"STOPPING": "1"}]


def test_a_reload_before_the_first_ready_is_not_told(manager: Manager, loop: Loop) -> None:
    systemd = Systemd(loop, manager.environ())
    systemd.reloading()
    systemd.reloaded()
    systemd.ready()
    assert manager.take() == [{"READY": "1"}]


def test_whoever_becomes_ready_during_a_reload_does_not_end_it(manager: Manager, loop: Loop) -> None:
    """It was ready for want of patience, waits for brokers, and was told to reload: then they answer."""
    systemd = Systemd(loop, manager.environ())
    systemd.ready()
    systemd.reloading()
    systemd.ready("serving 4 partitions")
    assert [next(iter(fields)) for fields in manager.take()] == ["READY", "RELOADING", "STATUS"]
    systemd.reloaded()
    systemd.reloaded()
    assert manager.take() == [{"READY": "1"}]


def test_waiting_for_brokers_is_no_failed_start(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_PATIENCE_S", 0.02)
    systemd = Systemd(loop, manager.environ())
    systemd.status("waiting for the brokers at kafka-1:9092")
    seen: list[dict[str, str]] = []
    run_until(loop, lambda: seen.extend(manager.take()) or {"READY": "1"} in seen)  # type: ignore[func-returns-value]
    systemd.ready("serving 4 partitions")
    assert manager.take() == []  # its turn comes two seconds after the first one
    systemd.stopping()
    assert manager.take() == [{"STOPPING": "1", "STATUS": "serving 4 partitions"}]


def test_a_supervisor_that_stops_while_it_starts_does_not_become_ready(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_PATIENCE_S", 0.0)
    Systemd(loop, manager.environ()).stopping()
    loop.after(0.01, loop.stop)
    loop.run()
    assert manager.take() == [{"STOPPING": "1"}]


def test_ready_is_told_once(manager: Manager, loop: Loop) -> None:
    systemd = Systemd(loop, manager.environ())
    systemd.ready()
    systemd.ready()
    assert manager.take() == [{"READY": "1"}]


def test_what_a_full_queue_refused_is_sent_later_and_in_order(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_AGAIN_S", 0.01)
    monkeypatch.setattr(notices, "_STATUS_EVERY_S", 0.01)
    systemd = Systemd(loop, manager.environ())
    manager.fill()
    systemd.ready("first")
    systemd.reloading()
    systemd.reloaded("second")
    systemd.status("third")
    manager.take()
    seen: list[dict[str, str]] = []
    run_until(loop, lambda: seen.extend(manager.take()) or {"STATUS": "third"} in seen)  # type: ignore[func-returns-value]
    assert [next(iter(fields)) for fields in seen] == ["READY", "RELOADING", "READY", "STATUS"]


def test_statuses_in_quick_succession_become_the_first_and_the_last(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_STATUS_EVERY_S", 0.05)
    systemd = Systemd(loop, manager.environ())
    for number in range(100):
        systemd.status(f"lag {number}")
    seen: list[dict[str, str]] = []
    run_until(loop, lambda: seen.extend(manager.take()) or len(seen) == 2)  # type: ignore[func-returns-value]
    assert seen == [{"STATUS": "lag 0"}, {"STATUS": "lag 99"}]


def test_a_status_that_waits_for_its_turn_goes_with_the_next_change(manager: Manager, loop: Loop) -> None:
    """A supervisor that gave up may be gone before two seconds are over."""
    systemd = Systemd(loop, manager.environ())
    systemd.ready()
    systemd.status("serving 4 partitions")
    systemd.status(gave_up("olap-2", "10 deaths in 60 s"))
    systemd.stopping()
    assert manager.take()[-1] == {"STOPPING": "1", "STATUS": "gave up: olap-2: 10 deaths in 60 s"}


def test_the_same_status_is_not_sent_again(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_STATUS_EVERY_S", 0.0)
    systemd = Systemd(loop, manager.environ())
    systemd.ready("idle")
    for _ in range(3):
        systemd.status("idle")
        systemd.ready("idle")
    assert manager.take() == [{"READY": "1", "STATUS": "idle"}]


# -- time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["starting", "reloading", "stopping"])
def test_more_time_is_asked_for_only_while_offsets_move(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    monkeypatch.setattr(notices, "_EXTEND_EVERY_S", 0.0)
    systemd = Systemd(loop, manager.environ())
    if phase != "starting":
        systemd.ready()
        systemd.reloading() if phase == "reloading" else systemd.stopping()
        manager.take()
    for offsets in (10, 10, 10):
        systemd.moving(offsets)
    assert manager.take() == []
    systemd.moving(11)
    assert manager.take() == [{"EXTEND_TIMEOUT_USEC": "30000000"}]
    systemd.moving(11)
    assert manager.take() == []


def test_more_time_is_asked_for_once_a_second_at_most(manager: Manager, loop: Loop) -> None:
    systemd = Systemd(loop, manager.environ())
    for offsets in range(100):
        systemd.moving(offsets)
    assert len(manager.take()) == 1


def test_a_running_service_asks_for_no_more_time(manager: Manager, loop: Loop) -> None:
    systemd = Systemd(loop, manager.environ())
    systemd.ready()
    manager.take()
    for offsets in range(10):
        systemd.moving(offsets)
    assert manager.take() == []


def test_earlier_restarts_are_forgotten_once_after_steady_progress(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_STEADY_S", 0.0)
    systemd = Systemd(loop, manager.environ())
    systemd.ready()
    systemd.moving(5)
    systemd.moving(5)
    assert manager.take() == [{"READY": "1"}]
    systemd.moving(6)
    systemd.moving(7)
    assert manager.take() == [{"RESTART_RESET": "1"}]


def test_pings_come_from_the_loop_and_stop_when_it_stalls(manager: Manager, loop: Loop) -> None:
    """Case 40: whoever sits in a callback for too long is found out."""
    systemd = Systemd(loop, manager.environ(WATCHDOG_USEC="40000"))
    pings: list[dict[str, str]] = []
    run_until(loop, lambda: pings.extend(manager.take()) or len(pings) >= 5)  # type: ignore[func-returns-value]
    assert pings[0] == {"WATCHDOG": "1"}
    assert all(ping == {"WATCHDOG": "1"} for ping in pings)
    during = []

    def stall() -> None:
        manager.take()
        time.sleep(0.2)  # the fault under test: ten pings long
        during.extend(manager.take())
        loop.stop()

    loop.after(0, stall)
    loop.run()
    assert during == []
    systemd.trigger()
    assert manager.take()[-1] == {"WATCHDOG": "trigger"}


def test_pings_come_twice_in_a_period(manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(loop, "after", lambda seconds, act: waits.append(seconds))
    Systemd(loop, manager.environ(WATCHDOG_USEC="30000000"))
    assert waits == [15.0, notices._PATIENCE_S]


def test_without_a_service_manager_nothing_happens(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "after", lambda *_: pytest.fail("a timer was set"))
    systemd = Systemd(loop, {})
    assert not systemd.active
    systemd.ready("x")
    systemd.status("y")
    systemd.reloading()
    systemd.reloaded()
    systemd.moving(1)
    systemd.moving(2)
    systemd.stopping()
    systemd.trigger()


def test_by_default_the_variables_of_this_process_are_taken(
    manager: Manager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    Systemd(loop).ready()
    assert "NOTIFY_SOCKET" not in os.environ
    assert manager.take() == [{"READY": "1"}]


# -- texts ----------------------------------------------------------------------------------------------


def test_the_summary_is_short_and_puts_trouble_first() -> None:
    assert summary(serving=4, partitions=4, lag=1234, restarts=2) == (
        "serving 4 partitions, lag 1,234, 2 restarts"
    )
    assert summary(serving=1, partitions=1, lag=0, restarts=1) == "serving 1 partition, lag 0, 1 restart"
    assert summary(serving=3, partitions=4, lag=9, restarts=0, trouble="olap-2 is parked: hung") == (
        "olap-2 is parked: hung; serving 3 of 4 partitions, lag 9, 0 restarts"
    )


def test_giving_up_names_the_worker_and_the_reason() -> None:
    assert gave_up("olap-2", "10 deaths in 60 s") == "gave up: olap-2: 10 deaths in 60 s"
