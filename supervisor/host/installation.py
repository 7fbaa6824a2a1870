"""Whether the files of this installation are still those that were installed.

PyPI's ``supervisor`` (supervisord) installs into the same package folder as we do. None of our modules bears
a name of its modules, so both can share an environment; but pip says nothing when one package overwrites
files of another, and a future version of either could. An installer writes a hash of each file into RECORD;
this module compares. It reads every file of ours, so it is called when something is already wrong, not at
each start.
"""

from __future__ import annotations

import base64
import csv
import hashlib
from importlib import metadata
from pathlib import Path

from supervisor.contract.faults import Fault

__all__ = ["altered_files", "installation_fault"]

DISTRIBUTION = "kafka-supervisor"
PACKAGES = ("supervisor", "workers")
# Empty in ours, one comment in theirs: whichever was installed last, both work.
SHARED = "supervisor/__init__.py"
NAMED = 5


def altered_files(ours: metadata.Distribution) -> list[str]:
    """Files of our packages that are missing or whose contents differ from RECORD, sorted.

    Empty for an editable installation, which records no modules.
    """
    # Not `ours.files`: from Python 3.12 on it leaves out what is missing.
    record = csv.reader((ours.read_text("RECORD") or "").splitlines())
    return sorted(
        name
        for name, recorded, _size in record
        if name.split("/")[0] in PACKAGES
        and name != SHARED
        and recorded
        and recorded != _hash(Path(str(ours.locate_file(name))), recorded.partition("=")[0])
    )


def installation_fault() -> Fault | None:
    """What to tell a person about altered files; None if there are none, or if nothing is installed."""
    try:
        altered = altered_files(metadata.distribution(DISTRIBUTION))
    except metadata.PackageNotFoundError:
        return None
    if not altered:
        return None
    files = f"{len(altered)} of our files: {', '.join(altered[:NAMED])}{' …' if len(altered) > NAMED else ''}"
    return Fault(
        f"The package 'supervisor' (supervisord) shares this environment and overwrote {files}."
        if _shares_with_supervisord()
        else f"Since its installation something changed or removed {files}.",
        f"reinstall with `pip install --force-reinstall --no-deps {DISTRIBUTION}`, or give us an environment "
        f"of our own (`uv tool install {DISTRIBUTION}` or `pipx install {DISTRIBUTION}`)",
    )


def _hash(file: Path, algorithm: str) -> str:
    """A file's hash as RECORD writes it, such as ``sha256=47DEQp…``; empty if there is no such file."""
    try:
        digest = hashlib.new(algorithm, file.read_bytes()).digest()
    except OSError:
        return ""
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _shares_with_supervisord() -> bool:
    try:
        metadata.version("supervisor")
    except metadata.PackageNotFoundError:
        return False
    return True
