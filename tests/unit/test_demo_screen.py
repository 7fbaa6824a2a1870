"""Where the demo shows itself, and which of the two ways it takes."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from typing import IO

import pytest

from supervisor.demo.screen import Plain, Terminal, open_screen
from supervisor.demo.view import Moment


@pytest.fixture
def terminal() -> Iterator[tuple[IO[str], int]]:
    """A stream that is a terminal of 80 by 24, and the descriptor of whoever looks at it."""
    looker, ours = pty.openpty()
    with os.fdopen(ours, "w", encoding="utf-8") as stream:
        yield stream, looker
    os.close(looker)


def shown(looker: int, until: str) -> str:
    """What comes up to and with ``until``."""
    seen = b""
    while until.encode() not in seen:
        seen += os.read(looker, 65_536)
    return seen.decode()


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(
    term: str, terminal: tuple[IO[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    assert isinstance(open_screen(terminal[0]), Plain)


def test_a_pipe_gets_plain_lines_and_a_terminal_the_view(
    terminal: tuple[IO[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(open_screen(io.StringIO()), Plain)
    assert isinstance(open_screen(terminal[0]), Terminal)


def test_a_pipe_is_told_what_happens_and_not_every_moment() -> None:
    stream = io.StringIO()
    with open_screen(stream) as screen:
        screen.show(Moment("starting"))
        screen.say("brokers ready")
        screen.show(Moment("generating"))
    (said,) = stream.getvalue().splitlines()
    assert said.endswith(" s  brokers ready")


def test_on_a_terminal_what_happens_stays_and_the_view_goes_at_the_end(
    terminal: tuple[IO[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream, looker = terminal
    with open_screen(stream) as screen:
        screen.show(Moment("generating"))
        screen.say("brackets [/red] are no markup :smile:")
        first = shown(looker, "brackets [/red] are no markup :smile:")
    last = shown(looker, "\x1b[?25h")
    assert "supervisor demo   generating" in first
    assert "\x1b[1m" in first
    assert first.startswith("\x1b[?25l")
    # The view was erased after it was drawn last.
    assert last.rindex("\x1b[2K") > last.rindex("generating")


def test_no_color_is_obeyed(terminal: tuple[IO[str], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream, looker = terminal
    with open_screen(stream) as screen:
        screen.show(Moment("serving ████"))
    text = shown(looker, "\x1b[?25h")
    assert "serving" in text
    assert "\x1b[3" not in text
