"""The text of the unit. Pure: everything that it depends on is passed in.

Written for the systemd that will read it: a newer setting is not merely without effect in an older one.
252 (Debian 12) ignores ``Type=notify-reload`` and goes on with ``Type=simple``, so that a start is never
waited for and no notification is accepted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from msgspec import Struct

from supervisor.contract.exits import Exit
from supervisor.contract.settings import Settings

__all__ = [
    "ACCOUNT",
    "CONFIG_DIRECTORY",
    "FINAL",
    "MARK",
    "NAME",
    "NEWEST",
    "NOTIFY_RELOAD",
    "OLDEST",
    "RESTART_STEPS",
    "Service",
    "accounts",
    "instance_settings",
    "newer",
    "service",
    "service_of",
]

NAME = ACCOUNT = "kafka-supervisor"
CONFIG_DIRECTORY = "/etc/kafka-supervisor"
MARK = "# Written by `supervisor systemd install`"
"""How a file of ours begins: one that does not is somebody else's, and left alone."""

OLDEST = 247
"""The systemd from which on the unit is understood: Debian 11. 252 and later are tested."""
NOTIFY_RELOAD = 253
RESTART_STEPS = 254
NEWEST = RESTART_STEPS
"""From this one on the unit is written in the same way."""

FINAL = (Exit.USAGE, Exit.GAVE_UP, Exit.ALREADY_RUNNING, Exit.CONFIGURATION)
"""Ends of ``start`` that do not get better by being tried again."""

_ABOVE_DRAIN_S = 10
_ABOVE_START_S = 60
_WATCHDOG_S = 30
_STATE = f"/var/lib/{NAME}"
_LOGS = f"/var/log/{NAME}"
_RUN = f"/run/{NAME}"

_RELOAD_LATER = """\
ExecReload=/bin/kill -HUP $MAINPID
"""
_RELOAD = """\
ReloadSignal=SIGHUP
"""
# RestartMaxDelaySec= without RestartSteps= is ignored, with one line in the journal.
_RESTART_LATER = """\
RestartSec=5
"""
_RESTART = """\
RestartSec=1
RestartSteps=8
RestartMaxDelaySec=300
"""


class Service(Struct, frozen=True):
    """What of a unit depends on the installation and on the configuration."""

    command: tuple[str, ...]
    """The program and its arguments, as far as ``start``."""
    config: str
    """Absolute path of the configuration file."""
    account: str | None = ACCOUNT
    """Who runs it; ``None`` for a unit of the user's own service manager."""
    stop_s: float = 30
    start_s: float = 90
    writable: tuple[str, ...] = ()
    """Directories it writes to, besides those that systemd makes for it."""
    version: int = OLDEST
    """The systemd that will read it."""


def service_of(
    settings: Settings,
    command: Sequence[str],
    config: str,
    *,
    account: str | None = ACCOUNT,
    version: int = OLDEST,
    instance: str = "",
) -> Service:
    """What the unit needs to know of a configuration."""
    runtime, jsonl = settings.runtime, settings.realtime.jsonl.path
    written = [runtime.run_dir, settings.log.directory if settings.log.files else ""]
    if jsonl and "jsonl" in settings.realtime.sinks:
        written.append(str(PurePosixPath(jsonl).parent))
    ours = (_STATE, _LOGS, f"{_RUN}/{instance}" if instance else _RUN)
    return Service(
        command=tuple(command),
        config=config,
        account=account,
        stop_s=runtime.drain_timeout_s + _ABOVE_DRAIN_S,
        start_s=runtime.start_timeout_s + _ABOVE_START_S,
        writable=tuple(
            dict.fromkeys(path for path in written if path and not any(_within(path, own) for own in ours))
        ),
        version=version,
    )


def service(made_for: Service, *, template: bool = False) -> str:
    """``kafka-supervisor.service``, or ``kafka-supervisor@.service`` for several instances.

    Of a template, ``config`` is not used: each instance has the file of its name in that directory of /etc.
    """
    name = f"{NAME}@" if template else NAME
    return "\n".join(
        (
            f"{MARK}; changes go into a drop-in:",
            f"# `systemctl edit {name}.service`. docs/systemd.md says what each line is for.",
            *_unit(made_for, template),
            "",
            *_service(made_for, template),
            "",
            "[Install]",
            f"WantedBy={'multi-user' if made_for.account else 'default'}.target",
            "",
        )
    )


def instance_settings(made_for: Service) -> str:
    """The drop-in of one instance of the template: what follows from its own configuration."""
    lines = [f"{MARK}, from {_word(made_for.config)}", *_paths_of(made_for, "Unit")]
    return "\n".join([*lines, "", "[Service]", *_times(made_for), *_paths_of(made_for, "Service"), ""])


def newer() -> str:
    """A drop-in for a unit that was written for systemd before 254, and is run by 254 or later."""
    lines = [f"{MARK}; for systemd {NEWEST} and later", "[Service]", "Type=notify-reload", "ExecReload="]
    return "\n".join(lines) + f"\n{_RELOAD}{_RESTART}"


def accounts() -> str:
    """The account, for systemd-sysusers."""
    return f'{MARK}\nu {ACCOUNT} - "kafka-supervisor"\n'


def _unit(made_for: Service, template: bool) -> Iterator[str]:
    yield "[Unit]"
    yield f"Description=Kafka workers ({NAME}{' %i' if template else ''})"
    if made_for.account:
        yield "Wants=network-online.target"
        yield "After=network-online.target"
    yield "# It waits between starts instead of giving up; what is final is an exit code, below."
    yield "StartLimitIntervalSec=0"
    yield from _paths_of(made_for, "Unit")[2:]


def _service(made_for: Service, template: bool) -> Iterator[str]:
    reload = made_for.version >= NOTIFY_RELOAD
    directory = CONFIG_DIRECTORY if made_for.account else f"%E/{NAME}"
    config = f"{directory}/%i.toml" if template else _word(made_for.config)
    yield "[Service]"
    yield f"Type={'notify-reload' if reload else 'notify'}"
    yield "NotifyAccess=main"
    yield f"ExecStart={' '.join(map(_word, made_for.command))} --config {config}"
    yield (_RELOAD if reload else _RELOAD_LATER).rstrip()
    yield f"WatchdogSec={_WATCHDOG_S}"
    yield "# A watchdog's SIGABRT then leaves in the journal where the loop stood."
    yield "Environment=PYTHONFAULTHANDLER=1"
    if made_for.account:
        yield "# Secrets as SUPERVISOR_KAFKA_CLIENT_…=…, readable by root alone; systemd reads it."
        yield f"EnvironmentFile=-{CONFIG_DIRECTORY}/{'%i' if template else NAME}.env"
    yield from _times(made_for)
    yield "# Workers are signalled by the supervisor; what is left at the end is killed."
    yield "KillMode=mixed"
    yield "Restart=on-failure"
    yield (_RESTART if made_for.version >= RESTART_STEPS else _RESTART_LATER).rstrip()
    yield "# " + ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in FINAL)
    yield f"RestartPreventExitStatus={' '.join(str(code.value) for code in FINAL)}"
    yield from _places(made_for, template)
    yield "# One worker out of memory is replaced; it does not take the others with it."
    yield "OOMPolicy=continue"
    yield "Delegate=cpu memory"
    yield "LimitNOFILE=65536"
    yield "TasksMax=16384"
    yield ""
    yield from _hardening(made_for)


def _times(made_for: Service) -> Iterator[str]:
    yield "# Above runtime.start_timeout_s and runtime.drain_timeout_s; both are extended while offsets move."
    yield f"TimeoutStartSec={_seconds(made_for.start_s)}"
    yield f"TimeoutStopSec={_seconds(made_for.stop_s)}"


def _places(made_for: Service, template: bool) -> Iterator[str]:
    # In a directory of one's own, app.name alone tells them apart, as it does without systemd.
    place = f"{NAME}/%i" if template and made_for.account else NAME
    if made_for.account:
        yield f"User={_word(made_for.account)}"
        yield f"StateDirectory={NAME}"
        yield f"LogsDirectory={NAME}"
    yield f"RuntimeDirectory={place}"
    yield "RuntimeDirectoryMode=0700"
    yield "# Deaths at a record are counted there; a restart must not forget them."
    yield "RuntimeDirectoryPreserve=yes"
    yield from _paths_of(made_for, "Service")
    yield "UMask=0077"


def _paths_of(made_for: Service, section: str) -> list[str]:
    """Directories of the configuration's own: writable, and mounted before the start."""
    if not made_for.writable or not made_for.account:
        return []  # a service of the user's own may write wherever its user may
    words = " ".join(map(_word, made_for.writable))
    if section == "Unit":
        return ["", "[Unit]", f"RequiresMountsFor={words}"]
    return [f"ReadWritePaths={words}"]


# Not in it, on purpose: ProcSubset=pid hides /proc/stat and /proc/meminfo, which psutil reads; ~@resources
# forbids sched_setaffinity and setpriority; ProtectControlGroups would make the delegated cgroup read-only.
_ANYWHERE = """\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
KeyringMode=private"""
_SYSTEM_ONLY = """\
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
PrivateDevices=yes
PrivateMounts=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict"""


def _hardening(made_for: Service) -> Iterator[str]:
    yield _ANYWHERE
    # The user's service manager may not make mount namespaces everywhere; a unit must start everywhere.
    if made_for.account:
        yield _SYSTEM_ONLY


def _within(path: str, directory: str) -> bool:
    return PurePosixPath(path).is_relative_to(directory)


def _seconds(value: float) -> str:
    return str(math.ceil(value)) if math.isfinite(value) else "infinity"


def _word(text: str) -> str:
    """One word of a unit file: specifiers, variables and quotes in it stand for themselves."""
    text = text.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w./:@%$+=,-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
