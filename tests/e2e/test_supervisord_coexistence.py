"""PyPI's `supervisor` (supervisord) and this distribution in one environment, both really at work.

Both install into the package folder `supervisor`. No file of one may stand in the way of the other, whichever
is installed last and whichever is uninstalled first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEIRS = "supervisor==4.3.0"
UV = Path(sys.executable).with_name("uv")


def _run(*command: object, expected: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == expected, f"{command}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture(scope="module")
def new_environment(
    tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Makes virtual environments that hold our locked dependencies, and neither package yet."""
    work = tmp_path_factory.mktemp("environments")
    # A cache of our own, so that even a machine told to keep none downloads each wheel once.
    patch.delenv("UV_NO_CACHE", raising=False)
    patch.setenv("UV_CACHE_DIR", str(work / "cache"))
    export = (
        "export",
        "--frozen",
        "--quiet",
        "--no-emit-project",
        "--no-default-groups",
        "-o",
        work / "lock",
    )
    _run(UV, *export, cwd=ROOT)

    def make() -> Path:
        environment = Path(tempfile.mkdtemp(dir=work))
        _run(UV, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
        _run(UV, "pip", "install", "--python", environment, "--require-hashes", "-r", work / "lock")
        return environment

    return make


def _install(environment: Path, package: Path | str) -> None:
    _run(UV, "pip", "install", "--python", environment, "--no-deps", package)


def _files(environment: Path) -> set[str]:
    (folder,) = environment.glob("lib/python*/site-packages/supervisor")
    return {path.name.partition(".")[0] for path in folder.iterdir()} - {"__init__", "__pycache__"}


def _check_ours(environment: Path) -> None:
    command = environment / "bin/supervisor"
    assert _run(command, "--version").stdout.startswith("supervisor, version ")
    assert "[olap]" in _run(command, "init", "-", cwd=environment).stdout
    _run(command, "config", "check", cwd=environment)
    code = "from supervisor.host.installation import installation_fault as fault; print(fault())"
    assert _run(environment / "bin/python", "-c", code).stdout == "None\n"


def _check_theirs(environment: Path, configuration: Path) -> None:
    """Start supervisord, see its program at work, end both."""
    configuration.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={configuration}.pid\n"
        "[program:tiny]\ncommand=/bin/sh -c 'echo at work; exec sleep 60'\nstartsecs=0\n"
        "stdout_logfile=/dev/fd/1\nstdout_logfile_maxbytes=0\n"
    )
    command = [str(environment / "bin/supervisord"), "-c", str(configuration)]
    theirs = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with theirs:
        assert theirs.stdout is not None
        said = []
        for line in theirs.stdout:
            said.append(line)
            if line == "at work\n":
                break
        theirs.terminate()
        said.append(theirs.stdout.read())
    assert "at work\n" in said, "".join(said)
    assert "stopped: tiny (terminated by SIGTERM)" in said[-1]


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours-first", "theirs-first"])
@pytest.mark.parametrize("removed", ["kafka-supervisor", "supervisor"])
def test_both_work_side_by_side_and_each_outlives_the_other(
    ours_first: bool, removed: str, new_environment: Callable[[], Path], wheel: Path, tmp_path: Path
) -> None:
    environment = new_environment()
    for package in (wheel, THEIRS) if ours_first else (THEIRS, wheel):
        _install(environment, package)
    _check_ours(environment)
    _check_theirs(environment, tmp_path / "both.conf")

    _run(UV, "pip", "uninstall", "--python", environment, removed)
    if removed == "supervisor":
        _check_ours(environment)
    else:
        _check_theirs(environment, tmp_path / "alone.conf")


def test_the_list_of_their_modules_is_that_of_the_real_package(new_environment: Callable[[], Path]) -> None:
    environment = new_environment()
    _install(environment, THEIRS)
    assert _files(environment) == set((ROOT / "tests/supervisord_modules.txt").read_text().split())


def test_a_module_of_ours_that_was_overwritten_is_named(
    new_environment: Callable[[], Path], wheel: Path
) -> None:
    environment = new_environment()
    _install(environment, wheel)
    _install(environment, THEIRS)
    (module,) = environment.glob("lib/python*/site-packages/supervisor/cli/config.py")
    module.write_text("from supervisor.process import ProcessGroup, NothingOfTheKind\n")
    failed = _run(environment / "bin/supervisor", "config", "check", expected=1)
    assert failed.stderr.splitlines()[0] == (
        "error: The package 'supervisor' (supervisord) shares this environment and overwrote 1 of our files: "
        "supervisor/cli/config.py."
    )
    assert (
        "remedy: reinstall with `pip install --force-reinstall --no-deps kafka-supervisor`" in failed.stderr
    )
