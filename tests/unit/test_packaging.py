"""What is built, what is locked, and what `make` says before it has a Python to work with."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from base64 import urlsafe_b64encode
from email.message import Message
from email.parser import Parser
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import parse_wheel_filename

from supervisor.host import installation

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-demo.lock", "requirements-dev.lock")
Package = dict[str, Any]
PYTHONS = ("cp311", "cp312", "cp313", "cp314")


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel_metadata(wheel_files: dict[str, bytes]) -> Message:
    (name,) = (name for name in wheel_files if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel_files[name].decode())


@pytest.fixture(scope="module")
def lock() -> list[Package]:
    packages: list[Package] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return packages


# --- wheel and source distribution


def test_the_wheel_has_every_tracked_file_of_both_packages(wheel_files: dict[str, bytes]) -> None:
    command = ["git", "ls-files", "-z", "supervisor", "workers"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = {name for name in tracked.split("\0") if name and (ROOT / name).is_file()}
    packed = {name for name in wheel_files if not name.split("/")[0].endswith(".dist-info")}
    assert packed == ours
    assert {"supervisor/cli/__init__.py", "supervisor/py.typed", "workers/py.typed"} <= packed


def test_the_wheel_leaves_supervisors_init_empty(wheel_files: dict[str, bytes]) -> None:
    assert wheel_files["supervisor/__init__.py"] == b""


def test_the_wheel_says_what_it_is(wheel_metadata: Message, wheel_files: dict[str, bytes]) -> None:
    assert wheel_metadata["Name"] == "kafka-supervisor"
    assert wheel_metadata["License-Expression"] == "Apache-2.0"
    assert wheel_metadata["Requires-Python"] == ">=3.11"
    assert set(wheel_metadata.get_all("Provides-Extra", [])) == {"cluster", "dashboard", "olap", "s3"}
    info = f"kafka_supervisor-{wheel_metadata['Version']}.dist-info"
    assert wheel_files[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    scripts = wheel_files[f"{info}/entry_points.txt"].decode().splitlines()
    assert scripts == ["[console_scripts]", "supervisor = supervisor.cli:main"]


def test_the_classifiers_name_each_python_that_the_lock_serves(wheel_metadata: Message) -> None:
    named = [c for c in wheel_metadata.get_all("Classifier", []) if re.search(r":: 3\.\d+$", c)]
    assert [f"cp{c.rsplit(' ', 1)[1].replace('.', '')}" for c in named] == list(PYTHONS)


def test_the_source_distribution_carries_the_license_and_no_build_leftovers(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "pyproject.toml", "setup.cfg", "supervisor/cli/__init__.py"} <= names
    assert not [
        name for name in names if name.startswith(("build/", ".venv", "dist/")) or "__pycache__" in name
    ]


def test_no_module_bears_a_name_of_supervisords() -> None:
    # The top level of PyPI's `supervisor` 4.3.0; tests/e2e/test_supervisord_coexistence.py proves the list.
    theirs = set((ROOT / "tests/supervisord_modules.txt").read_text().split())
    ours = {path.name.partition(".")[0] for path in (ROOT / "supervisor").iterdir()}
    assert not ours & theirs
    assert "cli" in ours
    assert (ROOT / "supervisor/__init__.py").read_bytes() == b""


# --- locks


def test_the_lock_files_are_what_make_lock_writes(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "setup.cfg", "uv.lock", *LOCKS):
        shutil.copy2(ROOT / name, tmp_path / name)
    uv = Path(sys.executable).with_name("uv")
    environment = {**_without_make(), "UV_OFFLINE": "1", "UV_PYTHON": sys.executable}
    command = ["make", "lock", f"UV={uv}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"pyproject.toml asks for what uv.lock lacks; run `make lock`\n{done.stderr}"
    for name in ("uv.lock", *LOCKS):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), f"{name} is stale; run `make lock`"


def test_the_lock_names_the_public_index_alone(lock: list[Package]) -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
    assert {package["name"] for package in lock if "registry" not in package["source"]} == {
        "kafka-supervisor"
    }


@pytest.mark.parametrize("name", LOCKS)
def test_a_pip_lock_is_pinned_and_hashed_and_leaves_the_index_to_the_user(name: str) -> None:
    lines = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    requirements = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for line in requirements:
        # No --index-url, no --find-links, no -e, no URL: a mirror or a folder of wheels stays usable.
        assert re.match(r"[a-z0-9.-]+==\S+ ( *; [^-]+)?( *--hash=sha256:[0-9a-f]{64})+$", line), line


def test_every_locked_package_installs_on_linux_without_a_compiler(lock: list[Package]) -> None:
    lacking = [
        (package["name"], python, machine)
        for package in lock
        if package["name"] != "kafka-supervisor"
        for python in PYTHONS
        for machine in ("x86_64", "aarch64")
        if not _has_wheel(package, python, machine)
    ]
    assert lacking == []


def _has_wheel(package: Package, python: str, machine: str) -> bool:
    return any(
        (tag.platform == "any" or ("manylinux" in tag.platform and tag.platform.endswith(machine)))
        and (
            tag.interpreter in {python, "py3"}
            or (tag.abi == "abi3" and _minor(tag.interpreter) <= _minor(python))
        )
        for wheel in package.get("wheels", [])
        for tag in parse_wheel_filename(wheel["url"].rsplit("/", 1)[1])[3]
    )


def _minor(interpreter: str) -> int:
    return int(interpreter.removeprefix("cp3"))


# --- make


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy2(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "setup.cfg", *LOCKS):
        (folder / name).touch()
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=_without_make(), capture_output=True, text=True, check=False
    )


def _without_make() -> dict[str, str]:
    """The environment without the make that runs these tests: it would pass on its options and PYTHON."""
    foreign = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PYTHON"}
    return {name: value for name, value in os.environ.items() if name not in foreign}


def _python(folder: Path, behaviour: str) -> Path:
    """A stand-in for a Python that this machine may not have."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\ncase "$*" in\n{behaviour}\nesac\n')
    script.chmod(0o755)
    return script


def test_make_without_a_target_lists_the_targets(tmp_path: Path) -> None:
    done = _make(tmp_path)
    assert done.returncode == 0
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in done.stdout.splitlines()] == phony[0].split()


def test_make_says_that_an_old_python_is_too_old(tmp_path: Path) -> None:
    old = _python(tmp_path, '*version_info*) exit 1 ;;\n-V) echo "Python 3.9.18" ;;')
    done = _make(tmp_path, "demo", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"error: {old} is Python 3.9.18, and Python 3.11 or newer is needed" in done.stderr
    assert "remedy:" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_says_that_a_python_lacks_venv(tmp_path: Path) -> None:
    done = _make(tmp_path, "demo", f"PYTHON={_python(tmp_path, '*ensurepip*) exit 1 ;;')}")
    assert done.returncode != 0
    assert "lacks the venv module" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_make_says_that_there_is_no_python(tmp_path: Path) -> None:
    done = _make(tmp_path, "test", "PYTHON=python-of-nowhere")
    assert done.returncode != 0
    assert "error: python-of-nowhere was not found" in done.stderr


def test_make_sets_up_once_and_again_only_when_the_lock_changes(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    # A Python whose virtual environment notes each call instead of installing anything.
    fake = _python(
        tmp_path,
        f'"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; ln -s /bin/true .venv/bin/supervisor ;;\n'
        f'*"pip install"*) echo "$*" >> {calls} ;;',
    )
    first = _make(tmp_path, "demo", f"PYTHON={fake}")
    assert first.returncode == 0, first.stderr
    assert "Installing what requirements-demo.lock names" in first.stdout
    installs = calls.read_text()
    assert "--require-hashes -r requirements-demo.lock" in installs
    assert "--no-deps --no-build-isolation --editable ." in installs

    def again() -> str:
        done = subprocess.run(
            ["make", "demo"], cwd=tmp_path, env=_without_make(), capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "Installing" not in again()
    newer = (tmp_path / ".venv/.demo").stat().st_mtime_ns + 1_000_000_000
    os.utime(tmp_path / "requirements-demo.lock", ns=(newer, newer))
    assert "Installing what requirements-demo.lock names" in again()


# --- files that another package overwrote


def _installed(folder: Path, files: dict[str, bytes]) -> PathDistribution:
    info = folder / "kafka_supervisor-1.dist-info"
    info.mkdir()
    record = []
    for name, contents in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
        digest = urlsafe_b64encode(hashlib.sha256(contents).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(contents)}")
    (info / "RECORD").write_text("\n".join([*record, "kafka_supervisor-1.dist-info/RECORD,,"]))
    return PathDistribution(info)


def test_an_untouched_installation_has_no_altered_files(tmp_path: Path) -> None:
    ours = _installed(tmp_path, {"supervisor/__init__.py": b"", "supervisor/loop.py": b"a = 1\n"})
    assert installation.altered_files(ours) == []


def test_files_that_were_overwritten_or_removed_are_named(tmp_path: Path) -> None:
    files = {"supervisor/loop.py": b"a = 1\n", "supervisor/a/b.py": b"", "workers/c.py": b"c = 1\n"}
    ours = _installed(tmp_path, files)
    (tmp_path / "supervisor/loop.py").write_bytes(b"theirs\n")
    (tmp_path / "supervisor/a/b.py").unlink()
    assert installation.altered_files(ours) == ["supervisor/a/b.py", "supervisor/loop.py"]


def test_the_init_that_both_packages_own_is_not_reported(tmp_path: Path) -> None:
    ours = _installed(tmp_path, {"supervisor/__init__.py": b""})
    (tmp_path / "supervisor/__init__.py").write_bytes(b"# this is a package\n")
    assert installation.altered_files(ours) == []


def test_an_editable_installation_has_nothing_to_report() -> None:
    assert installation.installation_fault() is None
