"""The data directory of a node: made ready for its first start, or found to be the one it should be."""

from __future__ import annotations

import base64
import shutil
import uuid
from pathlib import Path

from supervisor.contract.faults import ConfigurationFault, Fault

__all__ = ["new_id", "prepare_data"]


def new_id() -> str:
    """A random id as Kafka writes them: 16 bytes, URL-safe base64 without padding, not starting with a dash
    (Kafka avoids that so that an id can be given on a command line)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


def prepare_data(data: Path, number: int, cluster_id: str, bootstrap: Path) -> None:
    """Format ``data`` for node ``number`` if it is new, as Kafka's own tool would: a ``meta.properties`` and
    a copy of ``bootstrap``. One JVM per node is what this saves.

    Raises ConfigurationFault if it holds another cluster's or node's data, Fault if it cannot be written.
    """
    meta = data / "meta.properties"
    try:
        if meta.exists():
            _check(meta, number, cluster_id)
            return
        data.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(bootstrap, data / bootstrap.name)
        # Last, and whole: it is what says that the directory is formatted.
        part = data / ".meta.properties"
        part.write_text(
            f"version=1\ncluster.id={cluster_id}\nnode.id={number}\ndirectory.id={new_id()}\n",
            encoding="ascii",
        )
        part.replace(meta)
    except OSError as error:
        raise Fault(
            f"the data directory {data} cannot be written: {error.strerror}",
            "name another directory with --dir",
        ) from error


def _check(meta: Path, number: int, cluster_id: str) -> None:
    lines = meta.read_text(encoding="latin-1").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    for key, expected in (("cluster.id", cluster_id), ("node.id", str(number))):
        if found.get(key) != expected:
            raise ConfigurationFault(
                f"{meta.parent} belongs to another cluster: its {key} is {found.get(key, 'missing')}, "
                f"not {expected}",
                "name another directory with --dir, or delete this one",
            )
