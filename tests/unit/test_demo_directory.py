"""The demo's directory, and what killed demos have left."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from supervisor.cluster.layout import Identity, Layout, Lock
from supervisor.config.load import load
from supervisor.contract.faults import Fault
from supervisor.demo.directory import Directory


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def with_cluster(directory: Directory, *, keep: bool = False) -> Layout:
    layout = Layout(directory.cluster)
    layout.create()
    layout.write_identity(Identity("id", "4", (), keep))
    return layout


def test_what_a_killed_demo_has_left_goes_with_the_next() -> None:
    killed = Directory.create()
    with_cluster(killed)
    Directory.create()
    assert not killed.root.exists()


def test_one_that_runs_or_is_kept_or_has_just_begun_stays() -> None:
    running, kept, begun = Directory.create(), Directory.create(), Directory.create()
    with_cluster(kept, keep=True)
    lock = Lock.acquire(with_cluster(running))
    try:
        Directory.create()
    finally:
        lock.release()
    assert [each.root.exists() for each in (running, kept, begun)] == [True, True, True]


def test_a_link_that_somebody_has_put_there_is_not_followed(parent: Path) -> None:
    elsewhere = Directory(parent / "elsewhere")
    elsewhere.root.mkdir()
    with_cluster(elsewhere)
    (parent / "supervisor-demo-link").symlink_to(elsewhere.root)
    Directory.create()
    assert not (elsewhere.cluster / "run" / "lock").exists()
    assert elsewhere.config.parent.exists()


def test_a_parent_that_cannot_be_written_is_a_fault_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(Fault, match=r"no temporary directory can be made in /proc") as caught:
        Directory.create()
    assert "TMPDIR" in caught.value.remedy


def test_the_configuration_is_one_that_the_supervisor_takes(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = parent / 'a "strange" näme'
    strange.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(strange))
    directory = Directory.create()
    directory.write_config("127.0.0.1:1,127.0.0.1:2", 6, 3)
    settings = load(directory.config, {}).settings
    assert settings.kafka.bootstrap_servers == "127.0.0.1:1,127.0.0.1:2"
    assert (settings.topics.partitions, settings.olap.workers) == (6, 3)
    assert Path(settings.runtime.run_dir) == directory.run
