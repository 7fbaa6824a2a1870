"""Runs a program under a unit's system call filters, without systemd: ``python sandbox.py UNIT PROGRAM …``.

The filters are built as systemd's src/shared/seccomp-util.c builds them, from the unit's own lines, with the
libseccomp that systemd itself is linked with. Mount namespaces and users are not part of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

__all__ = ["missing"]

_LIBRARY = "libseccomp.so.2"
_ALLOW = 0x7FFF0000
_NO_NEW_PRIVS_ATTRIBUTE = 3
_LT, _EQ, _GT, _MASKED = 2, 4, 6, 7
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
_NAMESPACES = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
_PROT_WRITE, _PROT_EXEC, _SHM_EXEC = 2, 4, 0o100000
_REALTIME = (1, 2, 6)  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
_SUID, _SGID = 0o4000, 0o2000


class _Condition(ctypes.Structure):
    """``struct scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Filter:
    """One filter; the kernel takes the strictest answer of all that are loaded."""

    def __init__(self, otherwise: int = _ALLOW) -> None:
        self._lib = ctypes.CDLL(_LIBRARY)
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(otherwise)))
        assert self._context.value

    def rule(self, action: int, call: str, *conditions: tuple[int, int, int, int]) -> None:
        number = self._lib.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # of another architecture, or newer than the library
        array = (_Condition * max(1, len(conditions)))(*(_Condition(*each) for each in conditions))
        code = self._lib.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(conditions), array
        )
        if code not in (0, -errno.EDOM, -errno.EEXIST):
            raise OSError(-code, f"no rule for {call}")

    def load(self) -> None:
        self._lib.seccomp_attr_set(self._context, _NO_NEW_PRIVS_ATTRIBUTE, 1)
        code = self._lib.seccomp_load(self._context)
        self._lib.seccomp_release(self._context)
        if code:
            raise OSError(-code, "the filter cannot be loaded")


def missing() -> str:
    """What this machine lacks to run it; empty if nothing."""
    try:
        ctypes.CDLL(_LIBRARY)
        _group("@default")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no system call filters here: {error}"
    return ""


@cache
def _group(name: str) -> frozenset[str]:
    """The system calls of a group, as systemd has them."""
    if not name.startswith("@"):
        return frozenset({name})
    command = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    entries = (line.strip() for line in done.stdout.splitlines()[1:])
    return frozenset().union(*(_group(entry) for entry in entries if entry and not entry.startswith("#")))


def _refuse(number: int) -> int:
    return 0x00050000 | number


_DENIED, _UNKNOWN = _refuse(errno.EPERM), _refuse(errno.ENOSYS)


def _system_calls(lines: list[str]) -> None:
    allowed: set[str] = set(_group("@default"))
    for line in lines:
        names = frozenset[str]().union(*(_group(word) for word in line.lstrip("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    # What systemd does not know is not there, rather than forbidden: programs have an answer to that.
    made = _Filter(_UNKNOWN)
    for call in sorted(_group("@known")):
        made.rule(_ALLOW if call in allowed else _DENIED, call)
    made.load()


def _no_writable_code() -> None:
    made = _Filter()
    both = _PROT_WRITE | _PROT_EXEC
    made.rule(_DENIED, "mmap", (2, _MASKED, both, both))
    made.rule(_DENIED, "mprotect", (2, _MASKED, _PROT_EXEC, _PROT_EXEC))
    made.rule(_DENIED, "pkey_mprotect", (2, _MASKED, _PROT_EXEC, _PROT_EXEC))
    made.rule(_DENIED, "shmat", (2, _MASKED, _SHM_EXEC, _SHM_EXEC))
    made.load()


def _address_families(names: list[str]) -> None:
    made, refused = _Filter(), _refuse(errno.EAFNOSUPPORT)
    allowed = sorted(_FAMILIES[name] for name in names)
    made.rule(refused, "socket", (0, _LT, allowed[0], 0))
    made.rule(refused, "socket", (0, _GT, allowed[-1], 0))
    for family in range(allowed[0], allowed[-1]):
        if family not in allowed:
            made.rule(refused, "socket", (0, _EQ, family, 0))
    made.load()


def _no_namespaces() -> None:
    made = _Filter()
    made.rule(_UNKNOWN, "clone3")  # its flags are in memory, where no filter can look
    made.rule(_DENIED, "setns")
    for flag in _NAMESPACES:
        made.rule(_DENIED, "unshare", (0, _MASKED, flag, flag))
        made.rule(_DENIED, "clone", (0, _MASKED, flag, flag))
    made.load()


def _no_realtime() -> None:
    made = _Filter()
    for policy in _REALTIME:
        made.rule(_DENIED, "sched_setscheduler", (1, _EQ, policy, 0))
    made.load()


def _no_suid() -> None:
    made = _Filter()
    for bit in (_SUID, _SGID):
        for call, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2)):
            made.rule(_DENIED, call, (argument, _MASKED, bit, bit))
    made.rule(_UNKNOWN, "openat2")
    made.load()


_SWITCHES: dict[str, Callable[[], None]] = {
    "MemoryDenyWriteExecute": _no_writable_code,
    "RestrictNamespaces": _no_namespaces,
    "RestrictRealtime": _no_realtime,
    "RestrictSUIDSGID": _no_suid,
}


def _values(unit: Path, name: str) -> Iterator[str]:
    for line in unit.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == name:
            yield value


def _confine(unit: Path) -> None:
    # Loading a filter needs one call that the first of them takes away, so it is the last.
    for name, apply in _SWITCHES.items():
        if "yes" in _values(unit, name):
            apply()
    for line in _values(unit, "RestrictAddressFamilies"):
        _address_families(line.split())
    _system_calls(list(_values(unit, "SystemCallFilter")))


if __name__ == "__main__":
    _confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
