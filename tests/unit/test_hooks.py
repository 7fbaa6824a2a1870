"""Hooks: with real programs and a real web server, off the loop, bounded, and never in its way."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from supervisor.contract.settings import HookEvent
from supervisor.contract.settings import Hooks as HookSettings
from supervisor.host.loop import Loop
from supervisor.reporting import hooks as hooks_module
from supervisor.reporting.hooks import Hooks
from supervisor.reporting.journal import Journal
from tests.procfs import descriptors, left_open

EVERY: list[HookEvent] = ["gave-up", "hung", "stalled", "parked", "recovered", "quarantined"]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def settings(command: str = "", webhook: str = "", timeout_s: float = 20.0) -> HookSettings:
    return HookSettings(command=command, webhook=webhook, on=EVERY, timeout_s=timeout_s)


def connected(hooks: Hooks) -> Journal:
    journal = Journal()
    journal.subscribe(hooks.hear)
    return journal


def turn(loop: Loop, until: Callable[[], bool]) -> None:
    def look() -> None:
        if until():
            loop.stop()
        else:
            loop.after(0.001, look)

    loop._stopped = False
    look()
    if not until():
        loop.run()


def idle(hooks: Hooks) -> Callable[[], bool]:
    return lambda: not hooks.pids


def close(loop: Loop, hooks: Hooks) -> None:
    closed: list[bool] = []
    hooks.close(lambda: closed.append(True))
    turn(loop, lambda: bool(closed))
    assert closed == [True]
    assert not hooks.pids


def script(tmp_path: Path, body: str) -> str:
    """A command that runs ``body`` in a shell."""
    path = tmp_path / "hook.sh"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return shlex.quote(str(path))


class Receiver(ThreadingHTTPServer):
    """Notes what is posted; ``status`` is its answer, and ``hold`` has it say nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/alarm?token=hush"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.server.posted.append(json.loads(body))
        self.server.paths.append(self.path)
        self.server.hold.wait(30)
        with contextlib.suppress(OSError):  # whoever posted may have been killed
            self.send_response(self.server.status)
            self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.hold.set()
    receiver.shutdown()
    receiver.server_close()
    receiver.thread.join()


def test_a_command_gets_the_event_as_json_on_its_standard_input(loop: Loop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hooks = Hooks(settings(script(tmp_path, f"cat > {out}")), loop)
    connected(hooks).publish("parked", "partition 2 is parked", worker="olap-2", partition=2, offset=17)
    turn(loop, idle(hooks))
    told = json.loads(out.read_text())
    assert (told["event"], told["worker"], told["partition"], told["offset"]) == ("parked", "olap-2", 2, 17)


def test_a_webhook_is_posted_the_event_and_its_url_is_no_argument_of_a_process(
    loop: Loop, receiver: Receiver
) -> None:
    receiver.hold.clear()
    hooks = Hooks(settings(webhook=receiver.url), loop)
    connected(hooks).publish("hung", "olap-1 hangs", worker="olap-1")
    turn(loop, lambda: bool(receiver.posted))
    (pid,) = hooks.pids
    assert b"token" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    receiver.hold.set()
    turn(loop, idle(hooks))
    assert (receiver.posted[0]["event"], receiver.paths) == ("hung", ["/alarm?token=hush"])


def test_only_the_events_that_were_chosen_are_passed_on(loop: Loop, tmp_path: Path) -> None:
    chosen = HookSettings(command=script(tmp_path, "exit 0"), on=["parked"])
    hooks = Hooks(chosen, loop)
    journal = connected(hooks)
    journal.publish("hung", "not this one")
    journal.publish("died", "nor this one")
    assert not hooks.pids
    journal.publish("parked", "this one")
    assert len(hooks.pids) == 1
    turn(loop, idle(hooks))


def test_events_are_delivered_one_after_the_other_in_order(loop: Loop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hooks = Hooks(settings(script(tmp_path, f"cat >> {out}")), loop)
    journal = connected(hooks)
    for number in range(4):
        journal.publish("stalled", str(number))
        assert len(hooks.pids) == 1
    turn(loop, idle(hooks))
    assert [json.loads(line)["text"] for line in out.read_text().splitlines()] == ["0", "1", "2", "3"]


def test_a_failing_command_is_logged_with_what_it_said(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks(settings(script(tmp_path, "echo no route; echo to host >&2; exit 3")), loop)
    connected(hooks).publish("hung", "x")
    turn(loop, idle(hooks))
    assert "the command failed at hung (3): no route | to host" in caplog.text


def test_a_command_that_does_not_exist_is_logged_and_harms_nobody(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks(settings("/no/such/program --now"), loop)
    connected(hooks).publish("hung", "x")
    turn(loop, idle(hooks))
    assert "the command failed at hung (127): /no/such/program: No such file" in caplog.text


@pytest.mark.parametrize("status", [404, 500])
def test_a_webhook_that_refuses_is_logged_without_its_url(
    loop: Loop, receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    receiver.status = status
    hooks = Hooks(settings(webhook=receiver.url), loop)
    connected(hooks).publish("hung", "x")
    turn(loop, idle(hooks))
    assert f"the webhook failed at hung (1): answered with {status}" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/?token=hush", "http://[hush", "hush://token"])
def test_a_webhook_that_cannot_be_reached_is_logged_without_its_url(
    loop: Loop, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    hooks = Hooks(settings(webhook=url), loop)
    connected(hooks).publish("hung", "x")
    turn(loop, idle(hooks))
    assert "the webhook failed at hung (1): cannot be reached" in caplog.text
    assert "Traceback" not in caplog.text
    assert "token" not in caplog.text


def test_a_hook_that_hangs_is_killed_with_all_it_has_started_and_the_next_is_told(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pid, told = tmp_path / "pid", tmp_path / "told"
    hang = f"sleep 600 &\necho $! > {pid}.new\nmv {pid}.new {pid}\nwait"
    hooks = Hooks(settings(script(tmp_path, f"grep -q first || exec touch {told}\n{hang}")), loop)
    journal = connected(hooks)
    journal.publish("hung", "first")
    journal.publish("hung", "second")
    turn(loop, pid.exists)
    errand = hooks._lines[0]._errand
    assert errand is not None
    errand.limit(0.01)
    turn(loop, idle(hooks))
    assert "the command took too long over hung and was killed" in caplog.text
    assert told.exists()
    turn(loop, lambda: not alive(int(pid.read_text())))


def children() -> set[int]:
    """Of this process, zombies too."""
    return {child.pid for child in psutil.Process().children()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_command_leaves_behind_ends_with_it(loop: Loop, tmp_path: Path) -> None:
    """It holds our pipe: whoever waited for the end of the output would wait for ten minutes."""
    pid = tmp_path / "pid"
    hooks = Hooks(settings(script(tmp_path, f"sleep 600 & echo $! > {pid}")), loop)
    connected(hooks).publish("hung", "x")
    turn(loop, idle(hooks))
    turn(loop, lambda: not alive(int(pid.read_text())))


def test_a_command_that_floods_its_output_is_read_and_logged_in_part(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "supervisor")
    hooks = Hooks(settings(script(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x")), loop)
    connected(hooks).publish("hung", "x")
    turn(loop, idle(hooks))
    line = next(record.message for record in caplog.records if "the command says of hung" in record.message)
    assert 4_000 < len(line) < 5_000


def test_the_loop_does_not_wait_for_a_hook(loop: Loop, tmp_path: Path) -> None:
    """A timer that is due while a hook hangs is called: it is what ends the loop here."""
    hooks = Hooks(settings(script(tmp_path, "sleep 600")), loop)
    connected(hooks).publish("hung", "x")
    loop.after(0.05, loop.stop)
    loop.run()
    assert len(hooks.pids) == 1
    hooks.abandon()
    turn(loop, idle(hooks))


def test_with_too_many_waiting_the_oldest_are_dropped_and_counted(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks_module, "QUEUE", 3)
    out = tmp_path / "out"
    hooks = Hooks(settings(script(tmp_path, f"cat >> {out}")), loop)
    journal = connected(hooks)
    for number in range(10):
        journal.publish("stalled", str(number))
    turn(loop, idle(hooks))
    assert [json.loads(line)["text"] for line in out.read_text().splitlines()] == ["0", "7", "8", "9"]
    assert "the command is too slow: 6 events were dropped" in caplog.text


def test_no_room_for_a_process_is_logged_and_the_journal_goes_on(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    hooks = Hooks(settings(script(tmp_path, "exit 0")), loop)
    journal = connected(hooks)
    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr("subprocess.Popen", full)
        for _ in range(20):
            journal.publish("hung", "x")
    assert "command was not told of hung: Resource temporarily unavailable" in caplog.text
    assert left_open(before) < 20
    journal.publish("hung", "y")
    assert len(hooks.pids) == 1
    turn(loop, idle(hooks))


def test_many_deliveries_leave_no_descriptor_and_no_process(loop: Loop, tmp_path: Path) -> None:
    hooks = Hooks(settings(script(tmp_path, "exit 0")), loop)
    journal = connected(hooks)
    # Other tests may have left children of this process, such as the tracker of multiprocessing.
    before, others = descriptors(), children()
    for _ in range(20):
        journal.publish("hung", "x")
    turn(loop, idle(hooks))
    assert left_open(before) < 20
    assert children() <= others


def test_at_the_end_that_we_gave_up_is_delivered_and_what_waits_is_dropped(
    loop: Loop, tmp_path: Path
) -> None:
    out, go = tmp_path / "out", tmp_path / "go"
    hooks = Hooks(settings(script(tmp_path, f"cat >> {out}; until test -e {go}; do sleep 0.01; done")), loop)
    journal = connected(hooks)
    for event in ("hung", "stalled", "gave-up", "parked"):
        journal.publish(event, "x")
    turn(loop, lambda: out.exists() and out.read_text().endswith("\n"))
    go.touch()
    close(loop, hooks)
    assert [json.loads(line)["event"] for line in out.read_text().splitlines()] == ["hung", "gave-up"]


def test_at_the_end_a_slow_delivery_gets_a_moment_and_no_more(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks_module, "_MOMENT_S", 0.1)
    hooks = Hooks(settings(script(tmp_path, "sleep 600"), timeout_s=500), loop)
    connected(hooks).publish("hung", "x")
    close(loop, hooks)
    assert "took too long over hung" in caplog.text


def test_at_the_end_gave_up_is_waited_for_no_longer_than_its_time_out(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks_module, "_MOMENT_S", 0.01)
    hooks = Hooks(settings(script(tmp_path, "sleep 600"), timeout_s=0.3), loop)
    connected(hooks).publish("gave-up", "x")
    began = time.monotonic()
    close(loop, hooks)
    assert time.monotonic() - began > 0.2
    assert "took too long over gave-up" in caplog.text


def test_nothing_under_way_is_the_end_at_once_and_nothing_is_taken_any_more(
    loop: Loop, tmp_path: Path
) -> None:
    hooks = Hooks(settings(script(tmp_path, "exit 0")), loop)
    journal = connected(hooks)
    closed: list[bool] = []
    hooks.close(lambda: closed.append(True))
    assert closed == [True]
    journal.publish("gave-up", "x")
    assert not hooks.pids


def test_new_settings_hold_from_the_next_event_on(loop: Loop, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    hooks = Hooks(settings(script(tmp_path, f"cat >> {old}")), loop)
    journal = connected(hooks)
    journal.publish("hung", "1")
    journal.publish("hung", "2")
    python = f"import sys; open({str(new)!r}, 'w').write(sys.stdin.read())"
    hooks.adopt(settings(f"{sys.executable} -c {shlex.quote(python)}"))
    journal.publish("hung", "3")
    turn(loop, idle(hooks))
    assert [json.loads(line)["text"] for line in old.read_text().splitlines()] == ["1", "2"]
    assert json.loads(new.read_text())["text"] == "3"
    assert len(hooks._lines) == 1


def test_a_hook_dies_with_the_supervisor(tmp_path: Path) -> None:
    """Whoever would end it at its time-out is gone."""
    pid = tmp_path / "pid"
    command = script(tmp_path, f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600")
    told = os.fork()
    if told == 0:
        try:
            with Loop() as loop:
                hooks = Hooks(settings(command, timeout_s=500), loop)
                connected(hooks).publish("hung", "x")
                turn(loop, pid.exists)
        finally:
            os._exit(0)
    os.waitpid(told, 0)
    deadline = time.monotonic() + 10
    while alive(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
