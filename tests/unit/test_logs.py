"""Log lines: what they hold, where they go, and no flood from the Kafka client."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.contract import logs
from supervisor.contract.settings import Log

Lines = Callable[[], list[str]]


@pytest.fixture
def logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Lines]]:
    """Sets logging up in this process, and gives what has come out on standard error since."""
    root, kafka = logging.getLogger(), logging.getLogger("kafka")
    handlers, level, filters = root.handlers[:], root.level, kafka.filters[:]
    monkeypatch.setattr(logs, "_output", None)

    def logged(settings: Log, run_dir: Path | None = None, **options: str) -> Lines:
        logs.set_up(settings, "olap-1", run_dir, **options)
        return lambda: capfd.readouterr().err.splitlines()

    yield logged
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], kafka.filters[:] = handlers, filters
    root.setLevel(level)
    kafka.setLevel(logging.NOTSET)


def in_file(run_dir: Path, name: str = "olap-1") -> list[dict]:
    return [json.loads(line) for line in (run_dir / "log" / f"{name}.log").read_bytes().splitlines()]


# -- what a line holds ----------------------------------------------------------------------------------


def test_a_line_is_a_json_document_where_no_person_reads(logged: Callable[..., Lines]) -> None:
    lines = logged(Log())
    logging.getLogger("x").info("offset %d of %s", 7, "p\nq")
    line = json.loads(lines()[0])
    assert (line["level"], line["process"], line["message"]) == ("info", "olap-1", "offset 7 of p\nq")
    assert line["pid"] == os.getpid()


def test_an_exception_stands_in_the_line_it_belongs_to(logged: Callable[..., Lines]) -> None:
    lines = logged(Log(format="json"))
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    (line,) = lines()
    assert "ValueError: why" in json.loads(line)["exception"]


def test_text_names_the_process(logged: Callable[..., Lines]) -> None:
    lines = logged(Log(format="text"))
    logging.getLogger("x").warning("look")
    assert lines()[0].split()[1:] == ["WARNING", "olap-1", "look"]


@pytest.mark.parametrize(
    "message",
    ["\x1b[2J\x07", "a\u2028b\r\nc", "\udc80 file", "\x00", '"quoted" \\', "日本語 🎉", str(b"\xff\x00")],
)
def test_whatever_a_message_holds_it_is_one_line_of_json_and_cannot_act_on_a_terminal(
    logged: Callable[..., Lines], tmp_path: Path, message: str
) -> None:
    lines = logged(Log(format="text"), tmp_path)
    logging.getLogger("x").info("%s", message)
    (line,) = in_file(tmp_path)
    assert line["message"] == message.replace("\udc80", "\\udc80")
    shown = "\n".join(lines())
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_no_message_can_pass_for_a_line_of_another_process(logged: Callable[..., Lines]) -> None:
    lines = logged(Log(format="text"))
    logging.getLogger("x").info("first\n00:00:00.000Z ERROR   supervisor  forged")
    assert lines()[1].startswith("    00:00")


def test_arguments_that_do_not_fit_are_told_of_and_raise_nothing(logged: Callable[..., Lines]) -> None:
    lines = logged(Log())
    logging.getLogger("x").info("%d events", "many")
    assert "'%d events' (TypeError" in json.loads(lines()[0])["message"]


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def test_an_exception_that_cannot_be_shown_raises_nothing(logged: Callable[..., Lines]) -> None:
    lines = logged(Log())
    try:
        raise Unshowable
    except Unshowable as error:
        logging.getLogger("x").exception("it failed: %s", error)
    assert "Unshowable" in json.loads(lines()[0])["exception"]


def test_what_fails_while_logging_is_counted_and_does_not_reach_who_logs(
    logged: Callable[..., Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = logged(Log())
    monkeypatch.setattr(logs.loglines, "encode", lambda line: 1 / 0)
    logging.getLogger("x").info("unseen")
    assert logs.dropped() == 1
    assert lines() == []


def test_of_a_very_long_traceback_the_end_is_kept_since_it_has_the_reason(
    logged: Callable[..., Lines], tmp_path: Path
) -> None:
    logged(Log(), tmp_path)
    try:
        raise ValueError("x" * 100_000 + " the reason")
    except ValueError:
        logging.getLogger("x").exception("y" * 100_000)
    (line,) = in_file(tmp_path)
    assert len(line["message"]) < 20_000
    assert len(line["exception"]) < 20_000
    assert line["exception"].endswith("the reason")


# -- the Kafka client -----------------------------------------------------------------------------------


def test_of_a_flood_from_the_client_one_line_is_shown_and_the_rest_counted(
    logged: Callable[..., Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    lines = logged(Log(format="text"))
    monkeypatch.setattr("supervisor.contract.logs.time.monotonic", lambda: now)
    for _ in range(50):
        logging.getLogger("kafka").error("connection %s", "refused")
    now += 10.0
    logging.getLogger("kafka").error("connection %s", "refused")
    shown = lines()
    assert len(shown) == 2
    assert shown[1].endswith("connection refused (49 such lines held back)")


def test_threads_of_a_flood_together_lose_no_count(
    logged: Callable[..., Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    lines = logged(Log())
    monkeypatch.setattr("supervisor.contract.logs.time.monotonic", lambda: now)

    def flood() -> None:
        for _ in range(500):
            logging.getLogger("kafka").error("refused")

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now += 10.0
    logging.getLogger("kafka").error("refused")
    assert json.loads(lines()[-1])["message"] == "refused (1999 such lines held back)"


# -- the file -------------------------------------------------------------------------------------------


def test_the_file_is_json_whatever_standard_error_is(logged: Callable[..., Lines], tmp_path: Path) -> None:
    lines = logged(Log(format="text"), tmp_path)
    logging.getLogger("x").warning("look", extra={"worker": "olap-2"})
    assert "WARNING" in lines()[0]
    (line,) = in_file(tmp_path)
    assert (line["level"], line["message"], line["worker"]) == ("warning", "look", "olap-2")


def test_a_process_that_gets_a_role_goes_on_in_the_file_of_its_seat(
    logged: Callable[..., Lines], tmp_path: Path
) -> None:
    logged(Log(), tmp_path, file=logs.SPARES)
    logging.getLogger("x").info("without a role")
    logs.rename("olap-2")
    logging.getLogger("x").info("with one")
    assert [line["message"] for line in in_file(tmp_path, "spare")] == ["without a role"]
    assert [(line["process"], line["message"]) for line in in_file(tmp_path, "olap-2")] == [
        ("olap-2", "with one")
    ]


def test_files_can_be_had_elsewhere_or_not_at_all(logged: Callable[..., Lines], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    logged(Log(directory=str(elsewhere)), tmp_path)
    logging.getLogger("x").info("here")
    logged(Log(files=False), tmp_path)
    logging.getLogger("x").info("not here")
    assert [json.loads(line)["message"] for line in (elsewhere / "olap-1.log").open()] == ["here"]
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_file_that_cannot_be_written_is_told_of_once_on_standard_error(
    logged: Callable[..., Lines], tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("a file where the directory should be")
    lines = logged(Log(), tmp_path)
    for number in range(3):
        logging.getLogger("x").info("line %d", number)
    messages = [json.loads(line)["message"] for line in lines()]
    assert messages[0].endswith("cannot be written: Not a directory; its lines go to standard error alone")
    assert messages[1:] == ["line 0", "line 1", "line 2"]
    assert logs.dropped() == 3


def test_a_line_that_standard_error_gets_otherwise_goes_to_the_file_alone(
    logged: Callable[..., Lines], tmp_path: Path
) -> None:
    lines = logged(Log(), tmp_path)
    logging.getLogger("x").error("gave up", extra=logs.FILES_ONLY)
    assert lines() == []
    assert in_file(tmp_path)[0]["message"] == "gave up"


def test_after_a_move_lines_go_to_a_new_file(logged: Callable[..., Lines], tmp_path: Path) -> None:
    """What logrotate does: rename, then SIGUSR1."""
    logged(Log(), tmp_path)
    logging.getLogger("x").info("before")
    moved = (tmp_path / "log" / "olap-1.log").rename(tmp_path / "moved")
    logs.reopen()
    logging.getLogger("x").info("after")
    assert json.loads(moved.read_text())["message"] == "before"
    assert [line["message"] for line in in_file(tmp_path)] == ["after"]


# -- in a process of its own ----------------------------------------------------------------------------

PRINTS = """
import pathlib, sys, threading, os
from supervisor.contract import logs
from supervisor.contract.settings import Log
logs.set_up(Log(format="json"), "olap-1", pathlib.Path(sys.argv[1]))
logs.capture_prints()
print("to", "stdout")
print("begun, ", end="", flush=True)
print("ended")
print("to stderr\\n", file=sys.stderr)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
os.write(1, b"an event\\n")
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done


def test_what_python_code_prints_is_logged_and_does_not_stand_between_events(tmp_path: Path) -> None:
    done = run(PRINTS, str(tmp_path))
    assert done.stdout == "an event\n"
    lines = in_file(tmp_path)
    assert [(line["level"], line["message"]) for line in lines[:3]] == [
        ("info", "to stdout"),
        ("info", "begun, ended"),
        ("warning", "to stderr"),
    ]
    assert lines[-1]["message"] == "ZeroDivisionError: division by zero"
    assert [json.loads(line) for line in done.stderr.splitlines()] == lines


CLOSED = """
import os, pathlib, subprocess, sys
program = '''
import logging, pathlib, sys
from supervisor.contract import logs
from supervisor.contract.settings import Log
assert sys.stderr is None
logs.set_up(Log(), "olap-1", pathlib.Path(sys.argv[1]))
logs.capture_prints()
logging.getLogger("x").info("unseen")
'''
os.close(2)
sys.exit(subprocess.run([sys.executable, "-c", program, sys.argv[1]], close_fds=True).returncode)
"""


def test_with_standard_error_closed_lines_go_to_the_file_and_nowhere_else(tmp_path: Path) -> None:
    """`2>&-`: the descriptor's number may soon be a database's."""
    run(CLOSED, str(tmp_path))
    assert [line["message"] for line in in_file(tmp_path)] == ["unseen"]


def test_setting_up_imports_nothing_heavy() -> None:
    done = run(
        "import sys\nfrom supervisor.contract import logs\n"
        "print([name for name in ('asyncio', 'socket', 'multiprocessing', 'confluent_kafka') "
        "if name in sys.modules])"
    )
    assert done.stdout == "[]\n"
