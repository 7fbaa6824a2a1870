import os
import stat
from pathlib import Path

import pytest

from supervisor.contract.faults import ConfigurationFault, Fault
from supervisor.contract.rundir import LIVE_SOCKET, ensure_run_dir, run_dir, socket_path
from supervisor.contract.settings import App, Runtime, Settings

OTHER_UID = 54_321
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")


def test_the_configured_directory_comes_before_the_environment():
    settings = Settings(runtime=Runtime(run_dir="/srv/run"))
    assert run_dir(settings, {"RUNTIME_DIRECTORY": "/run/a", "XDG_RUNTIME_DIR": "/run/b"}) == Path("/srv/run")


def test_systemds_first_directory_comes_before_the_users():
    environ = {"RUNTIME_DIRECTORY": "/run/a:/run/z", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert run_dir(Settings(), environ) == Path("/run/a/logins")


def test_the_users_runtime_directory_comes_before_the_temporary_one():
    assert run_dir(Settings(), {"XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/var/tmp"}) == Path(
        "/run/user/7/kafka-supervisor/logins"
    )


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": "relative"}, {"RUNTIME_DIRECTORY": ""}])
def test_without_a_runtime_directory_the_temporary_one_is_used_and_names_the_user(environ):
    settings = Settings(app=App(name="shop"))
    assert run_dir(settings, environ) == Path(f"/tmp/kafka-supervisor-{os.getuid()}/shop")
    assert run_dir(settings, {**environ, "TMPDIR": "/var/tmp"}) == Path(
        f"/var/tmp/kafka-supervisor-{os.getuid()}/shop"
    )


@pytest.mark.parametrize("name", [".", ".."])
def test_an_app_name_cannot_step_out_of_the_directory(name):
    with pytest.raises(ConfigurationFault):
        run_dir(Settings(app=App(name=name)), {})


def test_a_missing_directory_is_created_for_the_owner_alone_and_found_again(tmp_path):
    path = tmp_path / "a" / "b"
    assert ensure_run_dir(path) == path
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o700, 0o700]
    ensure_run_dir(path)


def test_a_directory_open_to_others_is_refused_with_the_command_that_closes_it(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(0o750)
    with pytest.raises(Fault) as fault:
        ensure_run_dir(path)
    assert "0750" in fault.value.cause
    assert fault.value.remedy == f"chmod 700 {path}"


def test_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Fault, match="symbolic link"):
        ensure_run_dir(tmp_path / "link")


def test_a_file_in_its_place_or_above_it_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match="is a file"):
        ensure_run_dir(tmp_path / "file")
    with pytest.raises(Fault, match="cannot be created"):
        ensure_run_dir(tmp_path / "file" / "run")


@needs_root
def test_another_users_directory_is_refused(tmp_path):
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    os.chown(path, OTHER_UID, OTHER_UID)
    with pytest.raises(Fault, match=f"belongs to user {OTHER_UID}"):
        ensure_run_dir(path)


@needs_root
@pytest.mark.parametrize("planted", ["directory", "link"])
def test_what_another_user_planted_above_it_is_refused_and_nothing_is_made_in_it(tmp_path, planted):
    above, ours = tmp_path / "kafka-supervisor-0", tmp_path / "ours"
    ours.mkdir(mode=0o700)
    if planted == "directory":
        above.mkdir(mode=0o700)
    else:
        above.symlink_to(ours)
    os.chown(above, OTHER_UID, OTHER_UID, follow_symlinks=False)
    with pytest.raises(Fault, match=f"belongs to user {OTHER_UID}"):
        ensure_run_dir(above / "logins")
    assert list(above.iterdir()) == []


def test_a_socket_path_that_the_kernel_would_refuse_is_a_configuration_fault():
    longest = Path("/" + "x" * (107 - len("/") - len("/" + LIVE_SOCKET)))
    assert len(os.fsencode(socket_path(longest, LIVE_SOCKET))) == 107
    with pytest.raises(ConfigurationFault, match="108 bytes"):
        socket_path(Path(f"{longest}x"), LIVE_SOCKET)
    with pytest.raises(ConfigurationFault):
        socket_path(Path("/" + "é" * 60), LIVE_SOCKET)
