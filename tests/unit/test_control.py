"""The control socket: what a client may do, what a hostile one may not, and that the loop never waits."""

from __future__ import annotations

import json
import math
import os
import resource
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.contract.exits import Exit
from supervisor.contract.faults import ConfigurationFault, Fault
from supervisor.control import client, connection, server
from supervisor.control.protocol import (
    CONTROL_SOCKET,
    MAX_REQUEST_BYTES,
    Ended,
    Events,
    Ping,
    Reload,
    Request,
    Restart,
    Scale,
    Stop,
    Talk,
    encode,
)
from supervisor.control.server import MAX_CONNECTIONS, Server
from supervisor.host import instance
from supervisor.host.loop import Loop
from supervisor.reporting.journal import Journal
from tests.procfs import descriptors, left_open

Line = dict[str, Any]


class Recorder:
    """Commands that are noted, and ended by the test."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.talks: list[Talk] = []
        self.act: Callable[[Talk], None] = lambda talk: talk.end(Ended(True, "done"))

    def _note(self, talk: Talk, *asked: object) -> None:
        self.asked.append(asked)
        self.talks.append(talk)
        self.act(talk)

    def restart(self, worker: str | None, talk: Talk) -> None:
        self._note(talk, "restart", worker)

    def reload(self, everything: bool, talk: Talk) -> None:
        self._note(talk, "reload", everything)

    def scale(self, workers: int | None, by: int, talk: Talk) -> None:
        self._note(talk, "scale", workers, by)

    def stop(self, quick: bool, talk: Talk) -> None:
        self._note(talk, "stop", quick)


class Site:
    """A server on a loop that the test turns, and clients of it."""

    def __init__(self, run_dir: Path, loop: Loop) -> None:
        self.run_dir, self.loop = run_dir, loop
        self.path = run_dir / CONTROL_SOCKET
        self.commands, self.journal = Recorder(), Journal()
        self.server = Server(loop, run_dir, self.commands, self.journal)
        self.clients: list[socket.socket] = []

    def connect(self, content: bytes = b"") -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(20)
        connected.connect(str(self.path))
        if content:
            connected.sendall(content)
        self.clients.append(connected)
        return connected

    def turn(self, until: Callable[[], bool]) -> None:
        """Run the loop until something is so. It looks every millisecond: time passes, nothing is awaited."""

        def look() -> None:
            if until():
                self.loop.stop()
            else:
                self.loop.after(0.001, look)

        self.loop._stopped = False
        look()
        if not until():
            self.loop.run()

    def settle(self) -> None:
        """Let the loop do all that is ready to be done."""
        turns = iter(range(30))
        self.turn(lambda: next(turns, None) is None)

    def answer(self, content: bytes) -> list[Line]:
        """Everything that is said to one who sends ``content`` and reads to the end."""
        return self.rest(self.connect(content))

    def rest(self, connected: socket.socket) -> list[Line]:
        received, ended = bytearray(), False
        connected.setblocking(False)

        def drained() -> bool:
            nonlocal ended
            try:
                while piece := connected.recv(1 << 16):
                    received.extend(piece)
                ended = True
            except BlockingIOError:
                pass
            except ConnectionResetError:
                ended = True
            return ended

        self.turn(drained)
        return [json.loads(line) for line in received.splitlines()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Loop() as loop:
        site = Site(tmp_path, loop)
        yield site
        site.server.close()
        for connected in site.clients:
            connected.close()


def refusal(lines: list[Line]) -> str:
    assert len(lines) == 1
    assert (lines[0]["reply"], lines[0]["ok"], lines[0]["exit_code"]) == ("ended", False, 1)
    return str(lines[0]["text"])


# -- what is asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (Restart(), ("restart", None)),
        (Restart("olap-2"), ("restart", "olap-2")),
        (Reload(), ("reload", False)),
        (Reload(everything=True), ("reload", True)),
        (Scale(workers=3), ("scale", 3, 0)),
        (Scale(by=-1), ("scale", None, -1)),
        (Stop(quick=True), ("stop", True)),
    ],
)
def test_every_command_reaches_the_supervisor_and_its_end_the_client(
    site: Site, request_: Request, asked: tuple[object, ...]
) -> None:
    lines = site.answer(encode(request_))
    assert site.commands.asked == [asked]
    assert lines == [
        {"reply": "accepted", "pid": os.getpid()},
        {"reply": "ended", "ok": True, "text": "done", "remedy": "", "exit_code": 0},
    ]


def test_progress_is_said_as_it_is_made_and_only_the_first_end_counts(site: Site) -> None:
    site.commands.act = lambda talk: None
    connected = site.connect(encode(Restart()))
    site.turn(lambda: bool(site.commands.talks))
    talk = site.commands.talks[0]
    talk.say("olap-0 is replaced")
    talk.end(Ended(True, "all replaced"))
    talk.say("too late")
    talk.end(Ended(False, "too late"))
    assert [line.get("text") for line in site.rest(connected)] == [None, "olap-0 is replaced", "all replaced"]


def test_what_is_said_need_not_be_utf_8(site: Site) -> None:
    def act(talk: Talk) -> None:
        talk.say("imported /tmp/\udcff.py")
        talk.end(Ended(False, "no /tmp/\udcff", "look at /tmp/\udcff", Exit.CONFIGURATION))

    site.commands.act = act
    _, said, end = site.answer(encode(Reload()))
    assert said["text"] == "imported /tmp/?.py"
    assert (end["text"], end["remedy"], end["exit_code"]) == ("no /tmp/?", "look at /tmp/?", 78)


def test_many_clients_leave_no_descriptor_behind(site: Site) -> None:
    before = descriptors()
    for content in [encode(Ping()), b"garbage\n", encode(Restart())] * 20:
        site.answer(content)
        site.clients.pop().close()
    assert left_open(before) < 20  # what one of the three left behind would be twenty


def test_a_fault_becomes_the_end_with_its_remedy_and_exit_code(site: Site) -> None:
    def refuse(talk: Talk) -> None:
        raise ConfigurationFault("the new configuration has 2 mistakes", "mend them")

    site.commands.act = refuse
    end = site.answer(encode(Reload()))[-1]
    assert end == {
        "reply": "ended",
        "ok": False,
        "text": "the new configuration has 2 mistakes",
        "remedy": "mend them",
        "exit_code": Exit.CONFIGURATION,
    }


def test_a_mistake_in_a_command_is_told_and_logged_and_the_loop_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(talk: Talk) -> None:
        raise ZeroDivisionError

    site.commands.act = fail
    assert "a mistake in the supervisor" in site.answer(encode(Reload()))[-1]["text"]
    assert "ZeroDivisionError" in caplog.text
    assert site.answer(encode(Ping()))[-1]["ok"]


def test_a_client_that_leaves_cancels_nothing_and_the_outcome_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.commands.act = lambda talk: None
    connected = site.connect(encode(Reload()))
    site.turn(lambda: bool(site.commands.talks))
    connected.recv(4096)  # with something unread it would end as a broken connection
    connected.close()
    site.turn(lambda: not site.server._connections)
    caplog.set_level("INFO", "supervisor")
    talk = site.commands.talks[0]
    talk.say("goes on")
    talk.end(Ended(False, "rolled back"))
    assert "reload, whose client has left: rolled back" in caplog.text


def test_a_client_may_close_its_writing_end_and_still_be_answered(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is readable for ever: it is looked at once."""
    looks: list[connection.Connection] = []
    look = connection.Connection._client_ended

    def noted(its: connection.Connection) -> None:
        looks.append(its)
        look(its)

    monkeypatch.setattr(connection.Connection, "_client_ended", noted)
    site.commands.act = lambda talk: None
    connected = site.connect(encode(Reload()))
    connected.shutdown(socket.SHUT_WR)
    site.turn(lambda: bool(site.commands.talks))
    site.settle()
    assert len(looks) == 1
    site.commands.talks[0].end(Ended(True, "done"))
    assert site.rest(connected)[-1]["text"] == "done"


def test_a_follower_that_has_closed_its_writing_end_hears_more_and_is_let_go_once_it_leaves(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`echo … | socat - UNIX-CONNECT:…` does so: unnoticed, those that are gone would keep all others out."""
    monkeypatch.setattr(connection, "_LOOK_S", 0.01)
    connected = site.connect(encode(Events()))
    connected.shutdown(socket.SHUT_WR)
    site.turn(lambda: any(one._deaf for one in site.server._connections))
    site.journal.publish("scaled", "there are more workers")
    site.settle()
    assert b"there are more workers" in connected.recv(4096)
    connected.close()
    site.turn(lambda: not site.server._connections)
    assert site.server._followers == {}


# -- what is hostile ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"\n", "that is no request"),
        (b"reload\n", "that is no request"),
        (b"\xff\xfe\x00\n", "that is no request"),
        (b'{"request":"restart","worker":"\xff"}\n', "that is no request"),
        (b'{"request":"format","disk":"sda"}\n', "that is no request"),
        (b'{"request":"ping","also":"this"}\n', "that is no request"),
        (b'{"request":"scale","workers":0}\n', "that is no request"),
        (b'{"deep":' + b"[" * 30_000 + b"]" * 30_000 + b',"request":"ping"}\n', "that is no request"),
        (b'{"request":"restart","worker":"' + b"x" * 500 + b'"}\n', "that is no request"),
        (encode(Ping()) + encode(Ping()), "one connection takes one request"),
        (b"x" * (MAX_REQUEST_BYTES + 1), "at most 65536 bytes"),
        (b" " * MAX_REQUEST_BYTES + encode(Ping()), "at most 65536 bytes"),
    ],
)
def test_what_is_no_request_gets_one_clear_line_and_reaches_nobody(
    site: Site, content: bytes, cause: str
) -> None:
    assert cause in refusal(site.answer(content))
    assert site.commands.asked == []
    assert site.answer(encode(Ping()))[-1]["ok"]


def test_a_request_may_come_in_pieces(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REQUEST_S", math.inf)
    connected = site.connect()
    for byte in encode(Ping()):
        connected.sendall(bytes([byte]))
        site.settle()
    assert site.rest(connected)[-1]["ok"]


def test_half_a_request_and_the_end_is_refused(site: Site) -> None:
    connected = site.connect(encode(Ping())[:-1])
    connected.shutdown(socket.SHUT_WR)
    assert "without a newline" in refusal(site.rest(connected))


@pytest.mark.parametrize("content", [b"", b'{"request":'])
def test_silence_is_ended_after_some_seconds_and_holds_nobody_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(connection, "_REQUEST_S", 0.3)
    silent = site.connect(content)
    assert site.answer(encode(Ping()))[-1]["ok"]
    assert "no request has arrived" in refusal(site.rest(silent))


def test_a_command_may_take_longer_than_its_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REQUEST_S", 0.05)
    site.commands.act = lambda talk: None
    connected = site.connect(encode(Reload()))
    passed: list[bool] = []
    site.loop.after(0.15, lambda: passed.append(True))
    site.turn(lambda: bool(passed))
    site.commands.talks[0].end(Ended(True, "done"))
    assert site.rest(connected)[-1]["text"] == "done"


def test_a_second_request_on_a_connection_ends_it_and_not_the_work(site: Site) -> None:
    site.commands.act = lambda talk: None
    connected = site.connect(encode(Reload()))
    site.turn(lambda: bool(site.commands.talks))
    connected.sendall(encode(Stop()))
    assert "one connection takes one request" in site.rest(connected)[-1]["text"]
    assert site.commands.asked == [("reload", False)]


def test_more_clients_than_allowed_are_turned_away_and_let_in_when_there_is_room(site: Site) -> None:
    idle = [site.connect() for _ in range(MAX_CONNECTIONS)]
    assert "32 clients are connected already" in refusal(site.answer(encode(Ping())))
    idle[0].close()
    site.turn(lambda: len(site.server._connections) < MAX_CONNECTIONS)
    assert site.answer(encode(Ping()))[-1]["ok"]


def test_another_users_process_is_refused_whatever_the_file_modes_say(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_peer_uid", lambda client: os.geteuid() + 1)
    assert f"you are {os.geteuid() + 1}" in refusal(site.answer(encode(Stop())))
    assert site.commands.asked == []


def test_the_peer_is_known_by_what_the_kernel_says_of_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert server._peer_uid(ours) == os.geteuid()


def test_without_descriptors_the_server_rests_instead_of_spinning_and_then_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_ACCEPT_PAUSE_S", 0.05)
    connected = site.connect(encode(Ping()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        site.turn(lambda: "cannot accept a client" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    site.settle()
    assert site.rest(connected)[-1]["ok"]
    assert len([record for record in caplog.records if "cannot accept" in record.message]) < 10


# -- events ---------------------------------------------------------------------------------------------


def test_events_begin_with_what_is_kept_and_go_on_with_what_happens(site: Site) -> None:
    site.journal.publish("standby", "before")
    connected = site.connect(encode(Events()))
    site.turn(lambda: bool(site.server._followers))
    site.journal.publish("died", "olap-0 ended", worker="olap-0", exit_code=-9)
    site.server.close()
    lines = site.rest(connected)
    assert [line["reply"] for line in lines] == ["accepted", "happened", "happened", "ended"]
    assert [line["happening"]["text"] for line in lines[1:3]] == ["before", "olap-0 ended"]
    assert lines[3]["ok"]


def test_events_without_following_end_with_what_is_kept(site: Site) -> None:
    site.journal.publish("standby", "before")
    lines = site.answer(encode(Events(follow=False)))
    assert [line["reply"] for line in lines] == ["accepted", "happened", "ended"]


def test_a_follower_that_leaves_is_forgotten_at_once(site: Site) -> None:
    connected = site.connect(encode(Events()))
    site.turn(lambda: bool(site.server._followers))
    connected.close()
    site.turn(lambda: not site.server._connections)
    assert site.journal._subscribers == []


def test_a_follower_that_does_not_read_is_dropped_and_the_others_hear_everything(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "OUT_BYTES", 10_000)
    site.connect(encode(Events()))
    site.turn(lambda: len(site.server._followers) == 1)
    reading = site.connect(encode(Events()))
    site.turn(lambda: len(site.server._followers) == 2)
    reading.setblocking(False)
    received = bytearray()
    for number in range(1_000):
        site.journal.publish("standby", f"{number:>1000}")
        received += reading.recv(1 << 16)
    assert len(site.server._followers) == 1
    texts = [json.loads(line)["happening"]["text"] for line in received.splitlines()[1:]]
    assert [int(text) for text in texts] == list(range(1_000))


def test_a_follower_that_reads_late_gets_everything_in_order(site: Site) -> None:
    """More than the kernel's buffer holds: the rest goes out as the loop finds room."""
    connected = site.connect(encode(Events()))
    site.turn(lambda: bool(site.server._followers))
    for number in range(500):
        site.journal.publish("standby", f"{number:>1000}")
    received = bytearray()
    connected.setblocking(False)

    def complete() -> bool:
        try:
            received.extend(connected.recv(1_000))
        except BlockingIOError:
            return False
        return received.count(b"\n") == 501

    site.turn(complete)
    texts = [json.loads(line)["happening"]["text"] for line in received.splitlines()[1:]]
    assert [int(text) for text in texts] == list(range(500))


def test_a_long_history_is_cut_at_its_old_end_and_drops_nobody(site: Site) -> None:
    for number in range(1_000):
        site.journal.publish("standby", f"{number:>2000}")
    lines = site.answer(encode(Events(follow=False)))
    texts = [int(line["happening"]["text"]) for line in lines[1:-1]]
    assert texts[-1] == 999
    assert texts == list(range(texts[0], 1_000))
    assert 100 < len(texts) < 1_000


# -- the file -------------------------------------------------------------------------------------------


def test_the_socket_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Loop() as loop:
            site = Site(tmp_path, loop)
            assert stat.S_IMODE(site.path.stat().st_mode) == 0o600
            assert os.umask(0) == 0
            site.server.close()
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_supervisor_left_is_replaced(tmp_path: Path) -> None:
    for name in (CONTROL_SOCKET, "control.new"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / name))
    with Loop() as loop:
        site = Site(tmp_path, loop)
        assert site.answer(encode(Ping()))[-1]["ok"]
        site.server.close()


def test_a_directory_that_takes_no_socket_is_a_fault(tmp_path: Path) -> None:
    with Loop() as loop, pytest.raises(Fault, match="cannot create the control socket"):
        Server(loop, tmp_path / "gone", Recorder(), Journal())


def test_at_the_end_whoever_waits_is_told_that_it_was_not_done(site: Site) -> None:
    site.commands.act = lambda talk: None
    connected = site.connect(encode(Reload()))
    site.turn(lambda: bool(site.commands.talks))
    site.server.close()
    site.commands.talks[0].end(Ended(True, "too late"))
    end = site.rest(connected)[-1]
    assert (end["ok"], end["text"]) == (False, "the supervisor has stopped")
    assert not site.path.exists()


# -- the client -----------------------------------------------------------------------------------------


@pytest.fixture
def held(site: Site) -> Iterator[Site]:
    """With the lock held, as a supervisor holds it."""
    lock = instance.claim(site.run_dir)
    yield site
    lock.close()


def in_thread(site: Site, call: Callable[[], Any]) -> Any:
    """What a blocking client gets while the loop runs here."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call())
        except Fault as fault:
            result.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    site.turn(lambda: bool(result))
    thread.join()
    return result[0]


def test_the_client_hears_progress_and_gets_the_outcome(held: Site) -> None:
    def act(talk: Talk) -> None:
        talk.say("half")
        talk.end(Ended(True, "whole"))

    held.commands.act = act
    said: list[str] = []
    outcome = in_thread(held, lambda: client.ask(held.run_dir, Reload(), said.append))
    assert outcome == Ended(True, "whole")
    assert said == ["half"]


def test_what_could_not_be_done_is_raised_with_its_exit_code(held: Site) -> None:
    held.commands.act = lambda talk: talk.end(Ended(False, "bad code", "mend it", Exit.CONFIGURATION))
    fault = in_thread(held, lambda: client.ask(held.run_dir, Reload(), lambda text: None))
    assert (fault.cause, fault.remedy, fault.exit_code) == ("bad code", "mend it", Exit.CONFIGURATION)


def test_events_are_followed_to_the_supervisors_end(held: Site) -> None:
    held.journal.publish("standby", "one")
    held.loop.after(0.01, lambda: None)

    def close_when_followed() -> None:
        if held.server._followers:
            held.journal.publish("stopped", "two")
            held.server.close()
        else:
            held.loop.after(0.001, close_when_followed)

    close_when_followed()
    seen = in_thread(held, lambda: list(client.follow(held.run_dir, Events())))
    assert [happening.text for happening in seen] == ["one", "two"]


def test_without_a_supervisor_the_client_says_so(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no supervisor is running here") as caught:
        client.ask(tmp_path, Ping(), lambda text: None)
    assert "supervisor start" in caught.value.remedy


def test_a_supervisor_without_a_socket_is_a_fault_after_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CONNECT_S", 0.05)
    lock = instance.claim(tmp_path)
    with pytest.raises(Fault, match="cannot be reached"):
        client.ask(tmp_path, Ping(), lambda text: None)
    lock.close()


def test_a_supervisor_that_does_not_answer_is_a_fault_after_a_while(
    held: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop does not turn here, as that of a stopped process."""
    monkeypatch.setattr(client, "_FIRST_REPLY_S", 0.05)
    with pytest.raises(Fault, match="does not answer"):
        client.ask(held.run_dir, Ping(), lambda text: None)


def test_a_supervisor_that_dies_before_the_outcome_is_a_fault(held: Site) -> None:
    def die(talk: Talk) -> None:
        for connected in tuple(held.server._connections):
            connected.close()

    held.commands.act = die
    fault = in_thread(held, lambda: client.ask(held.run_dir, Reload(), lambda text: None))
    assert "has ended the connection before that was done" in fault.cause
