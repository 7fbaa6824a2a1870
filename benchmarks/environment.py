"""A virtual environment of its own for each supervisor that ours is compared with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["Absent", "clean", "environment"]

_PATIENCE_S = 600
# What a person has set for Python is not to make a difference: the benchmark's processes keep byte code, as
# an installation does, and find no modules but their own.
_SETTINGS = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED", "VIRTUAL_ENV")


class Absent(Exception):
    """It cannot be measured here; the text says why."""


def clean(variables: dict[str, str], cache: Path) -> dict[str, str]:
    """``variables`` for a process of the benchmark; its byte code goes into ``cache``, and nowhere else."""
    kept = {name: value for name, value in variables.items() if name not in _SETTINGS}
    return {**kept, "PYTHONPYCACHEPREFIX": str(cache / "bytecode")}


def environment(cache: Path, requirements: tuple[str, ...], variables: dict[str, str]) -> Path:
    """The ``bin`` directory of an environment with ``requirements``, made now unless it is in ``cache``.

    Raises :class:`Absent` where it cannot be had.
    """
    place = cache / requirements[0].replace("==", "-")
    done = place / "requirements"
    if not done.exists() or done.read_text() != "\n".join(requirements):
        shutil.rmtree(place, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(place)], variables)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
        _run([*pip, *requirements], variables)
        done.write_text("\n".join(requirements))
    return place / "bin"


def _run(command: list[str], variables: dict[str, str]) -> None:
    variables = {**variables, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired as error:
        raise Absent(f"`{' '.join(command[1:4])}` took more than {_PATIENCE_S} s") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Absent(f"`{' '.join(command[1:4])}` failed: {last}")
