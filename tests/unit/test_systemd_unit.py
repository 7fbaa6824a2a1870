"""The unit: what it says of a configuration, what systemd says of it, and that our work is possible in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import sandbox

from supervisor.contract.exits import Exit
from supervisor.contract.settings import Jsonl, Log, Realtime, Runtime, Settings
from supervisor.systemd import install, unit
from supervisor.systemd.deployed import deployed

ROOT = Path(__file__).parents[2]
CONFIG = "/etc/kafka-supervisor/kafka-supervisor.toml"
MOST_EXPOSED = 2.0

with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze, which judges units, is not here"
)


def described(settings: Settings | None = None, **attributes: object) -> unit.Service:
    made = unit.service_of(settings or Settings(), [sys.executable, "start"], CONFIG)
    return msgspec.structs.replace(made, **attributes)


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


# -- what it says ---------------------------------------------------------------------------------------


def test_what_is_deployed_is_what_the_generator_writes() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "deploy" / "systemd").iterdir()}
    assert files == deployed(), "run `python -m supervisor.systemd.deployed deploy/systemd`"


def test_the_ends_that_are_not_tried_again_are_those_of_the_exit_code_page() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    (sentence,) = re.findall(r"For a service manager: ([\d, and]+) will not get better", text)
    documented = [int(number) for number in re.findall(r"\d+", sentence)]
    assert documented == list(map(int, unit.FINAL))
    assert values(unit.service(described()), "RestartPreventExitStatus") == [" ".join(map(str, documented))]
    assert Exit.FAILED not in unit.FINAL


def test_what_we_need_is_not_taken_away() -> None:
    """The traps of popular lists: /proc/stat and /proc/meminfo, CPUs and priority, the delegated cgroup."""
    text = unit.service(described())
    assert values(text, "ProcSubset") == values(text, "ProtectControlGroups") == []
    assert values(text, "SystemCallFilter") == ["@system-service", "~@privileged"]
    assert values(text, "Delegate") == ["cpu memory"]


@pytest.mark.parametrize("version", [247, 252, 253, 254, 260])
def test_nothing_is_said_that_its_systemd_would_not_understand(version: int) -> None:
    """The traps: an unknown Type= is lost, and RestartMaxDelaySec= needs RestartSteps=."""
    text = unit.service(described(version=version))
    kinds = {True: ["notify-reload"], False: ["notify"]}
    assert values(text, "Type") == kinds[version >= 253]
    assert values(text, "ExecReload") == ([] if version >= 253 else ["/bin/kill -HUP $MAINPID"])
    assert values(text, "ReloadSignal") == (["SIGHUP"] if version >= 253 else [])
    steps, longest = values(text, "RestartSteps"), values(text, "RestartMaxDelaySec")
    assert (len(steps), len(longest)) == ((1, 1) if version >= 254 else (0, 0))


def test_the_drop_in_brings_an_older_unit_to_what_is_written_for_a_newer_systemd() -> None:
    older, newer = unit.service(described(version=252)), unit.service(described(version=254))
    settled = dict.fromkeys(("Type", "ReloadSignal", "RestartSec", "RestartSteps", "RestartMaxDelaySec"))
    for key in settled:
        assert values(unit.newer(), key) == values(newer, key)
    assert values(unit.newer(), "ExecReload") == [""]  # takes back what the older one says
    others = [line for line in older.splitlines() if line.split("=")[0] not in {*settled, "ExecReload"}]
    assert others == [line for line in newer.splitlines() if line.split("=")[0] not in settled]


@pytest.mark.parametrize(
    ("drain_s", "start_s", "stop", "start"),
    [
        (20.0, 30.0, "30", "90"),
        (0.1, 0.5, "11", "61"),
        (600.0, 5.0, "610", "65"),
        (float("inf"), float("inf"), "infinity", "infinity"),
    ],
)
def test_systemd_waits_longer_than_the_supervisor(
    drain_s: float, start_s: float, stop: str, start: str
) -> None:
    settings = Settings(runtime=Runtime(drain_timeout_s=drain_s, start_timeout_s=start_s))
    for text in (unit.service(described(settings)), unit.instance_settings(described(settings))):
        assert (values(text, "TimeoutStopSec"), values(text, "TimeoutStartSec")) == ([stop], [start])


def test_paths_of_the_configuration_stay_writable_and_are_mounted_first() -> None:
    settings = Settings(
        runtime=Runtime(run_dir="/srv/run"),
        log=Log(directory="/srv/my logs"),
        realtime=Realtime(sinks=["jsonl"], jsonl=Jsonl(path="/data/%/events.jsonl")),
    )
    for text in (unit.service(described(settings)), unit.instance_settings(described(settings))):
        assert values(text, "ReadWritePaths") == ['/srv/run "/srv/my logs" /data/%%']
        assert values(text, "RequiresMountsFor") == values(text, "ReadWritePaths")
        assert text.index("RequiresMountsFor") < text.index("[Service]") < text.index("ReadWritePaths")


def test_paths_that_systemd_makes_or_that_nobody_writes_to_are_not_listed() -> None:
    settings = Settings(
        runtime=Runtime(run_dir="/run/kafka-supervisor/logins"),
        log=Log(directory="/elsewhere", files=False),
        realtime=Realtime(sinks=["live"], jsonl=Jsonl(path="/data/events.jsonl")),
    )
    assert described(settings).writable == ()
    of_instance = unit.service_of(settings, ["supervisor"], CONFIG, instance="orders")
    assert of_instance.writable == ("/run/kafka-supervisor/logins",)


def test_a_unit_of_the_users_own_needs_no_rights_of_the_systems() -> None:
    text = unit.service(described(account=None))
    for key in ("User", "CapabilityBoundingSet", "ProtectSystem", "PrivateTmp", "StateDirectory"):
        assert values(text, key) == []
    assert values(text, "WantedBy") == ["default.target"]
    assert values(text, "NoNewPrivileges") == ["yes"]


def test_words_are_written_so_that_systemd_reads_them_back() -> None:
    text = unit.service(described(command=('/opt/a b/"x"', "start"), config="/etc/100%/$HOME.toml"))
    assert values(text, "ExecStart") == ['"/opt/a b/\\"x\\"" start --config /etc/100%%/$$HOME.toml']


# -- what systemd says ----------------------------------------------------------------------------------


def write(directory: Path, version: int) -> Path:
    """A unit, a template and one of its instances, as they would be installed."""
    made = described(version=version)
    (directory / "kafka-supervisor.service").write_text(unit.service(made))
    (directory / "kafka-supervisor@.service").write_text(unit.service(made, template=True))
    drop_in = directory / "kafka-supervisor@orders.service.d" / "10-configuration.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(unit.instance_settings(msgspec.structs.replace(made, writable=("/srv/data",))))
    return directory


@with_systemd
@pytest.mark.parametrize("name", ["kafka-supervisor.service", "kafka-supervisor@orders.service"])
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path, name: str) -> None:
    version = install.installed_version() or unit.OLDEST
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(write(tmp_path, version) / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@with_systemd
def test_that_check_would_find_a_line_that_systemd_does_not_know(tmp_path: Path) -> None:
    path = write(tmp_path, unit.OLDEST) / "kafka-supervisor.service"
    path.write_text(path.read_text().replace("KillMode=mixed", "KillMode=gently"))
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "gently" in done.stderr


@with_systemd
@pytest.mark.parametrize("name", ["kafka-supervisor.service", "kafka-supervisor@orders.service"])
def test_it_is_hardly_exposed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, unit.OLDEST) / name.replace("orders", "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= MOST_EXPOSED, done.stdout


# -- what is possible in it -----------------------------------------------------------------------------

in_sandbox = pytest.mark.skipif(bool(sandbox.missing()), reason=sandbox.missing() or "-")

# What supervisor and workers ask of the kernel, and last, what they shall not have.
NEEDED = """
import ctypes, mmap, os, select, signal, socket, subprocess, sys, tempfile, threading
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 1)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(1, signal.SIGKILL) == 0, "PR_SET_PDEATHSIG"
assert libc.prctl(36, 1) == 0, "PR_SET_CHILD_SUBREAPER"
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
pidfd = os.pidfd_open(child.pid)
signal.pidfd_send_signal(pidfd, signal.SIGKILL)
assert select.select([pidfd], [], [], 20)[0] and child.wait() == -signal.SIGKILL
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family).close()
    except OSError as error:
        assert family == socket.AF_INET6 and error.errno == 97, error  # a machine without IPv6
assert socket.getaddrinfo("127.0.0.1", 9092, flags=socket.AI_ADDRCONFIG)
with tempfile.TemporaryFile() as file:
    os.posix_fallocate(file.fileno(), 0, 4096)
    mmap.mmap(file.fileno(), 4096)[:1] = b"x"
os.close(os.memfd_create("x"))
threading.Thread(target=int).start()
import psutil
psutil.virtual_memory(), psutil.Process().create_time(), psutil.Process().memory_info()
from confluent_kafka import Producer
Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}).poll(0)

def refused(call):
    try:
        call()
    except OSError:
        return True
    return False

assert refused(lambda: mmap.mmap(-1, 4096, prot=7))
assert refused(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
assert libc.unshare(0x20000) == -1 and libc.mount(b"x", b"/mnt", b"tmpfs", 0, None) == -1
print("all of it")
"""


@in_sandbox
def test_what_supervisor_and_workers_ask_of_the_kernel_is_allowed(tmp_path: Path) -> None:
    path = write(tmp_path, unit.OLDEST) / "kafka-supervisor.service"
    done = confined(path, sys.executable, "-c", NEEDED)
    assert (done.stdout, done.stderr) == ("all of it\n", "")


@in_sandbox
def test_the_filter_that_popular_lists_add_would_have_been_noticed(tmp_path: Path) -> None:
    """The trap: ~@resources forbids to choose CPUs and priority."""
    path = write(tmp_path, unit.OLDEST) / "kafka-supervisor.service"
    path.write_text(path.read_text().replace("=~@privileged", "=~@privileged @resources"))
    assert "PermissionError" in confined(path, sys.executable, "-c", NEEDED).stderr


def confined(path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, sandbox.__file__, str(path), *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
