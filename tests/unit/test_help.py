"""``supervisor --help`` is quick since it imports little."""

from __future__ import annotations

import os
import subprocess
import sys

# Of these each takes longer to import than all the rest.
HEAVY = {"confluent_kafka", "psutil", "rich", "multiprocessing", "asyncio"}


def test_the_help_imports_nothing_that_only_some_commands_need() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "supervisor", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not HEAVY & imported
    assert not {name for name in imported if name.startswith("workers")}


def test_a_terminal_that_cannot_show_a_character_is_shown_the_others() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "supervisor", "start", "--help"],
        env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"HOST:PORT,?" in shown.stdout
