"""Puts the unit in place: which files, which commands, and what would keep the service from starting."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from supervisor.config.load import load
from supervisor.config.writing import write
from supervisor.contract.faults import ConfigurationFault, Fault
from supervisor.contract.settings import Settings
from supervisor.systemd import unit

__all__ = ["Target", "hints", "install", "installed_version", "plan", "uninstall"]

_INSTANCE = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}\Z")
# With ProtectHome= and PrivateTmp= the service has these not at all, or others in their place.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
_MODE = 0o644


class Target(Struct, frozen=True):
    """What is to be installed, and where."""

    user: bool = False
    """For the service manager of the user who calls, rather than the system's."""
    instance: str = ""
    """An instance of the template; the one unit without a name if empty."""
    config: str = ""
    account: str = unit.ACCOUNT
    root: Path | None = None
    """A system in a directory, such as an image that is being built; ``None`` for the one that runs."""
    version: int = unit.OLDEST

    @property
    def unit(self) -> str:
        return f"{unit.NAME}@{self.instance}.service" if self.instance else f"{unit.NAME}.service"

    @property
    def config_path(self) -> str:
        """As the service sees it."""
        default = f"{self.config_directory}/{self.instance or unit.NAME}.toml"
        return str(Path(self.config).expanduser().absolute()) if self.config else default

    @property
    def config_directory(self) -> str:
        return str(_home_config() / unit.NAME) if self.user else unit.CONFIG_DIRECTORY

    def real(self, path: str | Path) -> Path:
        """Where ``path`` of the target system is found from here."""
        return self.root / str(path).lstrip("/") if self.root else Path(path)

    def directory(self) -> Path:
        return self.real(_home_config() / "systemd/user" if self.user else "/etc/systemd/system")


def installed_version() -> int | None:
    """The version of this machine's systemd; ``None`` if it has none."""
    try:
        text = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    found = re.match(r"systemd (\d+)", text)
    return int(found[1]) if found else None


def plan(target: Target) -> dict[Path, str]:
    """The files of an installation and their contents, the unit first.

    Raises :class:`Fault` for a mistaken configuration, and for what the service would not be able to start.
    """
    if target.instance and not _INSTANCE.match(target.instance):
        raise ConfigurationFault(
            f"an instance cannot be called {target.instance!r}",
            "use at most 100 letters, digits, dots, underscores and hyphens",
        )
    settings = load(target.real(target.config_path), {}).settings
    command = _command()
    if not target.user and target.root is None:
        for path in (command[0], Path(sys.executable).resolve(), sys.base_prefix, target.config_path):
            _refuse_hidden(Path(path))
    return _files(target, _described(target, settings, command))


def _described(target: Target, settings: Settings, command: Sequence[str]) -> unit.Service:
    return unit.service_of(
        settings,
        [*command, "start"],
        target.config_path,
        account=None if target.user else target.account,
        version=target.version,
        instance=target.instance,
    )


def _files(target: Target, described: unit.Service) -> dict[Path, str]:
    directory = target.directory()
    if target.instance:
        files = {
            directory / f"{unit.NAME}@.service": unit.service(described, template=True),
            directory / f"{target.unit}.d/10-configuration.conf": unit.instance_settings(described),
        }
    else:
        files = {directory / target.unit: unit.service(described)}
    if not target.user and target.account == unit.ACCOUNT:
        files[target.real(f"/etc/sysusers.d/{unit.NAME}.conf")] = unit.accounts()
    return files


def install(target: Target, *, enable: bool = True, now: bool = False, force: bool = False) -> list[Path]:
    """Write the files, make the account, tell systemd; returns the files.

    Nothing is written if it cannot be carried through. Raises :class:`Fault`.
    """
    files = plan(target)
    _refuse_unprivileged(target)
    if target.account != unit.ACCOUNT and not target.user and target.root is None:
        _refuse_unknown(target.account)
    if now and (target.root is not None or not _booted()):
        raise Fault("there is no systemd running to start the service", "leave out --now")
    for path in files:
        if not force and path.exists() and not _is_ours(path):
            raise Fault(
                f"{path} exists already and was not written by us",
                "move it away, or give --force to overwrite it",
            )
    for path, text in files.items():
        _put(path, text)
    _tell_systemd(target, enable=enable, now=now)
    return list(files)


def uninstall(target: Target) -> list[Path]:
    """Stop and disable the service and remove what :func:`install` wrote; returns the files that are gone.

    The template stays while it has other instances; account, configuration and data stay in any case.
    Raises :class:`Fault`.
    """
    _refuse_unprivileged(target)
    directory = target.directory()
    ours = [directory / target.unit]
    if target.instance:
        ours = [directory / f"{target.unit}.d/10-configuration.conf"]
        others = {path.name for path in directory.glob(f"{unit.NAME}@?*.service.d")} - {f"{target.unit}.d"}
        if not others:
            ours.append(directory / f"{unit.NAME}@.service")
    found = [path for path in ours if path.exists() and _is_ours(path)]
    if not found:
        raise Fault(f"{target.unit} is not installed in {directory}", "`systemctl cat` says where a unit is")
    _run(target, "disable", *(["--now"] if target.root is None and _booted() else []), target.unit)
    for path in found:
        path.unlink()
        with contextlib.suppress(OSError):  # somebody's own drop-ins are in it
            if path.parent != directory:
                path.parent.rmdir()
    _reload(target)
    return found


def hints(target: Target) -> list[str]:
    """What a person should still do before the start, one sentence each."""
    told = []
    config = target.real(target.config_path)
    if not target.user and target.root is None and not _can_read(target.account, config):
        told.append(
            f"{target.account} cannot read {config}: "
            f"chgrp {target.account} {config} && chmod 640 {config}, and its directory must be open to it"
        )
    if not target.user and not load(config, {}).settings.runtime.run_dir:
        place = f"/run/{unit.NAME}/{target.instance}".rstrip("/")
        told.append(
            f'with runtime.run_dir = "{place}" in it, `supervisor status` and the like find the service'
        )
    if target.root is None:
        told.append(f"start it with `systemctl {'--user ' if target.user else ''}start {target.unit}`")
    return told


def _can_read(account: str, path: Path) -> bool:
    """By the permissions of the file and of every directory above it; access lists are not looked at."""
    try:
        entry = pwd.getpwnam(account)
        groups = os.getgrouplist(account, entry.pw_gid)
        looks = [(path, 0o4), *((directory, 0o1) for directory in path.resolve().parents)]
        return all(_allowed(place.stat(), wanted, entry.pw_uid, groups) for place, wanted in looks)
    except (KeyError, OSError):
        return False


def _allowed(found: os.stat_result, wanted: int, uid: int, groups: Sequence[int]) -> bool:
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return bool(found.st_mode >> shift & wanted)


def _tell_systemd(target: Target, *, enable: bool, now: bool) -> None:
    if not target.user and target.account == unit.ACCOUNT:
        _call(["systemd-sysusers", *_root_option(target), f"{unit.NAME}.conf"])
    _reload(target)
    if enable:
        _run(target, "enable", target.unit)
    if now:
        _run(target, "restart", target.unit)


def _reload(target: Target) -> None:
    if target.root is None and _booted():
        _run(target, "daemon-reload")


def _run(target: Target, *arguments: str) -> None:
    # `enable` does not need a user's manager to run; with --global it would be for every user.
    scope = ["--user"] if target.user else []
    _call(["systemctl", *scope, *_root_option(target), *arguments])


def _root_option(target: Target) -> list[str]:
    return [f"--root={target.root}"] if target.root else []


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Fault(f"cannot run {command[0]}: {error.strerror}", "is systemd installed here?") from error
    if done.returncode:
        raise Fault(f"`{' '.join(command)}` failed: {done.stderr.strip()}", "the files are written")


def _command() -> list[str]:
    """How this very installation is called."""
    script = Path(sys.executable).with_name("supervisor")
    return [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "supervisor"]


def _refuse_hidden(path: Path) -> None:
    for directory in _HIDDEN:
        if path.is_relative_to(directory):
            raise Fault(
                f"the service cannot see {path}: {directory} is hidden from it",
                "install into /opt, with a Python outside of /home and /root, and keep the configuration "
                "in /etc; or install for yourself alone with --user",
            )


def _refuse_unprivileged(target: Target) -> None:
    if not target.user and target.root is None and os.geteuid() != 0:
        raise Fault(
            "only root can install a service of the system",
            "use sudo, or --user for a service of your own, or --print to look at it",
        )


def _refuse_unknown(account: str) -> None:
    try:
        pwd.getpwnam(account)
    except KeyError:
        raise Fault(
            f"there is no account {account}", f"make it, or leave out --account for {unit.ACCOUNT}"
        ) from None


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8", errors="replace").startswith(unit.MARK)
    except OSError:
        return False


def _put(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Fault(f"{path.parent} cannot be created: {error.strerror}") from error
    write(path, text, overwrite=True)
    path.chmod(_MODE)  # systemctl complains of a unit that not everybody can read


def _booted() -> bool:
    """As sd_booted(3) finds out."""
    return Path("/run/systemd/system").is_dir()


def _home_config() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(base) if base.startswith("/") else Path.home() / ".config"
