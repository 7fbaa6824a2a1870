"""What a reload reads: what `supervisor start` read."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.cli._settings import reader
from supervisor.config.load import Flag, find_file, load
from supervisor.config.mistakes import MistakenConfiguration


def test_a_file_that_nobody_named_is_missed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is moved or checked out there is none. That is no reason to go on with the defaults."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "supervisor.toml"
    file.write_text("olap.nice = 11\n")
    read_again = reader(load(find_file(None, {}), {}, (Flag("olap.workers", "3"),)))
    file.write_text("olap.nice = 12\n")
    again = read_again()
    assert (again.olap.nice, again.olap.workers) == (12, 3)
    file.unlink()
    with pytest.raises(MistakenConfiguration):
        read_again()


def test_a_file_that_is_there_now_is_read_where_there_was_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read_again = reader(load(find_file(None, {}), {}))
    (tmp_path / "supervisor.toml").write_text("olap.nice = 12\n")
    assert read_again().olap.nice == 12
