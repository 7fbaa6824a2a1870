from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.cluster.jars import cache_directory, classpath
from supervisor.contract.faults import ConfigurationFault, Fault

CONTENT = {"a.jar": b"first" * 1000, "b.jar": b"second" * 1000}


class Repository:
    """Delivers two files, as a real one does: only those that are not there yet."""

    def __init__(self) -> None:
        self.calls = 0
        self.fetched: list[str] = []

    def __call__(self, target: Path, notify: Callable[[str], None]) -> list[Path]:
        self.calls += 1
        target.mkdir(parents=True, exist_ok=True)
        for name, content in CONTENT.items():
            if not (target / name).exists():
                self.fetched.append(name)
                (target / name).write_bytes(content)
        return [target / name for name in CONTENT]


def quiet(_: str) -> None:
    return


def test_a_complete_cache_is_not_resolved_again(tmp_path: Path) -> None:
    repository = Repository()
    first = classpath(tmp_path, quiet, repository)
    assert classpath(tmp_path, quiet, repository) == first
    assert [path.read_bytes() for path in first] == list(CONTENT.values())
    assert repository.calls == 1


@pytest.mark.parametrize("damage", [b"", b"first" * 999, b"frist" + b"first" * 999])
def test_a_broken_jar_is_found_and_only_it_is_fetched_again(tmp_path: Path, damage: bytes) -> None:
    repository = Repository()
    first, second = classpath(tmp_path, quiet, repository)
    repository.fetched.clear()
    first.write_bytes(damage)
    assert classpath(tmp_path, quiet, repository) == (first, second)
    assert first.read_bytes() == CONTENT["a.jar"]
    assert repository.fetched == ["a.jar"]


def test_a_missing_jar_is_fetched_again(tmp_path: Path) -> None:
    repository = Repository()
    first, _ = classpath(tmp_path, quiet, repository)
    first.unlink()
    classpath(tmp_path, quiet, repository)
    assert first.read_bytes() == CONTENT["a.jar"]


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"null", b'{"kafka":"1.0","jars":[]}', b"\xff" * 100])
def test_a_damaged_record_is_made_anew(tmp_path: Path, record: bytes) -> None:
    repository = Repository()
    expected = classpath(tmp_path, quiet, repository)
    (tmp_path / "classpath.json").write_bytes(record)
    assert classpath(tmp_path, quiet, repository) == expected
    assert repository.calls == 2


def test_a_cache_that_was_moved_is_still_complete(tmp_path: Path) -> None:
    repository = Repository()
    classpath(tmp_path / "old", quiet, repository)
    (tmp_path / "old").rename(tmp_path / "new")
    assert all(path.exists() for path in classpath(tmp_path / "new", quiet, repository))
    assert repository.calls == 1


def test_a_download_that_fails_leaves_no_record(tmp_path: Path) -> None:
    def fail(target: Path, notify: Callable[[str], None]) -> list[Path]:
        raise Fault("the network is down")

    with pytest.raises(Fault, match="the network is down"):
        classpath(tmp_path, quiet, fail)
    assert not (tmp_path / "classpath.json").exists()
    repository = Repository()
    classpath(tmp_path, quiet, repository)
    assert repository.calls == 1


def _resolve(cache: Path, log: Path, started: Path, go_on: Path) -> None:
    def download(target: Path, notify: Callable[[str], None]) -> list[Path]:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        started.touch()
        while not go_on.exists():
            time.sleep(0.01)
        return Repository()(target, notify)

    classpath(cache, quiet, download)


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_of_two_processes_at_once_one_downloads_and_both_get_the_jars(tmp_path: Path) -> None:
    arguments = (tmp_path / "cache", tmp_path / "log", tmp_path / "started", tmp_path / "go")
    context = multiprocessing.get_context("fork")
    first, second = (context.Process(target=_resolve, args=arguments) for _ in range(2))
    first.start()
    _await(arguments[2].exists, "the first did not start")
    second.start()
    arguments[3].touch()
    for process in (first, second):
        process.join(30)
        assert process.exitcode == 0
    assert arguments[1].read_text().split() == [str(first.pid)]


def test_who_waits_takes_over_when_the_downloading_process_is_killed(tmp_path: Path) -> None:
    arguments = (tmp_path / "cache", tmp_path / "log", tmp_path / "started", tmp_path / "go")
    process = multiprocessing.get_context("fork").Process(target=_resolve, args=arguments)
    process.start()
    _await(arguments[2].exists, "the download did not start")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    repository = Repository()
    assert len(classpath(arguments[0], quiet, repository)) == 2
    assert repository.calls == 1


def test_a_cache_directory_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be written") as raised:
        classpath(tmp_path / "file" / "cache", quiet, Repository())
    assert "XDG_CACHE_HOME" in raised.value.remedy


def test_a_relative_cache_home_is_ignored_and_a_colon_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory().is_relative_to(Path.home() / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/a:b")
    with pytest.raises(ConfigurationFault, match="colon"):
        cache_directory()


def test_resolving_needs_no_extra_where_the_cache_is_complete(tmp_path: Path) -> None:
    classpath(tmp_path, quiet, Repository())
    # Without one to inject it would ask Maven Central, and find neither of these there.
    assert [path.name for path in classpath(tmp_path, quiet)] == list(CONTENT)
