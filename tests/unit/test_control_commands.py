"""``restart``, ``reload``, ``scale`` and ``events`` as a user runs them, against a server of ours."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from supervisor.cli._types import Moment
from supervisor.contract.board import Board, Role
from supervisor.contract.exits import Exit
from supervisor.control.protocol import Ended, Talk
from supervisor.control.server import Server
from supervisor.host import instance
from supervisor.host.loop import Loop
from supervisor.reporting.journal import Journal, iso


class Site:
    """What a supervisor has for its clients: lock, board, control socket."""

    def __init__(self, run_dir: Path, loop: Loop) -> None:
        self.run_dir, self.loop, self.journal = run_dir, loop, Journal()
        self.asked: list[tuple[object, ...]] = []
        self.act: Callable[[Talk], None] = lambda talk: talk.end(Ended(True, "done"))
        self.lock = instance.claim(run_dir)
        board = Board.create(run_dir / instance.BOARD, workers=4, partitions=4)
        board.header.seats, board.header.topic_partitions = 3, 2
        for place, (role, index) in enumerate([(Role.PROBE, 0), (Role.OLAP, 0), (Role.OLAP, 1)]):
            board.seat(place).role, board.seat(place).index = role, index
        self.server = Server(loop, run_dir, self, self.journal)

    def close(self) -> None:
        self.server.close()
        self.lock.close()

    def restart(self, worker: str | None, talk: Talk) -> None:
        self._note(talk, "restart", worker)

    def reload(self, everything: bool, talk: Talk) -> None:
        self._note(talk, "reload", everything)

    def scale(self, workers: int | None, by: int, talk: Talk) -> None:
        self._note(talk, "scale", workers, by)

    def stop(self, quick: bool, talk: Talk) -> None:
        self._note(talk, "stop", quick)

    def _note(self, talk: Talk, *asked: object) -> None:
        self.asked.append(asked)
        self.act(talk)

    def start(self, *words: str) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
        environ["SUPERVISOR_RUNTIME_RUN_DIR"] = str(self.run_dir)
        return subprocess.Popen(
            [sys.executable, "-m", "supervisor", *words],
            cwd=self.run_dir,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def turn(self, until: Callable[[], bool]) -> None:
        def look() -> None:
            if until():
                self.loop.stop()
            else:
                self.loop.after(0.002, look)

        self.loop._stopped = False
        look()
        self.loop.run()

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        self.turn(lambda: process.poll() is not None)
        out, err = process.communicate()
        return process.returncode, out, err


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Loop() as loop:
        site = Site(tmp_path, loop)
        yield site
        site.close()


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["restart"], ("restart", None)),
        (["restart", "olap-1"], ("restart", "olap-1")),
        (["reload", "--all"], ("reload", True)),
        (["scale", "3"], ("scale", 3, 0)),
        (["scale", "-1"], ("scale", None, -1)),
        (["scale", "--json", "+2"], ("scale", None, 2)),
    ],
)
def test_a_command_asks_for_what_was_typed_and_ends_well(
    site: Site, words: list[str], asked: tuple[object, ...]
) -> None:
    code, out, err = site.run(*words)
    assert (code, err) == (0, "")
    assert "done" in out
    assert site.asked == [asked]


def test_progress_is_printed_as_it_is_said_and_a_failure_has_its_remedy_and_exit_code(site: Site) -> None:
    def act(talk: Talk) -> None:
        talk.say("olap-0 is replaced")
        talk.end(Ended(False, "olap-1 was worse than before", "mend it", Exit.CONFIGURATION))

    site.act = act
    code, out, err = site.run("reload")
    assert code == Exit.CONFIGURATION
    assert out == "olap-0 is replaced\n"
    assert err == "error: olap-1 was worse than before\nremedy: mend it\n"


def test_with_json_progress_and_failure_are_lines_on_standard_output(site: Site) -> None:
    def act(talk: Talk) -> None:
        talk.say("olap-0 is replaced")
        talk.end(Ended(False, "no", "mend it", Exit.CONFIGURATION))

    site.act = act
    code, out, err = site.run("reload", "--json")
    assert (code, err) == (Exit.CONFIGURATION, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"reply": "said", "text": "olap-0 is replaced"},
        {"reply": "ended", "ok": False, "text": "no", "remedy": "mend it", "exit_code": 78},
    ]


def test_a_mistyped_worker_is_answered_with_the_nearest_and_nobody_is_asked(site: Site) -> None:
    code, _, err = site.run("restart", "olpa-1")
    assert code == Exit.FAILED
    assert "there is no worker 'olpa-1'" in err
    assert "did you mean olap-1?" in err
    assert site.asked == []


def test_ctrl_c_ends_the_waiting_and_not_the_work(site: Site) -> None:
    talks: list[Talk] = []
    site.act = talks.append
    process = site.start("restart")
    site.turn(lambda: bool(talks))
    process.send_signal(signal.SIGINT)
    site.turn(lambda: process.poll() is not None)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "the supervisor goes on with it" in err
    talks[0].end(Ended(True, "done all the same"))


def test_a_configuration_with_a_mistake_is_refused_before_anybody_is_asked(site: Site) -> None:
    (site.run_dir / "supervisor.toml").write_text("[olap]\nworkerz = 3\n")
    code, _, err = site.run("reload")
    assert code == Exit.CONFIGURATION
    assert "olap.workers" in err
    assert site.asked == []


def test_events_are_shown_for_people_and_hold_nothing_a_terminal_obeys(site: Site) -> None:
    site.journal.publish("died", "olap-1 ended (\x1b[2Jboom\nfake)", worker="olap-1")
    code, out, _ = site.run("events", "--no-follow")
    assert code == 0
    assert re.fullmatch(r"\S+Z  died          olap-1 ended \( \[2Jboom fake\)\n", out)


def test_events_as_json_go_on_until_the_supervisor_ends(site: Site) -> None:
    site.journal.publish("standby", "before")
    process = site.start("events", "--json")
    site.turn(lambda: bool(site.server._followers))
    site.journal.publish("died", "after", worker="olap-0", exit_code=-9)
    site.server.close()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["event"], line["text"]) for line in lines] == [("standby", "before"), ("died", "after")]
    assert (lines[1]["worker"], lines[1]["exit_code"], lines[1]["partition"]) == ("olap-0", -9, None)


def test_events_can_begin_at_a_time(site: Site) -> None:
    moments = iter([datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC)])
    site.journal._now = lambda: next(moments)
    site.journal.publish("standby", "old")
    site.journal.publish("standby", "new")
    _, out, _ = site.run("events", "--no-follow", "--since", "1h")
    assert [line.split()[-1] for line in out.splitlines()] == ["new"]


def test_events_into_a_closed_pipe_end_without_a_traceback(site: Site) -> None:
    site.journal.publish("standby", "x")
    process = site.start("events")
    assert process.stdout is not None
    process.stdout.close()
    site.turn(lambda: process.poll() is not None)
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "words", [["restart"], ["restart", "olap-1"], ["reload"], ["scale", "2"], ["events"]]
)
def test_without_a_supervisor_every_command_says_so(tmp_path: Path, words: list[str]) -> None:
    """In one process: what it costs to start one is not what is tested here."""
    from click.testing import CliRunner

    from supervisor.cli import _root
    from supervisor.contract.faults import Fault

    result = CliRunner(env={"SUPERVISOR_RUNTIME_RUN_DIR": str(tmp_path)}).invoke(_root, words)
    assert isinstance(result.exception, Fault)
    assert "no supervisor is running here" in result.exception.cause
    assert "supervisor start" in result.exception.remedy


@pytest.mark.parametrize("number", ["0", "two", "1.5", "--1", "9999999", "+", ""])
def test_what_is_no_number_of_workers_is_a_usage_error(number: str) -> None:
    from supervisor.cli.scale import _number

    with pytest.raises(click.BadParameter):
        _number(number)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00:01.5+02:00", "2026-01-31T10:00:01.500Z"),
    ],
)
def test_a_time_is_taken_in_its_own_zone(text: str, moment: str) -> None:
    assert iso(Moment().convert(text, None, None)) == moment


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("10m", 600), ("2h", 7_200), ("1d", 86_400)])
def test_an_age_is_counted_from_now(text: str, ago: int) -> None:
    before = datetime.now(UTC)
    moment = Moment().convert(text, None, None)
    assert before <= moment + timedelta(seconds=ago) <= datetime.now(UTC)


@pytest.mark.parametrize("text", ["yesterday", "10", "-5m", "5w", "999999d", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Moment().convert(text, None, None)
