"""Finds the line on which each key of a TOML text stands, which ``tomllib`` does not tell."""

from __future__ import annotations

import re
import tomllib

from supervisor.config.keys import Path

__all__ = ["key_lines"]

_TOKEN = re.compile(
    r"""
    (?P<space> [ \t\r]+ | \#[^\n]* )
  | (?P<newline> \n )
  | (?P<string> \"\"\"(?:[^\\]|\\.)*?\"{3,5} | '''.*?'{3,5} | "(?:[^"\\\n]|\\.)*" | '[^'\n]*' )
  | (?P<mark> [\[\]{}=,.] )
  | (?P<bare> [^\s\#\[\]{}=,."']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


def key_lines(text: str) -> dict[Path, int]:
    """Path of each table and key -> the line (from 1) where it first stands. ``text`` must be valid TOML.

    Parts keep the file's own nesting: ``client.sasl.password`` has three. Keys inside arrays are left out.
    """
    return _Scan(text).lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._tokens: list[tuple[str, str, int]] = []  # kind, text, line
        line = 1
        for found in _TOKEN.finditer(text):
            if found.lastgroup != "space":
                self._tokens.append((found.lastgroup or "", found[0], line))
            line += found[0].count("\n")
        self._tokens.append(("end", "", line))
        self._at = 0
        self._document()

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at][:2]

    def _document(self) -> None:
        table: Path = ()
        while (token := self._peek())[0] != "end":
            if token[0] == "newline":
                self._at += 1
            elif token == ("mark", "["):
                while self._peek() == ("mark", "["):
                    self._at += 1
                table = self._key(())
                while self._peek() == ("mark", "]"):
                    self._at += 1
            else:
                self._pair(table)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._at += 1  # the sign =
        if self._peek() == ("mark", "{"):
            self._inline_table(path)
        else:
            self._skip_value()

    def _key(self, table: Path) -> Path:
        """Read a dotted key; it and its parents get the line it stands on, unless they have one already."""
        path, line = table, self._tokens[self._at][2]
        while True:
            kind, text = self._peek()
            self._at += 1
            path = (*path, tomllib.loads(f"k = {text}")["k"] if kind == "string" else text)
            self.lines.setdefault(path, line)
            if self._peek() != ("mark", "."):
                return path
            self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while (token := self._peek()) != ("mark", "}"):
            if token[0] == "newline" or token == ("mark", ","):
                self._at += 1
            else:
                self._pair(path)
        self._at += 1

    def _skip_value(self) -> None:
        depth = 0
        while True:
            kind, text = self._peek()
            if kind == "end" or (depth == 0 and (kind == "newline" or text in {",", "}"})):
                return
            if kind == "mark":
                depth += (text in "[{") - (text in "]}")
            self._at += 1
