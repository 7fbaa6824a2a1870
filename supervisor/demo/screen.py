"""Where the demo shows itself: a view that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from typing import IO, Any, Protocol

from supervisor.demo.view import Moment, frame, line

__all__ = ["Plain", "Screen", "Terminal", "open_screen"]

_LINE_EVERY_S = 5.0


class Screen(Protocol):
    """Use as a context manager."""

    def say(self, text: str) -> None:
        """Something has happened: a line that stays."""

    def show(self, moment: Moment) -> None:
        """How things are now."""

    def __enter__(self) -> Screen: ...

    def __exit__(self, *_: object) -> None: ...


def open_screen(stream: IO[str]) -> Screen:
    """What fits ``stream``."""
    began = time.monotonic()
    if stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown"):
        return Terminal(stream, began)
    return Plain(stream, began)


def _stamped(text: str, began: float) -> str:
    return f"{time.monotonic() - began:6.1f} s  {text}"


class Plain:
    """A line for whatever happens, and one every five seconds."""

    def __init__(self, stream: IO[str], began: float) -> None:
        self._stream = stream
        self._began = began
        self._due = began + _LINE_EVERY_S

    def say(self, text: str) -> None:
        self._stream.write(_stamped(text, self._began) + "\n")
        self._stream.flush()

    def show(self, moment: Moment) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _LINE_EVERY_S
            self.say(line(moment))

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        return


class Terminal:
    """What happens scrolls by above a view that changes in place and goes at the end."""

    def __init__(self, stream: IO[str], began: float) -> None:
        from rich.console import Console
        from rich.live import Live

        self._began = began
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bar = "█" if self._console.encoding.startswith("utf") else "#"
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def say(self, text: str) -> None:
        self._live.console.print(_stamped(text, self._began), soft_wrap=False)

    def show(self, moment: Moment) -> None:
        width, height = self._console.size
        # The last row stays free, or the terminal would scroll; a few are for what happens.
        lines = frame(moment, width, max(1, height - 1), self._bar)
        self._live.update(_styled(lines), refresh=True)

    def __enter__(self) -> Terminal:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def _styled(lines: list[str]) -> Any:
    from rich.text import Text

    text = Text("\n".join(lines), no_wrap=True, overflow="crop")
    text.highlight_regex(r"\A[^\n]*", "bold")
    text.highlight_regex(r"(?m)^(WORKER|PARTITION|REGION)\b.*$", "dim")
    text.highlight_regex(r"\bserving\b|\bok\b", "green")
    text.highlight_regex(r"\b(vacant|opening|backoff|draining|closed|starting|degraded)\b", "yellow")
    text.highlight_regex(r"[█#]+", "cyan")
    return text
