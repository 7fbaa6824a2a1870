"""A process' fingerprint of its code differs when, and only when, a file that it has imported was changed."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from workers import fingerprint


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that is imported."""
    path = tmp_path / "own_pipeline.py"
    path.write_text("VALUE = 1\n")
    module = ModuleType("own_pipeline")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "own_pipeline", module)
    return path


def test_it_is_the_same_until_a_file_is_changed(source: Path) -> None:
    before = fingerprint.of_code()
    assert before == fingerprint.of_code()
    source.write_text("VALUE = 1234\n")
    assert fingerprint.of_code() != before


def test_a_change_that_leaves_the_size_shows_by_its_time(source: Path) -> None:
    before = fingerprint.of_code()
    found = source.stat()
    os.utime(source, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_000))
    assert fingerprint.of_code() != before


def test_a_file_that_was_removed_is_a_change_and_no_error(source: Path) -> None:
    before = fingerprint.of_code()
    source.unlink()
    assert fingerprint.of_code() != before


def test_a_module_more_is_a_change_unless_it_is_of_the_standard_library(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint.of_code()
    other = ModuleType("standard")
    other.__file__ = str(Path(textwrap.__file__).parent / "standard.py")
    monkeypatch.setitem(sys.modules, "standard", other)
    assert fingerprint.of_code() == before
    other.__file__ = str(source.parent / "other.py")
    assert fingerprint.of_code() != before
