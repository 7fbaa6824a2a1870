from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.cluster.layout import Identity, Layout, Lock, default_directory
from supervisor.cluster.leftovers import sweep
from supervisor.cluster.properties import Node
from supervisor.cluster.storage import new_id, prepare_data
from supervisor.contract.faults import AlreadyRunning, ConfigurationFault, Fault


def identity(*, keep: bool = True) -> Identity:
    return Identity(cluster_id=new_id(), kafka="4.3.1", nodes=(Node(1, 9092, 9093),), keep=keep)


def made(root: Path) -> Layout:
    layout = Layout(root)
    layout.create()
    return layout


def test_the_directory_of_the_socket_is_closed_to_others(tmp_path: Path) -> None:
    assert made(tmp_path / "new").run.stat().st_mode & 0o777 == 0o700


def test_a_run_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    layout = made(tmp_path)
    layout.run.chmod(0o755)
    with pytest.raises(ConfigurationFault, match="open to other users"):
        layout.create()


def test_a_directory_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter 1")
    with pytest.raises(ConfigurationFault, match="holds no cluster"):
        Layout(tmp_path).create()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_directory_below_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be used: Not a directory"):
        Layout(tmp_path / "file" / "cluster").create()


def test_the_lock_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    layout = made(tmp_path)
    lock = Lock.acquire(layout)
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}"):
        Lock.acquire(layout)
    assert Lock.holder(layout) == os.getpid()
    lock.release()
    assert Lock.holder(layout) is None
    Lock.acquire(layout).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    layout = made(tmp_path)
    program = (
        "import sys, time; from pathlib import Path; from supervisor.cluster.layout import Layout, Lock\n"
        "lock = Lock.acquire(Layout(Path(sys.argv[1]))); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert Lock.holder(layout) == holder.pid
        holder.kill()
        holder.wait()
    # Its pid is still in the file, and decides nothing.
    assert layout.lock.read_text() == str(holder.pid)
    assert Lock.holder(layout) is None


def test_identity_is_read_back(tmp_path: Path) -> None:
    layout = made(tmp_path)
    assert layout.read_identity() is None
    written = identity()
    layout.write_identity(written)
    assert layout.read_identity() == written


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"cluster_id": 7}'])
def test_a_damaged_identity_is_a_fault_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    layout = made(tmp_path)
    layout.identity.write_bytes(content)
    with pytest.raises(ConfigurationFault, match=r"cluster\.json"):
        layout.read_identity()


def test_removal_takes_only_what_a_cluster_puts_there(tmp_path: Path) -> None:
    layout = made(tmp_path / "cluster")
    layout.write_identity(identity())
    layout.data(1).mkdir()
    (layout.data(1) / "segment").touch()
    layout.log(1).touch()
    (layout.root / "notes.txt").touch()
    layout.remove()
    assert [path.name for path in layout.root.iterdir()] == ["notes.txt"]
    (layout.root / "notes.txt").unlink()
    layout.create()
    layout.remove()
    assert not layout.root.exists()


def test_removal_does_not_follow_a_link_out_of_the_directory(tmp_path: Path) -> None:
    layout = made(tmp_path / "cluster")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    layout.data(1).symlink_to(outside)
    layout.remove()
    assert (outside / "precious").exists()
    assert not layout.root.exists()


def test_only_abandoned_temporary_directories_are_swept(tmp_path: Path) -> None:
    cases = {}
    for name, keep in (("abandoned", False), ("running", False), ("kept", True)):
        layout = cases[name] = made(tmp_path / f"kafka-supervisor-{name}")
        layout.write_identity(identity(keep=keep))
    (tmp_path / "kafka-supervisor-just-made").mkdir()
    lock = Lock.acquire(cases["running"])
    sweep(tmp_path)
    lock.release()
    assert {path.name.removeprefix("kafka-supervisor-") for path in tmp_path.iterdir()} == {
        "running",
        "kept",
        "just-made",
    }


def test_the_default_directory_follows_the_state_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_directory() == Path("/state/kafka-supervisor/cluster")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_directory().is_relative_to(Path.home() / ".local" / "state")


def test_a_data_directory_is_formatted_once(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap.checkpoint"
    bootstrap.write_bytes(b"features")
    data = tmp_path / "data-1"
    prepare_data(data, 1, "cluster-a", bootstrap)
    written = (data / "meta.properties").read_text()
    prepare_data(data, 1, "cluster-a", bootstrap)
    assert (data / "meta.properties").read_text() == written
    assert (data / "bootstrap.checkpoint").read_bytes() == b"features"


@pytest.mark.parametrize(
    ("number", "cluster", "named"), [(2, "cluster-a", "node.id"), (1, "b", "cluster.id")]
)
def test_the_data_of_another_cluster_or_node_is_refused(
    tmp_path: Path, number: int, cluster: str, named: str
) -> None:
    bootstrap = tmp_path / "bootstrap.checkpoint"
    bootstrap.touch()
    prepare_data(tmp_path / "data", 1, "cluster-a", bootstrap)
    with pytest.raises(ConfigurationFault, match=named.replace(".", r"\.")):
        prepare_data(tmp_path / "data", number, cluster, bootstrap)


def test_ids_are_sixteen_bytes_and_do_not_look_like_options() -> None:
    ids = {new_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(one) == 22 and not one.startswith("-") for one in ids)
