"""The demo's directory: the cluster's data, the run directory, the configuration and the logs.

It is a temporary one and goes with the demo, however that ends: one that was killed has its directory
removed by the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from supervisor.cluster.layout import Layout, Lock
from supervisor.contract.faults import Fault

__all__ = ["SPACE_REMEDY", "Directory"]

SPACE_REMEDY = "free some space, or set TMPDIR to another directory"
_PREFIX = "supervisor-demo-"


class Directory:
    """Where everything of one demo lies."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster = root / "kafka"
        self.run = root / "run"
        self.config = root / "supervisor.toml"
        self.supervisor_log = root / "supervisor.log"
        self.generator_log = root / "generator.log"

    @classmethod
    def create(cls) -> Directory:
        """Make a new one, and remove what demos that were killed have left."""
        parent = Path(tempfile.gettempdir())
        _sweep(parent)
        try:
            return cls(Path(tempfile.mkdtemp(prefix=_PREFIX)))
        except OSError as error:
            raise Fault(
                f"no temporary directory can be made in {parent}: {error.strerror}", SPACE_REMEDY
            ) from error

    def write_config(self, bootstrap_servers: str, partitions: int, olap_workers: int) -> None:
        """Write the configuration that the supervisor and the generator share."""
        quoted = {
            "servers": json.dumps(bootstrap_servers),
            "run": json.dumps(str(self.run), ensure_ascii=False),
        }
        text = (
            f"[kafka]\nbootstrap_servers = {quoted['servers']}\n\n"
            f"[topics]\npartitions = {partitions}\n\n"
            f"[olap]\nworkers = {olap_workers}\n\n"
            f"[runtime]\nrun_dir = {quoted['run']}\n\n"
            f'[log]\nformat = "text"\n'
        )
        try:
            self.config.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Fault(f"{self.config} cannot be written: {error.strerror}", SPACE_REMEDY) from error

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove the abandoned ones: nobody holds the cluster's lock, and its data was not to be kept.

    One that was just made has no ``cluster.json`` yet, and once it has one its owner holds the lock. What
    other users have put here under such a name is not looked into: it may lead anywhere.
    """
    for root in parent.glob(f"{_PREFIX}*"):
        layout = Layout(root / "kafka")
        with contextlib.suppress(Fault, OSError):
            if root.is_symlink() or root.stat().st_uid != os.geteuid():
                continue
            identity = layout.read_identity()
            if identity is None or identity.keep:
                continue
            lock = Lock.acquire(layout)
            try:
                shutil.rmtree(root, ignore_errors=True)
            finally:
                lock.release()
