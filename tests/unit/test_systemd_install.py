"""Installation of the unit into a directory, with the commands to systemd written down instead of run."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from supervisor.cli.systemd import command
from supervisor.contract.exits import Exit
from supervisor.contract.faults import ConfigurationFault, Fault
from supervisor.systemd import install as work
from supervisor.systemd import unit
from supervisor.systemd.install import Target, install, plan, uninstall


@pytest.fixture
def root(tmp_path: Path) -> Path:
    config = tmp_path / "etc/kafka-supervisor"
    config.mkdir(parents=True)
    for name in ("kafka-supervisor", "orders", "logins"):
        (config / f"{name}.toml").write_text(f'app.name = "{name}"\nruntime.drain_timeout_s = 45\n')
    return tmp_path


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What systemd would have been told."""
    made: list[list[str]] = []
    monkeypatch.setattr(work, "_call", made.append)
    return made


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def units(root: Path) -> Path:
    return root / "etc/systemd/system"


def test_one_service_is_one_unit_with_the_times_of_its_configuration(
    root: Path, calls: list[list[str]]
) -> None:
    install(Target(root=root))
    text = (units(root) / "kafka-supervisor.service").read_text()
    assert "TimeoutStopSec=55\n" in text
    assert "start --config /etc/kafka-supervisor/kafka-supervisor.toml\n" in text
    assert calls == [
        ["systemd-sysusers", f"--root={root}", "kafka-supervisor.conf"],
        ["systemctl", f"--root={root}", "enable", "kafka-supervisor.service"],
    ]


def test_what_is_written_can_be_read_by_everybody_whatever_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        files = install(Target(root=root))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}


def test_an_instance_is_the_template_and_a_drop_in_of_its_own(root: Path, calls: list[list[str]]) -> None:
    install(Target(root=root, instance="orders"))
    assert (units(root) / "kafka-supervisor@.service").exists()
    drop_in = units(root) / "kafka-supervisor@orders.service.d/10-configuration.conf"
    assert "TimeoutStopSec=55\n" in drop_in.read_text()
    assert calls[-1][-2:] == ["enable", "kafka-supervisor@orders.service"]


def test_the_template_stays_until_its_last_instance_is_gone(root: Path, calls: list[list[str]]) -> None:
    for name in ("orders", "logins"):
        install(Target(root=root, instance=name))
    template = units(root) / "kafka-supervisor@.service"
    uninstall(Target(root=root, instance="orders"))
    assert template.exists()
    assert calls[-1][-2:] == ["disable", "kafka-supervisor@orders.service"]
    uninstall(Target(root=root, instance="logins"))
    assert list(units(root).iterdir()) == []
    assert (root / "etc/kafka-supervisor/orders.toml").exists()


def test_drop_ins_of_a_persons_own_outlive_both(root: Path) -> None:
    target = Target(root=root, instance="orders")
    install(target)
    own = units(root) / "kafka-supervisor@orders.service.d/override.conf"
    own.write_text("[Service]\nMemoryMax=2G\n")
    install(target)
    uninstall(target)
    assert [path for path in units(root).rglob("*") if path.is_file()] == [own]


def test_a_second_installation_replaces_the_first(root: Path) -> None:
    install(Target(root=root))
    (root / "etc/kafka-supervisor/kafka-supervisor.toml").write_text("runtime.drain_timeout_s = 5")
    install(Target(root=root))
    assert "TimeoutStopSec=15\n" in (units(root) / "kafka-supervisor.service").read_text()


def test_a_unit_of_somebody_elses_is_left_alone_unless_forced(root: Path, calls: list[list[str]]) -> None:
    path = units(root) / "kafka-supervisor.service"
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/mine\n")
    with pytest.raises(Fault, match="exists already and was not written by us"):
        install(Target(root=root))
    with pytest.raises(Fault, match="is not installed"):
        uninstall(Target(root=root))
    assert (path.read_text(), calls) == ("[Service]\nExecStart=/mine\n", [])
    assert not (root / "etc/sysusers.d").exists()
    install(Target(root=root), force=True)
    assert path.read_text().startswith(unit.MARK)


def test_a_mistaken_configuration_changes_nothing(root: Path, calls: list[list[str]]) -> None:
    (root / "etc/kafka-supervisor/kafka-supervisor.toml").write_text("olap.wokers = 3")
    with pytest.raises(ConfigurationFault):
        install(Target(root=root))
    assert (calls, units(root).exists()) == ([], False)


def test_the_environment_of_whoever_installs_is_not_the_services(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERVISOR_RUNTIME_DRAIN_TIMEOUT_S", "1000")
    install(Target(root=root))
    assert "TimeoutStopSec=55\n" in (units(root) / "kafka-supervisor.service").read_text()


@pytest.mark.parametrize("name", ["../x", ".hidden", "a b", "a/b", "x" * 101, "ü", "a\n"])
def test_an_instance_has_a_name_that_a_unit_and_a_file_can_have(root: Path, name: str) -> None:
    with pytest.raises(ConfigurationFault, match="an instance cannot be called"):
        plan(Target(root=root, instance=name))


@pytest.mark.usefixtures("as_root")
def test_an_installation_that_the_service_could_not_see_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ProtectHome= would end it with 203/EXEC, which says nothing of the reason."""
    monkeypatch.setattr(sys, "base_prefix", "/home/somebody/.local/share/uv/python/cpython-3.13")
    monkeypatch.setattr(work, "_HIDDEN", ("/home",))
    target = Target(config=str(root / "etc/kafka-supervisor/orders.toml"))
    with pytest.raises(Fault, match="the service cannot see /home/somebody"):
        install(target)


def test_only_root_installs_for_the_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(work, "_HIDDEN", ())
    target = Target(config=str(root / "etc/kafka-supervisor/orders.toml"))
    with pytest.raises(Fault, match="only root"):
        install(target)
    with pytest.raises(Fault, match="only root"):
        uninstall(target)


@pytest.mark.usefixtures("as_root")
def test_an_account_that_is_given_must_be_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_HIDDEN", ())
    config = str(root / "etc/kafka-supervisor/orders.toml")
    with pytest.raises(Fault, match="there is no account nobody-of-this-name"):
        install(Target(config=config, account="nobody-of-this-name"))


def test_a_service_of_ones_own_lives_in_ones_own_directory(
    root: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(root / "home"))
    monkeypatch.setattr(work, "_booted", lambda: True)
    (root / "home/kafka-supervisor").mkdir(parents=True)
    (root / "home/kafka-supervisor/kafka-supervisor.toml").write_text("")
    files = install(Target(user=True), now=True)
    assert files == [root / "home/systemd/user/kafka-supervisor.service"]
    assert calls == [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "kafka-supervisor.service"],
        ["systemctl", "--user", "restart", "kafka-supervisor.service"],
    ]


def test_it_is_not_started_where_no_systemd_runs(root: Path, calls: list[list[str]]) -> None:
    with pytest.raises(Fault, match="no systemd running"):
        install(Target(root=root), now=True)
    assert calls == []


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "can"),
    [
        (0o640, 0, 0, False),
        (0o640, 0, 77, True),
        (0o644, 0, 0, True),
        (0o604, 0, 77, False),  # the group's bits count for its members, also where they say less
        (0o044, 66, 0, False),
        (0o400, 66, 0, True),
    ],
)
def test_whether_an_account_can_read_follows_from_the_bits_that_are_its_own(
    mode: int, uid: int, gid: int, can: bool
) -> None:
    found = os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
    assert work._allowed(found, 0o4, 66, [77]) is can


def test_a_configuration_that_the_account_cannot_read_is_told(root: Path) -> None:
    file = root / "etc/kafka-supervisor/orders.toml"
    account = pwd.getpwuid(os.getuid()).pw_name
    assert work.hints(Target(config=str(file), account=account))[0].startswith('with runtime.run_dir = "/run')
    file.chmod(0)
    told = work.hints(Target(config=str(file), account="nobody-of-this-name"))
    assert told[0].startswith(f"nobody-of-this-name cannot read {file}")


# -- the command ----------------------------------------------------------------------------------------


def test_print_shows_every_file_and_writes_none(root: Path, calls: list[list[str]]) -> None:
    before = sorted(root.rglob("*"))
    done = CliRunner().invoke(
        command,
        ["install", "--print", "--root", str(root), "--instance", "orders", "--systemd-version", "254"],
    )
    assert (done.exit_code, calls, sorted(root.rglob("*"))) == (Exit.OK, [], before)
    assert done.output.count(unit.MARK) == 3
    assert "Type=notify-reload\n" in done.output


@pytest.mark.parametrize(
    "arguments", [["--instance", "orders", "--config", "x.toml"], ["--user", "--account", "kafka"]]
)
def test_options_that_contradict_each_other_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, ["install", *arguments]).exit_code == Exit.USAGE


def test_the_command_says_what_it_wrote_and_removed(root: Path) -> None:
    done = CliRunner().invoke(command, ["install", "--root", str(root), "--no-enable"])
    path = units(root) / "kafka-supervisor.service"
    assert f"wrote {path}\n" in done.output
    done = CliRunner().invoke(command, ["uninstall", "--root", str(root)])
    assert done.output == f"removed {path}\n"
